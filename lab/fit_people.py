"""Fit what tells women from men and children from adults, on captions of training images, and the presence of kinds.

python -m lab.fit_people CHECKPOINT --data DIR --cache CACHE [--write]

A caption does not say which person it is about. So an image counts where at least three captions name one gender (or a
child) and none names the other (an adult: at most one); then all its larger people do. Prints AUROCs of images that
were judged by weights fitted without them. `--write` writes the table of `promptseg.models.promptseg.people` and the
weights of the evidence into the checkpoint.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import promptseg.models.promptseg.people as people_module
from lab.evidence_pairs import PairCollector
from lab.name_clusters import load_hidden_names
from lab.sets import load_training_set
from promptseg.data.sample import Sample
from promptseg.detectors.box_selection import Boxes, select_boxes
from promptseg.encoders.classifier import ImageClassifier, load_classifier
from promptseg.images import read_image
from promptseg.language.person_kinds import PersonKind, find_person_kind
from promptseg.language.phrases import canonical
from promptseg.loading import load
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.build import build_coarse
from promptseg.models.promptseg.coarse import CoarseSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.people import People, PeopleWeights, crop_head, describe_head, judge_heads
from promptseg.models.promptseg.settings import PresenceWeights
from promptseg.models.registry import LoadOptions
from promptseg.ops.resize import clipped_logit
from promptseg.prompts import TextPrompt
from promptseg.runtime import Runtime
from promptseg.train.finetune import check_model

SETS = ("coco_boxes", "coco_train")
NUM_CLASSES = 1000
NUM_FOLDS = 8
# Features are standardized; there are about as many of them as people.
PENALTY = 300.0
MIN_AREA, MIN_AREA_OF_LARGEST = 0.01, 1 / 6
MIN_CAPTIONS = 3
NAMES = ("woman", "man", "child", "girl", "boy")
WORDS = re.compile(r"[a-z]+")

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CaptionedImage:
    """An image with its people.

    Attributes:
        fold: Of the rotation.
        is_female, is_child: What its captions say of its people; None: nothing, or both.
        num_captions: How many captions name each kind of `NAMES`, and "adult".
        has_people: Whether people annotated a person.
        boxes: Detected people.
        features: Of their heads, shape (M, K).
        map_logits: Presence logits of the maps of `NAMES`.
    """

    fold: int
    is_female: bool | None
    is_child: bool | None
    num_captions: dict[str, int]
    has_people: bool
    boxes: Boxes
    features: Floats
    map_logits: dict[str, float]

    @property
    def large(self) -> NDArray[np.bool_]:
        """Which people are large enough for captions to be about them, shape (M,)."""
        sides = self.boxes.boxes_xyxy[:, 2:] - self.boxes.boxes_xyxy[:, :2]
        areas = sides.prod(axis=1)
        large: NDArray[np.bool_] = areas >= max(MIN_AREA, MIN_AREA_OF_LARGEST * areas.max(initial=0.0))
        return large


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for encoded images, 2 MB each; of this model")
    parser.add_argument("--limit", type=int, help="number of images to take of each set")
    parser.add_argument("--write", action="store_true", help="write the table, and weights into the checkpoint")
    options = parser.parse_args(arguments)
    predictor = load(options.checkpoint)
    config = predictor.config
    assert isinstance(config, PromptSegConfig) and config.classifier is not None and predictor.loaded is not None
    coarse = build_coarse(config, predictor.loaded.source, LoadOptions(Runtime.choose()))
    classifier = load_classifier(
        config.classifier.name, image_size=config.classifier.image_size, runtime=Runtime.choose()
    )
    samples = [one for name in SETS for one in load_training_set(name, options.data).samples[: options.limit]]
    images = list(_describe(samples, coarse, classifier, options.cache))
    rotated = [fit_people([one for one in images if one.fold != fold]) for fold in range(NUM_FOLDS)]
    judged = [judge_heads(one.boxes, one.features, rotated[one.fold]) for one in images]
    evidence = _presence_pairs(images, judged, config)
    weights = _fit_presence(evidence, config)
    report = {"images": len(images), **_measure(images, judged, evidence), "person_kind": weights}
    sys.stdout.write(json.dumps(report, indent=2, default=vars) + "\n")
    if options.write:
        _write(options.checkpoint, fit_people(images), weights)


def _describe(
    samples: Sequence[Sample], coarse: CoarseSegmenter, classifier: ImageClassifier, cache: Path
) -> Iterator[CaptionedImage]:
    collector = PairCollector(coarse, load_hidden_names(), cache)
    readings = {name: coarse.reader.read(name) for name in NAMES}
    settings = coarse.config.settings.kinds
    for sample in samples:
        if not sample.captions or "person" not in sample.exhaustive:
            continue
        counts = count_kinds(sample.captions)
        has_people = any(canonical(target.phrase) == "person" for target in sample.targets)
        if has_people and max(counts.values()) < MIN_CAPTIONS:
            continue
        image = collector.encode(sample)
        assert image.detections is not None
        boxes = select_boxes(image.detections, coarse.reader.people_classes, min_score=settings.min_person_score)
        boxes = boxes.first(settings.max_people)
        image_rgb = read_image(sample.image)
        crops = [crop_head(image_rgb, box_xyxy, settings) for box_xyxy in boxes.boxes_xyxy]
        logits = [classifier.classify(crop, image_size=settings.head_side) for crop in crops]
        answers = coarse.segment(image, [(TextPrompt(name),) for name in NAMES], readings)
        yield CaptionedImage(
            fold=int.from_bytes(sample.sample_id.encode(), "big") % 1_000_003 % NUM_FOLDS,
            is_female=decide(counts["woman"] + counts["girl"], counts["man"] + counts["boy"], max_other=0),
            is_child=decide(counts["child"], counts["adult"], max_other=1),
            num_captions=counts,
            has_people=has_people,
            boxes=boxes,
            features=np.array([describe_head(one) for one in logits], dtype=np.float32).reshape(
                len(boxes), NUM_CLASSES
            ),
            map_logits={name: one.evidence.map_logit for name, one in zip(NAMES, answers, strict=True)},
        )


def count_kinds(captions: Sequence[str]) -> dict[str, int]:
    """Count the captions that name each kind of `NAMES`, and "adult"; a girl is a child, too."""
    counts = dict.fromkeys((*NAMES, "adult"), 0)
    for caption in captions:
        kinds = {find_person_kind(word) for word in WORDS.findall(caption.lower())} - {None}
        said = {kind.name for kind in kinds if kind is not None}
        if said & {"girl", "boy"}:
            said.add("child")
        if said & {"woman", "man"}:
            said.add("adult")
        for name in said:
            counts[name] += 1
    return counts


def decide(number: int, of_other: int, *, max_other: int) -> bool | None:
    """Decide what so many captions for a kind, and so many for the other, say; None: nothing, or both."""
    if number >= MIN_CAPTIONS and of_other <= max_other:
        return True
    if of_other >= MIN_CAPTIONS and number == 0:
        return False
    return None


def fit_people(images: Sequence[CaptionedImage]) -> PeopleWeights:
    """Fit both linear functions."""
    female, of_female = _fit_linear([(one, one.is_female) for one in images])
    child, of_child = _fit_linear([(one, one.is_child) for one in images])
    return PeopleWeights(female, child, np.array([of_female, of_child], dtype=np.float32))


def _fit_linear(labeled: Sequence[tuple[CaptionedImage, bool | None]]) -> tuple[Floats, float]:
    used = [(one, label) for one, label in labeled if label is not None and one.large.any()]
    features = np.concatenate([one.features[one.large] for one, _ in used])
    labels = np.concatenate([np.full(one.large.sum(), label) for one, label in used])
    # an image of a crowd counts as much as a portrait
    weight = np.concatenate([np.full(one.large.sum(), 1 / one.large.sum()) for one, _ in used])
    for flag in (True, False):
        weight[labels == flag] *= len(used) / 2 / weight[labels == flag].sum()
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    model = LogisticRegression(C=1 / PENALTY, max_iter=3000)
    model.fit((features - mean) / deviation, labels, sample_weight=weight)
    direction = (model.coef_[0] / deviation).astype(np.float32)
    return direction, float(model.intercept_[0] - direction @ mean)


@dataclass(frozen=True)
class PresencePair:
    """A name and an image: whether the captions say it, and the two logits."""

    name: str
    is_present: bool
    has_people: bool
    map_logit: float
    people_logit: float


def _presence_pairs(
    images: Sequence[CaptionedImage], judged: Sequence[People], config: PromptSegConfig
) -> list[PresencePair]:
    pairs = []
    least = config.settings.detection.least_evidence_score
    for image, people in zip(images, judged, strict=True):
        for name in NAMES:
            kind = find_person_kind(name)
            assert isinstance(kind, PersonKind)
            is_said = image.num_captions[name] >= MIN_CAPTIONS
            others = [image.num_captions[other] for other in (*NAMES, "adult") if not _may_be(name, other)]
            is_missing = image.num_captions[name] == 0 and max(others) >= MIN_CAPTIONS
            if is_said or is_missing or not image.has_people:
                people_logit = clipped_logit(people.best_score(kind), least=least)
                pairs.append(PresencePair(name, is_said, image.has_people, image.map_logits[name], people_logit))
    return pairs


def _may_be(name: str, other: str) -> bool:
    """Whether a person whom captions call by the other name may be meant by the name too."""
    same = {"woman": {"girl", "child", "adult"}, "man": {"boy", "child", "adult"}, "child": {"girl", "boy"}}
    return other == name or other in same.get(name, {"child"})


def _fit_presence(pairs: Sequence[PresencePair], config: PromptSegConfig) -> PresenceWeights:
    labels = np.array([one.is_present for one in pairs])
    weight = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    model = LogisticRegression(max_iter=1000)
    # the map says nothing more: with it, its weight is -.12
    model.fit([(one.people_logit,) for one in pairs], labels, sample_weight=weight)
    scale, shift = config.presence_calibration  # it comes after the weights
    return PresenceWeights(0.0, model.coef_.item() / scale, shift=(model.intercept_.item() - shift) / scale)


def _measure(
    images: Sequence[CaptionedImage], judged: Sequence[People], pairs: Sequence[PresencePair]
) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for attribute in ("female", "child"):
        labels, values = [], []
        for image, people in zip(images, judged, strict=True):
            label = getattr(image, f"is_{attribute}")
            if label is not None and image.large.any():
                labels.append(label)
                values.append(float(getattr(people, attribute)[image.large].mean()))
        report[f"is_{attribute}"] = {
            "images": len(labels), "auroc": round(roc_auc_score(labels, values), 3),
            "right": round(float(((np.array(values) >= 0.5) == np.array(labels)).mean()), 3),
        }  # fmt: skip
    for name in NAMES:
        own = [one for one in pairs if one.name == name and one.has_people]
        labels = [one.is_present for one in own]
        report[name] = {
            "present": sum(labels), "absent": len(labels) - sum(labels),
            "auroc_map": round(roc_auc_score(labels, [one.map_logit for one in own]), 3),
            "auroc_people": round(roc_auc_score(labels, [one.people_logit for one in own]), 3),
        }  # fmt: skip
    return report


def _write(checkpoint: Path, people: PeopleWeights, weights: PresenceWeights) -> None:
    table = Path(people_module.__file__).with_name(people_module.TABLE)
    np.savez(table, **{name: value.astype(np.float16) for name, value in vars(people).items()})
    model = check_model(load_pretrained(checkpoint))
    assert isinstance(model.config, PromptSegConfig) and model.config.classifier is not None
    model.config = replace(model.config, classifier=replace(model.config.classifier, person_kind=weights))
    save_pretrained(model, checkpoint, half=True)


if __name__ == "__main__":
    main()
