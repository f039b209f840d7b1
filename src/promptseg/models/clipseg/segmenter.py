"""Segmenting one image by texts and by other images in four steps, whoever computes them.

Shapes: N queries, T = 1 + h * w tokens, C channels of the tower, E channels of an embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from promptseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, AttentionMask, TokenTower
from promptseg.encoders.pixels import PixelStatistics, fit_size, to_pixels
from promptseg.errors import UnsupportedPromptError
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.visual_prompt import engineer
from promptseg.models.example_cache import ExampleCache
from promptseg.prompts import Concept, ExemplarPrompt, Query, TextPrompt, mixture_weights
from promptseg.segmenter import Features, Prediction

QUERY_CHUNK = 16
LEAST_PROBABILITY = 1e-6  # what is excluded has a finite logit


class ConceptSegmenter(ABC):
    """A `Segmenter` that turns every query into one vector, and that vector into a mask.

    Attributes:
        config: Architecture and operating point.
        image_tower: Says what pixels have to look like.
        examples: Keeps what examples were embedded as, where the weights stay as they are; None: they may change.
    """

    prompt_kinds = frozenset({"text", "exemplar"})
    config: ClipSegConfig
    image_tower: TokenTower
    examples: ExampleCache | None = None

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the steps are computed."""

    @abstractmethod
    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give the frozen tower's states that the decoder reads, the shallowest first, each (B, T, C)."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts, shape (N, E), of whatever length the tower gives them: the decoder was trained on that."""

    @abstractmethod
    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Embed normalized pixels, shape (B, 3, H, W), as vectors that stand beside those of texts, shape (B, E)."""

    @abstractmethod
    def decode(self, states: Sequence[Tensor], condition: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Give the decoder's logits as they are, shape (N, h', w'); see `ClipSegDecoder.forward`."""

    @property
    def mask_threshold(self) -> float:
        """A pixel belongs to a mask from this probability on."""
        return self.config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """A query counts as found from this presence on."""
        return self.config.presence_threshold

    @property
    def pixel_statistics(self) -> PixelStatistics:
        """What pixels are normalized by."""
        if self.config.pixel_statistics == "imagenet":
            return PixelStatistics(IMAGENET_MEAN, IMAGENET_STD)
        return PixelStatistics(self.image_tower.mean, self.image_tower.std)

    @torch.inference_mode()
    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode one image, uint8, shape (H, W, 3), as named tensors whose first dimension is 1."""
        states = self.encode_tokens(self._to_pixels(image_rgb))
        return {f"tokens{index}": state for index, state in enumerate(states)}

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded image by N queries of texts and exemplars.

        A query's concepts of positive weight are mixed into one vector, by their shares. A concept of negative weight
        w, to 1 at most, is asked for by itself; where it has the probability p, the query keeps 1 - |w| p of its own.

        Args:
            features: What `encode_image` gave, here or on another device.
            queries: N queries; none gives an empty prediction.
            size_hw: Original size of the image, pixels. The maps cover the whole image at any size.

        Returns:
            Presence is the highest probability of any pixel, calibrated only if the config says how, and IoU the mean
            probability in the mask (0 where there is none): the paper predicts neither.

        Raises:
            UnsupportedPromptError: A query holds another kind of prompt.
        """
        if not queries:
            empty = torch.zeros(0, device=self.device)
            return Prediction(mask_logits=empty[:, None, None], presence=empty, iou=empty)
        # they may come from a file
        states = [features[f"tokens{index}"].to(self.device) for index in range(len(features))]
        concepts = [_concepts_of(query) for query in queries]
        embeddings = self._embed_concepts([concept for group in concepts for concept in group])
        shares = torch.block_diag(*(torch.tensor(mixture_weights(group)) for group in concepts)).to(embeddings)
        query_index, concept_index = (shares < 0).nonzero(as_tuple=True)
        conditions = torch.cat([shares.clamp(min=0) @ embeddings, embeddings[concept_index]])
        side = self.side // self.image_tower.multiple
        # the decoder's memory grows with the queries at once
        logits = torch.cat([self.decode(states, chunk, (side, side)) for chunk in conditions.split(QUERY_CHUNK)])
        mask_logits, foreign_logits = logits[: len(queries)], logits[len(queries) :]
        for row, column, foreign in zip(query_index, concept_index, foreign_logits, strict=True):
            kept = 1 + shares[row, column].clamp(min=-1) * foreign.sigmoid()
            mask_logits[row] = (mask_logits[row].sigmoid() * kept).logit(LEAST_PROBABILITY)
        scale, shift = self.config.presence_calibration
        probability = mask_logits.sigmoid()
        inside = probability >= self.mask_threshold
        return Prediction(
            mask_logits=mask_logits,
            presence=torch.sigmoid(scale * mask_logits.amax((1, 2)) + shift),
            iou=(probability * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1),
        )

    def _embed_concepts(self, concepts: Sequence[Concept]) -> Tensor:
        """Embed phrases and examples, shape (M, E), in order; a phrase that comes again is embedded once."""
        texts = list(dict.fromkeys(concept.text for concept in concepts if isinstance(concept, TextPrompt)))
        rows: dict[str, Tensor] = {}
        for start in range(0, len(texts), QUERY_CHUNK):
            chunk = texts[start : start + QUERY_CHUNK]
            rows |= dict(zip(chunk, self.embed_texts(chunk), strict=True))
        return torch.stack(
            [rows[each.text] if isinstance(each, TextPrompt) else self._embed_exemplar(each) for each in concepts]
        )

    def _embed_exemplar(self, exemplar: ExemplarPrompt) -> Tensor:
        return self._look_at(exemplar) if self.examples is None else self.examples.embed(exemplar, self._look_at)

    def _look_at(self, exemplar: ExemplarPrompt) -> Tensor:
        """Embed an example, shape (E,)."""
        shown = engineer(exemplar.image_rgb, exemplar.foreground, variant=self.config.visual_prompt)
        pixels = self._to_pixels(shown.image_rgb)
        if shown.token_mask is None:
            return self.embed_images(pixels)[0]
        side = self.side // self.image_tower.multiple
        tokens = torch.from_numpy(shown.token_mask.tokens((side, side)))[None].to(self.device)
        return self.embed_images(pixels, AttentionMask(tokens, shown.token_mask.layers, shown.token_mask.queries))[0]

    @property
    def side(self) -> int:
        """Side of what the towers see, pixels: the config's, made a multiple of the patch."""
        multiple = self.image_tower.multiple
        return fit_size((1, 1), image_size=self.config.image_size, multiple=multiple, resize="square")[0]

    def _to_pixels(self, image_rgb: np.ndarray) -> Tensor:
        return to_pixels(image_rgb, (self.side, self.side), self.pixel_statistics).to(self.device)


def _concepts_of(query: Query) -> list[Concept]:
    concepts = [prompt for prompt in query.prompts if isinstance(prompt, (TextPrompt, ExemplarPrompt))]
    if len(concepts) < len(query.prompts):
        kinds = " + ".join(prompt.kind for prompt in query.prompts)
        raise UnsupportedPromptError(
            f"the model takes phrases and exemplars, {query.label!r} is {kinds}: ask for it without the others"
        )
    return concepts
