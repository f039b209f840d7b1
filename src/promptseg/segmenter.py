"""What every segmentation model can do, whatever is inside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from promptseg.errors import UnsupportedPromptError
from promptseg.prompts import Query, TextPrompt
from promptseg.results import Instance

Features = dict[str, Tensor]
"""An image after `encode_image`: named tensors, first dimension 1. Their meaning is the model's own business."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about N queries on one image.

    Attributes:
        mask_logits: Shape (N, h, w), float, covering exactly the image at low resolution. 0 is probability 0.5.
        presence: Calibrated probability that what the query means is there, shape (N,), in [0, 1].
        iou: Predicted IoU of each mask, shape (N,), in [0, 1].
        instances: The objects of each query, best first, where the model tells them apart; None, for a query or for
            all: it does not, and the connected parts of a mask count as objects.
    """

    mask_logits: Tensor
    presence: Tensor
    iou: Tensor
    instances: tuple[tuple[Instance, ...] | None, ...] | None = None


class Segmenter(Protocol):
    """Encode an image once, then segment it by as many queries as come.

    Attributes:
        prompt_kinds: Kinds of prompt that the model takes: "text", ...
        mask_threshold: A pixel belongs to a mask from this probability on.
        presence_threshold: A query counts as found from this presence on.
    """

    @property
    def prompt_kinds(self) -> frozenset[str]: ...

    @property
    def mask_threshold(self) -> float: ...

    @property
    def presence_threshold(self) -> float: ...

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode an image, uint8, shape (H, W, 3)."""
        ...

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded image of the given original size; N queries give N answers, in order.

        Raises:
            PromptError: A prompt means nothing on this image.
            UnsupportedPromptError: A kind of prompt, or a combination, that the model does not take.
        """
        ...


@runtime_checkable
class Proposer(Protocol):
    """A segmenter that has several candidates for what is pointed at."""

    def propose(self, features: Features, query: Query, size_hw: tuple[int, int]) -> Prediction:
        """Give candidates for the one object that a query of points, boxes and masks points at, best first.

        Raises:
            PromptError: The query points at several objects, at none, or outside the image.
        """
        ...


class Config(Protocol):
    """What a model is made of, as plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Give the config as what JSON can hold."""
        ...


class Model(Protocol):
    """A network, or several, with what was trained of it.

    Attributes:
        config: What it is made of.
        device: Where it lies.
    """

    @property
    def config(self) -> Config: ...

    @property
    def device(self) -> torch.device: ...

    def state_dict(self) -> dict[str, Any]: ...

    def trained_names(self) -> set[str]:
        """Names in `state_dict` of what was trained; all else comes from published weights."""
        ...


def read_text(query: Query) -> str | None:
    """Give the phrase of a query that is one phrase and nothing else."""
    match query.prompts:
        case (TextPrompt(text=text),):
            return text
        case _:
            return None


def single_texts(queries: Sequence[Query]) -> list[str]:
    """Give the phrase of each query, for models that take one phrase and nothing else.

    Raises:
        UnsupportedPromptError: A query is made of something else.
    """
    texts = []
    for query in queries:
        text = read_text(query)
        if text is None:
            kinds = " + ".join(prompt.kind for prompt in query.prompts)
            raise UnsupportedPromptError(
                f"the model takes one phrase a query, {query.label!r} is {kinds}: ask one by one"
            )
        texts.append(text)
    return texts
