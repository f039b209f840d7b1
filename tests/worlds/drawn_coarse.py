"""The network's part of the default model, for tests: what it finds is drawn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.language.reading import PhraseReader, PhraseReading
from promptseg.models.promptseg.coarse import CoarseAnswer, CoarseImage, ConceptGroup
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import PromptSegGraphs
from promptseg.models.promptseg.presence import PresenceEvidence
from promptseg.ops.deferred import Deferred
from promptseg.prompts import TextPrompt

CONFIG = PromptSegConfig("conv-test", (8, 16), "bytes-test", mask_threshold=0.7, refiner="mobile-sam")


class DrawnCoarse:
    """Gives each phrase a drawn mask, coarser than the image and unsure at its edges.

    Args:
        draw: Gives the mask of a phrase, bool, shape (H, W).
        presence: Of phrases; 0.9 for others.
        cell: Side of the map's cells, pixels.
        shift: The map lies so many pixels too far to the right.
        detector_names: Classes of the detections.
        detections: Boxes and scores, shape (K, 4 + V), or None.
        config: Thresholds.
    """

    def __init__(
        self,
        draw: Callable[[str], NDArray[np.bool_]],
        *,
        presence: Mapping[str, float] | None = None,
        cell: int = 4,
        shift: int = 0,
        detector_names: tuple[str, ...] = (),
        detections: NDArray[np.float32] | None = None,
        config: PromptSegConfig = CONFIG,
    ) -> None:
        self.config = config
        self.reader = PhraseReader(detector_names)
        self.calls: list[list[str]] = []  # the phrases of each call
        self._draw = draw
        self._presence = presence or {}
        self._cell = cell
        self._shift = shift
        self._detections = detections

    def encode(self, image_rgb: NDArray[np.uint8]) -> CoarseImage:
        cells = (1, 1, image_rgb.shape[0] // self._cell, image_rgb.shape[1] // self._cell)
        return CoarseImage(
            np.zeros(cells, dtype=np.float32), None if self._detections is None else Deferred.of(self._detections)
        )

    def segment(
        self, image: CoarseImage, groups: Sequence[ConceptGroup], readings: Mapping[str, PhraseReading]
    ) -> list[CoarseAnswer]:
        if not groups:
            return []
        texts = [concept.text for (concept,) in groups if isinstance(concept, TextPrompt)]
        assert readings.keys() >= set(texts)
        self.calls.append(texts)
        return [
            CoarseAnswer(self._map(text), self._presence.get(text, 0.9), 0.5, PresenceEvidence(0.0)) for text in texts
        ]

    def _map(self, text: str) -> NDArray[np.float32]:
        drawn = np.roll(self._draw(text), self._shift, axis=1)
        height, width = drawn.shape
        cells = (
            drawn.reshape(height // self._cell, self._cell, width // self._cell, self._cell)
            .mean(axis=(1, 3))
            .clip(0.05, 0.95)
        )
        logits: NDArray[np.float32] = np.log(cells / (1 - cells)).astype(np.float32)
        return logits


class CountedGraph:
    """A graph whose answers are made up, and which counts its calls.

    Args:
        compute: Gives the outputs of the inputs.
    """

    def __init__(self, compute: Callable[..., dict[str, NDArray[np.float32]]]) -> None:
        self.num_calls = 0
        self._compute = compute

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        self.num_calls += 1
        return self._compute(**inputs)


def counted_graphs(detections: NDArray[np.float32], map_logits: NDArray[np.float32]) -> PromptSegGraphs:
    """Graphs of a network that finds the same map for every text, and the same detections in every image."""
    channels = 8

    def decode(pixel_embedding: NDArray[Any], texts: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        ones = np.ones(len(texts), dtype=np.float32)
        return {"mask_logits": np.stack([map_logits] * len(texts)), "iou": ones, "presence_logit": 3 * ones}

    return PromptSegGraphs(
        images=CountedGraph(
            lambda pixels: {
                "pixel_embedding": np.zeros((1, channels, *map_logits.shape), np.float32),
                "detections": detections[None],
            }
        ),
        texts=CountedGraph(
            lambda token_ids, token_mask: {"embedding": np.ones((len(token_ids), channels), np.float32)}
        ),
        decode=CountedGraph(decode),
        exemplar=CountedGraph(lambda cells, coverage: {"embedding": np.ones(channels, np.float32)}),
    )
