"""Embed phrases as vectors with the text tower, each text once."""

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import Tokenizer
from promptseg.language.reading import PhraseReading
from promptseg.runtime import Graph

Floats = NDArray[np.float32]

# Maximum batch size: the memory of a request must not grow with its number of phrases.
TEXTS_PER_CALL = 128
# Vectors that are kept for the next image, about 3 MB.
MAX_KEPT = 4096


class PhraseEmbedder:
    """Embeds phrases. Threads may share it.

    Args:
        texts: See `PromptSegGraphs.texts`.
        tokenizer: Tokenizer of the text tower.
        hypernym_share: Share of the hypernym's vector in the vector of an untrained name.
    """

    def __init__(self, texts: Graph, tokenizer: Tokenizer, hypernym_share: float) -> None:
        self._texts = texts
        self._tokenizer = tokenizer
        self._hypernym_share = np.float32(hypernym_share)
        self._kept: dict[str, Floats] = {}
        self._lock = Lock()

    def embed(self, readings: Sequence[PhraseReading]) -> dict[str, Floats]:
        """Embed phrases, by their normalized text; the vector of an untrained name is mixed with its hypernym's.

        Returns:
            Vectors of shape (E,), by text.
        """
        hypernyms = [reading.hypernym for reading in readings if reading.hypernym is not None]
        vector_of = self._embed_texts(list(dict.fromkeys((*(reading.text for reading in readings), *hypernyms))))
        mixed = {
            reading.text: _unit(
                vector_of[reading.text] + self._hypernym_share * (vector_of[reading.hypernym] - vector_of[reading.text])
            )
            for reading in readings
            if reading.hypernym is not None
        }
        return vector_of | mixed

    def _embed_texts(self, texts: Sequence[str]) -> dict[str, Floats]:
        with self._lock:
            vector_of = {text: self._kept[text] for text in texts if text in self._kept}
        unknown = [text for text in texts if text not in vector_of]
        for start in range(0, len(unknown), TEXTS_PER_CALL):
            chunk = unknown[start : start + TEXTS_PER_CALL]
            token_ids, token_mask = self._tokenizer(chunk)
            embedded = self._texts(token_ids=token_ids, token_mask=token_mask)["embedding"]
            vector_of |= dict(zip(chunk, embedded, strict=True))
        with self._lock:
            self._kept |= {text: vector_of[text] for text in unknown}
            while len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]  # the oldest
        return vector_of


def _unit(vector: Floats) -> Floats:
    normalized: Floats = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return normalized
