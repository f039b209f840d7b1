"""Stored images and their embeddings, bounded in bytes and age, under ids that follow from their content.

An id is a keyed hash with a key of the process: the same file gets the same id, and nobody can compute the id of a
image that another person sent.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from promptseg.embedding import Embedding
from promptseg.server.refusals import RefusedRequest

ID_CHARACTERS = 32


@dataclass(frozen=True)
class StoreCounts:
    """How full the store is, and how it was used so far.

    Attributes:
        num_images: Stored images.
        num_bytes: Of their pixels and embeddings.
        hits: Requests that named a stored image.
        misses: Requests that named one that was not stored, any more.
        evictions: Images that were forgotten for their age or for newer ones.
    """

    num_images: int
    num_bytes: int
    hits: int
    misses: int
    evictions: int


@dataclass
class _Entry:
    """A stored image: pixels (H, W, 3), embeddings by the fingerprint of the model, and when it was used last."""

    image_rgb: NDArray[np.uint8]
    last_use: float
    embeddings: dict[str, Embedding] = field(default_factory=dict)
    num_bytes: int = 0

    def measure(self) -> None:
        parts = sum(part.nbytes for each in self.embeddings.values() for part in each.features.values())
        self.num_bytes = self.image_rgb.nbytes + parts


class ImageStore:
    """Keeps the images that were used last. Threads may share it.

    Args:
        max_bytes: Of pixels and embeddings together; the newest image stays even if it is larger.
        max_age_s: Seconds since its last use after which an image is forgotten.
        clock: Seconds from any start.
    """

    def __init__(self, *, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def name(self, encoded: bytes) -> str:
        """Compute the id of an image from the bytes of its file."""
        return hmac.new(self._key, encoded, hashlib.sha256).hexdigest()[:ID_CHARACTERS]

    def holds(self, image_id: str) -> bool:
        """Whether an image is stored."""
        with self._lock:
            self._drop_old()
            return image_id in self._entries

    def is_encoded(self, image_id: str) -> bool:
        """Whether a model has encoded a stored image."""
        with self._lock:
            entry = self._entries.get(image_id)
            return entry is not None and bool(entry.embeddings)

    def put(self, image_id: str, image_rgb: NDArray[np.uint8]) -> None:
        """Store the pixels of an image, shape (H, W, 3), under the id of its file."""
        with self._lock:
            self._drop_old()
            if image_id not in self._entries:
                self._entries[image_id] = _Entry(image_rgb, self._clock())
            self._settle(image_id)

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """Give the pixels of a stored image, shape (H, W, 3).

        Raises:
            RefusedRequest: It is not stored (404).
        """
        with self._lock:
            return self._use(image_id).image_rgb

    def embedding(self, image_id: str, fingerprint: str) -> Embedding | None:
        """Give the embedding of a stored image by the model of a fingerprint; None: it has not encoded it yet.

        Raises:
            RefusedRequest: The image is not stored (404).
        """
        with self._lock:
            return self._use(image_id).embeddings.get(fingerprint)

    def keep(self, image_id: str, embedding: Embedding) -> Embedding:
        """Store an embedding with its image, and give the one that shares the image's pixels.

        An image that was forgotten in the meantime is stored again.
        """
        with self._lock:
            entry = self._entries.setdefault(image_id, _Entry(embedding.image_rgb, self._clock()))
            shared = replace(embedding, image_rgb=entry.image_rgb)
            entry.embeddings[embedding.fingerprint] = shared
            self._settle(image_id)
            return shared

    def remeasure(self, image_id: str) -> None:
        """Count an image's bytes again: models compute parts of an embedding on first use."""
        with self._lock:
            if image_id in self._entries:
                self._settle(image_id)

    def drop(self, image_id: str) -> bool:
        """Forget an image; tell whether it was stored."""
        with self._lock:
            return self._entries.pop(image_id, None) is not None

    def drop_old(self) -> None:
        """Forget the images that were not used for too long."""
        with self._lock:
            self._drop_old()

    def counts(self) -> StoreCounts:
        """Tell how full the store is."""
        with self._lock:
            return StoreCounts(len(self._entries), self._num_bytes(), self._hits, self._misses, self._evictions)

    def _use(self, image_id: str) -> _Entry:
        self._drop_old()
        entry = self._entries.get(image_id)
        if entry is None:
            self._misses += 1
            raise image_not_found(image_id)
        self._hits += 1
        entry.last_use = self._clock()
        self._entries.move_to_end(image_id)
        return entry

    def _settle(self, image_id: str) -> None:
        """Make an entry the newest, measure it, and forget the oldest others that no longer fit."""
        entry = self._entries[image_id]
        entry.last_use = self._clock()
        entry.measure()
        self._entries.move_to_end(image_id)
        while len(self._entries) > 1 and self._num_bytes() > self.max_bytes:
            self._entries.popitem(last=False)
            self._evictions += 1

    def _drop_old(self) -> None:
        oldest = self._clock() - self.max_age_s
        for image_id in [key for key, entry in self._entries.items() if entry.last_use < oldest]:
            del self._entries[image_id]
            self._evictions += 1

    def _num_bytes(self) -> int:
        return sum(entry.num_bytes for entry in self._entries.values())


def image_not_found(image_id: str) -> RefusedRequest:
    """Refuse a request that names an image which is not stored, any more (404)."""
    shown = image_id if len(image_id) <= ID_CHARACTERS else f"{image_id[:ID_CHARACTERS]}…"
    return RefusedRequest(
        404, "image_not_found", f"no image is stored under the id {shown!r}", "send the image again: PUT /v1/images"
    )
