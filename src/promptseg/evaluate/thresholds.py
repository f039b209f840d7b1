"""Fix a model's operating point on annotated images."""

from collections.abc import Iterable

import numpy as np

from promptseg.data.sample import Sample
from promptseg.errors import DataError
from promptseg.evaluate.calibration import Calibration, calibrate, iou_by_threshold
from promptseg.evaluate.questions import build_questions
from promptseg.evaluate.runner import PhraseSegmenter, ask


def fit_thresholds(
    model: PhraseSegmenter,
    samples: Iterable[Sample],
    *,
    current: tuple[float, float] = (1.0, 0.0),
    min_present_kept: float | None = None,
) -> Calibration:
    """Ask a model about images it was not trained on but may be tuned on, and fix its operating point.

    Args:
        model: Who is asked.
        samples: Annotated images with present and absent phrases.
        current: The model's present (scale, shift) of presence.
        min_present_kept: See `choose_presence_threshold`.

    Raises:
        PromptsegError: An image can't be read, or there is nothing to fix the thresholds on.
    """
    ious, presence, present = [], [], []
    for sample in samples:
        questions = build_questions(sample)
        for question, answer in zip(questions, ask(model, sample.image, questions), strict=True):
            presence.append(answer.presence)
            present.append(question.present)
            if question.present:
                ious.append(iou_by_threshold(answer.probability, question.truth, valid=question.valid))
    if not ious:
        raise DataError("there is no phrase with a mask in these images: thresholds can't be fixed on them")
    return calibrate(
        np.stack(ious), np.array(presence), np.array(present), current=current, min_present_kept=min_present_kept
    )
