"""Fit the weights by which a thing is chosen for a referring phrase, on phrases that people made for training images.

python scripts/fit_references.py --data DIR

Prints the weights for `promptseg.models.promptseg.referring_ranking.Weights`, and what they are worth: box IoU of the
chosen thing,
each image judged by weights fitted without it. People seldom use places, so that the weight of places is fitted on
phrases made from boxes (`promptseg.data.positions`), with all others as they are.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import promptseg
from promptseg.data.positions import position_targets
from promptseg.data.sample import Sample, Target
from promptseg.data.sets import is_derived_phrase, load_training_set
from promptseg.images import read_image
from promptseg.models.promptseg.detected_objects import Case, Things, look_for, pack_colors
from promptseg.models.promptseg.pipeline import RefinedSegmenter
from promptseg.models.promptseg.referring_ranking import CUES, WEIGHTS, Weights, measure
from promptseg.ops.boxes import pairwise_box_iou

# A candidate that overlaps the truth less is not what was meant.
MIN_IOU = 0.3
# With so few phrases a cue that most need not be worthless to others: every weight is pulled to the same middling one.
USUAL, PULL = 0.3, 10.0

Cues = NDArray[np.float64]
"""Of one phrase's candidates, shape (M, len(CUES))."""


@dataclass(frozen=True)
class Told:
    """A phrase with its truth: the IoU of each candidate's box with the box that is meant, shape (M,)."""

    image: str
    case: Case
    ious: NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None, help="a name or a checkpoint; the default model")
    parser.add_argument("--engine", default="auto", help="what looks at the images; see promptseg.runtime")
    parser.add_argument("--limit", type=int, default=None, help="how many images to take")
    options = parser.parse_args()

    segmenter = promptseg.load(options.model, engine=options.engine).segmenter
    assert isinstance(segmenter, RefinedSegmenter)  # the others tell no things apart
    samples = [sample for sample in load_training_set("coco_boxes", options.data) if _human_phrases(sample)]
    human: list[Told] = []
    generated: list[Told] = []
    num_unread = 0
    for sample in samples[: options.limit]:
        phrases = _human_phrases(sample)
        told = _look(sample, (*phrases, *_single_places(sample)), segmenter)
        known = {target.phrase for target in phrases}
        human += [one for one in told if one.case.phrase in known]
        generated += [one for one in told if one.case.phrase not in known]
        num_unread += len(known) - sum(one.case.phrase in known for one in told)

    weights = WEIGHTS
    for _ in range(2):  # the other thing of a relation is found by the weights themselves
        weights = _fit_all(human, generated, weights)
    left_out = {cue: _judge(human, weights, frozen=_mask(cue)) for cue in CUES}
    report = {
        "weights": {cue: round(weight, 2) for cue, weight in zip(CUES, astuple(weights), strict=True)},
        "human_phrases": len(human),
        "unread": num_unread,
        "box_iou": {
            "chosen": _judge(human, weights),
            "at_random": float(np.mean([one.ious.mean() for one in human])),
            "most_sure": float(np.mean([one.ious[one.case.candidates.scores.argmax()] for one in human])),
            "best": float(np.mean([one.ious.max() for one in human])),
            "without": left_out,
        },
        "generated_phrases": len(generated),
        "generated_box_iou": {
            "chosen": float(np.mean(_choose(_measure(generated, weights), generated, np.array(astuple(weights))))),
            "best": float(np.mean([one.ious.max() for one in generated])),
        },
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _human_phrases(sample: Sample) -> tuple[Target, ...]:
    return tuple(one for one in sample.targets if one.kind == "phrase" and not is_derived_phrase(one.phrase))


def _single_places(sample: Sample) -> tuple[Target, ...]:
    return tuple(target for target in position_targets(sample) if len(target.boxes_xyxy) == 1)


def _look(sample: Sample, targets: Sequence[Target], segmenter: RefinedSegmenter) -> list[Told]:
    image_rgb = read_image(sample.image)
    features = segmenter.segmenter.encode_image(image_rgb)
    things = Things.read({**features, **pack_colors(image_rgb)}, segmenter.detected_names)
    assert things is not None
    told = []
    for target in targets:
        case = look_for(target.phrase, things, segmenter.segmenter, features, sample.size_hw)
        if case is None or not len(case.candidates):
            continue
        truth = np.array(target.boxes_xyxy, dtype=np.float64) / np.tile(sample.size_hw[::-1], 2)
        ious = pairwise_box_iou(case.candidates.boxes_xyxy, truth[:1])[:, 0]
        told.append(Told(sample.sample_id, case, ious))
    return told


def _mask(*cues: str) -> NDArray[np.bool_]:
    return np.array([cue in cues for cue in CUES])


def _measure(told: Sequence[Told], weights: Weights) -> list[Cues]:
    cases = (one.case for one in told)
    return [measure(case.phrase, case.reference, case.candidates, case.scene, weights) for case in cases]


def _fit_all(human: Sequence[Told], generated: Sequence[Told], weights: Weights) -> Weights:
    fitted = _fit(_measure(human, weights), human, start=np.zeros(len(CUES)), frozen=_mask("place"))
    fitted = _fit(_measure(generated, weights), generated, start=fitted, frozen=~_mask("place"))
    return Weights(*fitted.tolist())


def _fit(
    cues: Sequence[Cues], told: Sequence[Told], *, start: NDArray[np.float64], frozen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Maximise the probability of the candidates that are meant, each by its IoU; no weight below 0.

    Args:
        cues: Of each phrase.
        told: The phrases; those that no candidate answers to do not count.
        start: Weights to start from, shape (len(CUES),).
        frozen: Weights that stay as they are, likewise.
    """
    meant = [np.where(phrase.ious >= MIN_IOU, phrase.ious, 0.0) for phrase in told]
    kept = [index for index, one in enumerate(meant) if one.any()]
    most = max(len(meant[index]) for index in kept)
    padded = np.zeros((len(kept), most, len(CUES)))
    target, is_real = np.zeros((len(kept), most)), np.zeros((len(kept), most), dtype=np.bool_)
    for row, index in enumerate(kept):
        num = len(meant[index])
        padded[row, :num], target[row, :num] = cues[index], meant[index] / meant[index].sum()
        is_real[row, :num] = True

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = start.copy()
        weights[~frozen] = free
        said = np.where(is_real, padded @ weights, -np.inf)
        chances = said - np.logaddexp.reduce(said, axis=1, keepdims=True)
        total = PULL / 2 * float(((free - USUAL) ** 2).sum()) - float(target[is_real] @ chances[is_real])
        slope = np.einsum("pm,pmc->c", np.exp(chances) - target, padded)[~frozen] + PULL * (free - USUAL)
        return total, slope

    num_free = int((~frozen).sum())
    found = minimize(loss, start[~frozen] + 0.1, jac=True, bounds=[(0.0, None)] * num_free, method="L-BFGS-B")
    weights = start.copy()
    weights[~frozen] = found.x
    return weights


def _choose(cues: Sequence[Cues], told: Sequence[Told], weights: NDArray[np.float64]) -> list[float]:
    return [float(phrase.ious[np.argmax(one @ weights)]) for one, phrase in zip(cues, told, strict=True)]


def _judge(human: Sequence[Told], weights: Weights, *, frozen: NDArray[np.bool_] | None = None) -> float:
    """Mean IoU of what is chosen, where each image is left out of what the weights are fitted on.

    Args:
        human: Phrases.
        weights: Tell what relations speak of, and the place.
        frozen: Cues that are left out.
    """
    cues = _measure(human, weights)
    start = np.array(astuple(weights)) * _mask("place")
    fixed = _mask("place")
    if frozen is not None:
        start, fixed = start * ~frozen, fixed | frozen
    ious = []
    for image in dict.fromkeys(one.image for one in human):
        others = [index for index, one in enumerate(human) if one.image != image]
        own = [index for index, one in enumerate(human) if one.image == image]
        fitted = _fit([cues[index] for index in others], [human[index] for index in others], start=start, frozen=fixed)
        ious += _choose([cues[index] for index in own], [human[index] for index in own], fitted)
    return float(np.mean(ious))


if __name__ == "__main__":
    main()
