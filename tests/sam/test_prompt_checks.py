"""Prompts that mean nothing: the message says which and why."""

import math
from typing import Any

import numpy as np
import pytest
from small_maskers import untrained_mobile_sam

from promptseg.errors import PromptError
from promptseg.sam.base import SamEmbedding
from promptseg.sam.sam import Sam

BOX = np.array([[5.0, 5, 40, 40]])
POINT = np.array([[[20.0, 20]]])


@pytest.fixture(scope="module")
def sam() -> Sam:
    return untrained_mobile_sam(128)


@pytest.fixture(scope="module")
def embedding(sam: Sam) -> SamEmbedding:
    return sam.encode(np.zeros((90, 100, 3), np.uint8))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "SAM needs points or a box"),
        ({"points_xy": POINT}, "points_xy and point_labels come together"),
        ({"boxes_xyxy": BOX[0]}, r"boxes_xyxy must be \(N, 4\), got \(4,\)"),
        (
            {"boxes_xyxy": np.array([[5, 5, 40, 40], [10, 10, 10, 40.0]])},
            r"box \(10, 10, 10, 40\) of prompt 1 has no area",
        ),
        ({"boxes_xyxy": np.array([[40, 5, 5, 40.0]])}, "of prompt 0 has no area"),
        ({"boxes_xyxy": np.array([[5, 5, math.nan, 40]])}, "is not finite"),
        ({"boxes_xyxy": np.array([[5, 5, math.inf, 40]])}, "is not finite"),
        (
            {"boxes_xyxy": np.array([[200, 5, 240, 40.0]])},
            r"box \(200, 5, 240, 40\) of prompt 0 is outside the image, 100x90 pixels",
        ),
        (
            {"points_xy": np.array([[[20.0, 95]]]), "point_labels": np.ones((1, 1))},
            r"point \(20, 95\) of prompt 0 is outside",
        ),
        (
            {"points_xy": np.array([[[math.nan, 5]]]), "point_labels": np.ones((1, 1))},
            r"point \(nan, 5\) of prompt 0 is outside",
        ),
        ({"points_xy": POINT, "point_labels": np.full((1, 1), 2)}, "a point label is 1"),
        ({"points_xy": POINT, "point_labels": np.full((1, 1), -1)}, "all points of a prompt have the label -1"),
        ({"points_xy": POINT, "point_labels": np.ones((2, 1))}, r"points_xy must be \(N, P, 2\)"),
        (
            {"points_xy": POINT, "point_labels": np.ones((1, 1)), "boxes_xyxy": BOX.repeat(2, axis=0)},
            "1 sets of points but 2 boxes",
        ),
        (
            {"boxes_xyxy": BOX, "mask_logits": np.zeros((1, 9, 9))},
            r"mask_logits must be \(1, 32, 32\), got \(1, 9, 9\)",
        ),
        ({"boxes_xyxy": BOX, "mask_logits": np.full((1, 32, 32), math.nan)}, "mask_logits are not finite"),
    ],
)
def test_the_message_says_which_and_why(
    sam: Sam, embedding: SamEmbedding, prompts: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        sam.segment(embedding, **prompts)
