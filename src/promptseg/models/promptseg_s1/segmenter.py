"""PromptSeg-S1 as a segmenter: it computes one mask per phrase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.pixels import input_size, to_pixels
from promptseg.encoders.tokenizers import Tokenizer
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.errors import DataError
from promptseg.language.phrases import normalize_phrase
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.models.promptseg_s1.graphs import PromptSegS1Graphs
from promptseg.ops.resize import sigmoid
from promptseg.prompts import Query
from promptseg.segmenter import Arrays, Prediction, single_texts

QUERY_CHUNK = 16  # batch size, because the decoder's memory grows with it
_OUTPUTS = ("mask_logits", "presence_logit", "iou")


@dataclass(frozen=True, eq=False)
class PromptSegS1Image:
    """An image, encoded by the network.

    Attributes:
        size_hw: Height and width of the image, pixels.
        maps: fused (1, D, h, w), and fine (1, fine_dim, hf, wf) if there is a finer map; float32 or float16.
    """

    size_hw: tuple[int, int]
    maps: Mapping[str, NDArray[Any]]

    def to_arrays(self) -> Arrays:
        """Return the maps by name."""
        return dict(self.maps)


class PromptSegS1Segmenter:
    """Segments an image by phrases. Threads may share it.

    Args:
        config: Architecture and thresholds.
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower.
    """

    prompt_kinds = frozenset({"text"})

    def __init__(self, config: PromptSegS1Config, graphs: PromptSegS1Graphs, tokenizer: Tokenizer) -> None:
        self._config = config
        self._graphs = graphs
        self._tokenizer = tokenizer
        self._tower = image_tower_facts(config.image_tower)

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        return self._config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self._config.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> PromptSegS1Image:
        """Encode an image, uint8, shape (H, W, 3)."""
        return self.encode_part(image_rgb, compact=False)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> PromptSegS1Image:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: as float16."""
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        maps = self._graphs.images(pixels=to_pixels(image_rgb, input_size(self._config, size_hw), self._tower))
        return PromptSegS1Image(
            size_hw, {name: one.astype(np.float16) if compact else one for name, one in maps.items()}
        )

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> PromptSegS1Image:
        """Rebuild the record from the result of `PromptSegS1Image.to_arrays`.

        Raises:
            DataError: A map is missing.
        """
        names = ("fused",) if self._config.fine_stride is None else ("fused", "fine")
        if missing := [name for name in names if name not in arrays]:
            raise DataError(f"the embedding lacks {', '.join(map(repr, missing))}: encode the image again")
        return PromptSegS1Image((image_rgb.shape[0], image_rgb.shape[1]), {name: arrays[name] for name in names})

    def segment(self, image: PromptSegS1Image, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries of one phrase each.

        Raises:
            UnsupportedPromptError: A query is not one phrase.
        """
        # the text tower would read full stops and quotation marks, which have no meaning here
        texts = [normalize_phrase(text) or text for text in single_texts(queries)]
        if not texts:
            return Prediction.empty()
        maps = {name: one.astype(np.float32, copy=False) for name, one in image.maps.items()}
        parts = []
        for start in range(0, len(texts), QUERY_CHUNK):
            token_ids, token_mask = self._tokenizer(texts[start : start + QUERY_CHUNK])
            prompts = self._graphs.texts(token_ids=token_ids, token_mask=token_mask)
            parts.append(self._graphs.decode(**prompts, **maps))
        mask_logits, presence_logit, iou = (np.concatenate([part[name] for part in parts]) for name in _OUTPUTS)
        scale, shift = self._config.presence_calibration
        presence = sigmoid((scale * presence_logit + shift).astype(np.float32))
        return Prediction(mask_logits.astype(np.float32), presence, iou.clip(0.0, 1.0).astype(np.float32))
