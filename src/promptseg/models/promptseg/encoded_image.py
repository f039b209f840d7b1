"""Image embedding of the default model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.models.promptseg.coarse import CoarseImage
from promptseg.models.promptseg.color_cue import Hsv, to_hsv
from promptseg.ops.deferred import Deferred
from promptseg.sam.base import Frame, SamEmbedding
from promptseg.segmenter import Arrays


@dataclass(frozen=True, eq=False)
class PromptSegImage:
    """An image, encoded by the default model. Threads may share it.

    Attributes:
        size_hw: Height and width of the image, pixels.
        coarse: Output of the network's image encoder.
        frame: Placement of the image in SAM's input.
        sam: Output of SAM's encoder, which runs on the first segmentation.
        hsv: The image, small and in HSV, for referring expressions; computed on first use.
    """

    size_hw: tuple[int, int]
    coarse: CoarseImage
    frame: Frame
    sam: Deferred[SamEmbedding]
    hsv: Deferred[Hsv]

    def to_arrays(self) -> Arrays:
        """Return the parts as named arrays; SAM's embedding only if its encoder has run."""
        arrays = self.coarse.to_arrays()
        if self.sam.is_known:
            arrays |= self.sam.get().to_arrays()
        return arrays

    def compute_deferred(self) -> None:
        """Run SAM's encoder, and convert the image to HSV."""
        self.sam.get()
        self.hsv.get()


def deferred_hsv(image_rgb: NDArray[np.uint8]) -> Deferred[Hsv]:
    """Defer the conversion of an image, uint8, shape (H, W, 3), to a small HSV image."""
    return Deferred(lambda: to_hsv(image_rgb))
