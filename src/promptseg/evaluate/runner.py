"""Ask a model every question of a data set, picture by picture."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Mask, Sample
from promptseg.errors import DataError, PromptsegError
from promptseg.evaluate.questions import Question, build_questions, digest_questions
from promptseg.evaluate.records import PairRecord, PictureRecord
from promptseg.metrics import argmax_counts, count_pixels, pixel_average_precision


class Answer(Protocol):
    """What a model says to one phrase."""

    @property
    def label(self) -> str:
        """The phrase."""

    @property
    def mask(self) -> Mask:
        """Where it holds, bool (H, W); empty where the model says that it is absent."""

    @property
    def probability(self) -> NDArray[np.float32]:
        """For every pixel, float32 (H, W) in [0, 1]; filled whatever the presence."""

    @property
    def presence(self) -> float:
        """Whether the phrase holds anywhere, in [0, 1]."""


class PhraseSegmenter(Protocol):
    """What is evaluated: `promptseg.Predictor`, or anything else that answers phrases."""

    def encode(self, image: Path | bytes) -> Any:
        """Look at a picture once."""

    def segment(self, embedding: Any, phrases: Sequence[str]) -> Sequence[Answer]:
        """Answer phrases about a picture, in their order."""


@dataclass(frozen=True)
class Thresholds:
    """Where an answer turns from no to yes.

    Attributes:
        mask: A pixel belongs to the mask from this probability on.
        presence: A phrase counts as present from this value on.
    """

    mask: float = 0.5
    presence: float = 0.5


def evaluate_samples(
    model: PhraseSegmenter,
    samples: Iterable[Sample],
    *,
    thresholds: Thresholds,
    class_names: Sequence[str] = (),
    done: Mapping[str, PictureRecord] | None = None,
) -> Iterator[PictureRecord]:
    """Ask everything that can be judged, one picture after the other.

    Args:
        model: Who is asked.
        samples: Annotated pictures.
        thresholds: The model's own.
        class_names: Names that together label every pixel, for class IoU; empty where there are none.
        done: Records of an earlier run by sample id; one is taken over where the same would be asked again.

    Yields:
        One record per sample, in order. A picture that can't be read or judged is a record with its error.
    """
    for sample in samples:
        try:
            questions = build_questions(sample, class_names=class_names)
            digest = digest_questions(sample, questions)
            earlier = (done or {}).get(sample.sample_id)
            if earlier is not None and earlier.digest == digest:
                yield earlier
            else:
                yield _judge_picture(model, sample, questions, digest, thresholds, labels_every_pixel=bool(class_names))
        except (PromptsegError, OSError) as error:
            yield PictureRecord(sample.sample_id, sample.sequence, error=f"{type(error).__name__}: {error}")


def ask(model: PhraseSegmenter, sample: Sample, questions: Sequence[Question]) -> Sequence[Answer]:
    """Encode a picture and put all questions to it at once.

    Returns:
        One answer per question; none, without a look at the picture, for no question.

    Raises:
        PromptsegError: The picture can't be read, or a phrase is refused.
    """
    if not questions:
        return ()
    answers = model.segment(model.encode(sample.image), [question.phrase for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        if answer.mask.shape != question.truth.shape:
            raise DataError(
                f"the picture is {answer.mask.shape} (height, width), its annotation {question.truth.shape}; "
                "an annotation is in the pixels of the stored picture"
            )
    return answers


def _judge_picture(
    model: PhraseSegmenter,
    sample: Sample,
    questions: Sequence[Question],
    digest: str,
    thresholds: Thresholds,
    *,
    labels_every_pixel: bool,
) -> PictureRecord:
    started = time.perf_counter()
    answers = ask(model, sample, questions)
    seconds = time.perf_counter() - started
    pairs = [_judge(question, answer, thresholds) for question, answer in zip(questions, answers, strict=True)]
    if labels_every_pixel:
        pairs = _judge_labels(pairs, questions, answers, thresholds)
    return PictureRecord(sample.sample_id, sample.sequence, digest, seconds, tuple(pairs))


def _judge(question: Question, answer: Answer, thresholds: Thresholds) -> PairRecord:
    probability = answer.probability
    truth, valid = question.truth, question.valid
    return PairRecord(
        phrase=question.phrase,
        kind=question.kind if question.present else None,
        present=question.present,
        presence=float(answer.presence),
        kept=bool(answer.presence >= thresholds.presence),
        counts=count_pixels(probability >= thresholds.mask, truth, valid=valid),
        gated_counts=count_pixels(answer.mask, truth, valid=valid),
        average_precision=pixel_average_precision(probability, truth, valid=valid),
    )


def _judge_labels(
    pairs: Sequence[PairRecord], questions: Sequence[Question], answers: Sequence[Answer], thresholds: Thresholds
) -> list[PairRecord]:
    """Give every pixel the name of its highest probability, with and without gates, and count by name."""
    probabilities = np.stack([answer.probability for answer in answers])
    truths = np.stack([question.truth for question in questions])
    valid = questions[0].valid
    plain = argmax_counts(probabilities.argmax(axis=0), truths, valid=valid)
    said_present = np.array([answer.presence >= thresholds.presence for answer in answers])
    gated = np.where(said_present[:, None, None], probabilities, -1.0)
    assigned = np.where(gated.max(axis=0) >= thresholds.mask, gated.argmax(axis=0), -1)
    return [
        replace(pair, argmax_counts=counts, gated_argmax_counts=gated_counts)
        for pair, counts, gated_counts in zip(pairs, plain, argmax_counts(assigned, truths, valid=valid), strict=True)
    ]
