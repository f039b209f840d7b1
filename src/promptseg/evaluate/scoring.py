"""Compare the predictions for one image with its ground truth."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Mask
from promptseg.evaluate.labeled_queries import LabeledQuery
from promptseg.evaluate.records import PairRecord
from promptseg.metrics import argmax_counts, count_pixels, pixel_average_precision
from promptseg.results import Status


class QueryPrediction(Protocol):
    """What a model predicts for one query; `promptseg.QueryResult` is one."""

    @property
    def mask(self) -> Mask:
        """The mask that is shown, bool (H, W): empty where the model predicts that the phrase is absent."""

    @property
    def probability(self) -> NDArray[np.float32]:
        """For every pixel, float32 (H, W) in [0, 1]; not gated by presence."""

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """The model's map over the whole image, before it is resized to the image's size: float32 (h, w)."""

    @property
    def presence(self) -> float:
        """Probability that the phrase holds anywhere in the image, in [0, 1]."""

    @property
    def is_present(self) -> bool:
        """Whether `presence` reaches the model's threshold."""

    @property
    def status(self) -> Status:
        """As `is_present`; "unsure" is below the threshold, but shown."""

    @property
    def mask_threshold(self) -> float:
        """Probability from which a pixel belongs to the mask."""


def ungated_mask(prediction: QueryPrediction) -> Mask:
    """Return the mask regardless of presence, bool (H, W)."""
    if prediction.status == "absent":
        return prediction.probability >= prediction.mask_threshold
    return prediction.mask


def gated_mask(prediction: QueryPrediction) -> Mask:
    """Return the mask of what is predicted to be present, bool (H, W): empty if the model is unsure."""
    return prediction.mask if prediction.is_present else np.zeros_like(prediction.mask)


def score_queries(queries: Sequence[LabeledQuery], predictions: Sequence[QueryPrediction]) -> list[PairRecord]:
    """Score every prediction by itself."""
    return [score_query(query, prediction) for query, prediction in zip(queries, predictions, strict=True)]


def score_query(query: LabeledQuery, prediction: QueryPrediction) -> PairRecord:
    """Count the pixels that a prediction shares with the ground truth; for an absent phrase, of the gated mask only."""
    truth, valid = query.truth, query.valid
    record = PairRecord(
        phrase=query.phrase,
        kind=query.kind if query.present else None,
        source=query.source if query.present else None,
        present=query.present,
        presence=float(prediction.presence),
        kept=bool(prediction.is_present),
        gated_counts=count_pixels(gated_mask(prediction), truth, valid=valid),
    )
    if not query.present:
        return record
    return replace(
        record,
        counts=count_pixels(ungated_mask(prediction), truth, valid=valid),
        average_precision=pixel_average_precision(prediction.probability, truth, valid=valid),
    )


def score_labeling(queries: Sequence[LabeledQuery], predictions: Sequence[QueryPrediction]) -> list[PairRecord]:
    """Label every pixel with the name of the highest probability, gated and ungated, and count name by name."""
    pairs = score_queries(queries, predictions)
    probabilities = np.stack([prediction.probability for prediction in predictions])
    truths = np.stack([query.truth for query in queries])
    valid = queries[0].valid
    label = probabilities.argmax(axis=0)
    claimed = np.stack(
        [
            prediction.is_present & (probability >= prediction.mask_threshold)
            for prediction, probability in zip(predictions, probabilities, strict=True)
        ]
    )
    gated_label = np.where(claimed.any(axis=0), np.where(claimed, probabilities, -1).argmax(axis=0), -1)
    return [
        replace(pair, argmax_counts=counts, gated_argmax_counts=gated_counts)
        for pair, counts, gated_counts in zip(
            pairs,
            argmax_counts(label, truths, valid=valid),
            argmax_counts(gated_label, truths, valid=valid),
            strict=True,
        )
    ]
