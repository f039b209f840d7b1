"""One try to segment an image of a batch."""

from dataclasses import dataclass

from promptseg.batch.sources import BatchImage


@dataclass(frozen=True)
class Attempt:
    """Which model was tried on which image, whatever became of it.

    Attributes:
        image: The image.
        model: Name of the model.
        fingerprint: Identifies the checkpoint.
        sha256: Of the image's bytes; None: they can't be read.
        seconds: That it took.
    """

    image: BatchImage
    model: str
    fingerprint: str
    sha256: str | None = None
    seconds: float = 0.0
