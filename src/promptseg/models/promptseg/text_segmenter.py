"""Segmenting by texts and examples in three steps, whoever computes them: the network, or an engine that runs it.

Shapes: B images, N texts, T tokens, D = config.dim, E = config.dense.embedding_dim.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptseg.encoders.base import ImageTower
from promptseg.encoders.pixels import context_window, fit_size, to_pixels
from promptseg.language.hypernyms import kind_of
from promptseg.language.matching import sure_names
from promptseg.language.phrases import normalize_phrase
from promptseg.models.example_cache import ExampleCache
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt, mixture_weights
from promptseg.segmenter import Features, Prediction, read_text, single_texts

QUERY_CHUNK = 16
# How an example is cut out of its image: this much of its own extent is left on each side, but at least this share of
# the image's longer side is seen.
EXAMPLE_CONTEXT, EXAMPLE_SHARE = 0.5, 0.4
# What a name that was never trained on takes from its kind: of the name only the text is known, its kind was seen.
KIND_SHARE = 2 / 3
# Detections that are less sure than this say no less.
LEAST_SCORE = 0.01

Record = TypeVar("Record", "EncodedImages", "EncodedTexts", "Decoded")
Item = TypeVar("Item")


@dataclass(frozen=True)
class EncodedImages:
    """B images, encoded once for all queries.

    Attributes:
        fused: What the decoder reads, shape (B, D, h, w); None without a decoder.
        fine: A finer map for it, shape (B, config.fine_dim, hf, wf), or None.
        pixel_embedding: Unit vectors to compare with texts, shape (B, E, he, we), or None.
        detections: What the tower detected, shape (B, K, 4 + V), see `ImageTower.detect`, or None. Texts are not
            compared with them: it is for whoever looks for single objects.
    """

    fused: Tensor | None
    fine: Tensor | None
    pixel_embedding: Tensor | None
    detections: Tensor | None = None


@dataclass(frozen=True)
class EncodedTexts:
    """N texts, encoded once for all images.

    Attributes:
        prompt: Prompt tokens for the decoder, shape (N, T, D); T is 1 with pooled text. None without a decoder.
        prompt_mask: True where a token is real, shape (N, T), bool; None: everywhere.
        dense: Unit vectors to compare with pixels, shape (N, E), or None.
    """

    prompt: Tensor | None
    prompt_mask: Tensor | None
    dense: Tensor | None


@dataclass(frozen=True)
class Decoded:
    """What the model says about N (image, text) pairs.

    Attributes:
        mask_logits: Shape (N, hm, wm).
        iou: Predicted IoU, shape (N,), not clamped.
        presence_logit: Before calibration, shape (N,).
        similarity: Pixel-text logits, shape (N, he, we), or None without the dense head.
    """

    mask_logits: Tensor
    iou: Tensor
    presence_logit: Tensor
    similarity: Tensor | None


def to_tensors(record: EncodedImages | EncodedTexts | Decoded) -> dict[str, Tensor]:
    """Give what a record holds, by name; what is None is left out."""
    return {name: value for name, value in vars(record).items() if value is not None}


def from_tensors(record: type[Record], tensors: Mapping[str, Tensor]) -> Record:
    """Build a record from what `to_tensors` gave; other names are not looked at."""
    values: dict[str, Any] = {name: tensors.get(name) for name in record.__annotations__}
    return record(**values)


class TextSegmenter(ABC):
    """A `Segmenter` made of three steps.

    Attributes:
        config: Architecture and operating point.
        image_tower: Says what pixels have to look like.
        examples: Keeps what examples were embedded as, where the weights stay as they are; None: they may change.
    """

    config: PromptSegConfig
    image_tower: ImageTower
    examples: ExampleCache | None = None

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the steps are computed."""

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> EncodedImages:
        """Encode normalized pixels, shape (B, 3, H, W); H and W are multiples of the tower's `multiple`."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode N texts."""

    @abstractmethod
    def decode(self, images: EncodedImages, texts: EncodedTexts, image_index: Tensor) -> Decoded:
        """Segment B images by N texts; image_index, shape (N,), says which image each text is asked of."""

    @abstractmethod
    def embed_exemplar(self, pixel_embedding: Tensor, coverage: Tensor) -> Tensor:
        """Embed the example that covers shares (h, w) of the cells of an image, shape (E, h, w), as shape (E,)."""

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the model takes."""
        return frozenset({"text", "exemplar"}) if self.config.takes_exemplars else frozenset({"text"})

    @property
    def mask_threshold(self) -> float:
        return self.config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        return self.config.presence_threshold

    @torch.inference_mode()
    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode one image, uint8, shape (H, W, 3), as named tensors whose first dimension is 1."""
        size_hw = fit_size(
            image_rgb.shape[:2],
            image_size=self.config.image_size,
            multiple=self.image_tower.multiple,
            resize=self.config.resize,
        )
        images = self.encode_images(to_pixels(image_rgb, size_hw, self.image_tower).to(self.device))
        return to_tensors(images)

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded image by N queries; see `Segmenter.segment`.

        A query is a phrase, or, where the model takes exemplars, any mixture of phrases and examples.

        Args:
            features: What `encode_image` gave, here or on another device.
            queries: N of them; none gives an empty prediction.
            size_hw: Original size of the image, pixels. The maps cover the whole image at any size.
        """
        if not self.config.takes_exemplars:
            return self.segment_texts(features, single_texts(queries), size_hw)
        parts = [self._embed_queries(chunk) for chunk in _chunks(queries)]
        return self._decode_all(features, parts, [read_text(query) for query in queries])

    def segment_texts(self, features: Features, texts: Sequence[str], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded image by N texts; see `segment`."""
        return self._decode_all(features, [self._read(chunk) for chunk in _chunks(texts)], texts)

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode N texts in their usual spelling; those that name what was never trained on lean on their kinds."""
        # a text tower hears a full stop or quotation marks, which mean nothing here
        texts = [normalize_phrase(text) or text for text in texts]
        encoded = self.encode_texts(texts)
        known = frozenset(self.config.dense.known_names) if self.config.dense is not None else frozenset()
        kinds = {row: kind for row, text in enumerate(texts) if known and (kind := kind_of(text, known)) is not None}
        if not kinds or encoded.dense is None:
            return encoded
        rows = torch.tensor(list(kinds), device=self.device)
        above = self.encode_texts(list(kinds.values())).dense
        assert above is not None  # the same model said what the names are
        leaning = F.normalize(torch.lerp(encoded.dense[rows], above, KIND_SHARE), dim=-1)
        return replace(encoded, dense=encoded.dense.index_copy(0, rows, leaning))

    @torch.inference_mode()
    def _embed_queries(self, queries: Sequence[Query]) -> EncodedTexts:
        """Give each query's mixture of phrases and examples as one vector that pixels are compared with."""
        texts = [prompt.text for query in queries for prompt in query.prompts if isinstance(prompt, TextPrompt)]
        said = self._read(texts).dense if texts else None
        vector_of = {} if said is None else dict(zip(texts, said, strict=True))
        rows = []
        for query in queries:
            concepts = [prompt for prompt in query.prompts if isinstance(prompt, TextPrompt | ExemplarPrompt)]
            vectors = [
                vector_of[one.text] if isinstance(one, TextPrompt) else self._embed_example(one) for one in concepts
            ]
            shares = torch.tensor(mixture_weights(concepts), device=self.device)
            rows.append(shares @ torch.stack(vectors))
        return EncodedTexts(None, None, torch.stack(rows))

    def _embed_example(self, prompt: ExemplarPrompt) -> Tensor:
        return self._look_at(prompt) if self.examples is None else self.examples.embed(prompt, self._look_at)

    def _look_at(self, prompt: ExemplarPrompt) -> Tensor:
        """Look at an example from near: it fills half of each side of what is encoded, unless it is tiny."""
        foreground = prompt.foreground
        window = example_window(foreground)
        cells = self.encode_image(np.ascontiguousarray(prompt.image_rgb[window]))["pixel_embedding"][0]
        meant = torch.from_numpy(foreground[window].astype(np.float32)).to(cells)
        return self.embed_exemplar(cells, F.interpolate(meant[None, None], cells.shape[1:], mode="area")[0, 0])

    @torch.inference_mode()
    def _decode_all(self, features: Features, parts: Sequence[EncodedTexts], names: Sequence[str | None]) -> Prediction:
        """Decode an image by parts of a request; names: what each query says if it is one phrase, else None."""
        # they may come from a file
        images = from_tensors(EncodedImages, {name: value.to(self.device) for name, value in features.items()})
        decoded = [self.decode(images, part, _zeros(part, self.device)) for part in parts]
        if not decoded:
            empty = torch.zeros(0, device=self.device)
            return Prediction(mask_logits=empty[:, None, None], presence=empty, iou=empty)
        presence_logit = torch.cat([one.presence_logit for one in decoded])
        scale, shift = self.config.presence_calibration
        return Prediction(
            mask_logits=torch.cat([one.mask_logits for one in decoded]),
            presence=torch.sigmoid(scale * (presence_logit + self._weigh_detections(images, names)) + shift),
            iou=torch.cat([one.iou for one in decoded]).clamp(0.0, 1.0),
        )

    def _weigh_detections(self, images: EncodedImages, names: Sequence[str | None]) -> Tensor:
        """Say what an image's detections add to the presence logits of N names, shape (N,)."""
        evidence = torch.zeros(len(names))
        dense = self.config.dense
        if dense is not None and dense.detection_evidence is not None and images.detections is not None:
            scale, shift = dense.detection_evidence
            for row, name in enumerate(names):
                detected = None if name is None else self.detected_logit(images.detections[0], name)
                if detected is not None:
                    evidence[row] = scale * detected + shift
        return evidence.to(self.device)

    def detected_logit(self, detections: Tensor, name: str) -> float | None:
        """Give the logit of the surest detection of a name, as far as a score can be trusted.

        Args:
            detections: Of one image, shape (K, 4 + V), see `ImageTower.detect`.
            name: In any spelling.

        Returns:
            None where the image tower does not detect what goes by that name.
        """
        columns = [4 + index for index in sure_names(name, self.image_tower.detected_names)]
        if not columns:
            return None
        return torch.logit(detections[:, columns].max().float(), eps=LEAST_SCORE).item()


def example_window(foreground: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Choose rows and columns of an example's image to look at; foreground: bool, shape (H, W)."""
    return context_window(foreground, context=EXAMPLE_CONTEXT, min_share=EXAMPLE_SHARE)


def _chunks(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Cut a request into parts, for a decoder's memory grows with the queries at once."""
    return [items[start : start + QUERY_CHUNK] for start in range(0, len(items), QUERY_CHUNK)]


def _zeros(texts: EncodedTexts, device: torch.device) -> Tensor:
    """Say that all texts are asked of the first image."""
    given = texts.dense if texts.prompt is None else texts.prompt
    assert given is not None  # a model has a decoder or a dense head
    return torch.zeros(len(given), dtype=torch.int64, device=device)
