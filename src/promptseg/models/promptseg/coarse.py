"""Compute coarse maps and presence for texts and exemplars with the network of the default model.

Shapes: N concept groups, E = config.embedding_dim, h w cells, K detections of V classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.efficientdet import ObjectDetector
from promptseg.detectors.fusion import fuse_detections
from promptseg.encoders.classifier import ImageClassifier
from promptseg.encoders.pixels import context_window, input_size, to_pixels
from promptseg.encoders.tokenizers import Tokenizer
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.errors import DataError
from promptseg.language.reading import PhraseReader, PhraseReading
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import PromptSegGraphs
from promptseg.models.promptseg.people import People, find_people
from promptseg.models.promptseg.phrase_vectors import PhraseEmbedder
from promptseg.models.promptseg.presence import PresenceEvidence, class_logit, classify_parts
from promptseg.models.promptseg.settings import PipelineSettings
from promptseg.ops.deferred import Deferred
from promptseg.ops.exemplar_cache import ExemplarCache
from promptseg.ops.resize import area_shares, clipped_logit, sigmoid
from promptseg.prompts import Concept, ExemplarPrompt, TextPrompt, mixture_weights
from promptseg.segmenter import Arrays

Floats = NDArray[np.float32]
ConceptGroup = tuple[Concept, ...]

# Maximum batch size: the memory of a request must not grow with its number of phrases.
MAPS_PER_CALL = 128


@dataclass(frozen=True, eq=False)
class CoarseImage:
    """An image, encoded by the network.

    Attributes:
        pixel_embedding: Unit vectors, shape (1, E, h, w), float32 or float16.
        detected: Detected boxes and scores, shape (K, 4 + V), see `encoders.base.ImageTower.detect`; a second detector
            looks for the first phrase. None: the model detects nothing.
        class_logits: See `encoders.classifier.ImageClassifier.classify`, or None.
        people: The detected people, looked at for the first phrase that means a kind of person; None: nothing is known
            of people. They are no part of the arrays.
    """

    pixel_embedding: NDArray[Any]
    detected: Deferred[Floats] | None = None
    class_logits: Floats | None = None
    people: Deferred[People] | None = None

    @property
    def detections(self) -> Floats | None:
        """Detected boxes and scores, or None."""
        return None if self.detected is None else self.detected.get()

    def to_arrays(self) -> Arrays:
        """Return the parts as named arrays."""
        arrays: Arrays = {"pixel_embedding": self.pixel_embedding}
        others = {"detections": self.detections, "class_logits": self.class_logits}
        return arrays | {name: array for name, array in others.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "CoarseImage":
        """Rebuild the record from the result of `to_arrays`.

        Raises:
            DataError: The pixel embedding is missing.
        """
        if "pixel_embedding" not in arrays:
            raise DataError("the embedding lacks 'pixel_embedding': encode the image again")
        detected = Deferred.of(arrays["detections"]) if "detections" in arrays else None
        return cls(arrays["pixel_embedding"], detected, arrays.get("class_logits"))


@dataclass(frozen=True, eq=False)
class CoarseAnswer:
    """Output of the network for one concept group.

    Attributes:
        mask_logits: Shape (h, w), float32.
        presence: Calibrated probability that the concept is in the image.
        mask_quality: Predicted IoU of the mask, in [0, 1].
        evidence: What the presence was computed from.
    """

    mask_logits: Floats
    presence: float
    mask_quality: float
    evidence: PresenceEvidence


class CoarseSegmenter:
    """Embeds phrases and exemplars as vectors and computes a coarse map for each. Threads may share it.

    Args:
        config: Config of the model.
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower.
        classifier: The classifier of the config, or None.
        detector: The second detector of the config, or None.
    """

    def __init__(
        self,
        config: PromptSegConfig,
        graphs: PromptSegGraphs,
        tokenizer: Tokenizer,
        classifier: ImageClassifier | None = None,
        detector: ObjectDetector | None = None,
    ) -> None:
        self.config = config
        self._graphs = graphs
        self._phrases = PhraseEmbedder(graphs.texts, tokenizer, config.settings.hypernym_share)
        self._classifier = classifier
        self._detector = detector
        self._tower = image_tower_facts(config.image_tower)
        self.reader = PhraseReader(
            self._tower.detected_names, frozenset(config.trained_names), knows_imagenet=classifier is not None
        )
        self._exemplars = ExemplarCache()

    def encode(self, image_rgb: NDArray[np.uint8]) -> CoarseImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        encoded = self._encode(image_rgb)
        class_logits = None if self._classifier is None else self._classifier.classify(image_rgb)
        image = CoarseImage(encoded["pixel_embedding"], self._detect(encoded, image_rgb), class_logits)
        return self.with_people(image, image_rgb)

    def _detect(self, encoded: Arrays, image_rgb: NDArray[np.uint8]) -> Deferred[Floats] | None:
        if "detections" not in encoded:
            return None
        own, detector = encoded["detections"][0], self._detector
        if detector is None:
            return Deferred.of(own)
        return Deferred(lambda: fuse_detections(own, detector.detect(image_rgb)))

    def with_people(self, image: CoarseImage, image_rgb: NDArray[np.uint8]) -> CoarseImage:
        """Let an encoded image tell its people apart, if the model has a detector of people and a classifier."""
        classes, classifier, detected = self.reader.people_classes, self._classifier, image.detected
        if detected is None or classifier is None or not classes:
            return image
        settings = self.config.settings.kinds
        people = Deferred(lambda: find_people(image_rgb, detected.get(), classes, classifier, settings))
        return replace(image, people=people)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool = False) -> CoarseImage:
        """Embed the pixels of a view of a larger image, uint8, shape (H, W, 3); `compact`: as float16.

        Detections and classes are left out: they describe a whole image.
        """
        cells = self._encode(image_rgb)["pixel_embedding"]
        return CoarseImage(cells.astype(np.float16) if compact else cells)

    def _encode(self, image_rgb: NDArray[np.uint8]) -> Arrays:
        input_hw = input_size(self.config, (image_rgb.shape[0], image_rgb.shape[1]))
        return self._graphs.images(pixels=to_pixels(image_rgb, input_hw, self._tower))

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
        evidence = self._gather_evidence(image, groups, readings, logits.tolist())
        # the weights hold for whole images: a part of one has neither detections nor classes
        is_part = self.config.classifier is not None and image.class_logits is None
        weighed = [
            one.map_logit if is_part else self._weigh(one, group, readings)
            for one, group in zip(evidence, groups, strict=True)
        ]
        scale, shift = self.config.presence_calibration
        presence = sigmoid(scale * np.array(weighed, dtype=np.float32) + np.float32(shift))
        return [
            CoarseAnswer(*answer)
            for answer in zip(maps, presence.tolist(), ious.clip(0.0, 1.0).tolist(), evidence, strict=True)
        ]

    def _embed(self, groups: Sequence[ConceptGroup], readings: Mapping[str, PhraseReading]) -> Floats:
        """Embed each group's mixture of phrases and exemplars as one vector, shape (N, E)."""
        phrases = dict.fromkeys(one.text for group in groups for one in group if isinstance(one, TextPrompt))
        vector_of = self._phrases.embed([readings[phrase] for phrase in phrases])
        rows = []
        for group in groups:
            vectors = [
                vector_of[readings[one.text].text] if isinstance(one, TextPrompt) else self._embed_exemplar(one)
                for one in group
            ]
            rows.append(np.array(mixture_weights(group), dtype=np.float32) @ np.stack(vectors))
        return np.stack(rows)

    def _embed_exemplar(self, prompt: ExemplarPrompt) -> Floats:
        return self._exemplars.embed(prompt, self._embed_crop)

    def _embed_crop(self, prompt: ExemplarPrompt) -> Floats:
        """Embed an exemplar, shape (E,), from a crop around it: it fills half of each side unless it is tiny."""
        foreground = prompt.foreground
        window = exemplar_window(foreground, self.config.settings)
        cells = self.encode_part(np.ascontiguousarray(prompt.image_rgb[window])).pixel_embedding[0]
        coverage = area_shares(foreground[window], (cells.shape[1], cells.shape[2]))
        return self._graphs.exemplar(cells=cells, coverage=coverage)["embedding"]

    def _gather_evidence(
        self,
        image: CoarseImage,
        groups: Sequence[ConceptGroup],
        readings: Mapping[str, PhraseReading],
        map_logits: Sequence[float],
    ) -> list[PresenceEvidence]:
        """Gather the evidence of maps and, for groups of one phrase, of detections, classes and people."""
        settings = self.config.classifier
        least_score = self.config.settings.detection.least_evidence_score
        parts = None
        if settings is not None and image.class_logits is not None:
            parts = classify_parts(image.class_logits, settings.window_cells)
        gathered = []
        for group, map_logit in zip(groups, map_logits, strict=True):
            reading = _reading_of(group, readings)
            if reading is not None and reading.person_kind is not None and image.people is not None:
                least_of_gender = self.config.settings.kinds.least_of_gender
                score = image.people.get().best_score(reading.person_kind, least_of_gender=least_of_gender)
                gathered.append(PresenceEvidence(map_logit, people_logit=clipped_logit(score, least=least_score)))
                continue
            detected = classes = None
            if reading is not None and image.detections is not None:
                detected = detected_logit(image.detections, reading, least_score=least_score)
            if reading is not None and settings is not None and parts is not None:
                classes = class_logit(parts, reading, least_probability=settings.least_probability)
            gathered.append(PresenceEvidence(map_logit, detected, classes))
        return gathered

    def _weigh(self, evidence: PresenceEvidence, group: ConceptGroup, readings: Mapping[str, PhraseReading]) -> float:
        """Compute the presence logit of a group, before calibration."""
        reading = _reading_of(group, readings)
        if reading is None:
            return evidence.map_logit
        return evidence.weigh(self.config, is_trained=reading.hypernym is None)


def _reading_of(group: ConceptGroup, readings: Mapping[str, PhraseReading]) -> PhraseReading | None:
    """Return the reading of a group that is one phrase; None for any other group."""
    match group:
        case (TextPrompt(text=text),):
            return readings[text]
        case _:
            return None


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
    return clipped_logit(score, least=least_score)


_DECODED = ("mask_logits", "iou", "presence_logit")
