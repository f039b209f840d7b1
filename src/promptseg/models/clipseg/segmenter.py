"""CLIPSeg as a segmenter: it embeds every query as one vector and decodes the vector to a mask.

Shapes: N queries, T = 1 + h * w tokens, C channels of the tower, E channels of an embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.pixels import to_pixels
from promptseg.encoders.tokenizers import Tokenizer
from promptseg.errors import DataError
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.graphs import ClipSegGraphs
from promptseg.models.clipseg.input_pixels import input_side, pixel_statistics
from promptseg.models.clipseg.visual_prompt import engineer
from promptseg.ops.exemplar_cache import ExemplarCache
from promptseg.ops.resize import sigmoid
from promptseg.prompts import Concept, ExemplarPrompt, Query, TextPrompt, mixture_weights
from promptseg.segmenter import Arrays, Prediction, read_concepts

Floats = NDArray[np.float32]

QUERY_CHUNK = 16  # batch size, because the decoder's memory grows with it
LEAST_PROBABILITY = 1e-6  # keeps the logits of excluded pixels finite


@dataclass(frozen=True, eq=False)
class ClipSegImage:
    """An image, encoded by the network.

    Attributes:
        size_hw: Height and width of the image, pixels.
        states: States of the tower's blocks that the decoder reads, shallowest first, each of shape (1, T, C), float32
            or float16.
    """

    size_hw: tuple[int, int]
    states: tuple[NDArray[Any], ...]

    def to_arrays(self) -> Arrays:
        """Return the states by name."""
        return {f"tokens{index}": state for index, state in enumerate(self.states)}


class ClipSegSegmenter:
    """Segments an image by phrases, exemplars and mixtures of them. Threads may share it.

    Args:
        config: Architecture and thresholds.
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower.
    """

    prompt_kinds = frozenset({"text", "exemplar"})

    def __init__(self, config: ClipSegConfig, graphs: ClipSegGraphs, tokenizer: Tokenizer) -> None:
        self._config = config
        self._graphs = graphs
        self._tokenizer = tokenizer
        self._exemplars = ExemplarCache()

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        return self._config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self._config.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> ClipSegImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        return self.encode_part(image_rgb, compact=False)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> ClipSegImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: as float16."""
        states = self._graphs.tokens(pixels=self._to_pixels(image_rgb)).values()
        kept = (state.astype(np.float16) if compact else state for state in states)
        return ClipSegImage((image_rgb.shape[0], image_rgb.shape[1]), tuple(kept))

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> ClipSegImage:
        """Rebuild the record from the result of `ClipSegImage.to_arrays`.

        Raises:
            DataError: A state is missing.
        """
        names = [f"tokens{index}" for index in range(len(self._config.image_layers))]
        if missing := [name for name in names if name not in arrays]:
            raise DataError(f"the embedding lacks {', '.join(map(repr, missing))}: encode the image again")
        return ClipSegImage((image_rgb.shape[0], image_rgb.shape[1]), tuple(arrays[name] for name in names))

    def segment(self, image: ClipSegImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries of texts and exemplars.

        The concepts with positive weights are mixed into one vector in proportion to their weights. A concept with a
        negative weight w is segmented separately; at a pixel where its probability is p, the query's probability is
        multiplied by 1 - min(|w|, 1) p.

        Returns:
            The paper predicts neither presence nor mask quality. Presence is the highest probability of any pixel,
            calibrated only if the config has a calibration; mask quality is the mean probability in the mask, or 0 for
            an empty mask.

        Raises:
            UnsupportedPromptError: A query holds another kind of prompt.
        """
        if not queries:
            return Prediction.empty()
        groups = [read_concepts(query) for query in queries]
        mixed, negative, owners = self._mix(groups)
        conditions = np.concatenate([mixed, negative])
        states = {name: one.astype(np.float32, copy=False) for name, one in image.to_arrays().items()}
        logits = np.concatenate(
            [
                self._graphs.decode(condition=conditions[start : start + QUERY_CHUNK], **states)["logits"]
                for start in range(0, len(conditions), QUERY_CHUNK)
            ]
        ).astype(np.float32)
        mask_logits, negative_logits = logits[: len(queries)], logits[len(queries) :]
        for (row, weight), unwanted in zip(owners, negative_logits, strict=True):
            kept = sigmoid(mask_logits[row]) * (1 - weight * sigmoid(unwanted))
            kept = kept.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
            mask_logits[row] = np.log(kept / (1 - kept))
        scale, shift = self._config.presence_calibration
        probability = sigmoid(mask_logits)
        inside = probability >= self.mask_threshold
        return Prediction(
            mask_logits,
            sigmoid((scale * mask_logits.max(axis=(1, 2)) + shift).astype(np.float32)),
            ((probability * inside).sum(axis=(1, 2)) / inside.sum(axis=(1, 2)).clip(min=1)).astype(np.float32),
        )

    def _mix(self, groups: Sequence[Sequence[Concept]]) -> tuple[Floats, Floats, list[tuple[int, float]]]:
        """Mix the positive concepts of each query, and list the negative ones.

        Returns:
            Vectors of the queries, shape (N, E); vectors of the negative concepts, shape (M, E); and for each negative
            concept the index of its query and its weight in [0, 1].
        """
        vectors = self._embed([concept for group in groups for concept in group])
        mixed, negative, owners = [], [], []
        start = 0
        for row, group in enumerate(groups):
            own = vectors[start : start + len(group)]
            start += len(group)
            weights = np.array(mixture_weights(tuple(group)), dtype=np.float32)
            mixed.append(weights.clip(min=0) @ own)
            for index in np.flatnonzero(weights < 0):
                negative.append(own[index])
                owners.append((row, min(-float(weights[index]), 1.0)))
        return np.stack(mixed), np.array(negative, dtype=np.float32).reshape(-1, vectors.shape[1]), owners

    def _embed(self, concepts: Sequence[Concept]) -> Floats:
        """Embed M phrases and exemplars in order, shape (M, E); a repeated phrase is embedded once."""
        texts = list(dict.fromkeys(concept.text for concept in concepts if isinstance(concept, TextPrompt)))
        rows: dict[str, Floats] = {}
        for start in range(0, len(texts), QUERY_CHUNK):
            chunk = texts[start : start + QUERY_CHUNK]
            token_ids, token_mask = self._tokenizer(chunk)
            embedded = self._graphs.texts(token_ids=token_ids, token_mask=token_mask)["embedding"]
            rows |= dict(zip(chunk, embedded, strict=True))
        return np.stack(
            [
                rows[each.text] if isinstance(each, TextPrompt) else self._exemplars.embed(each, self._embed_exemplar)
                for each in concepts
            ]
        )

    def _embed_exemplar(self, exemplar: ExemplarPrompt) -> Floats:
        """Embed an exemplar, shape (E,)."""
        shown = engineer(exemplar.image_rgb, exemplar.foreground, variant=self._config.visual_prompt)
        return self._graphs.embed_image(self._to_pixels(shown.image_rgb), shown.token_mask)

    def _to_pixels(self, image_rgb: NDArray[np.uint8]) -> Floats:
        side = input_side(self._config)
        return to_pixels(image_rgb, (side, side), pixel_statistics(self._config))
