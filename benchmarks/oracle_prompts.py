"""How well maskers mask an object from one point, and from one box, on the development sets.

Command:  python benchmarks/oracle_prompts.py --data DATA --images 40
Prompts:  for each annotated object the point deepest inside it, and its tight box.
Output:   one JSON line for each masker, input size and set: mean IoU over objects of
          `point`: the one of three that the masker scores best; `point_oracle`: the best of the three by the truth;
          `box`: the single mask; `box_oracle`: the best of three by the truth.
Sample:   evenly spaced images of each set, and of each image at most `--objects` objects, the largest first, none
          under 100 pixels. Where the annotation says "unknown", pixels do not count. Videos: frames of all of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.data.sample import Sample, ignore_mask, instance_masks
from promptseg.data.sets import load_eval_set
from promptseg.images import read_image
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import Masker, MaskerOutput
from promptseg.sam.load import MASKER_NAMES, load_masker

SETS = ("coco_dev", "camvid_val", "davis_dev", "clothes_dev", "carparts_dev", "faces_dev", "fss_dev", "pets_dev")
MIN_PIXELS = 100
KINDS = ("point", "point_oracle", "box", "box_oracle")

Mask = NDArray[np.bool_]


def pick_objects(sample: Sample, num_objects: int) -> list[tuple[Mask, Mask]]:
    """Masks of the largest objects, each with where nothing is known."""
    found: list[tuple[Mask, Mask]] = []
    for target in sample.with_evidence("mask"):
        void = ignore_mask(target, sample.size_hw)
        found += [(mask, void) for mask in instance_masks(target, sample.size_hw) if mask.sum() >= MIN_PIXELS]
    return sorted(found, key=lambda each: -int(each[0].sum()))[:num_objects]


def deepest_point(mask: Mask) -> tuple[float, float]:
    """The pixel center that is farthest from the edge, the image's border included: x, y."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), mask.shape)
    return float(column) + 0.5, float(row) + 0.5


def tight_box(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def ious(output: MaskerOutput, objects: list[tuple[Mask, Mask]]) -> NDArray[np.float64]:
    """IoU of every candidate with its object, shape (N, K)."""
    return np.array(
        [
            [(found & mask).sum() / ((found & ~void) | mask).sum() for found in candidates]
            for candidates, (mask, void) in zip((output.image_logits() > 0).numpy(), objects, strict=True)
        ]
    )


def judge(masker: Masker, sample: Sample, num_objects: int) -> Iterator[tuple[float, ...]]:
    """IoU of each kind, for each object of an image."""
    objects = pick_objects(sample, num_objects)
    if not objects:
        return
    embedding = masker.encode(read_image(sample.image))
    points_xy = torch.tensor([[deepest_point(mask)] for mask, _ in objects])
    boxes_xyxy = torch.tensor([tight_box(mask) for mask, _ in objects])
    by_point = masker.segment(embedding, points_xy=points_xy, point_labels=torch.ones(len(objects), 1), choice="levels")
    by_box = masker.segment(embedding, boxes_xyxy=boxes_xyxy)
    levels_by_box = masker.segment(embedding, boxes_xyxy=boxes_xyxy, choice="levels")
    of_point = ious(by_point, objects)
    chosen = of_point[np.arange(len(objects)), by_point.scores.argmax(1).numpy()]
    yield from zip(
        chosen, of_point.max(1), ious(by_box, objects)[:, 0], ious(levels_by_box, objects).max(1), strict=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="index files and image directories")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--maskers", nargs="+", choices=MASKER_NAMES, default=MASKER_NAMES)
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024], help="longer side as the masker sees it")
    parser.add_argument("--images", type=int, default=40, help="of a set, at most")
    parser.add_argument("--objects", type=int, default=10, help="of an image, at most")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="openvino", help="both in float32")
    options = parser.parse_args()
    for name in options.maskers:
        for side in options.sides:
            runner = GraphRunner(options.engine, num_threads=torch.get_num_threads())
            masker = load_masker(name, input_side=side, runner=runner)
            for set_name in options.sets:
                samples = load_eval_set(set_name, options.data).samples
                chosen = np.unique(np.linspace(0, len(samples) - 1, options.images).round().astype(int))
                start = time.perf_counter()
                rows = [row for index in chosen for row in judge(masker, samples[index], options.objects)]
                line = {
                    "masker": name,
                    "side": side,
                    "set": set_name,
                    "images": len(chosen),
                    "objects": len(rows),
                    **{kind: round(float(value), 4) for kind, value in zip(KINDS, np.mean(rows, axis=0), strict=True)},
                    "seconds": round(time.perf_counter() - start, 1),
                }
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
