"""Interface of all segmentation models. It uses NumPy arrays, never tensors.

Shapes: N queries, H W pixels of the image, h w cells of a map over the image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import UnsupportedPromptError
from promptseg.language.class_list import NamedClass
from promptseg.prompts import Concept, ExemplarPrompt, Query, TextPrompt
from promptseg.results import Instance
from promptseg.results.merging import MergeSettings, SegmentCandidate

Arrays = dict[str, NDArray[Any]]


@runtime_checkable
class EncodedImage(Protocol):
    """Result of `Segmenter.encode_image`. Each model has a separate frozen record with typed parts."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        ...

    def to_arrays(self) -> Arrays:
        """Return the parts as named arrays, from which `Segmenter.restore_image` rebuilds the record."""
        ...


@runtime_checkable
class DeferredEncoding(Protocol):
    """An encoded image, parts of which are computed on first use."""

    def compute_deferred(self) -> None:
        """Compute all parts now."""
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer of a model to N queries on one image.

    Attributes:
        mask_logits: Shape (N, h, w), float32, over exactly the image at low resolution. 0 is probability 0.5.
        presence: Calibrated probability that the object of the query is in the image, shape (N,), float32, in [0, 1].
        mask_quality: Predicted IoU of each mask, shape (N,), float32, in [0, 1].
        instances: Instances of each query, best first, if the model separates them. None for a query, or for all: the
            connected regions of the mask are the instances.
        read_as: The known name that the model took each query's phrase as, if it is another; None for a query, or for
            all: it took the phrase as it is.
    """

    mask_logits: NDArray[np.float32]
    presence: NDArray[np.float32]
    mask_quality: NDArray[np.float32]
    instances: tuple[tuple[Instance, ...] | None, ...] | None = None
    read_as: tuple[str | None, ...] | None = None

    @classmethod
    def empty(cls) -> "Prediction":
        """Return the prediction for zero queries."""
        none = np.zeros(0, dtype=np.float32)
        return cls(np.zeros((0, 1, 1), dtype=np.float32), none, none, (), ())


Encoded = TypeVar("Encoded")


class Segmenter(Protocol[Encoded]):
    """Encode an image once, then segment it by any number of queries. Threads may share it."""

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the model takes: "text", ..."""
        ...

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        ...

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        ...

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Encoded:
        """Encode an image, uint8, shape (H, W, 3)."""
        ...

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> Encoded:
        """Encode a view of a larger image, without parts that are valid for a whole image only.

        Args:
            image_rgb: uint8, shape (H, W, 3).
            compact: Store floats in half precision, to save memory for many views.
        """
        ...

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> Encoded:
        """Rebuild the record from the result of `EncodedImage.to_arrays`.

        Args:
            arrays: The named arrays.
            image_rgb: The same image, uint8, shape (H, W, 3).

        Raises:
            DataError: An array is missing.
        """
        ...

    def segment(self, image: Encoded, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries; the prediction has N entries in the same order.

        Raises:
            PromptError: A prompt is invalid for this image.
            UnsupportedPromptError: The model does not take a kind of prompt, or a combination.
        """
        ...


@runtime_checkable
class ThreeWaySegmenter(Protocol):
    """A segmenter that can be unsure whether an object is in the image."""

    @property
    def unsure_threshold(self) -> float:
        """Minimum presence of a query that is shown as unsure; at most `Segmenter.presence_threshold`."""
        ...


@runtime_checkable
class Proposer(Protocol):
    """A segmenter that can return several candidate masks for a query."""

    def propose(self, image: Any, query: Query) -> Prediction:
        """Return candidate masks for the one object of a query of points, boxes and masks, best first.

        Raises:
            PromptError: The query has several objects or none, or a prompt is outside the image.
        """
        ...


@dataclass(frozen=True, eq=False)
class SegmentProposals:
    """What a model proposes for the panoptic map of an image and C classes.

    Attributes:
        candidates: Masks that may become segments, of classes that are present only.
        presence: Calibrated probability that each class is in the image, shape (C,), float32, in [0, 1].
        present: The classes that count as present, in order.
        class_logits: Map of each class over the whole image, shape (C, h, w), float32; 0 is the edge of its mask.
        settings: How the candidates are merged.
    """

    candidates: tuple[SegmentCandidate, ...]
    presence: NDArray[np.float32]
    present: tuple[int, ...]
    class_logits: NDArray[np.float32]
    settings: MergeSettings


@runtime_checkable
class SegmentProposer(Protocol):
    """A segmenter with an own way to propose segments for a list of classes.

    For others, `models.segment_proposals.propose_segments` takes the answer to each name.
    """

    def propose_segments(
        self, image: Any, classes: Sequence[NamedClass], *, presence_threshold: float
    ) -> SegmentProposals:
        """Propose segments of an encoded image.

        Args:
            image: Result of `encode_image`.
            classes: C classes.
            presence_threshold: Minimum presence of a class; nothing is proposed for others.
        """
        ...


def read_text(query: Query) -> str | None:
    """Return the phrase of a query that is exactly one phrase, else None."""
    match query.prompts:
        case (TextPrompt(text=text),):
            return text
        case _:
            return None


def single_texts(queries: Sequence[Query]) -> list[str]:
    """Return the phrase of each query, for models that take exactly one phrase per query.

    Raises:
        UnsupportedPromptError: A query is not exactly one phrase.
    """
    texts = []
    for query in queries:
        text = read_text(query)
        if text is None:
            kinds = " + ".join(prompt.kind for prompt in query.prompts)
            raise UnsupportedPromptError(
                f"the model takes exactly one phrase per query, but query {query.label!r} has {kinds}: split the query"
            )
        texts.append(text)
    return texts


def read_concepts(query: Query) -> tuple[Concept, ...]:
    """Return the phrases and exemplars of a query, for models that take nothing else.

    Raises:
        UnsupportedPromptError: The query holds another kind of prompt.
    """
    concepts = tuple(prompt for prompt in query.prompts if isinstance(prompt, TextPrompt | ExemplarPrompt))
    if len(concepts) < len(query.prompts):
        kinds = " + ".join(prompt.kind for prompt in query.prompts)
        raise UnsupportedPromptError(
            f"the model takes only text and exemplar prompts, but query {query.label!r} has {kinds}: remove the others"
        )
    return concepts
