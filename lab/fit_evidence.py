"""Fit the weights of the evidence for presence, and the two thresholds of presence, and write them into a checkpoint.

python -m lab.fit_evidence CHECKPOINT --data DIR --cache CACHE --images 40 --report report.json [--write]

The weights are fitted on pairs of training images and names, each with the name known and with it hidden, at equal
weight of present and absent pairs in each kind of evidence. The report is by rotation: every fold of names is judged by
weights that were fitted on the others.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lab.evidence_pairs import EvidencePair, NameDrawer, PairCollector, View, list_vocabulary, read_teacher
from lab.name_clusters import NUM_FOLDS, load_hidden_names
from lab.sets import load_training_set, read_image_list
from promptseg.data.sample import Sample
from promptseg.encoders.classifier import ClassifierName
from promptseg.loading import load
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.build import build_coarse
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.settings import ClassifierSettings, PresenceWeights
from promptseg.models.registry import LoadOptions
from promptseg.ops.resize import sigmoid
from promptseg.runtime import Runtime
from promptseg.train.finetune import check_model

IMAGES = Path(__file__).with_name("evidence_images.txt")
CLASSIFIER: ClassifierName = "efficientnet-lite2"
# Weights are shrunk a little, towards 0; the features are logits, of a few units each.
PENALTY = 1.0
DETECTOR_WEIGHT = 0.5  # of pairs that a detector labeled, against those of people
MIN_REJECTED, MAX_LOST = 0.95, 0.05  # see choose_thresholds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One view of a pair, as a row of a fit.

    Attributes:
        pair: The pair.
        view: As the name is known, or hidden.
        is_hidden: Which of the two it is.
    """

    pair: EvidencePair
    view: View
    is_hidden: bool

    @property
    def kind(self) -> str:
        """The kind of evidence: a field of `ClassifierSettings`."""
        return self.view.evidence.kind(is_trained=self.view.is_trained)

    @property
    def features(self) -> tuple[float, float, float]:
        """The three logits; 0 for one that is not at hand."""
        evidence = self.view.evidence
        return evidence.map_logit, evidence.detection_logit or 0.0, evidence.class_logit or 0.0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for encoded images, 2 MB each; of this model")
    parser.add_argument("--images", type=Path, default=IMAGES, help="list of training images to fit on")
    parser.add_argument("--report", type=Path, help="write the measurements by rotation here (JSON)")
    parser.add_argument("--write", action="store_true", help="write weights and thresholds into the checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of absent names")
    options = parser.parse_args(arguments)
    predictor = load(options.checkpoint)
    base = predictor.config
    assert isinstance(base, PromptSegConfig) and predictor.loaded is not None
    config = replace(base, classifier=base.classifier or ClassifierSettings(CLASSIFIER))
    coarse = build_coarse(config, predictor.loaded.source, LoadOptions(Runtime.choose()))
    kept_aside = frozenset((options.checkpoint / "kept_aside.txt").read_text(encoding="utf-8").split("\n"))
    samples = read_samples(options.data, options.images)
    drawer = NameDrawer(
        list_vocabulary(samples), read_teacher(options.data / "teacher_boxes.jsonl.gz"), kept_aside, options.seed
    )
    collector = PairCollector(coarse, load_hidden_names(), options.cache)
    pairs = [
        pair
        for sample in samples
        for pair in collector.collect(sample, list(drawer.draw(sample)), is_kept_aside=sample.sample_id in kept_aside)
    ]
    observations = [Observation(pair, pair.known, False) for pair in pairs]
    observations += [Observation(pair, pair.hidden, True) for pair in pairs if pair.fold is not None]
    rotated = rotate(observations, config)
    fitted = choose_thresholds(fit(observations, config), observations, rotated)
    report = {
        "images": len(samples), "pairs": len(pairs), "seed": options.seed, "classifier": asdict(fitted)["classifier"],
        "presence_threshold": fitted.presence_threshold, "unsure_threshold": fitted.unsure_threshold,
        "before": measure(observations, weigh_all(observations, base), base),
        "after": measure(observations, rotated, fitted),
    }  # fmt: skip
    text = json.dumps(report, indent=2)
    sys.stdout.write(text + "\n")
    if options.report is not None:
        options.report.write_text(text + "\n", encoding="utf-8")
    if options.write:
        model = check_model(load_pretrained(options.checkpoint))
        model.config = fitted
        save_pretrained(model, options.checkpoint, half=True)


def read_samples(data_dir: Path, images: Path) -> list[Sample]:
    """Read the listed images of the training sets, without names and images that are held out for evaluation."""
    listed = read_image_list(images)
    sets = sorted({image.partition("/")[0] for image in listed})
    return [one for name in sets for one in load_training_set(name, data_dir) if one.sample_id in listed]


def fit(observations: Sequence[Observation], config: PromptSegConfig) -> PromptSegConfig:
    """Fit the weights of every kind of evidence; the calibration of the config stays, for examples and mixtures."""
    assert config.classifier is not None
    kinds = {one.kind for one in observations}
    weights: dict[str, Any] = {
        kind: _fit_kind([one for one in observations if one.kind == kind], config) for kind in sorted(kinds)
    }
    return replace(config, classifier=replace(config.classifier, **weights))


def _fit_kind(observations: Sequence[Observation], config: PromptSegConfig) -> PresenceWeights:
    is_present = np.array([one.pair.is_present for one in observations])
    weight = np.where([one.pair.source == "detector" for one in observations], DETECTOR_WEIGHT, 1.0)
    for flag in (True, False):
        weight[is_present == flag] /= weight[is_present == flag].sum()
    model = LogisticRegression(C=1 / PENALTY, max_iter=1000)
    model.fit([one.features for one in observations], is_present, sample_weight=weight * len(observations) / 2)
    # the config's calibration comes after the weights
    scale, shift = config.presence_calibration
    of_map, of_detection, of_classes = (model.coef_[0] / scale).tolist()
    return PresenceWeights(of_map, of_detection, of_classes, (model.intercept_.item() - shift) / scale)


