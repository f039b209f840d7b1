"""Fit the weights that rank the candidates of a referring expression, on people's expressions for training images.

python -m lab.fit_references --data DIR

Prints the weights for `promptseg.models.promptseg.referring_ranking.RankingSettings`, the mean box IoU of the chosen
candidates (each image is ranked by weights fitted without it), and the gain of each cue, with bootstrap intervals.
Human phrases seldom have spatial constraints, so the weight of these is fitted on phrases generated from boxes
(`promptseg.data.positions`), with all other weights fixed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import promptseg
from lab.sets import is_derived_phrase, load_training_set
from promptseg.data.positions import position_targets
from promptseg.data.sample import Sample, Target
from promptseg.images import read_image
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.models.promptseg.referring_ranking import CUES, GroundingInput, cue_weights, measure, with_weights
from promptseg.models.promptseg.settings import RankingSettings
from promptseg.ops.boxes import pairwise_box_iou

# A candidate with a lower IoU with the ground truth counts as wrong.
MIN_IOU = 0.3
# Ridge penalty towards one common weight, because there are few phrases.
USUAL, PULL = 0.3, 10.0
NUM_RESAMPLES = 4000

Cues = NDArray[np.float64]
"""The cues of one phrase's M candidates, shape (M, len(CUES))."""


