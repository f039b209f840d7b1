"""Every mask of an image: how many annotated objects are among them, and what the search costs.

Command:  python benchmarks/everything.py --data DATA --maskers mobile-sam runs/lite/best --images 20 --kinds thing
Task:     `promptseg.sam.automatic.generate_masks` on each image; an annotated object is found where the IoU of any mask
          with it reaches .5. Pixels that the annotation marks as unknown do not count.
Output:   one JSON line for each masker: the share of objects that are found (recall) with its 95 % interval over
          images, the mean over thresholds of .5 to .95 (average_recall), masks and CPU seconds per image.
Sample:   evenly spaced images of the set, and of each image at most `--objects` objects, the largest first, none under
          100 pixels.
Maskers:  a SAM by its name, at 1024 px with the settings of `promptseg segment-everything`; or the directory or file of
          a Uni-OVSeg, with the options below, whose defaults are the paper's grid and threshold.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import KINDS, Sample
from promptseg.errors import PromptsegError
from promptseg.evaluate.benchmarks.promptable import PromptableSettings, mask_ious, pick_objects
from promptseg.everything import SETTINGS
from promptseg.images import read_image
from promptseg.metrics import bootstrap_interval
from promptseg.metrics.statistics import weighted_mean
from promptseg.models.registry import LoadOptions, load_promptable
from promptseg.runtime import Runtime
from promptseg.sam.automatic import AutomaticSettings, generate_masks
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.names import SAM_NAMES

THRESHOLDS = np.arange(0.5, 0.96, 0.05)
MIN_PIXELS = 100


def measure(options: argparse.Namespace) -> None:
    """Measure every masker on the same images."""
    samples = read_jsonl(options.data / f"{options.set}.jsonl").samples
    chosen = np.unique(np.linspace(0, len(samples) - 1, options.images).round().astype(int))
    kinds = None if options.kinds is None else tuple(options.kinds)
    settings = PromptableSettings(None, options.objects, MIN_PIXELS, kinds)
    own = AutomaticSettings(
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.min_score,
        stability_score_thresh=options.min_stability,
    )
    loading = LoadOptions(Runtime(options.engine, max_threads=options.threads))
    for name in options.maskers:
        masker = load_promptable(name, loading)
        search = SETTINGS if name in SAM_NAMES else own
        line = measure_one(masker, [samples[index] for index in chosen], settings, search)
        sys.stdout.write(json.dumps({"masker": name, "set": options.set, **line}) + "\n")
        sys.stdout.flush()


def measure_one(
    masker: PromptableSegmenter,
    samples: Sequence[Sample],
    settings: PromptableSettings,
    search: AutomaticSettings,
) -> dict[str, object]:
    """Search every image that has objects, and compare."""
    best: list[float] = []
    images: list[int] = []
    num_masks, seconds, num_images = 0, 0.0, 0
    # graphs are built or loaded on first use
    generate_masks(masker, np.zeros((64, 64, 3), dtype=np.uint8), AutomaticSettings(points_per_side=2))
    for index, sample in enumerate(samples):
        objects, unknown = pick_objects(sample, settings)
        if not len(objects):
            continue
        image_rgb = read_image(sample.image)
        start = time.process_time()
        found = generate_masks(masker, image_rgb, search)
        seconds += time.process_time() - start
        num_images, num_masks = num_images + 1, num_masks + len(found)
        # an empty mask stands for none
        masks = np.array([np.zeros(sample.size_hw, dtype=np.bool_), *(one.instance.mask for one in found)])
        best += mask_ious(masks, objects, unknown).max(axis=0).tolist()
        images += [index] * len(objects)
    ious = np.array(best)
    is_found = (ious >= 0.5).astype(np.float64)
    low, high = bootstrap_interval(partial(weighted_mean, is_found), np.unique(images, return_inverse=True)[1], seed=0)
    return {
        "images": num_images,
        "objects": len(ious),
        "recall": round(float(is_found.mean()), 4),
        "recall_interval": [round(low, 4), round(high, 4)],
        "average_recall": round(float((ious[:, None] >= THRESHOLDS).mean()), 4),
        "masks_per_image": round(num_masks / max(num_images, 1), 1),
        "cpu_seconds_per_image": round(seconds / max(num_images, 1), 2),
    }


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of index files and image folders")
    parser.add_argument("--set", default="coco_dev", help="an index file in it, without .jsonl")
    parser.add_argument("--maskers", nargs="+", default=["mobile-sam"])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--objects", type=int, default=10, help="of an image, at most")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="of objects; without it, all")
    parser.add_argument("--points-per-side", type=int, default=20, help="of a Uni-OVSeg")
    parser.add_argument("--min-score", type=float, default=0.62, help="least score of a mask of a Uni-OVSeg")
    parser.add_argument("--min-stability", type=float, default=0.9, help="least stability of a mask of a Uni-OVSeg")
    parser.add_argument("--engine", choices=("torch", "openvino"), default="openvino", help="both in float32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        measure(options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
