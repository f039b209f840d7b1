"""IoU of promptable segmenters for one point and for one box on an object, at several input sizes.

Command:  python benchmarks/oracle_prompts.py --data DATA --images 40
Prompts:  for each annotated object the point deepest inside it, its tight box, and with --grid 20 a grid of points.
Output:   one JSON line for each segmenter, input size and set: mean IoU over objects of each kind of prompt, with its
          95 % interval over images; `promptseg.evaluate.benchmarks.promptable` explains the kinds.
Sample:   evenly spaced images of each set, and of each image at most `--objects` objects, the largest first, none
          under 100 pixels. Pixels that the annotation marks as unknown do not count. Videos: frames of all of them.
Maskers:  a SAM by its name, or the directory or file of a Uni-OVSeg (which has one input size, its own).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import KINDS, Sample
from promptseg.errors import PromptsegError
from promptseg.evaluate.benchmarks.promptable import PromptableSettings, score_objects, summarize
from promptseg.models.registry import LoadOptions, load_promptable
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.names import SAM_NAMES

SETS = ("coco_dev", "camvid_val", "davis_dev", "clothes_dev", "carparts_dev", "faces_dev", "fss_dev", "pets_dev")
MIN_PIXELS = 100


def load_maskers(options: argparse.Namespace) -> Iterator[tuple[str, int | None, PromptableSegmenter]]:
    """Yield each segmenter at each input size, with its name."""
    loading = LoadOptions(Runtime(options.engine))
    for name in options.maskers:
        for side in options.sides if name in SAM_NAMES else (None,):
            yield name, side, load_promptable(name, loading, input_side=side)


def measure(options: argparse.Namespace) -> None:
    """Measure every segmenter at every input size on every set."""
    # all sets first: a missing one is an error now, not after an hour
    sets = {name: read_jsonl(options.data / f"{name}.jsonl").samples for name in options.sets}
    for name, side, sam in load_maskers(options):
        for set_name, samples in sets.items():
            measure_set(sam, samples, options, {"masker": name, "side": side, "set": set_name})


def measure_set(
    sam: PromptableSegmenter, samples: Sequence[Sample], options: argparse.Namespace, setting: dict[str, object]
) -> None:
    """Measure one segmenter on one set, and write the line."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, options.images).round().astype(int))
    kinds = None if options.kinds is None else tuple(options.kinds)
    settings = PromptableSettings(options.grid, options.objects, MIN_PIXELS, kinds)
    start = time.perf_counter()
    scores = list(score_objects(sam, [samples[index] for index in chosen], settings))
    means = summarize(scores)
    line = {
        **setting,
        "images": len(chosen),
        "objects": len(scores),
        **{kind: round(each.mean, 4) for kind, each in means.items()},
        **{f"{kind}_interval": [round(each.low, 4), round(each.high, 4)] for kind, each in means.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of index files and image folders")
    parser.add_argument("--sets", nargs="+", default=SETS, help="index files in it, without .jsonl")
    parser.add_argument("--maskers", nargs="+", default=["mobile-sam", "sam2-hiera-tiny"])
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024], help="longer side as the SAM encodes it")
    parser.add_argument("--images", type=int, default=40, help="of a set, at most")
    parser.add_argument("--objects", type=int, default=10, help="of an image, at most")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="of objects; without it, all")
    parser.add_argument("--grid", type=int, help="points along each side of the grid; without it, no grid_oracle")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="openvino", help="both in float32")
    options = parser.parse_args()
    try:
        measure(options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
