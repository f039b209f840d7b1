"""Prompts as tokens: the numbers of transformers' prompt encoders, for random and published weights."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Sam2PromptEncoderConfig
from transformers.models.sam2.modeling_sam2 import Sam2PromptEncoder

from promptseg.sam import sam2
from promptseg.sam.decoder import SamDecoder, read_prompt_encoder
from promptseg.sam.mobile_sam import read_prompt_encoder as read_published
from promptseg.sam.mobile_sam_network import load_network
from promptseg.sam.prompt_encoder import PromptEncoder
from promptseg.weights import resolve

SIDE = 128
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0, SIDE, (4, 3, 2)).astype(np.float32)
ON_OBJECT = RNG.uniform(size=(4, 3)) < 0.5
BOXES = RNG.uniform(0, SIDE, (4, 4)).astype(np.float32)
PROMPTS: dict[str, tuple[Any, Any, Any]] = {
    "points": (POINTS, ON_OBJECT, None),
    "boxes": (None, None, BOXES),
    "both": (POINTS, ON_OBJECT, BOXES),
}


def random_sam_encoder() -> Any:
    """With frequencies of about 1, as published; transformers' random ones are 384 times higher."""
    torch.manual_seed(0)
    encoder = SamDecoder(SIDE).prompt_encoder
    torch.nn.init.normal_(encoder.shared_embedding.positional_embedding)
    return encoder


def literal_position(encoder: Any, grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    """By transformers' own embedding of the centers of the cells, in [0, 1] of the square."""
    y, x = np.meshgrid(*((np.arange(length) + 0.5) * 16 / SIDE for length in grid_hw), indexing="ij")
    with torch.inference_mode():
        encoded = encoder.shared_embedding(torch.from_numpy(np.stack([x, y], axis=-1)[None]).float())
    return encoded.permute(0, 3, 1, 2).numpy()


def assert_same(ours: PromptEncoder, theirs: Any, prompts: tuple[Any, Any, Any]) -> None:
    points, on_object, boxes = prompts
    with torch.inference_mode():
        expected, _ = theirs(
            None if points is None else torch.from_numpy(points)[None],
            None if on_object is None else torch.from_numpy(on_object)[None].long(),
            None if boxes is None else torch.from_numpy(boxes)[None],
            None,
        )
    np.testing.assert_allclose(ours.embed_prompts(*prompts), expected[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", PROMPTS)
def test_tokens_are_those_of_transformers_sam(kind: str) -> None:
    theirs = random_sam_encoder()
    assert_same(read_prompt_encoder(theirs, SIDE), theirs, PROMPTS[kind])


@pytest.mark.parametrize("kind", PROMPTS)
def test_tokens_are_those_of_transformers_sam2(kind: str) -> None:
    torch.manual_seed(0)
    theirs = Sam2PromptEncoder(Sam2PromptEncoderConfig(image_size=SIDE))
    assert_same(sam2.read_prompt_encoder(theirs, SIDE), theirs, PROMPTS[kind])


@pytest.mark.parametrize("canvas_hw", [(128, 128), (96, 128), (128, 96)])
def test_positions_are_those_of_transformers(canvas_hw: tuple[int, int]) -> None:
    theirs = random_sam_encoder()
    found = read_prompt_encoder(theirs, SIDE).image_position(canvas_hw)
    expected = literal_position(theirs, (canvas_hw[0] // 16, canvas_hw[1] // 16))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.weights
@pytest.mark.parametrize("kind", PROMPTS)
def test_published_weights_are_read_without_the_network(kind: str) -> None:
    path = resolve("mobile-sam")
    theirs = load_network(path, SIDE).decoder.prompt_encoder
    ours = read_published(path, SIDE)
    assert_same(ours, theirs, PROMPTS[kind])
    np.testing.assert_array_equal(ours.no_mask, theirs.no_mask_embed.weight[0].numpy())
