"""Propose segments for a panoptic map from a model's answers to the names of the classes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.language.class_list import NamedClass
from promptseg.ops.resize import logit
from promptseg.prompts import Query, TextPrompt
from promptseg.results import QueryResult
from promptseg.results.merging import MergeSettings, SegmentCandidate
from promptseg.segmenter import EncodedImage, Prediction, Segmenter, SegmentProposals

DEFAULT_SETTINGS = MergeSettings()


def propose_segments(
    segmenter: Segmenter[Any],
    image: EncodedImage,
    classes: Sequence[NamedClass],
    *,
    settings: MergeSettings = DEFAULT_SETTINGS,
    presence_threshold: float | None = None,
) -> SegmentProposals:
    """Ask a segmenter for every name of every class, and propose the answers as segments.

    A class is as present as the name of it that is the most present. Its map is the highest of its present names, its
    objects are those of all of them.

    Args:
        segmenter: A model that takes phrases.
        image: Result of its `encode_image`.
        classes: C classes.
        settings: How the candidates are to be merged.
        presence_threshold: Presence below which a class counts as absent; None: that of the segmenter.
    """
    phrases = [phrase for one in classes for phrase in one.phrases]
    queries = [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]
    prediction = segmenter.segment(image, queries)
    gate = segmenter.presence_threshold if presence_threshold is None else presence_threshold
    names = _iterate_names(prediction, phrases, image.size_hw, gate, segmenter.mask_threshold)
    edge = np.float32(logit(segmenter.mask_threshold))
    candidates: list[SegmentCandidate] = []
    presence, maps = [], []
    for index, one in enumerate(classes):
        answers = [next(names) for _ in one.phrases]
        presence.append(max(answer.presence for answer in answers))
        present = [answer for answer in answers if answer.is_present]
        maps.append(np.maximum.reduce([answer.mask_logits for answer in present or answers]) - edge)
        if present and one.is_thing:
            objects = (instance for answer in present for instance in answer.instances)
            candidates += [SegmentCandidate(index, True, instance.score, instance) for instance in objects]
        elif present:
            candidates.append(SegmentCandidate(index, False, presence[-1], maps[-1]))
    return SegmentProposals(tuple(candidates), np.array(presence, dtype=np.float32), np.stack(maps), gate, settings)


def _iterate_names(
    prediction: Prediction,
    phrases: Sequence[str],
    size_hw: tuple[int, int],
    presence_threshold: float,
    mask_threshold: float,
) -> Iterator[QueryResult]:
    """Yield the result of each phrase."""
    rows: tuple[Any, ...] = prediction.instances or (None,) * len(phrases)
    for phrase, presence, mask_logits, instances in zip(
        phrases, prediction.presence.tolist(), prediction.mask_logits, rows, strict=True
    ):
        logits: NDArray[np.float32] = np.asarray(mask_logits, dtype=np.float32)
        yield QueryResult(phrase, presence, logits, size_hw, presence_threshold, mask_threshold, instances)
