"""The effect of fine-tuning on held-out images: IoU by name, and predictions side by side."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptseg.data.sample import Sample
from promptseg.evaluate.gallery import Tile, draw_sheet
from promptseg.evaluate.labeled_queries import build_labeled_queries
from promptseg.evaluate.runner import PhraseSegmenter, predict
from promptseg.evaluate.scoring import score_query, ungated_mask
from promptseg.images import read_image

MAX_TILES = 8


@dataclass(frozen=True, eq=False)
class HeldOutResults:
    """A model's predictions on held-out images.

    Attributes:
        ious: IoU of every present phrase, by name, whatever its predicted presence.
        kept: Share of the present phrases that the model predicts as present.
        tiles: The largest object of each of the first images.
    """

    ious: dict[str, list[float]]
    kept: float
    tiles: list[Tile]

    @property
    def mean_iou(self) -> float:
        """Return the mean over all pairs of an image and a present phrase."""
        return float(np.mean([iou for of_name in self.ious.values() for iou in of_name]))


def evaluate_held_out(model: PhraseSegmenter, samples: Sequence[Sample]) -> HeldOutResults:
    """Segment every annotated phrase of some images.

    Raises:
        PromptsegError: An image can't be read, or its size is not that of its annotation.
    """
    ious: dict[str, list[float]] = defaultdict(list)
    kept: list[bool] = []
    tiles: list[Tile] = []
    for sample in samples:
        questions = [question for question in build_labeled_queries(sample) if question.present]
        answers = predict(model, sample.image, questions)
        for question, answer in zip(questions, answers, strict=True):
            pair = score_query(question, answer)
            assert pair.counts is not None  # it is there
            ious[question.phrase].append(pair.counts.iou)
            kept.append(pair.kept)
        if questions and len(tiles) < MAX_TILES:
            largest = max(range(len(questions)), key=lambda index: int(questions[index].truth.sum()))
            question, answer = questions[largest], answers[largest]
            note = "" if answer.is_present else ", predicted absent"
            tiles.append(
                Tile(
                    image_rgb=read_image(sample.image),
                    truth=question.truth,
                    prediction=ungated_mask(answer),
                    title=question.phrase,
                    caption=f"IoU {ious[question.phrase][-1]:.2f}   presence {answer.presence:.2f}{note}",
                )
            )
    return HeldOutResults(dict(ious), float(np.mean(kept)), tiles)


def draw_before_after(before: HeldOutResults, after: HeldOutResults, *, title: str) -> Image.Image:
    """Draw the same images before and after, ground truth in green and prediction in red."""
    sections = {
        f"{when}: mean IoU {results.mean_iou:.2f}": results.tiles
        for when, results in (("before", before), ("after", after))
    }
    return draw_sheet(sections, title=title)