@dataclass(frozen=True)
class Example:
    """A phrase with its ground truth.

    Attributes:
        image: Id of the image.
        grounding: The phrase and its candidates.
        ious: IoU of each candidate's box with the ground truth, shape (M,).
    """

    image: str
    grounding: GroundingInput
    ious: NDArray[np.float64]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None, help="name or checkpoint of a model; default: the default model")
    parser.add_argument("--engine", default="auto", help="inference engine; see promptseg.runtime")
    parser.add_argument("--limit", type=int, default=None, help="number of images to take")
    options = parser.parse_args(arguments)

    segmenter = promptseg.load(options.model, engine=options.engine).segmenter
    assert isinstance(segmenter, PromptSegPipeline)  # no other model parses referring expressions
    samples = [sample for sample in load_training_set("coco_boxes", options.data) if _human_phrases(sample)]
    human: list[Example] = []
    generated: list[Example] = []
    num_left_out = 0
    for sample in samples[: options.limit]:
        phrases, positions = _human_phrases(sample), _single_positions(sample)
        examples = _ground(sample, (*phrases, *positions), segmenter)
        human += [one for one in examples[: len(phrases)] if one is not None]
        generated += [one for one in examples[len(phrases) :] if one is not None]
        num_left_out += examples[: len(phrases)].count(None)

    settings = RankingSettings()
    for _ in range(2):  # the other object of a relation is ranked by these weights too
        settings = _fit_all(human, generated, settings)
    ious = _cross_validate(human, settings)
    report = {
        "weights": {cue: round(weight, 2) for cue, weight in zip(CUES, cue_weights(settings).tolist(), strict=True)},
        "human_phrases": len(human),
        "left_out": num_left_out,
        "box_iou": {
            "chosen": _summarize(ious),
            "at_random": _mean([one.ious.mean() for one in human]),
            "surest_detection": _mean([one.ious[one.grounding.candidates.scores.argmax()] for one in human]),
            "best": _mean([one.ious.max() for one in human]),
        },
        "gain_of_cue": {cue: _summarize(ious - _cross_validate(human, settings, without=cue)) for cue in CUES},
        "generated_phrases": len(generated),
        "generated_box_iou": {
            "chosen": _mean(_choose(_measure(generated, settings), generated, cue_weights(settings))),
            "at_random": _mean([one.ious.mean() for one in generated]),
            "best": _mean([one.ious.max() for one in generated]),
        },
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _human_phrases(sample: Sample) -> tuple[Target, ...]:
    return tuple(one for one in sample.targets if one.kind == "phrase" and not is_derived_phrase(one.phrase))


def _single_positions(sample: Sample) -> tuple[Target, ...]:
    return tuple(target for target in position_targets(sample) if len(target.boxes_xyxy) == 1)


def _ground(sample: Sample, targets: Sequence[Target], pipeline: PromptSegPipeline) -> list[Example | None]:
    """Find the candidates of each phrase; None for a phrase that is no referring expression or has no candidate."""
    image = pipeline.encode_image(read_image(sample.image))
    examples: list[Example | None] = []
    for target in targets:
        grounding = pipeline.ground(image, target.phrase)
        if grounding is None:
            examples.append(None)
            continue
        box_xyxy = np.array(target.boxes_xyxy[:1], dtype=np.float64) / np.tile(sample.size_hw[::-1], 2)
        ious = pairwise_box_iou(grounding.candidates.boxes_xyxy, box_xyxy)[:, 0]
        examples.append(Example(sample.sample_id, grounding, ious))
    return examples


def _mask(*cues: str) -> NDArray[np.bool_]:
    return np.array([cue in cues for cue in CUES])


def _measure(examples: Sequence[Example], settings: RankingSettings) -> list[Cues]:
    return [measure(example.grounding, settings) for example in examples]


def _fit_all(human: Sequence[Example], generated: Sequence[Example], settings: RankingSettings) -> RankingSettings:
    fitted = _fit(_measure(human, settings), human, start=np.zeros(len(CUES)), frozen=_mask("spatial"))
    fitted = _fit(_measure(generated, settings), generated, start=fitted, frozen=~_mask("spatial"))
    return with_weights(settings, fitted)


def _fit(
    cues: Sequence[Cues], examples: Sequence[Example], *, start: NDArray[np.float64], frozen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Maximize the probability of the correct candidates, weighted by their IoU; no weight is below 0.

    Args:
        cues: Cues of each phrase.
        examples: The phrases; those without a candidate of at least `MIN_IOU` do not count.
        start: Weights to start from, shape (len(CUES),).
        frozen: True for weights that stay as they are, shape (len(CUES),).
    """
    correct = [np.where(phrase.ious >= MIN_IOU, phrase.ious, 0.0) for phrase in examples]
    kept = [index for index, one in enumerate(correct) if one.any()]
    most = max(len(correct[index]) for index in kept)
    padded = np.zeros((len(kept), most, len(CUES)))
    target, is_real = np.zeros((len(kept), most)), np.zeros((len(kept), most), dtype=np.bool_)
    for row, index in enumerate(kept):
        num = len(correct[index])
        padded[row, :num], target[row, :num] = cues[index], correct[index] / correct[index].sum()
        is_real[row, :num] = True

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = start.copy()
        weights[~frozen] = free
        scores = np.where(is_real, padded @ weights, -np.inf)
        log_probability = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        total = PULL / 2 * float(((free - USUAL) ** 2).sum()) - float(target[is_real] @ log_probability[is_real])
        slope = np.einsum("pm,pmc->c", np.exp(log_probability) - target, padded)[~frozen] + PULL * (free - USUAL)
        return total, slope

    num_free = int((~frozen).sum())
    found = minimize(loss, start[~frozen] + 0.1, jac=True, bounds=[(0.0, None)] * num_free, method="L-BFGS-B")
    weights = start.copy()
    weights[~frozen] = found.x
    return weights


def _choose(cues: Sequence[Cues], examples: Sequence[Example], weights: NDArray[np.float64]) -> list[float]:
    return [float(example.ious[np.argmax(one @ weights)]) for one, example in zip(cues, examples, strict=True)]


def _cross_validate(
    human: Sequence[Example], settings: RankingSettings, *, without: str | None = None
) -> NDArray[np.float64]:
    """Return the box IoU of each chosen candidate, by weights fitted without its image, shape (len(human),).

    Args:
        human: Phrases, grouped by image.
        settings: Rank the other objects of relations, and give the weight of spatial constraints.
        without: A cue whose weight is 0.
    """
    cues = _measure(human, settings)
    is_dropped = _mask() if without is None else _mask(without)
    start = np.where(_mask("spatial") & ~is_dropped, cue_weights(settings), 0.0)
    ious: list[float] = []
    for image in dict.fromkeys(one.image for one in human):
        others = [index for index, one in enumerate(human) if one.image != image]
        own = [index for index, one in enumerate(human) if one.image == image]
        rest = [human[index] for index in others]
        fitted = _fit([cues[index] for index in others], rest, start=start, frozen=_mask("spatial") | is_dropped)
        ious += _choose([cues[index] for index in own], [human[index] for index in own], fitted)
    return np.array(ious)


def _summarize(values: NDArray[np.float64]) -> list[float]:
    """Return the mean and the 95 % bootstrap interval over phrases."""
    rows = np.random.default_rng(0).integers(0, len(values), (NUM_RESAMPLES, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), (0.025, 0.975))
    return [round(float(value), 4) for value in (values.mean(), low, high)]


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


if __name__ == "__main__":
    main()
