"""Ask a model every question of a data set, image by image, and judge its answers."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Mask, Sample
from promptseg.errors import DataError, ImageError, PromptError, UnsupportedPromptError
from promptseg.evaluate.questions import Question, build_questions, digest_questions
from promptseg.evaluate.records import ImageRecord, PairRecord
from promptseg.metrics import argmax_counts, count_pixels, pixel_average_precision
from promptseg.prompts import QueryLike


class Answer(Protocol):
    """What a model says to one phrase; `promptseg.QueryResult` is one."""

    @property
    def mask(self) -> Mask:
        """Where the phrase holds, bool (H, W); empty where the model says that it is absent."""

    @property
    def probability(self) -> NDArray[np.float32]:
        """For every pixel, float32 (H, W) in [0, 1]; filled also where the phrase is absent."""

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """The model's own map over the whole image, before it is brought to the image's size: float32 (h, w)."""

    @property
    def presence(self) -> float:
        """Whether the phrase holds anywhere, in [0, 1]."""

    @property
    def is_present(self) -> bool:
        """Whether that reaches the model's threshold."""

    @property
    def mask_threshold(self) -> float:
        """Probability from which a pixel belongs to the mask."""


class PhraseSegmenter(Protocol):
    """What is evaluated: `promptseg.Predictor`, or anything else that answers phrases.

    Some benchmarks ask with example images too.
    """

    def encode(self, image: Path | bytes, /) -> Any:
        """Look at an image once."""

    def segment(self, embedding: Any, queries: Sequence[QueryLike], /) -> Sequence[Answer]:
        """Answer phrases or other queries about an image, in their order."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """What is asked of one image. Nothing is read before the sheet is worked on.

    Attributes:
        sample_id: Of the image; unique among the sheets of an evaluation.
        image: The image file, or its encoded bytes.
        questions: Reads the truths, and the exemplars where there are any.
        judge: Compares answers with the truth; one record per question.
        sequence: The video the image was taken from, or None.
    """

    sample_id: str
    image: Path | bytes
    questions: Callable[[], Sequence[Question]]
    judge: "Judge"
    sequence: str | None = None


Judge = Callable[[Sequence[Question], Sequence[Answer]], Sequence[PairRecord]]


def evaluate_samples(
    model: PhraseSegmenter,
    samples: Iterable[Sample],
    *,
    class_names: Sequence[str] = (),
    asked: str = "",
    done: Mapping[str, ImageRecord] | None = None,
) -> Iterator[ImageRecord]:
    """Ask everything that can be judged, one image after the other.

    Args:
        model: Who is asked.
        samples: Annotated images.
        class_names: Names that together label every pixel, for class IoU; empty where there are none.
        asked: See `evaluate_sheets`.
        done: See `evaluate_sheets`.

    Yields:
        One record per sample, in order, as `evaluate_sheets` does.
    """
    return evaluate_sheets(model, sample_sheets(samples, class_names=class_names), asked=asked, done=done)


def sample_sheets(samples: Iterable[Sample], *, class_names: Sequence[str] = ()) -> Iterator[Sheet]:
    """Make a sheet of every annotated image, as `build_questions` asks it."""
    for sample in samples:
        questions = partial(build_questions, sample, class_names=class_names)
        judge = judge_labeling if class_names else judge_pairs
        yield Sheet(sample.sample_id, sample.image, questions, judge, sample.sequence)


def evaluate_sheets(
    model: PhraseSegmenter,
    sheets: Iterable[Sheet],
    *,
    asked: str = "",
    done: Mapping[str, ImageRecord] | None = None,
) -> Iterator[ImageRecord]:
    """Work on one sheet after the other.

    Args:
        model: Who is asked.
        sheets: What is asked of each image.
        asked: Who is asked, in a text that differs whenever an answer might: model, checkpoint, thresholds, engine.
        done: Records of an earlier run by sample id; one is taken over where the same would be asked of the same again.

    Yields:
        One record per sheet, in order. An image that can't be read or judged is a record with its error; an error of
        the model itself ends the evaluation, and so does a kind of prompt that it does not take.
    """
    for sheet in sheets:
        try:
            questions = sheet.questions()
            digest = digest_questions(sheet.image, questions)
            earlier = (done or {}).get(sheet.sample_id)
            if earlier is not None and (earlier.digest, earlier.asked) == (digest, asked):
                yield earlier
                continue
            started = time.perf_counter()
            answers = ask(model, sheet.image, questions)
            seconds = time.perf_counter() - started
        except UnsupportedPromptError:
            raise
        except (ImageError, DataError, PromptError, OSError) as error:
            yield ImageRecord(sheet.sample_id, sheet.sequence, error=f"{type(error).__name__}: {error}")
            continue
        pairs = tuple(sheet.judge(questions, answers))
        yield ImageRecord(sheet.sample_id, sheet.sequence, digest, asked, seconds, pairs)


def ask(model: PhraseSegmenter, image: Path | bytes, questions: Sequence[Question]) -> Sequence[Answer]:
    """Encode an image and put all questions to it at once.

    Returns:
        One answer per question; none, without a look at the image, for no question.

    Raises:
        PromptsegError: The image can't be read, is not of the size of its annotation, or a phrase is refused.
    """
    if not questions:
        return ()
    answers = model.segment(model.encode(image), [question.query for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        if answer.mask.shape != question.truth.shape:
            raise DataError(
                f"the image is {answer.mask.shape} (height, width), its annotation {question.truth.shape}; "
                "an annotation is in the pixels of the stored image"
            )
    return answers


def ungated_mask(answer: Answer) -> Mask:
    """The mask whatever the presence, bool (H, W)."""
    return answer.mask if answer.is_present else answer.probability >= answer.mask_threshold


def judge_pairs(questions: Sequence[Question], answers: Sequence[Answer]) -> list[PairRecord]:
    """Judge every answer by itself."""
    return [judge_pair(question, answer) for question, answer in zip(questions, answers, strict=True)]


def judge_pair(question: Question, answer: Answer) -> PairRecord:
    """Count what an answer shares with the truth; of an absent phrase only what was said to be there."""
    truth, valid = question.truth, question.valid
    record = PairRecord(
        phrase=question.phrase,
        kind=question.kind if question.present else None,
        source=question.source if question.present else None,
        present=question.present,
        presence=float(answer.presence),
        kept=bool(answer.is_present),
        gated_counts=count_pixels(answer.mask, truth, valid=valid),
    )
    if not question.present:
        return record
    return replace(
        record,
        counts=count_pixels(ungated_mask(answer), truth, valid=valid),
        average_precision=pixel_average_precision(answer.probability, truth, valid=valid),
    )


def judge_labeling(questions: Sequence[Question], answers: Sequence[Answer]) -> list[PairRecord]:
    """Give every pixel the name of its highest probability, with and without gates, and count name by name."""
    pairs = judge_pairs(questions, answers)
    probabilities = np.stack([answer.probability for answer in answers])
    truths = np.stack([question.truth for question in questions])
    valid = questions[0].valid
    label = probabilities.argmax(axis=0)
    claimed = np.stack([answer.is_present & (answer.probability >= answer.mask_threshold) for answer in answers])
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
