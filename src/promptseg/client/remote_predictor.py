"""A model of a running server, with the methods of `Predictor`: encode an image once, segment it by many requests."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from promptseg._value_checks import checked_probability
from promptseg.client.server_address import ImageForgottenError, ServerAddress
from promptseg.client.write_request import encode_png, write_queries, write_region
from promptseg.errors import DataError, ImageTooLargeError, PromptError, ServerError, UnknownModelError
from promptseg.images import ImageSource, find_path, name_image, read_encoded_image, read_image
from promptseg.prompts import BoxPrompt, ExemplarPrompt, MaskPrompt, Query, QueryLike
from promptseg.regions import SearchRegion, Within
from promptseg.request_checks import check_queries
from promptseg.results import Segmentation, name_origin
from promptseg.results.saved import parse_results, parse_unsure_threshold

TIMEOUT_S = 300.0


def connect(
    url: str,
    *,
    token: str | None = None,
    model: str | None = None,
    threshold: float | None = None,
    timeout_s: float = TIMEOUT_S,
) -> "RemotePredictor":
    """Give a model that a running `promptseg serve` has loaded.

    Args:
        url: Address of the server, such as "http://127.0.0.1:8000"; https too, and a path before the routes.
        token: What the server asks for; None: none.
        model: Name of a model that it serves; None: its first.
        threshold: Presence below which an object counts as absent, in [0, 1]; nothing is unsure then. None: the
            server's own thresholds.
        timeout_s: How long an answer may take.

    Raises:
        ServerError: No server answers there, the token is wrong, the model is not loaded (yet), or the server is of
            another version.
        UnknownModelError: The server does not serve this model.
        PromptError: The threshold is no probability.
    """
    if threshold is not None:
        threshold = checked_probability(threshold, what="threshold")
    address = ServerAddress.parse(url, token=token, timeout_s=timeout_s)
    status, listed = address.ask("GET", "/v1/status"), address.ask("GET", "/v1/models")
    try:
        _check_version(address, str(status["version"]))
        served = _find_model(address, listed, model)
        return RemotePredictor(
            address=address,
            name=str(served["name"]),
            fingerprint=str(served["fingerprint"]),
            prompt_kinds=frozenset(map(str, served["prompt_kinds"])),
            presence_threshold=float(served["presence_threshold"]) if threshold is None else threshold,
            threshold=threshold,
            max_body_bytes=int(status["limits"]["max_body_bytes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise address.no_promptseg(f"{error!r}") from error


def _check_version(address: ServerAddress, theirs: str) -> None:
    """Check that the server is of this version, up to repairs of it: others may answer otherwise.

    Raises:
        ServerError: It is not.
    """
    ours = version("promptseg")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ServerError(
            f"{address.url}: the server is promptseg {theirs}, this is promptseg {ours}: install the same version"
        )


def _find_model(address: ServerAddress, listed: Any, name: str | None) -> dict[str, Any]:
    """Find a model in the answer of `/v1/models`."""
    served = {each["name"]: each for each in listed["models"]}
    found = served.get(listed["default"] if name is None else name)
    if found is None:
        raise UnknownModelError(f"{address.url}: no model named {name!r} is served; there are {', '.join(served)}")
    if found["state"] != "ready":
        said = "is still loading; try again soon" if found["state"] == "loading" else "could not be loaded"
        raise ServerError(f"{address.url}: {found['name']} {said}; {address.url}/readyz says more")
    return dict(found)


@dataclass(frozen=True, eq=False, repr=False)
class RemoteImage:
    """An image that a server has encoded.

    Attributes:
        image_rgb: The image, uint8, shape (H, W, 3), upright.
        file: What is sent, and sent again if the server has forgotten it.
        source: Path of the image, if it was a file.
    """

    image_rgb: NDArray[np.uint8]
    file: bytes
    source: str | None

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"<RemoteImage {width}x{height}>"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width


@dataclass(frozen=True, eq=False, repr=False)
class RemotePredictor:
    """A model of a running server; `connect` makes it. Threads may share it.

    Attributes:
        address: Of the server.
        name: Of the model.
        fingerprint: Identifies its checkpoint.
        prompt_kinds: Kinds of prompt that it takes, such as "text".
        presence_threshold: Presence from which an object counts as present.
        threshold: What was given to `connect`; None: the server's own thresholds.
        max_body_bytes: The largest file that the server takes.
    """

    address: ServerAddress
    name: str
    fingerprint: str
    prompt_kinds: frozenset[str]
    presence_threshold: float
    threshold: float | None
    max_body_bytes: int
    _ids: "WeakKeyDictionary[RemoteImage | ExemplarPrompt, str]" = field(default_factory=WeakKeyDictionary)

    def __repr__(self) -> str:
        return f"<RemotePredictor {self.name} {self.fingerprint} at {self.address.url}>"

    @property
    def origin(self) -> str:
        """Name the checkpoint and its threshold; see `Predictor.origin`."""
        return name_origin(self.name, self.fingerprint, self.presence_threshold)

    def check_queries(self, queries: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
        """Check what can be checked without an image; see `Predictor.check_queries`."""
        return check_queries(queries, model=self.name, prompt_kinds=self.prompt_kinds)

    def encode(self, image: ImageSource) -> RemoteImage:
        """Send an image to the server, which encodes it once for all requests.

        Args:
            image: As `Predictor.encode` takes it. A file is sent as it is, pixels as a PNG.

        Raises:
            ImageError: The image can't be read, here or there.
            ServerError: The server does not answer.
        """
        read = self._read(image)
        self._ids[read] = self._store(read.file, name=name_image(image), encode=True)
        return read

    def segment(
        self,
        image: RemoteImage | ImageSource,
        queries: QueryLike | Iterable[QueryLike],
        *,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        within: Within | None = None,
    ) -> Segmentation:
        """Segment an image; arguments, results and errors are those of `Predictor.segment`.

        The results have the masks and numbers of the server. `mask_logits` is not sent: each result has a small map of
        its mask instead, as a loaded result has it.

        Raises:
            ServerError: The server does not answer.
            UnsupportedPromptError: The model does not take this kind of prompt, or a mask is an earlier result with its
                map, which the server does not take.
            PromptsegError: As `Predictor.segment`.
        """
        requested = self.check_queries(queries)
        read = image if isinstance(image, RemoteImage) else self._read(image)
        threshold = self.threshold if threshold is None else checked_probability(threshold, what="threshold")
        options: dict[str, Any] = {"model": self.name, "threshold": threshold, "exact": True}
        if mask_threshold is not None:
            options["mask_threshold"] = checked_probability(mask_threshold, what="mask_threshold")
        if within is not None:
            options["within"] = write_region(_read_region(within, read.size_hw))
        try:
            answer = self._ask(read, requested, options)
        except ImageForgottenError:
            self._ids.clear()
            answer = self._ask(read, requested, options)
        return self._read_answer(answer, read)

    def _read(self, image: ImageSource) -> RemoteImage:
        """Read an image as `Predictor.encode` does, so that its errors and warnings are the same."""
        if isinstance(image, str | Path | bytes | bytearray | memoryview):
            image_rgb, file = read_encoded_image(image)
        else:
            image_rgb = read_image(image)
            file = encode_png(image_rgb)
        return RemoteImage(image_rgb, file, find_path(image))

    def _store(self, file: bytes, *, name: str, encode: bool) -> str:
        """Send a file; give its id."""
        if len(file) > self.max_body_bytes:
            raise ImageTooLargeError(f"{name}: {len(file):,} bytes; the server takes {self.max_body_bytes:,}")
        path = f"/v1/images?encode={str(encode).lower()}&model={quote(self.name, safe='')}"
        answer = self.address.ask("PUT", path, file, media_type="application/octet-stream")
        try:
            return str(answer["id"])
        except (KeyError, TypeError) as error:
            raise self.address.no_promptseg(f"{error!r}") from error

    def _ask(self, read: RemoteImage, queries: tuple[Query, ...], options: dict[str, Any]) -> Any:
        def store_example(prompt: ExemplarPrompt) -> str:
            image_id = self._ids.get(prompt) or self._store(
                encode_png(prompt.image_rgb), name="the example", encode=False
            )
            self._ids[prompt] = image_id
            return image_id

        image_id = self._ids.get(read) or self._store(read.file, name=read.source or "the image", encode=False)
        self._ids[read] = image_id
        request = {"image": image_id, "queries": write_queries(queries, read.size_hw, store_example), **options}
        return self.address.ask("POST", "/v1/segment", json.dumps(request).encode())

    def _read_answer(self, answer: Any, read: RemoteImage) -> Segmentation:
        """Convert the answer of `/v1/segment`, which is made of the parts of a saved result.

        Raises:
            ServerError: It is malformed, or of another image or checkpoint.
        """
        where = f"{self.address.url}: the answer"
        try:
            results = parse_results(answer, where=where)
            found = Segmentation(
                read.image_rgb,
                results,
                model=str(answer["model"]),
                presence_threshold=float(answer["presence_threshold"]),
                mask_threshold=float(answer["mask_threshold"]),
                fingerprint=str(answer["fingerprint"]),
                source=read.source,
                unsure_threshold=parse_unsure_threshold(answer),
            )
            size_hw = tuple(answer["size_hw"])
        except (DataError, PromptError, KeyError, TypeError, ValueError) as error:
            raise self.address.no_promptseg(f"{error}") from error
        if size_hw != read.size_hw:
            raise ServerError(f"{where} is of an image of {size_hw} pixels (H, W), not of {read.size_hw}")
        if (found.model, found.fingerprint) != (self.name, self.fingerprint):
            raise ServerError(
                f"{where} is of {found.model} {found.fingerprint}, not of {self.name} {self.fingerprint}: connect again"
            )
        return found


def _read_region(within: Within, size_hw: tuple[int, int]) -> BoxPrompt | MaskPrompt:
    """Read a region as `Predictor.segment` does.

    Raises:
        PromptError: It is malformed.
        OutsideImageError: It does not fit the image.
    """
    SearchRegion.read(within, size_hw)
    if isinstance(within, BoxPrompt | MaskPrompt):
        return within
    if isinstance(within, np.ndarray) and within.ndim == 2:
        return MaskPrompt(within)
    return BoxPrompt(within)  # type: ignore[arg-type]  # it checks itself
