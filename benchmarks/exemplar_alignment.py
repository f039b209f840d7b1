"""How much CLIP gains from each way of showing it an object: the CLIPSeg paper's alignment study (its Table 2).

Command:    python benchmarks/exemplar_alignment.py --clip openai/clip-vit-base-patch16 \\
                --index data/coco_dev.jsonl data/coco_train.jsonl
Definition: for an image with at least three names, "a photo of a NAME" for each; CLIP's softmax over them, temperature
            1/100; P is the probability of the object's own name. A variant's gain is its mean P with the object shown
            that way, minus that of the unchanged image, times 100.
Output:     one JSON line for each variant: the gain, its 95 % interval over images, and the paper's figure.

Differences from the paper: the paper has 1,600 objects of LVIS, which names more objects in an image, each in a square
crop of 352 pixels, and names all of them; here whole images are resized to a square, and the names are those that the
index annotates with masks. Two published figures do not belong to their rows (see
`models/clipseg/visual_prompt_variants.py`), and the three of masked attention come from batches of 32 in which, by the
order of `repeat`, each head took the masks of other images.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import Sample, target_mask
from promptseg.encoders.pixels import to_pixels
from promptseg.errors import PromptsegError
from promptseg.images import read_image
from promptseg.metrics import bootstrap_interval, weighted_mean
from promptseg.models.clipseg.visual_prompt import EngineeredPrompt, TokenMask, engineer
from promptseg.models.clipseg.visual_prompt_variants import Variant

# Every import of something heavy is in the function that needs it, so that --help answers at once.
if TYPE_CHECKING:
    from torch import Tensor

    from promptseg.encoders.base import AttentionMask

# Table 2 of arXiv:2112.10003v2: gain in probability of the object's name, times 100, over 1,600 objects of LVIS.
PUBLISHED: dict[Variant, float] = {
    "mask-cls-last": 1.34,
    "mask-cls": 1.71,
    "mask-all": -14.44,
    "dye": 1.21,
    "outline": 2.29,
    "background-50": 3.08,
    "background-10": 13.85,
    "background-0": 23.40,
    "blur": 13.15,
    "blur-10": 21.73,
    "crop-context": 6.27,
    "crop": 13.60,
    "crop-context-blur": 15.34,
    "crop-10": 21.73,
    "crop-blur-10": 23.50,
}
TEMPERATURE = 100.0  # what CLIP's learned scale is clipped at, and where OpenAI's models ended
LEAST_NAMES = 3


@dataclass(frozen=True)
class Item:
    """An object, and the names that CLIP chooses from; the object's own comes first."""

    sample: Sample
    names: tuple[str, ...]


class Clip:
    """Both towers of a CLIP.

    Args:
        source: A directory that transformers saved, or a repository of the model hub.
    """

    def __init__(self, source: str) -> None:
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer
        from transformers.utils import logging

        from promptseg.encoders.clip_vision import SIZES, ClipVision

        logging.set_verbosity_error()  # each tower would list the other's weights as unexpected
        directory = find_directory(source)
        try:
            vision = json.loads((directory / "config.json").read_text(encoding="utf-8"))["vision_config"]
        except (OSError, ValueError, KeyError) as error:
            raise SystemExit(f"--clip {source}: not a CLIP, its config.json can't be read ({error})") from error
        shape = (vision.get("hidden_size", 768), vision.get("patch_size", 32))
        sizes = [size for size, (width, _, _, patch, *_) in SIZES.items() if (width, patch) == shape]
        if not sizes:
            raise SystemExit(f"{source}: width and patch {shape} are those of no tower here: {', '.join(SIZES)}")
        self.vision = ClipVision(sizes[0], layers=(0,)).eval()
        self.vision.load_weights(directory)
        self.text = CLIPTextModelWithProjection.from_pretrained(directory).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(directory)
        self.side = vision.get("image_size", 224)

    def embed_texts(self, texts: Sequence[str]) -> "Tensor":
        """Embed N texts: unit vectors, shape (N, E)."""
        import torch

        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")
        return torch.nn.functional.normalize(self.text(**tokens).text_embeds, dim=-1)

    def embed_prompts(self, prompts: Sequence[EngineeredPrompt]) -> "Tensor":
        """Embed N visual prompts: unit vectors, shape (N, E)."""
        import torch

        size_hw = (self.side, self.side)
        pixels = torch.from_numpy(
            np.concatenate([to_pixels(prompt.image_rgb, size_hw, self.vision) for prompt in prompts])
        )
        embeddings: dict[int, Tensor] = {}
        plain = [index for index, prompt in enumerate(prompts) if prompt.token_mask is None]
        if plain:
            embeddings.update(zip(plain, self.vision.embed_images(pixels[plain]), strict=True))
        for index, prompt in enumerate(prompts):
            if prompt.token_mask is not None:
                attention_mask = self._attention_mask(prompt.token_mask)
                embeddings[index] = self.vision.embed_images(pixels[[index]], attention_mask)[0]
        stacked = torch.stack([embeddings[index] for index in range(len(prompts))])
        return torch.nn.functional.normalize(stacked, dim=-1)

    def _attention_mask(self, token_mask: TokenMask) -> "AttentionMask":
        import torch

        from promptseg.encoders.base import AttentionMask

        cells = self.side // self.vision.multiple
        tokens = torch.from_numpy(token_mask.tokens((cells, cells)))[None]
        return AttentionMask(tokens, layers=token_mask.layers, queries=token_mask.queries)