def rotate(observations: Sequence[Observation], config: PromptSegConfig) -> Floats:
    """Compute the presence of each observation with weights that were fitted on the names of other folds."""
    presence = np.zeros(len(observations))
    folds = np.array([-1 if one.pair.fold is None else one.pair.fold for one in observations])
    for fold in range(-1, NUM_FOLDS):
        fitted = fit([one for one, its in zip(observations, folds, strict=True) if its != fold], config)
        own = np.flatnonzero(folds == fold)
        presence[own] = weigh_all([observations[index] for index in own.tolist()], fitted)
    return presence


def weigh_all(observations: Iterable[Observation], config: PromptSegConfig) -> Floats:
    """Compute the presence of each observation."""
    scale, shift = config.presence_calibration
    logits = [one.view.evidence.weigh(config, is_trained=one.view.is_trained) for one in observations]
    return sigmoid(scale * np.array(logits, dtype=np.float32) + np.float32(shift)).astype(np.float64)


def choose_thresholds(
    config: PromptSegConfig, observations: Sequence[Observation], presence: Floats
) -> PromptSegConfig:
    """Choose both thresholds on the pairs that people annotated in images that were kept aside.

    The upper one rejects the share `MIN_REJECTED` of the absent names, as the model knows them. The lower one loses the
    share `MAX_LOST` of the present names, half of them hidden: doubt is for names that are not known.
    """
    annotated = [one.pair.is_kept_aside and one.pair.source == "annotated" for one in observations]
    is_present = np.array([one.pair.is_present for one in observations])
    is_hidden = np.array([one.is_hidden for one in observations])
    upper = float(np.quantile(presence[annotated & ~is_present & ~is_hidden], MIN_REJECTED))
    lower = float(np.quantile(presence[annotated & is_present], MAX_LOST))
    return replace(config, presence_threshold=upper, unsure_threshold=min(lower, upper))


# Groups of observations that are measured each by itself.
GROUPS: dict[str, Callable[[Observation], bool]] = {
    "kept aside, annotated, known": lambda one: (
        one.pair.is_kept_aside and not one.is_hidden and one.pair.source == "annotated"
    ),
    "kept aside, annotated, hidden": lambda one: (
        one.pair.is_kept_aside and one.is_hidden and one.pair.source == "annotated"
    ),
    "one object, random names, known": lambda one: (
        one.pair.source in ("annotated", "single object") and not one.pair.is_kept_aside and not one.is_hidden
    ),
    "one object, random names, hidden": lambda one: (
        one.pair.source in ("annotated", "single object") and not one.pair.is_kept_aside and one.is_hidden
    ),
    "another kind, known": lambda one: (
        not one.is_hidden and (one.pair.source == "another kind" or _names_one_object(one))
    ),
    "another kind, hidden": lambda one: one.is_hidden and (one.pair.source == "another kind" or _names_one_object(one)),
    "detector, known": lambda one: one.pair.source == "detector" and not one.is_hidden,
    "hidden, all": lambda one: one.is_hidden and one.pair.source != "detector",
    "hidden, with classes": lambda one: (
        one.is_hidden and one.pair.source != "detector" and one.view.evidence.class_logit is not None
    ),
    "hidden, without classes": lambda one: (
        one.is_hidden and one.pair.source != "detector" and one.view.evidence.class_logit is None
    ),
}


def _names_one_object(one: Observation) -> bool:
    return one.pair.is_present and one.pair.source == "annotated" and not one.pair.is_kept_aside


def measure(observations: Sequence[Observation], presence: Floats, config: PromptSegConfig) -> dict[str, Any]:
    """Measure each group: AUROC, what is kept and rejected, and the IoU of coarse maps with and without the gate."""
    return {name: _measure_group(observations, presence, config, is_in) for name, is_in in GROUPS.items()}


def _measure_group(
    observations: Sequence[Observation],
    presence: Floats,
    config: PromptSegConfig,
    is_in: Callable[[Observation], bool],
) -> dict[str, float]:
    chosen = [index for index, one in enumerate(observations) if is_in(one)]
    own = presence[chosen]
    is_present = np.array([observations[index].pair.is_present for index in chosen], dtype=np.bool_)
    if is_present.all() or not is_present.any():
        return {}
    names = {observations[index].pair.name for index in chosen if observations[index].pair.is_present}
    iou = np.array([observations[index].view.iou for index in chosen])
    is_kept, has_iou = own >= config.presence_threshold, ~np.isnan(iou)
    unsure = config.presence_threshold if config.unsure_threshold is None else config.unsure_threshold
    values = {
        "names": len(names), "present": int(is_present.sum()), "absent": int((~is_present).sum()),
        "auroc": roc_auc_score(is_present, own),
        "said_present": is_kept[is_present].mean(), "rejected": 1 - is_kept[~is_present].mean(),
        "present_not_absent": (own[is_present] >= unsure).mean(),
        "absent_said_absent": (own[~is_present] < unsure).mean(),
    }  # fmt: skip
    if has_iou.any():
        values |= {"iou": iou[has_iou].mean(), "gated_iou": np.where(is_kept, iou, 0.0)[has_iou].mean()}
    return {name: round(float(value), 4) for name, value in values.items()}


if __name__ == "__main__":
    main()
