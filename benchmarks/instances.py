"""Instances of LangSAM by detector: COCO's average precision on an index whose things are complete.

Command:   python benchmarks/instances.py --index coco_dev.jsonl --images 60 --detectors promptseg yolo-world-v2-s
Task:      all 80 names of COCO are asked of every image, those that are not there too; boxes go to the masker, masks
           are judged by pycocotools (crowd regions ignored, at most 100 objects an image).
Output:    one JSON line for each detector: AP, AP50 and AP75 of masks, AP of small, medium and large ones, AP of boxes.

The images are the first of the index in the order of their file names' hashes. Every detector sees the same images,
names and masker.
"""

import argparse
import contextlib
import hashlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from promptseg.detectors.base import Thresholds
from promptseg.images import read_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.models.grounded_sam.build import load_langsam
from promptseg.models.grounded_sam.config import LangSamConfig
from promptseg.ops.rle import encode_rle
from promptseg.sam.load import load_masker

# Average precision needs the doubtful ones too; below this they are noise.
LEAST_SCORE = 0.1
MAX_OBJECTS = 100


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    lines = options.index.read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if record.get("masks")]
    records.sort(key=lambda record: hashlib.sha256(record["image"].encode()).hexdigest())
    records = records[: options.images]
    truth = _truth(records)
    masker = load_masker(options.masker, input_side=options.masker_side)
    segmenters = {}
    for name in options.detectors:
        # The masker is the one above: it encodes an image once for all detectors.
        config = LangSamConfig(detector=name, masker=options.masker, masker_side=options.masker_side)
        segmenters[name] = load_langsam(config, device=torch.device("cpu"), engine="torch")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in segmenters}
    seconds = dict.fromkeys(segmenters, 0.0)
    for image_id, record in enumerate(records):
        image_rgb = read_image(options.index.parent / record["image"])
        encoded = masker.encode(image_rgb)
        for name, segmenter in segmenters.items():
            start = time.process_time()
            features = segmenter.detector.encode_image(image_rgb)
            size_hw = (image_rgb.shape[0], image_rgb.shape[1])
            detections = segmenter.detector.detect(features, COCO_THINGS, size_hw, Thresholds(LEAST_SCORE))
            seconds[name] += time.process_time() - start
            scores, names = detections.scores.tolist(), detections.phrase_index.tolist()
            boxes = detections.boxes_xyxy[:MAX_OBJECTS]
            if not len(boxes):
                continue
            logits = masker.segment(encoded, boxes_xyxy=boxes).image_logits()[:, 0]
            for score, name_index, mask in zip(scores, names, (logits > 0).numpy(), strict=False):
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
        line |= _judge(truth, found[name]) | {"detector_cpu_seconds": round(seconds[name] / len(records), 2)}
        sys.stdout.write(json.dumps(line) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="JSONL index with masks of COCO's things")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--detectors", nargs="+", default=["promptseg", "yolo-world-v2-s"])
    parser.add_argument("--masker", default="mobile-sam")
    parser.add_argument("--masker-side", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _truth(records: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = []
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
                }
            )
    images = [
        {"id": index, "width": record["width"], "height": record["height"]} for index, record in enumerate(records)
    ]
    categories = [{"id": index, "name": name} for index, name in enumerate(COCO_THINGS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _judge(truth: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    from pycocotools import mask as coco_mask

    for one in truth["annotations"]:
        one["area"] = float(coco_mask.area(one["segmentation"]))
        one["bbox"] = coco_mask.toBbox(one["segmentation"]).tolist()
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
            judge = COCOeval(reference, answers, kind)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
            figures |= {name: round(float(value), 4) for name, value in zip(names, judge.stats, strict=False)}
    return figures


if __name__ == "__main__":
    main()
