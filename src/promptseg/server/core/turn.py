"""A request's turn at a device: its model, the stored images, and the seconds that each step took."""

import base64
import binascii
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptseg.embedding import Embedding
from promptseg.images import ImageLimits, read_image
from promptseg.predictor import Predictor
from promptseg.prompts import QueryLike
from promptseg.regions import Within
from promptseg.results import QueryResult, Segmentation
from promptseg.results.panoptic import Panoptic, Unlabelled
from promptseg.server.core.image_store import ImageStore
from promptseg.server.refusals import RefusedRequest

_URL_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class Turn:
    """What a router's function works with; it runs in the worker thread of the device.

    Attributes:
        predictor: The model that the request named.
        images: The stored images.
        limits: Of an image.
        seconds: What each step took so far, by name.
        opened: Embeddings that this turn works with, by id: they stay, even if the store needs their memory.
        seen: Pixels that this turn works with, by id, shape (H, W, 3): they stay too.
    """

    predictor: Predictor
    images: ImageStore
    limits: ImageLimits
    seconds: dict[str, float] = field(default_factory=dict)
    opened: dict[str, Embedding] = field(default_factory=dict)
    seen: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def add(self, encoded: bytes) -> str:
        """Store the file of an image, and give its id.

        Raises:
            ImageError: It is no image, or is too large.
        """
        image_id = self.images.name(encoded)
        if not self.images.holds(image_id):
            with self.timed("decode"):
                self.images.put(image_id, read_image(encoded, limits=self.limits))
        return image_id

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """Give the pixels of a stored image, shape (H, W, 3).

        Raises:
            RefusedRequest: It is not stored (404).
        """
        if image_id not in self.seen:
            self.seen[image_id] = self.images.pixels(image_id)
        return self.seen[image_id]

    def open(self, image_id: str) -> Embedding:
        """Give the model's embedding of a stored image, which is encoded if it was not yet.

        Raises:
            RefusedRequest: It is not stored (404).
        """
        if image_id not in self.opened:
            found = self.images.embedding(image_id, self.predictor.fingerprint)
            if found is None:
                with self.timed("encode"):
                    found = self.images.keep(image_id, self.predictor.encode(self.images.pixels(image_id)))
            self.opened[image_id] = found
        return self.opened[image_id]

    def segment(
        self,
        image_id: str,
        queries: Sequence[QueryLike],
        *,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        within: Within | None = None,
    ) -> Segmentation:
        """Segment a stored image; arguments and errors as `Predictor.segment`.

        With `within`, only the region is encoded, each time; so it is by the other methods.

        Raises:
            RefusedRequest: The image is not stored (404).
        """
        image = self._open_for(image_id, within)
        with self.timed("segment"):
            found = self.predictor.segment(
                image, queries, threshold=threshold, mask_threshold=mask_threshold, within=within
            )
        self.images.remeasure(image_id)
        return found

    def propose(self, image_id: str, query: QueryLike, *, within: Within | None = None) -> tuple[QueryResult, ...]:
        """Give what points, a box or a mask may mean; errors as `Predictor.propose`.

        Raises:
            RefusedRequest: The image is not stored (404).
        """
        image = self._open_for(image_id, within)
        with self.timed("segment"):
            found = self.predictor.propose(image, query, within=within)
        self.images.remeasure(image_id)
        return found

    def panoptic(
        self,
        image_id: str,
        names: Sequence[str] | None,
        *,
        stuff: Sequence[str] = (),
        unlabelled: Unlabelled = "keep",
        min_score: float | None = None,
        min_area: int | None = None,
        within: Within | None = None,
    ) -> Panoptic:
        """Give every pixel of a stored image a class of a list; arguments and errors as `Predictor.panoptic`.

        Raises:
            RefusedRequest: The image is not stored (404).
        """
        image = self._open_for(image_id, within)
        with self.timed("segment"):
            found = self.predictor.panoptic(
                image,
                names,
                stuff=stuff,
                unlabelled=unlabelled,
                min_score=min_score,
                min_area=min_area,
                within=within,
            )
        self.images.remeasure(image_id)
        return found

    def _open_for(self, image_id: str, within: Within | None) -> Embedding | NDArray[np.uint8]:
        """Give what a request is computed on: the embedding of the image, or the pixels that a region is cut from."""
        return self.open(image_id) if within is None else self.pixels(image_id)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of a step to `seconds`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started


def decode_base64(text: str, *, what: str) -> bytes:
    """Decode the base64 of a file as programs write it.

    A data URI (`data:image/png;base64,...`) is taken too, and so are lines, the alphabet of URLs, and an end without
    its "=".

    Args:
        text: The base64.
        what: Name of the field, for the message.

    Raises:
        RefusedRequest: It is no base64 (400).
    """
    payload = text.partition(",")[2] if text.startswith("data:") else text
    payload = "".join(payload.split()).translate(_URL_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedRequest(
            400, "malformed_request", f"{what} is no base64: {error}", "encode the bytes of the file as base64"
        ) from error
