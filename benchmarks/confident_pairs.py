"""How often a pair of a region and an entity of a caption is right, by the share of the surest pairs that is kept.

Command:  python benchmarks/confident_pairs.py --data DATA --sets coco_train coco_dev
Regions:  the true masks of each captioned image; the default model stands for CLIP: the vector of a region is the mean
          of its unit vectors over the mask. (It was trained on coco_train, not on coco_dev.)
Pairs:    entities are found in the captions (`language.entities`); regions and entities of an image are paired one to
          one at the least cost, as training does; the surest share of all pairs of a set is kept.
Output:   one JSON line for each set and cost: the share of pairs whose entity may name the region's category, of all
          possible pairs ("chance") and of the kept shares. A lower bound: much of what captions say is not annotated.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import Sample, instance_masks
from promptseg.errors import PromptsegError
from promptseg.images import read_image
from promptseg.language.entities import find_entities
from promptseg.language.phrases import may_name_same
from promptseg.ops.resize import area_shares

SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
MIN_PIXELS = 100

Cosines = NDArray[np.float64]
Compare = Callable[[NDArray[np.uint8], NDArray[np.bool_], Sequence[str]], Cosines]


def load_comparison() -> tuple[Compare, float]:
    """Give the default model's cosines of R regions and N names, and its scale from cosines to logits."""
    import torch

    from promptseg.encoders.pixels import input_size, to_pixels
    from promptseg.models.registry import load_network

    network = load_network("promptseg").eval()

    @torch.inference_mode()
    def compare(image_rgb: NDArray[np.uint8], masks: NDArray[np.bool_], names: Sequence[str]) -> Cosines:
        size_hw = input_size(network.config, (image_rgb.shape[0], image_rgb.shape[1]))
        pixels = torch.from_numpy(to_pixels(image_rgb, size_hw, network.image_tower))
        embedding = network.encode_images(pixels).pixel_embedding[0].numpy()
        texts = network.encode_texts(list(names)).numpy()
        shares = np.stack([area_shares(mask, (embedding.shape[1], embedding.shape[2])) for mask in masks])
        vectors = np.einsum("rhw,chw->rc", shares, embedding)
        return np.asarray(unit(vectors) @ unit(texts).T, dtype=np.float64)

    return compare, network.dense.log_scale.detach().exp().item()


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scale vectors, shape (M, C), to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def true_regions(sample: Sample) -> tuple[NDArray[np.bool_], list[str]]:
    """Give the masks of an image, shape (R, H, W), and the category of each."""
    masks, categories = [], []
    for target in sample.with_evidence("mask"):
        for mask in instance_masks(target, sample.size_hw):
            if target.source == "human" and mask.sum() >= MIN_PIXELS:
                masks.append(mask)
                categories.append(target.phrase)
    return np.array(masks), categories


def measure(samples: Sequence[Sample], compare: Compare, scale: float, cost: str) -> dict[str, object]:
    """Measure the share of right pairs of one set."""
    # here and not above: it imports torch
    from promptseg.train.unpaired.alignment import assign, keep_surest

    pairs, right = [], []
    for sample in samples:
        entities = find_entities(sample.captions)
        masks, categories = true_regions(sample)
        if not entities or not categories:
            continue
        cosines = compare(read_image(sample.image), masks, entities)
        powers = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
        costs = -cosines if cost == "cosine" else 1.0 - powers / powers.sum(axis=1, keepdims=True)
        pairs.append(assign(costs))
        right.append(np.array([[may_name_same(entity, one) for entity in entities] for one in categories]))
    line: dict[str, object] = {
        "images": len(pairs),
        "pairs": sum(map(len, pairs)),
        "chance": round(float(np.concatenate([one.ravel() for one in right]).mean()), 3),
    }
    for share in SHARES:
        kept = keep_surest(pairs, share)
        hits = np.concatenate([table[one.regions, one.names] for table, one in zip(right, kept, strict=True)])
        line[f"surest {share:g}"] = round(float(hits.mean()), 3)
    return line


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of index files and image folders")
    parser.add_argument("--sets", nargs="+", default=["coco_train"], help="index files in it, without .jsonl")
    options = parser.parse_args()
    try:
        sets = {name: read_jsonl(options.data / f"{name}.jsonl").samples for name in options.sets}
        compare, scale = load_comparison()
        for name, samples in sets.items():
            captioned = [sample for sample in samples if sample.captions]
            for cost in ("cosine", "probability"):
                line = {"set": name, "cost": cost, **measure(captioned, compare, scale, cost)}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
