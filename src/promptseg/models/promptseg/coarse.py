"""Compute coarse maps and presence for texts and exemplars with the network of the default model.

Shapes: N concept groups, E = config.embedding_dim, h w cells, K detections of V classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.pixels import context_window, input_size, to_pixels
from promptseg.encoders.tokenizers import Tokenizer
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.errors import DataError
from promptseg.language.reading import PhraseReader, PhraseReading
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import PromptSegGraphs
from promptseg.models.promptseg.settings import PipelineSettings
from promptseg.ops.exemplar_cache import ExemplarCache
from promptseg.ops.resize import area_shares, logit, sigmoid
from promptseg.prompts import Concept, ExemplarPrompt, TextPrompt, mixture_weights
from promptseg.segmenter import Arrays

Floats = NDArray[np.float32]
ConceptGroup = tuple[Concept, ...]

# Maximum batch sizes: the memory of a request must not grow with its number of phrases.
TEXTS_PER_CALL, MAPS_PER_CALL = 128, 128


@dataclass(frozen=True, eq=False)
class CoarseImage:
    """An image, encoded by the network.

    Attributes:
        pixel_embedding: Unit vectors, shape (1, E, h, w), float32 or float16.
        detections: Detected boxes and scores, shape (K, 4 + V), see `encoders.base.ImageTower.detect`, or None.
    """

    pixel_embedding: NDArray[Any]
    detections: Floats | None = None

    def to_arrays(self) -> Arrays:
        """Return the parts as named arrays."""
        arrays: Arrays = {"pixel_embedding": self.pixel_embedding}
        return arrays if self.detections is None else arrays | {"detections": self.detections}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "CoarseImage":
        """Rebuild the record from the result of `to_arrays`.

        Raises:
            DataError: The pixel embedding is missing.
        """
        if "pixel_embedding" not in arrays:
            raise DataError("the embedding lacks 'pixel_embedding': encode the image again")
        return cls(arrays["pixel_embedding"], arrays.get("detections"))


@dataclass(frozen=True, eq=False)
class CoarseAnswer:
    """Output of the network for one concept group.

    Attributes:
        mask_logits: Shape (h, w), float32.
        presence: Calibrated probability that the concept is in the image.
        mask_quality: Predicted IoU of the mask, in [0, 1].
    """

    mask_logits: Floats
    presence: float
    mask_quality: float


class CoarseSegmenter:
    """Embeds phrases and exemplars as vectors and computes a coarse map for each. Threads may share it.

    Args:
        config: Config of the model.
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower.
    """

    def __init__(self, config: PromptSegConfig, graphs: PromptSegGraphs, tokenizer: Tokenizer) -> None:
        self.config = config
        self._graphs = graphs
        self._tokenizer = tokenizer
        self._tower = image_tower_facts(config.image_tower)
        self.reader = PhraseReader(self._tower.detected_names, frozenset(config.trained_names))
        self._exemplars = ExemplarCache()

    def encode(self, image_rgb: NDArray[np.uint8]) -> CoarseImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        input_hw = input_size(self.config, (image_rgb.shape[0], image_rgb.shape[1]))
        pixels = to_pixels(image_rgb, input_hw, self._tower)
        encoded = self._graphs.images(pixels=pixels)
        detections = encoded.get("detections")
        return CoarseImage(encoded["pixel_embedding"], None if detections is None else detections[0])

    def segment(
        self, image: CoarseImage, groups: Sequence[ConceptGroup], readings: Mapping[str, PhraseReading]
    ) -> list[CoarseAnswer]:
        """Compute coarse maps of concept groups, with batched calls of the text tower and of the decoder.

        Args:
            image: Result of `encode`.
            groups: Phrases and exemplars, one group per answer.
            readings: Reading of every phrase in the groups.

        Returns:
            One answer per group, in order.
        """
        if not groups:
            return []
        vectors = self._embed(groups, readings)
        cells = image.pixel_embedding.astype(np.float32, copy=False)
        parts = [
            self._graphs.decode(pixel_embedding=cells, texts=vectors[start : start + MAPS_PER_CALL])
            for start in range(0, len(vectors), MAPS_PER_CALL)
        ]
        maps, ious, logits = (np.concatenate([part[name] for part in parts]) for name in _DECODED)
        evidence = [self._evidence(image, group, readings) for group in groups]
        scale, shift = self.config.presence_calibration
        presence = sigmoid((scale * (logits + np.array(evidence, dtype=np.float32)) + shift).astype(np.float32))
        return [
            CoarseAnswer(*answer) for answer in zip(maps, presence.tolist(), ious.clip(0.0, 1.0).tolist(), strict=True)
        ]

    def _embed(self, groups: Sequence[ConceptGroup], readings: Mapping[str, PhraseReading]) -> Floats:
        """Embed each group's mixture of phrases and exemplars as one vector, shape (N, E)."""
        phrases = dict.fromkeys(one.text for group in groups for one in group if isinstance(one, TextPrompt))
        vector_of = self._embed_phrases([readings[phrase] for phrase in phrases])
        rows = []
        for group in groups:
            vectors = [
                vector_of[readings[one.text].text] if isinstance(one, TextPrompt) else self._embed_exemplar(one)
                for one in group
            ]
            rows.append(np.array(mixture_weights(group), dtype=np.float32) @ np.stack(vectors))
        return np.stack(rows)

    def _embed_phrases(self, readings: Sequence[PhraseReading]) -> dict[str, Floats]:
        """Embed phrases, by their normalized text; the vector of an untrained name is mixed with its hypernym's.

        Returns:
            Vectors of shape (E,), by text.
        """
        hypernyms = [reading.hypernym for reading in readings if reading.hypernym is not None]
        texts = list(dict.fromkeys((*(reading.text for reading in readings), *hypernyms)))
        vector_of: dict[str, Floats] = {}
        for start in range(0, len(texts), TEXTS_PER_CALL):
            chunk = texts[start : start + TEXTS_PER_CALL]
            token_ids, token_mask = self._tokenizer(chunk)
            embedded = self._graphs.texts(token_ids=token_ids, token_mask=token_mask)["embedding"]
            vector_of |= dict(zip(chunk, embedded, strict=True))
        share = np.float32(self.config.settings.hypernym_share)
        mixed = {
            reading.text: _unit(
                vector_of[reading.text] + share * (vector_of[reading.hypernym] - vector_of[reading.text])
            )
            for reading in readings
            if reading.hypernym is not None
        }
        return vector_of | mixed

    def _embed_exemplar(self, prompt: ExemplarPrompt) -> Floats:
        return self._exemplars.embed(prompt, self._embed_crop)

    def _embed_crop(self, prompt: ExemplarPrompt) -> Floats:
        """Embed an exemplar, shape (E,), from a crop around it: it fills half of each side unless it is tiny."""
        foreground = prompt.foreground
        window = exemplar_window(foreground, self.config.settings)
        cells = self.encode(np.ascontiguousarray(prompt.image_rgb[window])).pixel_embedding[0]
        coverage = area_shares(foreground[window], (cells.shape[1], cells.shape[2]))
        return self._graphs.exemplar(cells=cells, coverage=coverage)["embedding"]

    def _evidence(self, image: CoarseImage, group: ConceptGroup, readings: Mapping[str, PhraseReading]) -> float:
        """Compute the detections' contribution to the presence logit of a group of one phrase; else 0."""
        if self.config.detection_evidence is None or image.detections is None:
            return 0.0
        match group:
            case (TextPrompt(text=text),):
                least_score = self.config.settings.detection.least_evidence_score
                score_logit = detected_logit(image.detections, readings[text], least_score=least_score)
                scale, shift = self.config.detection_evidence
                return 0.0 if score_logit is None else scale * score_logit + shift
            case _:
                return 0.0


def exemplar_window(foreground: NDArray[np.bool_], settings: PipelineSettings) -> tuple[slice, slice]:
    """Choose the rows and columns to crop from an exemplar's image; foreground: bool, shape (H, W)."""
    return context_window(foreground, context=settings.exemplar_context, min_share=settings.exemplar_min_share)


def detected_logit(detections: Floats, reading: PhraseReading, *, least_score: float) -> float | None:
    """Return the logit of a phrase's best detection score; None if the detector has no class for the phrase.

    Args:
        detections: Detections in one image, shape (K, 4 + V).
        reading: Reading of the phrase.
        least_score: The score is clipped to the range from this value to 1 minus it.
    """
    if not reading.full_classes:
        return None
    score = float(detections[:, [4 + index for index in reading.full_classes]].max())
    return logit(min(max(score, least_score), 1.0 - least_score))


_DECODED = ("mask_logits", "iou", "presence_logit")


def _unit(vector: Floats) -> Floats:
    normalized: Floats = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return normalized
