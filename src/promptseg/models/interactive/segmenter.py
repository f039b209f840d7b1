"""SAM as a segmenter: it segments the objects under points, boxes and masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.prompts import Query
from promptseg.sam.base import PromptableSegmenter, SamEmbedding
from promptseg.sam.geometric_prompts import GEOMETRIC_KINDS
from promptseg.sam.query_masks import propose_masks, segment_queries
from promptseg.segmenter import Prediction


class InteractiveSegmenter:
    """Segment the objects under points, boxes and masks; see `promptseg.segmenter.Segmenter` for its methods.

    A prompt on an object implies that the object exists, so presence is 1. docs/clicks.md explains each kind of prompt.

    Args:
        sam: Segments the objects.
    """

    prompt_kinds = GEOMETRIC_KINDS
    mask_threshold = 0.5
    presence_threshold = 0.5

    def __init__(self, sam: PromptableSegmenter) -> None:
        self.sam = sam

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode an image, uint8, shape (H, W, 3)."""
        return self.sam.encode(image_rgb)

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> SamEmbedding:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: in half precision."""
        embedding = self.sam.encode(image_rgb)
        return embedding.in_half_precision() if compact else embedding

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Rebuild the embedding from the result of its `to_arrays`; the image itself is not used.

        Raises:
            DataError: An array is missing.
        """
        return SamEmbedding.from_arrays(arrays)

    def segment(self, image: SamEmbedding, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries; the prediction has N entries in the same order.

        Raises:
            PromptError: A prompt is outside the image, or a query has no positive point, box or mask.
        """
        return segment_queries(self.sam, image, queries)

    def propose(self, image: SamEmbedding, query: Query) -> Prediction:
        """Return all candidate masks for the object of a query (part, whole, group, ...), best first.

        Raises:
            PromptError: As `segment`, or the query has several objects.
        """
        return propose_masks(self.sam, image, query)