def find_directory(source: str) -> Path:
    """Take a directory as it is; fetch anything else from the model hub."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=["*.json", "*.txt", "pytorch_model.bin"]))
    except (OSError, ValueError) as error:
        raise SystemExit(f"--clip {source}: no such directory, and the model hub gave none ({error})") from error


def list_items(indexes: Sequence[Path], *, min_area: float) -> Iterator[Item]:
    """List every object of an image with enough names whose mask covers at least that share of it."""
    for index in indexes:
        for sample in read_jsonl(index):
            targets = [target for target in sample.targets if target.kind == "thing" and target.evidence == "mask"]
            names = [target.phrase for target in targets]
            if len(names) < LEAST_NAMES:
                continue
            for target in targets:
                if target_mask(target, sample.size_hw).mean() >= min_area:
                    yield Item(sample, (target.phrase, *(name for name in names if name != target.phrase)))


def probabilities(clip: Clip, item: Item, variants: Sequence[Variant]) -> list[float]:
    """Give the probability of the object's own name under each variant."""
    import torch

    image_rgb = read_image(item.sample.image)
    (target,) = [target for target in item.sample.targets if target.phrase == item.names[0]]
    mask = target_mask(target, item.sample.size_hw)
    shown = [engineer(image_rgb, mask, variant=variant) for variant in variants]
    with torch.inference_mode():
        images = clip.embed_prompts(shown)
        texts = clip.embed_texts([f"a photo of a {name}" for name in item.names])
        own: list[float] = (TEMPERATURE * images @ texts.T).softmax(dim=-1)[:, 0].tolist()
    return own


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every variant of the paper's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", required=True, help="a directory that transformers saved, or a hub repository")
    parser.add_argument("--index", type=Path, nargs="+", required=True, help="JSONL indexes with masks")
    parser.add_argument("--objects", type=int, default=200, help="how many are drawn")
    parser.add_argument("--min-area", type=float, default=0.1, help="least share of the image that an object covers")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args(arguments)
    try:
        measure(options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


def measure(options: argparse.Namespace) -> None:
    """Draw objects, and write a line for each variant."""
    items = list(list_items(options.index, min_area=options.min_area))
    if not items:
        raise SystemExit(f"no image has an object of that size and {LEAST_NAMES} names with masks")
    drawn = np.random.default_rng(options.seed).permutation(len(items))[: options.objects]
    clip = Clip(options.clip)
    variants: list[Variant] = ["original", *PUBLISHED]
    rows = np.array([probabilities(clip, items[index], variants) for index in drawn])
    gains = 100 * (rows - rows[:, :1])
    _, image_index = np.unique([items[index].sample.sample_id for index in drawn], return_inverse=True)
    for variant, gain in zip(variants, gains.T, strict=True):
        low, high = bootstrap_interval(partial(weighted_mean, gain), image_index)
        line = {
            "variant": variant,
            "gain": round(float(gain.mean()), 2),
            "interval": [round(low, 2), round(high, 2)],
            "published": PUBLISHED.get(variant),
            "probability": round(100 * float(rows[:, variants.index(variant)].mean()), 2),
            "objects": len(drawn),
            "images": int(image_index.max()) + 1,
            "clip": options.clip,
        }
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
