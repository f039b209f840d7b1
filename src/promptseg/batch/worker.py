"""Segment one image of a batch: rows, whatever happens."""

import hashlib
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from promptseg.batch.reader import ImageReader
from promptseg.batch.rows import Row, error_row, rows_of
from promptseg.batch.sources import BatchImage
from promptseg.errors import PromptsegError
from promptseg.predictor import Predictor
from promptseg.prompts import Query


@dataclass(frozen=True, eq=False)
class Worker:
    """Segments images by one request, with a model that is loaded once.

    Attributes:
        predictor: The model.
        queries: The request.
        reader: Reads the bytes.
    """

    predictor: Predictor
    queries: Sequence[Query]
    reader: ImageReader = field(default_factory=ImageReader)

    def segment(self, image: BatchImage) -> list[Row]:
        """Segment an image.

        Returns:
            At least one row; one row with `error` where the image can't be read or segmented.
        """
        start = time.perf_counter()
        sha256 = None
        try:
            content = self.reader.read(image)
            sha256 = hashlib.sha256(content).hexdigest()
            result = self.predictor.segment(content, self.queries)
            return rows_of(image, result, sha256=sha256, seconds=time.perf_counter() - start)
        except PromptsegError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 (one image of many must not end the run; its row says what happened)
            message = f"{type(error).__name__}: {error}"
        return [
            error_row(
                image,
                message,
                model=self.predictor.name,
                fingerprint=self.predictor.fingerprint,
                sha256=sha256,
                seconds=time.perf_counter() - start,
            )
        ]


@dataclass(frozen=True, eq=False)
class BatchJob:
    """What a worker process needs to begin: small, and it loads nothing until `open`.

    Attributes:
        model: Name of the model.
        fingerprint: Identifies the checkpoint.
        loader: A pickle of the predictor, made by `of`; it holds how to load it.
        queries: The request.
        num_threads: Threads of the process.
        device: Where the model runs.
    """

    model: str
    fingerprint: str
    loader: bytes
    queries: tuple[Query, ...]
    num_threads: int
    device: str = "cpu"

    @classmethod
    def of(cls, predictor: Predictor, queries: tuple[Query, ...], *, num_threads: int) -> "BatchJob":
        """Describe a predictor that `promptseg.load` made; workers fetch nothing: its weights are here already."""
        if predictor.loader is not None:
            predictor = replace(predictor, loader=predictor.loader.for_worker(num_threads))
        return cls(
            predictor.name, predictor.fingerprint, pickle.dumps(predictor), queries, num_threads, predictor.device
        )

    def open(self) -> Worker:
        """Load the model.

        Raises:
            PromptsegError: As `promptseg.load`.
        """
        predictor: Predictor = pickle.loads(self.loader)
        if predictor.engine == "torch":
            import torch

            torch.set_num_threads(self.num_threads)
        return Worker(predictor, self.queries)

    def error_row(self, image: BatchImage, error: str) -> Row:
        """Describe an image that no worker finished."""
        return error_row(image, error, model=self.model, fingerprint=self.fingerprint)
