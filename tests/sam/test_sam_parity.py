"""The first SAM as a masker: transformers' numbers on random weights, and a directory found by its config."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SamConfig, SamModel

from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.sam.load import load_masker
from promptseg.sam.sam import Sam, build_tiny_sam, load_sam


@pytest.fixture(scope="module")
def masker() -> Sam:
    return build_tiny_sam()


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("choice", ["single", "levels"])
def test_numbers_are_those_of_transformers(masker: Sam, choice: str, with_mask: bool) -> None:
    embedding = masker.encode(image(64, 64))
    boxes, points = torch.tensor([[10.0, 20, 50, 60], [5, 5, 30, 40]]), torch.tensor([[[30.0, 30]], [[20, 20]]])
    masks = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0)) if with_mask else None
    ours = masker.segment(
        embedding, boxes_xyxy=boxes, points_xy=points, point_labels=torch.ones(2, 1), mask_logits=masks, choice=choice
    )  # type: ignore[call-overload]
    pixels = (torch.from_numpy(image(64, 64)).float() - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
        [58.395, 57.12, 57.375]
    )
    model: SamModel = masker.model
    with torch.inference_mode():
        theirs = model.get_image_embeddings(pixels.permute(2, 0, 1)[None])
        torch.testing.assert_close(embedding.features[0], theirs, rtol=1e-4, atol=1e-5)
        for index in range(2):
            answer = model(
                image_embeddings=theirs,
                input_boxes=boxes[None, index : index + 1],
                input_points=points[None, index : index + 1],
                input_labels=torch.ones(1, 1, 1),
                input_masks=None if masks is None else masks[index][None, None],
                multimask_output=choice == "levels",
            )
            torch.testing.assert_close(ours.mask_logits[index], answer.pred_masks[0, 0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.scores[index], answer.iou_scores[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(30, 100), (100, 30), (1, 7)])
def test_masks_come_at_the_images_size(masker: Sam, size_hw: tuple[int, int]) -> None:
    embedding = masker.encode(image(*size_hw))
    box = torch.tensor([[0.0, 0, size_hw[1], size_hw[0]]])
    assert masker.segment(embedding, boxes_xyxy=box).image_logits().shape == (1, 1, *size_hw)


def test_what_is_padded_does_not_move_the_image(masker: Sam) -> None:
    """A wide image lies at the top of the square: its rows are the upper ones of the maps."""
    embedding = masker.encode(image(32, 64))
    assert embedding.frame.map_hw == (8, 16)
    assert embedding.frame.points_to_canvas(torch.tensor([64.0, 32])).tolist() == [64, 32]


def test_a_directory_is_found_by_its_config(masker: Sam, tmp_path: Path) -> None:
    masker.model.save_pretrained(tmp_path)
    loaded = load_masker(tmp_path, input_side=64)
    box = torch.tensor([[5.0, 5, 40, 40]])
    expected, found = (one.segment(one.encode(image(64, 64)), boxes_xyxy=box) for one in (masker, loaded))
    torch.testing.assert_close(found.mask_logits, expected.mask_logits, rtol=1e-3, atol=1e-4)
    with pytest.raises(CheckpointError, match="this SAM takes 64 pixels, not 1024"):
        load_masker(tmp_path)


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="or give a directory"):
        load_masker(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"can't read its config\.json"):
        load_masker(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="holds a 'bert'; maskers are sam and sam2"):
        load_masker(tmp_path)
    with pytest.raises(CheckpointError, match="no SAM for transformers"):
        load_sam(tmp_path)


@pytest.mark.parametrize(
    ("width", "blocks", "heads", "millions"), [(768, 12, 12, 94), (1024, 24, 16, 312), (1280, 32, 16, 641)]
)
def test_sizes(width: int, blocks: int, heads: int, millions: int) -> None:
    vision = {"hidden_size": width, "mlp_dim": 4 * width, "num_hidden_layers": blocks, "num_attention_heads": heads}
    with torch.device("meta"):
        model = SamModel(SamConfig(vision_config=vision))
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == millions
