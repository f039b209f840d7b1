"""Average precision of the instances that each detector finds with SAM, on an index whose COCO things are complete.

Command:  python benchmarks/instances.py --index coco_dev.jsonl --images 60 --detectors promptseg yolo-world-v2-s
Task:     every image is queried with all 80 names of COCO, absent ones too; SAM draws a mask in each box; pycocotools
          scores the masks (crowd regions are ignored, at most 100 objects per image).
Output:   one JSON line for each detector: AP, AP50 and AP75 of masks, AP of small, medium and large ones, AP of boxes.

The images are the first of the index in the order of their file names' hashes. Every detector gets the same images,
names and SAM.
"""

import argparse
import contextlib
import hashlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from promptseg.data.jsonl import Record, load_lines
from promptseg.detectors.base import Thresholds
from promptseg.errors import DataError, PromptsegError
from promptseg.images import read_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.ops.rle import encode_rle

# Every import of something heavy is in the function that needs it, so that --help answers at once.
if TYPE_CHECKING:
    from promptseg.models.grounded_sam.segmenter import GroundedSegmenter

# Average precision needs uncertain boxes too; below this score they are noise.
LEAST_SCORE = 0.1
MAX_OBJECTS = 100


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="JSONL index with masks of COCO's things")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--detectors", nargs="+", default=["promptseg", "yolo-world-v2-s"])
    parser.add_argument("--masker", default="mobile-sam", help="the SAM that draws masks in boxes")
    parser.add_argument("--masker-side", type=int, default=1024, help="longer side that SAM encodes, pixels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        measure(options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


def measure(options: argparse.Namespace) -> None:
    """Measure every detector, and write its line."""
    records = _choose_records(options.index, options.images)
    # after the index, so that an error in it is told at once
    import torch

    torch.set_num_threads(options.threads)
    truth = _collect_truth(records)
    segmenters = {name: _load(name, options) for name in options.detectors}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in segmenters}
    seconds = dict.fromkeys(segmenters, 0.0)
    sam = next(iter(segmenters.values())).sam  # one for all detectors: it encodes an image once
    for image_id, record in enumerate(records):
        image_rgb = read_image(options.index.parent / record["image"])
        encoded = sam.encode(image_rgb)
        for name, segmenter in segmenters.items():
            start = time.process_time()
            detected = segmenter.detector.encode_image(image_rgb)
            detections = segmenter.detector.detect(detected, COCO_THINGS, Thresholds(LEAST_SCORE))
            seconds[name] += time.process_time() - start
            boxes = detections.boxes_xyxy[:MAX_OBJECTS]
            if not len(boxes):
                continue
            scores, names = detections.scores.tolist(), detections.phrase_index.tolist()
            masks = sam.segment(encoded, boxes_xyxy=boxes).image_logits()[:, 0] > 0
            for score, name_index, mask in zip(scores, names, masks, strict=False):
                rle = encode_rle(mask)
                found[name].append(
                    {"image_id": image_id, "category_id": name_index, "segmentation": rle, "score": score}
                )
        sys.stderr.write(f"{image_id + 1}/{len(records)}\n")
    for name in segmenters:
        line = {
            "detector": name,
            "masker": options.masker,
            "masker_side": options.masker_side,
            "images": len(records),
        }
        line |= {"objects": sum(not one["iscrowd"] for one in truth["annotations"])}
        line |= _score(truth, found[name]) | {"detector_cpu_seconds": round(seconds[name] / len(records), 2)}
        sys.stdout.write(json.dumps(line) + "\n")


def _choose_records(index: Path, num_images: int) -> list[Record]:
    """Give the first records that have masks, in the order of their file names' hashes."""
    records = [line.record for line in load_lines(index) if line.record.get("masks")]
    records.sort(key=lambda record: hashlib.sha256(record["image"].encode()).hexdigest())
    if not records:
        raise DataError(f"{index}: no record has masks")
    return records[:num_images]


def _load(detector: str, options: argparse.Namespace) -> "GroundedSegmenter":
    """Load a detector with SAM, in PyTorch."""
    import promptseg
    from promptseg.models.grounded_sam.segmenter import GroundedSegmenter

    predictor = promptseg.load(
        "langsam",
        device="cpu",
        engine="torch",
        detector=detector,
        masker=options.masker,
        masker_side=options.masker_side,
    )
    assert isinstance(predictor.segmenter, GroundedSegmenter)
    return predictor.segmenter


def _collect_truth(records: Sequence[Record]) -> dict[str, Any]:
    """Give the ground truth in COCO's layout."""
    annotations: list[dict[str, Any]] = []
    for image_id, record in enumerate(records):
        for mask in record["masks"]:
            if mask["category"] not in COCO_THINGS:
                continue
            rle = {"size": mask["rle"]["size"], "counts": mask["rle"]["counts"]}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": COCO_THINGS.index(mask["category"]),
                    "segmentation": rle,
                    "iscrowd": int(mask.get("iscrowd", 0)),
                    "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                }
            )
    images = [
        {"id": index, "width": record["width"], "height": record["height"]} for index, record in enumerate(records)
    ]
    categories = [{"id": index, "name": name} for index, name in enumerate(COCO_THINGS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _score(truth: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    """Compute average precision with pycocotools."""
    figures: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        answers = reference.loadRes([dict(one) for one in found])
        for kind, names in (
            ("segm", ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")),
            ("bbox", ("box_AP",)),
        ):
            evaluation = COCOeval(reference, answers, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            figures |= {name: round(float(value), 4) for name, value in zip(names, evaluation.stats, strict=False)}
    return figures


if __name__ == "__main__":
    main()
