"""IoU of SAMs for one point and for one box on an object, on the development sets, at several input sizes.

Command:  python benchmarks/oracle_prompts.py --data DATA --images 40
Prompts:  for each annotated object the point deepest inside it, and its tight box.
Output:   one JSON line for each SAM, input size and set: mean IoU over objects of
          `point`: the mask of three that the SAM scores best; `point_oracle`: the best of the three by the ground
          truth; `box`: the single mask; `box_oracle`: the best of three by the ground truth.
Sample:   evenly spaced images of each set, and of each image at most `--objects` objects, the largest first, none
          under 100 pixels. Pixels that the annotation marks as unknown do not count. Videos: frames of all of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import Sample, ignore_mask, instance_masks
from promptseg.errors import PromptsegError
from promptseg.images import read_image
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter, SamOutput
from promptseg.sam.load import load_sam
from promptseg.sam.names import SAM_NAMES

SETS = ("coco_dev", "camvid_val", "davis_dev", "clothes_dev", "carparts_dev", "faces_dev", "fss_dev", "pets_dev")
MIN_PIXELS = 100
KINDS = ("point", "point_oracle", "box", "box_oracle")

Mask = NDArray[np.bool_]


def pick_objects(sample: Sample, num_objects: int) -> list[tuple[Mask, Mask]]:
    """Give the masks of the largest objects, each with the mask of its unknown pixels."""
    found: list[tuple[Mask, Mask]] = []
    for target in sample.with_evidence("mask"):
        unknown = ignore_mask(target, sample.size_hw)
        found += [(mask, unknown) for mask in instance_masks(target, sample.size_hw) if mask.sum() >= MIN_PIXELS]
    return sorted(found, key=lambda each: -int(each[0].sum()))[:num_objects]


def deepest_point(mask: Mask) -> tuple[float, float]:
    """Give the pixel center that is farthest from the mask's edge, the image's border included: x, y."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), mask.shape)
    return float(column) + 0.5, float(row) + 0.5


def tight_box(mask: Mask) -> tuple[float, float, float, float]:
    """Give left, top, right and bottom of a mask, pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def compute_ious(output: SamOutput, objects: list[tuple[Mask, Mask]]) -> NDArray[np.float64]:
    """Compute the IoU of every candidate with its object, shape (N, K)."""
    return np.array(
        [
            [(found & mask).sum() / ((found & ~unknown) | mask).sum() for found in candidates]
            for candidates, (mask, unknown) in zip(output.image_logits() > 0, objects, strict=True)
        ]
    )


def score_image(sam: PromptableSegmenter, sample: Sample, num_objects: int) -> Iterator[tuple[float, ...]]:
    """Yield the IoU of each kind, for each object of an image."""
    objects = pick_objects(sample, num_objects)
    if not objects:
        return
    embedding = sam.encode(read_image(sample.image))
    points_xy = np.array([[deepest_point(mask)] for mask, _ in objects])
    boxes_xyxy = np.array([tight_box(mask) for mask, _ in objects])
    point_labels = np.ones((len(objects), 1), dtype=np.int64)
    by_point = sam.segment(embedding, points_xy=points_xy, point_labels=point_labels, choice="levels")
    by_box = sam.segment(embedding, boxes_xyxy=boxes_xyxy)
    levels_by_box = sam.segment(embedding, boxes_xyxy=boxes_xyxy, choice="levels")
    of_point = compute_ious(by_point, objects)
    chosen = of_point[np.arange(len(objects)), by_point.scores.argmax(1)]
    yield from zip(
        chosen,
        of_point.max(1),
        compute_ious(by_box, objects)[:, 0],
        compute_ious(levels_by_box, objects).max(1),
        strict=True,
    )


def measure(options: argparse.Namespace) -> None:
    """Measure every SAM at every input size on every set."""
    # all sets first: a missing one is an error now, not after an hour
    sets = {name: read_jsonl(options.data / f"{name}.jsonl").samples for name in options.sets}
    for name in options.maskers:
        for side in options.sides:
            sam = load_sam(name, runtime=Runtime(options.engine), input_side=side)
            for set_name, samples in sets.items():
                measure_set(sam, samples, options, {"masker": name, "side": side, "set": set_name})


def measure_set(
    sam: PromptableSegmenter, samples: Sequence[Sample], options: argparse.Namespace, setting: dict[str, object]
) -> None:
    """Measure one SAM on one set, and write the line."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, options.images).round().astype(int))
    start = time.perf_counter()
    rows = [row for index in chosen for row in score_image(sam, samples[index], options.objects)]
    means = np.mean(rows, axis=0) if rows else [np.nan] * len(KINDS)
    line = {
        **setting,
        "images": len(chosen),
        "objects": len(rows),
        **{kind: round(float(value), 4) for kind, value in zip(KINDS, means, strict=True)},
        "seconds": round(time.perf_counter() - start, 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of index files and image folders")
    parser.add_argument("--sets", nargs="+", default=SETS, help="index files in it, without .jsonl")
    parser.add_argument("--maskers", nargs="+", choices=SAM_NAMES, default=["mobile-sam", "sam2-hiera-tiny"])
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024], help="longer side as the SAM encodes it")
    parser.add_argument("--images", type=int, default=40, help="of a set, at most")
    parser.add_argument("--objects", type=int, default=10, help="of an image, at most")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="openvino", help="both in float32")
    options = parser.parse_args()
    try:
        measure(options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
