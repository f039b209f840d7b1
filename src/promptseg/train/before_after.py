"""What fine-tuning did, on images that it did not see: figures by name, and the answers side by side."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptseg.data.sample import Sample
from promptseg.evaluate.gallery import Tile, draw_sheet
from promptseg.evaluate.questions import build_questions
from promptseg.evaluate.runner import PhraseSegmenter, ask, judge_pair, ungated_mask
from promptseg.images import read_image

MAX_TILES = 8


@dataclass(frozen=True, eq=False)
class Exam:
    """A model's answers about some images.

    Attributes:
        ious: Of every phrase that is there, by name, whatever the presence.
        kept: Share of the phrases that are there which the model says are there.
        tiles: The largest object of each of the first images.
    """

    ious: dict[str, list[float]]
    kept: float
    tiles: list[Tile]

    @property
    def mean_iou(self) -> float:
        """Over all pairs of an image and a phrase that is in it."""
        return float(np.mean([iou for of_name in self.ious.values() for iou in of_name]))


def examine(model: PhraseSegmenter, samples: Sequence[Sample]) -> Exam:
    """Ask a model for everything that is annotated.

    Raises:
        PromptsegError: An image can't be read, or does not fit its annotation.
    """
    ious: dict[str, list[float]] = defaultdict(list)
    kept: list[bool] = []
    tiles: list[Tile] = []
    for sample in samples:
        questions = [question for question in build_questions(sample) if question.present]
        answers = ask(model, sample.image, questions)
        for question, answer in zip(questions, answers, strict=True):
            pair = judge_pair(question, answer)
            assert pair.counts is not None  # it is there
            ious[question.phrase].append(pair.counts.iou)
            kept.append(pair.kept)
        if questions and len(tiles) < MAX_TILES:
            largest = max(range(len(questions)), key=lambda index: int(questions[index].truth.sum()))
            question, answer = questions[largest], answers[largest]
            said = "" if answer.is_present else ", taken for absent"
            tiles.append(
                Tile(
                    image_rgb=read_image(sample.image),
                    truth=question.truth,
                    prediction=ungated_mask(answer),
                    title=question.phrase,
                    caption=f"IoU {ious[question.phrase][-1]:.2f}   presence {answer.presence:.2f}{said}",
                )
            )
    return Exam(dict(ious), float(np.mean(kept)), tiles)


def draw_before_after(before: Exam, after: Exam, *, title: str) -> Image.Image:
    """Draw the same images twice, truth in green and prediction in red."""
    sections = {
        f"{when}: mean IoU {exam.mean_iou:.2f}": exam.tiles for when, exam in (("before", before), ("after", after))
    }
    return draw_sheet(sections, title=title)
