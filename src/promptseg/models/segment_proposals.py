"""Propose segments for a panoptic map from a model's answers to the names of the classes.

Every name is answered alone by the model, so that one region may go by many names. The score of a proposal weighs what
is known about it, as a logistic regression: presence and score of the answer, its area, and its margin, which is by how
much the evidence for its class exceeds that for the best other class of the list, on average over its mask.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.language.class_list import NamedClass
from promptseg.ops.resize import clipped_logit, logit, sigmoid
from promptseg.prompts import Query, TextPrompt
from promptseg.results import Instance, QueryResult
from promptseg.results.merging import MergeSettings, SegmentCandidate
from promptseg.segmenter import EncodedImage, Prediction, Segmenter, SegmentProposals

Map = NDArray[np.float32]

# Pixels of a mask whose margins are averaged, at most.
_NUM_SAMPLES = 4096


@dataclass(frozen=True)
class EvidenceWeights:
    """Weights of what is known about a proposal; their sum is the logit of its score.

    Attributes:
        presence: Of the logit of the class's presence.
        score: Of the logit of the answer's own score: a detection's, or the mean probability of a part of a mask.
        log_area: Of the logarithm of its share of the image.
        margin: Of its margin, see the module.
        bias: Added.
    """

    presence: float = 0.0
    score: float = 0.0
    log_area: float = 0.0
    margin: float = 0.0
    bias: float = 0.0

    def weigh(self, evidence: "Evidence") -> float:
        """Compute the score of a proposal, in [0, 1]."""
        total = (
            self.presence * evidence.presence
            + self.score * evidence.score
            + self.log_area * evidence.log_area
            + self.margin * evidence.margin
            + self.bias
        )
        return float(sigmoid(np.array(total, dtype=np.float32)))


@dataclass(frozen=True)
class ProposalSettings:
    """How proposals are scored and merged.

    Attributes:
        objects: Weights for objects that the model separates.
        parts: Weights for connected parts of the mask of a thing, where the model separates no objects.
        stuff: Weights for stuff; it has no score of its own.
        max_margin: Margins are clipped to the range of plus and minus this value.
        merge: How the proposals are merged.
    """

    objects: EvidenceWeights = EvidenceWeights(score=1.0)
    parts: EvidenceWeights = EvidenceWeights(presence=0.5, score=0.5)
    stuff: EvidenceWeights = EvidenceWeights(presence=1.0)
    max_margin: float = 8.0
    merge: MergeSettings = field(default_factory=MergeSettings)


@dataclass(frozen=True)
class Evidence:
    """What is known about a proposal; the fields are the terms of `EvidenceWeights`."""

    presence: float
    score: float
    log_area: float
    margin: float


@dataclass(frozen=True, eq=False)
class MaskProposal:
    """A mask that may become a segment, and what is known about it.

    Attributes:
        class_index: Its class, from 0.
        is_thing: Whether it is one object.
        kind: "objects", "parts" or "stuff": the weights in `ProposalSettings` that score it.
        evidence: What is known about it.
        mask: As `SegmentCandidate.mask`.
    """

    class_index: int
    is_thing: bool
    kind: str
    evidence: Evidence
    mask: Instance | Map

    def to_candidate(self, settings: ProposalSettings) -> SegmentCandidate:
        """Score it."""
        weights: EvidenceWeights = getattr(settings, self.kind)
        score = weights.weigh(self.evidence)
        presence = float(sigmoid(np.array(self.evidence.presence, dtype=np.float32)))
        return SegmentCandidate(self.class_index, self.is_thing, score, self.mask, presence)


@dataclass(frozen=True, eq=False)
class ClassAnswer:
    """The answer of a model to all names of a class.

    Attributes:
        presence: Presence of the name that is the most present.
        logits: Map over the image, shape (h, w), 0 at the edge of the mask.
        present: The answers to the names that are present.
    """

    presence: float
    logits: Map
    present: tuple[QueryResult, ...]


DEFAULT_SETTINGS = ProposalSettings()


def propose_segments(
    segmenter: Segmenter[Any],
    image: EncodedImage,
    classes: Sequence[NamedClass],
    *,
    presence_threshold: float,
    settings: ProposalSettings = DEFAULT_SETTINGS,
) -> SegmentProposals:
    """Ask a segmenter for every name of every class, and propose the answers as segments.

    A class is as present as the name of it that is the most present. Its map is the highest of its present names, its
    objects are those of all of them.

    Args:
        segmenter: A model that takes phrases.
        image: Result of its `encode_image`.
        classes: C classes.
        presence_threshold: Minimum presence of a class; nothing is proposed for others.
        settings: How the answers are scored and merged.
    """
    answers = ask_classes(segmenter, image, classes, presence_threshold=presence_threshold)
    proposals = iterate_proposals(answers, classes, image.size_hw, settings.max_margin)
    return SegmentProposals(
        candidates=tuple(proposal.to_candidate(settings) for proposal in proposals),
        presence=np.array([answer.presence for answer in answers], dtype=np.float32),
        present=tuple(index for index, answer in enumerate(answers) if answer.present),
        class_logits=np.stack([answer.logits for answer in answers]),
        settings=settings.merge,
    )


def ask_classes(
    segmenter: Segmenter[Any], image: EncodedImage, classes: Sequence[NamedClass], *, presence_threshold: float
) -> list[ClassAnswer]:
    """Ask a segmenter for every name of every class, all at once; the arguments are those of `propose_segments`."""
    phrases = [phrase for one in classes for phrase in one.phrases]
    prediction = segmenter.segment(image, [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases])
    results = _iterate_results(prediction, phrases, image.size_hw, presence_threshold, segmenter.mask_threshold)
    edge = np.float32(logit(segmenter.mask_threshold))
    answers = []
    for one in classes:
        of_class = [next(results) for _ in one.phrases]
        present = tuple(result for result in of_class if result.is_present)
        logits = np.maximum.reduce([result.mask_logits for result in present or of_class]) - edge
        answers.append(ClassAnswer(max(result.presence for result in of_class), logits, present))
    return answers


def iterate_proposals(
    answers: Sequence[ClassAnswer], classes: Sequence[NamedClass], size_hw: tuple[int, int], max_margin: float
) -> Iterator[MaskProposal]:
    """Yield the proposals of all classes that are present.

    Args:
        answers: To C classes.
        classes: The C classes.
        size_hw: Height and width of the image, pixels.
        max_margin: As `ProposalSettings.max_margin`.
    """
    rivals = _Rivals([answer for answer in answers if answer.present])
    for index, (one, answer) in enumerate(zip(classes, answers, strict=True)):
        if not answer.present:
            continue
        margins = np.clip(rivals.margins(answer), -max_margin, max_margin)
        presence = clipped_logit(answer.presence)
        if not one.is_thing:
            inside = answer.logits >= 0
            if inside.any():
                evidence = Evidence(presence, 0.0, math.log(inside.mean()), float(margins[inside].mean()))
                yield MaskProposal(index, False, "stuff", evidence, answer.logits)
            continue
        for result in answer.present:
            is_part = result.model_instances is None
            for instance in result.instances:
                own = instance.score / max(result.presence, instance.score) if is_part else instance.score
                share = instance.area / (size_hw[0] * size_hw[1])
                evidence = Evidence(presence, clipped_logit(own), math.log(share), _mean_inside(margins, instance))
                yield MaskProposal(index, True, "parts" if is_part else "objects", evidence, instance)


class _Rivals:
    """The evidence of several classes at each cell: that of the best and of the second best one.

    The evidence for a class is the logit of its presence plus its map.
    """

    def __init__(self, answers: Sequence[ClassAnswer]) -> None:
        shape = answers[0].logits.shape if answers else (1, 1)
        self._best = np.full(shape, -np.inf, dtype=np.float32)
        self._second = self._best.copy()
        for answer in answers:
            evidence = self._evidence(answer)
            self._second = np.maximum(self._second, np.minimum(self._best, evidence))
            self._best = np.maximum(self._best, evidence)

    def margins(self, answer: ClassAnswer) -> Map:
        """Subtract the evidence for the best other class from that for a class, shape (h, w); inf without others."""
        evidence = self._evidence(answer)
        return evidence - np.where(evidence >= self._best, self._second, self._best)

    def _evidence(self, answer: ClassAnswer) -> Map:
        return answer.logits + clipped_logit(answer.presence)


def _mean_inside(margins: Map, instance: Instance) -> float:
    """Average a map over the mask of an instance, read off the nearest cell."""
    y, x = np.nonzero(instance.box_mask)
    step = -(-len(y) // _NUM_SAMPLES)
    left, top = instance.box_xyxy[:2]
    (rows, columns), (height, width) = margins.shape, instance.size_hw
    return float(margins[(y[::step] + top) * rows // height, (x[::step] + left) * columns // width].mean())


def _iterate_results(
    prediction: Prediction,
    phrases: Sequence[str],
    size_hw: tuple[int, int],
    presence_threshold: float,
    mask_threshold: float,
) -> Iterator[QueryResult]:
    """Yield the result of each phrase."""
    separated: Sequence[tuple[Instance, ...] | None] = prediction.instances or (None,) * len(phrases)
    for phrase, presence, mask_logits, instances in zip(
        phrases, prediction.presence.tolist(), prediction.mask_logits, separated, strict=True
    ):
        logits: Map = np.asarray(mask_logits, dtype=np.float32)
        yield QueryResult(phrase, presence, logits, size_hw, presence_threshold, mask_threshold, instances)
