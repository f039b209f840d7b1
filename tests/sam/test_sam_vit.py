"""The first SAM: transformers' numbers on random weights, and a directory found by its config."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SamConfig, SamModel

from promptseg.errors import CheckpointError
from promptseg.runtime import Runtime
from promptseg.sam.base import MaskChoice
from promptseg.sam.load import load_sam
from promptseg.sam.sam import Sam
from promptseg.sam.sam_vit import build_tiny_model, build_tiny_sam

TORCH = Runtime("torch")


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build_tiny_sam(runtime=TORCH)


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("choice", ["single", "levels"])
def test_numbers_are_those_of_transformers(sam: Sam, choice: MaskChoice, with_mask: bool) -> None:
    embedding = sam.encode(image(64, 64))
    boxes = torch.tensor([[10.0, 20, 50, 60], [5, 5, 30, 40]])
    points = torch.tensor([[[30.0, 30]], [[20, 20]]])
    masks = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0)) if with_mask else None
    ours = sam.segment(
        embedding,
        boxes_xyxy=boxes.numpy(),
        points_xy=points.numpy(),
        point_labels=np.ones((2, 1)),
        mask_logits=None if masks is None else masks.numpy(),
        choice=choice,
    )
    pixels = (torch.from_numpy(image(64, 64)).float() - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
        [58.395, 57.12, 57.375]
    )
    model = build_tiny_model().eval()
    with torch.inference_mode():
        theirs = model.get_image_embeddings(pixels.permute(2, 0, 1)[None])
        np.testing.assert_allclose(embedding.features[0], theirs.numpy(), rtol=1e-4, atol=1e-5)
        for index in range(2):
            answer = model(
                image_embeddings=theirs,
                input_boxes=boxes[None, index : index + 1],
                input_points=points[None, index : index + 1],
                input_labels=torch.ones(1, 1, 1),
                input_masks=None if masks is None else masks[index][None, None],
                multimask_output=choice == "levels",
            )
            np.testing.assert_allclose(ours.mask_logits[index], answer.pred_masks[0, 0].numpy(), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(ours.scores[index], answer.iou_scores[0, 0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(30, 100), (100, 30), (1, 7)])
def test_masks_come_at_the_images_size(sam: Sam, size_hw: tuple[int, int]) -> None:
    embedding = sam.encode(image(*size_hw))
    box = np.array([[0.0, 0, size_hw[1], size_hw[0]]])
    assert sam.segment(embedding, boxes_xyxy=box).image_logits().shape == (1, 1, *size_hw)


def test_what_is_padded_does_not_move_the_image(sam: Sam) -> None:
    """A wide image lies at the top of the square: its rows are the upper ones of the maps."""
    embedding = sam.encode(image(32, 64))
    assert embedding.frame.map_hw == (8, 16)
    assert embedding.frame.points_to_canvas(np.array([64.0, 32])).tolist() == [64, 32]


def test_a_directory_is_found_by_its_config(sam: Sam, tmp_path: Path) -> None:
    build_tiny_model().save_pretrained(tmp_path)
    loaded = load_sam(tmp_path, runtime=TORCH, input_side=64)
    box = np.array([[5.0, 5, 40, 40]])
    expected, found = (one.segment(one.encode(image(64, 64)), boxes_xyxy=box) for one in (sam, loaded))
    np.testing.assert_allclose(found.mask_logits, expected.mask_logits, rtol=1e-3, atol=1e-4)
    with pytest.raises(CheckpointError, match="this SAM takes 64 pixels, not 1024"):
        load_sam(tmp_path, runtime=TORCH)


@pytest.mark.parametrize(
    ("width", "blocks", "heads", "millions"), [(768, 12, 12, 94), (1024, 24, 16, 312), (1280, 32, 16, 641)]
)
def test_sizes(width: int, blocks: int, heads: int, millions: int) -> None:
    vision = {"hidden_size": width, "mlp_dim": 4 * width, "num_hidden_layers": blocks, "num_attention_heads": heads}
    with torch.device("meta"):
        model = SamModel(SamConfig(vision_config=vision))
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == millions
