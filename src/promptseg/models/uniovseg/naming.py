"""Names of regions: vectors of names by prompt ensembling, probabilities by cosine, and semantic maps.

Paper: Wang et al. 2024, arXiv:2402.08960. The class of a region as in the authors' code: cosine times CLIP's scale,
maximum over the synonyms of a class, softmax over classes. The semantic map as in Mask2Former (arXiv:2112.01527).

Shapes: R regions, C classes, S synonyms, E dimension of CLIP's space.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import Tokenizer
from promptseg.models.uniovseg.graphs import UniOvSegGraphs
from promptseg.ops.resize import sigmoid

Floats = NDArray[np.float32]

TEXTS_PER_CALL = 64
# Names whose vectors are kept; a vector takes 3 KB.
MAX_CACHED_NAMES = 10_000


class NameEmbedder:
    """Embeds names in CLIP's space: the mean over templates, of length 1. Vectors are kept. Threads may share it.

    Args:
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower.
        templates: Sentences around a name; {} stands for it.
    """

    def __init__(self, graphs: UniOvSegGraphs, tokenizer: Tokenizer, templates: Sequence[str]) -> None:
        self._graphs = graphs
        self._tokenizer = tokenizer
        self._templates = tuple(templates)
        self._vectors: dict[str, Floats] = {}
        self._lock = threading.Lock()

    def embed(self, names: Sequence[str]) -> Floats:
        """Embed C names, shape (C, E)."""
        with self._lock:
            missing = [name for name in dict.fromkeys(names) if name not in self._vectors]
            if len(self._vectors) + len(missing) > MAX_CACHED_NAMES:
                self._vectors, missing = {}, list(dict.fromkeys(names))
            self._vectors |= dict(zip(missing, self._compute(missing), strict=True))
            return np.stack([self._vectors[name] for name in names])

    def _compute(self, names: Sequence[str]) -> list[Floats]:
        texts = [template.format(name) for name in names for template in self._templates]
        rows: list[Floats] = []
        for start in range(0, len(texts), TEXTS_PER_CALL):
            token_ids, token_mask = self._tokenizer(texts[start : start + TEXTS_PER_CALL])
            rows += list(self._graphs["texts"](token_ids=token_ids, token_mask=token_mask)["vectors"])
        count = len(self._templates)
        return [_unit(np.mean(rows[start : start + count], axis=0)) for start in range(0, len(rows), count)]


def class_logits(
    region_vectors: Floats, embedder: NameEmbedder, classes: Sequence[Sequence[str]], *, scale: float
) -> Floats:
    """Compare regions with classes.

    Args:
        region_vectors: Of length 1, shape (R, E).
        embedder: Embeds names.
        classes: The synonyms of each class, one or more.
        scale: CLIP's factor from cosines to logits.

    Returns:
        Logits of the best synonym of each class, shape (R, C).
    """
    counts = [len(synonyms) for synonyms in classes]
    vectors = embedder.embed([name for synonyms in classes for name in synonyms])
    cosines = region_vectors @ vectors.T
    starts = np.cumsum([0, *counts[:-1]])
    return np.asarray(scale * np.maximum.reduceat(cosines, starts, axis=1), dtype=np.float32)


def softmax(logits: Floats) -> Floats:
    """Turn logits into probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def semantic_scores(probabilities: Floats, mask_logits: Floats) -> Floats:
    """Sum the masks of all regions, each weighted by the probability of its classes.

    Args:
        probabilities: Of the classes of each region, shape (R, C).
        mask_logits: Shape (R, h, w).

    Returns:
        Shape (C, h, w), at least 0; where no region is, all classes have about 0.
    """
    masks = sigmoid(mask_logits)
    summed = probabilities.T @ masks.reshape(len(masks), int(np.prod(masks.shape[1:])))
    return np.asarray(summed.reshape(-1, *masks.shape[1:]), dtype=np.float32)


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
