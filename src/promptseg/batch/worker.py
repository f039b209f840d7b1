"""Segment one image of a batch, and describe what became of it, whatever happens."""

import hashlib
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from promptseg.batch.attempt import Attempt
from promptseg.batch.reader import ImageReader
from promptseg.batch.requests import BatchRequest
from promptseg.batch.sources import BatchImage
from promptseg.errors import PromptsegError
from promptseg.images import name_image
from promptseg.predictor import Predictor
from promptseg.results import Segmentation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Form(Protocol[T_co]):
    """What is kept of an image, in JSON's own types; it can be pickled."""

    def describe(self, attempt: Attempt, result: Segmentation, things: Mapping[str, bool]) -> T_co:
        """Describe the results of an image.

        Args:
            attempt: The image, and what it took.
            result: What was found.
            things: As `BatchRequest.things`.
        """
        ...

    def describe_error(self, attempt: Attempt, error: str) -> T_co:
        """Describe why an image failed."""
        ...


@dataclass(frozen=True, eq=False)
class Worker(Generic[T]):
    """Segments images by one request, with a model that is loaded once.

    Attributes:
        predictor: The model.
        request: What is asked.
        form: What is kept.
        reader: Reads the bytes.
    """

    predictor: Predictor
    request: BatchRequest
    form: Form[T]
    reader: ImageReader = field(default_factory=ImageReader)

    def __call__(self, image: BatchImage) -> T:
        """Segment an image; one that can't be read or segmented is described by its error."""
        start = time.perf_counter()
        attempt = Attempt(image, self.predictor.name, self.predictor.fingerprint)
        content = b""
        try:
            content = self.reader.read(image, max_bytes=self.predictor.limits.max_bytes)
            attempt = replace(attempt, sha256=hashlib.sha256(content).hexdigest())
            result = self.request.answer(self.predictor, content, image)
            attempt = replace(attempt, seconds=time.perf_counter() - start)
            return self.form.describe(attempt, result, self.request.things)
        except PromptsegError as error:
            message = str(error).replace(name_image(content), image.where)  # its bytes have no name
        except Exception as error:  # noqa: BLE001 (one image of many must not end the run; its row says what happened)
            message = f"{type(error).__name__}: {error}"
        return self.form.describe_error(replace(attempt, seconds=time.perf_counter() - start), message)


@dataclass(frozen=True, eq=False)
class BatchJob(Generic[T]):
    """What a worker process needs to begin: small, and it loads nothing until `open`.

    Attributes:
        model: Name of the model.
        fingerprint: Identifies the checkpoint.
        loader: A pickle of the predictor, made by `of`; it holds how to load it.
        request: What is asked about each image.
        form: What is kept of each image.
        num_threads: Threads of the process.
        device: Where the model runs.
    """

    model: str
    fingerprint: str
    loader: bytes
    request: BatchRequest
    form: Form[T]
    num_threads: int
    device: str = "cpu"

    @classmethod
    def of(cls, predictor: Predictor, request: BatchRequest, form: Form[T], *, num_threads: int) -> "BatchJob[T]":
        """Describe a predictor that `promptseg.load` made; workers fetch nothing: its weights are here already."""
        if predictor.loader is not None:
            predictor = replace(predictor, loader=predictor.loader.for_worker(num_threads))
        return cls(
            predictor.name,
            predictor.fingerprint,
            pickle.dumps(predictor),
            request,
            form,
            num_threads,
            predictor.device,
        )

    def open(self) -> Worker[T]:
        """Load the model.

        Raises:
            PromptsegError: As `promptseg.load`.
        """
        predictor: Predictor = pickle.loads(self.loader)
        if predictor.engine == "torch":
            import torch

            torch.set_num_threads(self.num_threads)
        return Worker(predictor, self.request, self.form)

    def describe_death(self, image: BatchImage, error: str) -> T:
        """Describe an image that no worker finished."""
        return self.form.describe_error(Attempt(image, self.model, self.fingerprint), error)
