"""CLIPSeg: a frozen CLIP and a small decoder that a text, a picture or a mixture of them steers.

Paper: Lüddecke and Ecker 2022, arXiv:2112.10003; code: github.com/timojl/clipseg @ 77c4e2d (MIT).
Differs: the picture is encoded once for all queries, and not beyond the last block that the decoder reads.

Shapes: B pictures, N queries, T = 1 + h * w tokens, C channels of the tower, E channels of an embedding.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD, AttentionMask, ImageTower, TextTower, TokenTower
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.errors import UnsupportedPromptError
from promptseg.exemplars.engineer import engineer
from promptseg.models.base import Features, Prediction
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.decoder import ClipSegDecoder
from promptseg.models.pixels import PixelStatistics, fit_size, to_pixels
from promptseg.prompts import Concept, ExemplarPrompt, Query, TextPrompt, mixture_weights

QUERY_CHUNK = 16
LEAST_PROBABILITY = 1e-6  # what is excluded has a finite logit


class ClipSeg(nn.Module):
    """Segment pictures by texts, by other pictures, and by mixtures of both.

    Built with random weights everywhere unless towers are handed in.

    Args:
        config: Architecture and operating point.
        image_tower: A tower of the config's kind, perhaps pretrained; None: a random one.
        text_tower: A tower of the config's kind, perhaps pretrained; None: a random one.

    Raises:
        ValueError: the config names an image tower that is no transformer with a class token.
    """

    prompt_kinds = frozenset({"text", "exemplar"})

    def __init__(
        self, config: ClipSegConfig, image_tower: ImageTower | None = None, text_tower: TextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        tower = image_tower or build_image_tower(config.image_tower, config.image_layers)
        if not isinstance(tower, TokenTower):
            raise ValueError(f"{config.image_tower} has no class token: CLIPSeg needs a transformer that has")
        self.image_tower = tower.requires_grad_(False)
        self.text_tower = (text_tower or build_text_tower(config.text_tower)).requires_grad_(False)
        self.decoder = ClipSegDecoder(
            token_dim=tower.channels[0],
            condition_dim=self.text_tower.dim,
            num_states=len(tower.layers),
            patch=tower.multiple,
            dim=config.dim,
            block=config.block,
            num_heads=config.num_heads,
            mlp_dim=config.mlp_dim,
            dropout=config.dropout,
            film_block=config.film_block,
            head=config.head,
        )
        # A tower that never met a text speaks of a picture in a space of its own. As in the published ViTSeg, a fixed
        # random matrix brings it to the right length; the decoder has to learn both languages.
        self.foreign_projection: nn.Linear | None = None
        if tower.embedding_dim != self.text_tower.dim:
            self.foreign_projection = nn.Linear(tower.embedding_dim, self.text_tower.dim).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ClipSeg":
        super().train(mode)
        # a frozen tower has nothing to learn: dropout in it would be noise
        self.image_tower.eval()
        self.text_tower.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return self.decoder.film_mul.weight.device

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
        """What pixels are normalised by."""
        if self.config.pixel_statistics == "imagenet":
            return PixelStatistics(IMAGENET_MEAN, IMAGENET_STD)
        return PixelStatistics(self.image_tower.mean, self.image_tower.std)

    def trained_names(self) -> set[str]:
        """Name what a checkpoint has to store: all of the state but the towers that stay as they were published."""
        published = ("text_tower.", "image_tower.") if self.config.published_towers else ()
        return {name for name in self.state_dict() if not name.startswith(published)}

    # Steps on batches, for training and for whoever keeps what they give.

    def forward(self, pixels: Tensor, condition: Tensor) -> Tensor:
        """Segment B pictures, each by its own vector.

        Args:
            pixels: Normalised by `pixel_statistics`, shape (B, 3, H, W); H and W are multiples of the patch.
            condition: Shape (B, E): what `embed_texts` or `embed_images` gave, or mixtures of them.

        Returns:
            Logits, shape (B, H, W).
        """
        logits = self.decode(self.encode_tokens(pixels), condition, self._grid_hw(pixels))
        size_hw = (pixels.shape[2], pixels.shape[3])
        if logits.shape[1:] == size_hw:
            return logits
        return F.interpolate(logits[:, None], size_hw, mode="bilinear", align_corners=False)[:, 0]

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give the frozen tower's states that the decoder reads, the shallowest first, each (B, T, C)."""
        with torch.no_grad():
            return self.image_tower.encode_tokens(pixels)

    def decode(self, states: Sequence[Tensor], condition: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Give the decoder's logits as they are, shape (N, h', w'); see `ClipSegDecoder.forward`."""
        logits: Tensor = self.decoder(states, condition, grid_hw)
        return logits

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts, shape (N, E), of whatever length the tower gives them: the decoder was trained on that."""
        token_ids, token_mask = self.text_tower.tokenize(texts)
        embedding: Tensor = self.text_tower(token_ids.to(self.device), token_mask.to(self.device)).embedding
        return embedding

    @torch.no_grad()
    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Embed normalised pixels, shape (B, 3, H, W), as vectors that stand beside those of texts, shape (B, E)."""
        embedding = self.image_tower.embed_images(pixels, attention_mask)
        return embedding if self.foreign_projection is None else self.foreign_projection(embedding)

    # One picture, many queries.

    @torch.inference_mode()
    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode one picture, uint8, shape (H, W, 3), as named tensors whose first dimension is 1."""
        states = self.encode_tokens(self._to_pixels(image_rgb))
        return {f"tokens{index}": state for index, state in enumerate(states)}

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment one encoded picture by N queries of texts and exemplars.

        A query's concepts of positive weight are mixed into one vector, by their shares. A concept of negative weight
        w, to 1 at most, is asked for by itself; where it has the probability p, the query keeps 1 - |w| p of its own.

        Args:
            features: What `encode_image` gave, here or on another device.
            queries: N queries; none gives an empty prediction.
            size_hw: Original size of the picture, pixels. The maps cover the whole picture at any size.

        Returns:
            Presence is the highest probability of any pixel, and IoU the mean probability in the mask (0 where there
            is none): the paper predicts neither, and neither is calibrated.

        Raises:
            UnsupportedPromptError: A query holds another kind of prompt.
        """
        if not queries:
            empty = torch.zeros(0, device=self.device)
            return Prediction(mask_logits=empty[:, None, None], presence=empty, iou=empty)
        # they may come from a file
        states = [features[f"tokens{index}"].to(self.device) for index in range(len(features))]
        concepts = [_concepts_of(query) for query in queries]
        embeddings = torch.cat([self._embed_concept(concept) for group in concepts for concept in group])
        shares = torch.block_diag(*(torch.tensor(mixture_weights(group)) for group in concepts)).to(embeddings)
        query_index, concept_index = (shares < 0).nonzero(as_tuple=True)
        conditions = torch.cat([shares.clamp(min=0) @ embeddings, embeddings[concept_index]])
        side = self._side // self.image_tower.multiple
        # the decoder's memory grows with the queries at once
        logits = torch.cat([self.decode(states, chunk, (side, side)) for chunk in conditions.split(QUERY_CHUNK)])
        mask_logits, foreign_logits = logits[: len(queries)], logits[len(queries) :]
        for row, column, foreign in zip(query_index, concept_index, foreign_logits, strict=True):
            kept = 1 + shares[row, column].clamp(min=-1) * foreign.sigmoid()
            mask_logits[row] = (mask_logits[row].sigmoid() * kept).logit(LEAST_PROBABILITY)
        probability = mask_logits.sigmoid()
        inside = probability >= self.mask_threshold
        return Prediction(
            mask_logits=mask_logits,
            presence=probability.amax((1, 2)),
            iou=(probability * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1),
        )

    def _embed_concept(self, concept: Concept) -> Tensor:
        """Embed a phrase or an example, shape (1, E)."""
        if isinstance(concept, TextPrompt):
            return self.embed_texts([concept.text])
        shown = engineer(concept.image_rgb, concept.foreground, variant=self.config.visual_prompt)
        pixels = self._to_pixels(shown.image_rgb)
        if shown.token_mask is None:
            return self.embed_images(pixels)
        side = self._side // self.image_tower.multiple
        tokens = torch.from_numpy(shown.token_mask.tokens((side, side)))[None].to(self.device)
        return self.embed_images(pixels, AttentionMask(tokens, shown.token_mask.layers, shown.token_mask.queries))

    @property
    def _side(self) -> int:
        """Side of what the towers see, pixels: the config's, made a multiple of the patch."""
        multiple = self.image_tower.multiple
        return fit_size((1, 1), image_size=self.config.image_size, multiple=multiple, resize="square")[0]

    def _to_pixels(self, image_rgb: np.ndarray) -> Tensor:
        return to_pixels(image_rgb, (self._side, self._side), self.pixel_statistics).to(self.device)

    def _grid_hw(self, pixels: Tensor) -> tuple[int, int]:
        return pixels.shape[2] // self.image_tower.multiple, pixels.shape[3] // self.image_tower.multiple


def _concepts_of(query: Query) -> list[Concept]:
    concepts = [prompt for prompt in query.prompts if isinstance(prompt, (TextPrompt, ExemplarPrompt))]
    if len(concepts) < len(query.prompts):
        kinds = " + ".join(prompt.kind for prompt in query.prompts)
        raise UnsupportedPromptError(
            f"the model takes phrases and exemplars, {query.label!r} is {kinds}: ask for it without the others"
        )
    return concepts
