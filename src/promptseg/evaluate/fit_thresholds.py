"""Fit a model's thresholds and presence calibration on annotated images."""

from collections.abc import Iterable

import numpy as np

from promptseg.data.sample import Sample
from promptseg.errors import DataError
from promptseg.evaluate.calibration import Calibration, calibrate, iou_by_threshold
from promptseg.evaluate.labeled_queries import build_labeled_queries
from promptseg.evaluate.runner import PhraseSegmenter, predict


def fit_thresholds(
    model: PhraseSegmenter,
    samples: Iterable[Sample],
    *,
    current: tuple[float, float] = (1.0, 0.0),
    min_present_kept: float | None = None,
) -> Calibration:
    """Run a model on images that it was not trained on, and fit its thresholds and presence calibration on them.

    Args:
        model: The model.
        samples: Annotated images with present and absent phrases.
        current: The model's current (scale, shift) of presence.
        min_present_kept: See `choose_presence_threshold`.

    Raises:
        PromptsegError: An image can't be read, or the thresholds can't be fitted on these images.
    """
    ious, presence, present = [], [], []
    for sample in samples:
        queries = build_labeled_queries(sample)
        for query, prediction in zip(queries, predict(model, sample.image, queries), strict=True):
            presence.append(prediction.presence)
            present.append(query.present)
            if query.present:
                ious.append(iou_by_threshold(prediction.probability, query.truth, valid=query.valid))
    if not ious:
        raise DataError("there is no phrase with a mask in these images: thresholds can't be fitted on them")
    return calibrate(
        np.stack(ious), np.array(presence), np.array(present), current=current, min_present_kept=min_present_kept
    )
