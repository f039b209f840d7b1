"""Maskers: prompts in image pixels, masks at the image's size, errors that name the prompt."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from small_maskers import untrained_mobile_sam
from torch import Tensor
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamVisionConfig

from promptseg.errors import CheckpointError, PromptError, UnknownModelError
from promptseg.images import read_image
from promptseg.photos import find_photo
from promptseg.runtime.graph_runner import GraphRunner, Precision
from promptseg.sam.base import OUTSIDE_LOGIT, Frame, Masker
from promptseg.sam.decoder import SamDecoder, transformers_key
from promptseg.sam.load import load_masker
from promptseg.sam.mobile_sam import MobileSam, load_mobile_sam
from promptseg.sam.sam2 import load_sam2
from promptseg.weights import resolve

SIDE = 128


@pytest.fixture(scope="module")
def untrained() -> MobileSam:
    return untrained_mobile_sam(SIDE)


@pytest.fixture(scope="module", params=["mobile-sam", "sam2-hiera-tiny"])
def trained(request: pytest.FixtureRequest) -> Masker:
    return load_masker(request.param, input_side=512)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc(height: int, width: int, *, center_xy: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width] + 0.5
    inside: NDArray[np.bool_] = (x - center_xy[0]) ** 2 + (y - center_xy[1]) ** 2 < radius**2
    return inside


def image_of(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A blue-gray background with slight noise and an orange object."""
    texture = np.random.default_rng(0).normal(0, 4, (*mask.shape, 3))
    painted = np.where(mask[..., None], (230, 120, 40), (90, 110, 130)) + texture
    return painted.clip(0, 255).astype(np.uint8)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestFrame:
    def test_a_map_goes_to_the_canvas_and_back(self) -> None:
        frame = Frame((60, 100), (128, 128), (1.28, 1.28))
        ramp = torch.linspace(-3, 3, 100).expand(60, 100)[None]
        there = frame.maps_to_canvas(ramp, (32, 32))
        back = frame.maps_to_image(there)
        torch.testing.assert_close(back[0, 5:50, 5:-5], ramp[0, 5:50, 5:-5], rtol=0, atol=0.02)
        assert bool((there[0, 20:] == OUTSIDE_LOGIT).all())

    def test_maps_keep_their_place(self) -> None:
        mask = torch.from_numpy(disc(60, 100, center_xy=(70, 20), radius=12))
        frame = Frame((60, 100), (128, 128), (1.28, 1.28))
        back = frame.maps_to_image(frame.maps_to_canvas(mask[None].float() - 0.5, (32, 32)))[0] > 0
        assert iou(back.numpy(), mask.numpy()) > 0.9

    def test_other_resolutions_cover_the_same_image(self) -> None:
        frame = Frame((60, 100), (96, 128), (1.28, 1.28))
        ramp = torch.arange(32.0).expand(24, 32)[None]
        full, half = frame.maps_to_image(ramp), frame.maps_to_image(ramp, (30, 50))
        assert (full.shape, half.shape) == ((1, 60, 100), (1, 30, 50))
        torch.testing.assert_close(full.view(30, 2, 50, 2).mean((1, 3)), half[0], rtol=0, atol=0.2)


class TestMobileSam:
    @pytest.mark.parametrize(
        ("size_hw", "canvas_hw"), [((60, 100), (96, 128)), ((100, 60), (128, 96)), ((90, 100), (128, 128))]
    )
    def test_the_canvas_is_the_smallest_that_holds_the_image(
        self, untrained: MobileSam, size_hw: tuple[int, int], canvas_hw: tuple[int, int]
    ) -> None:
        embedding = untrained.encode(noise(*size_hw))
        assert embedding.frame.canvas_hw == canvas_hw
        assert embedding.features[0].shape == (1, 256, canvas_hw[0] // 16, canvas_hw[1] // 16)
        output = untrained.segment(embedding, boxes_xyxy=torch.tensor([[5.0, 5, 40, 40]]), choice="levels")
        assert output.mask_logits.shape == (1, 3, canvas_hw[0] // 4, canvas_hw[1] // 4)
        assert output.image_logits().shape == (1, 3, *size_hw)
        assert output.best().scores.item() == output.scores.max().item()

    @pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1)])
    def test_thin_images_go_through(self, untrained: MobileSam, size_hw: tuple[int, int]) -> None:
        embedding = untrained.encode(noise(*size_hw))
        box = torch.tensor([[0.0, 0, size_hw[1], size_hw[0]]])
        assert untrained.segment(embedding, boxes_xyxy=box).image_logits().shape == (1, 1, *size_hw)

    def test_a_prompt_does_not_depend_on_its_batch(self, untrained: MobileSam) -> None:
        embedding = untrained.encode(noise(90, 100))
        boxes = torch.rand(21, 4, generator=torch.Generator().manual_seed(0)) * 40 + torch.tensor([0.0, 0, 45, 45])
        masks = torch.randn(21, 32, 32, generator=torch.Generator().manual_seed(1))
        together = untrained.segment(embedding, boxes_xyxy=boxes, mask_logits=masks)
        alone = [
            untrained.segment(embedding, boxes_xyxy=b[None], mask_logits=m[None])
            for b, m in zip(boxes, masks, strict=True)
        ]
        torch.testing.assert_close(
            together.mask_logits, torch.cat([one.mask_logits for one in alone]), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(together.scores, torch.cat([one.scores for one in alone]), rtol=1e-4, atol=1e-5)

    def test_decoding_equals_transformers_sam(self, untrained: MobileSam) -> None:
        vision = SamVisionConfig(
            image_size=SIDE, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, mlp_dim=16, num_pos_feats=128
        )
        config = SamConfig(
            vision_config=vision,
            prompt_encoder_config={"image_size": SIDE},
            mask_decoder_config=SamMaskDecoderConfig(layer_norm_eps=1e-5),
        )
        reference = SamModel(config).eval()
        reference.prompt_encoder.load_state_dict(untrained.decoder.prompt_encoder.state_dict())
        reference.mask_decoder.load_state_dict(untrained.decoder.mask_decoder.state_dict())
        reference.shared_image_embedding.load_state_dict(untrained.decoder.prompt_encoder.shared_embedding.state_dict())
        embedding = untrained.encode(noise(120, 128))
        boxes, points = torch.tensor([[10.0, 20, 90, 100], [5, 5, 60, 50]]), torch.tensor([[[40.0, 50]], [[30, 30]]])
        for with_points in (False, True):
            prompts = {"points_xy": points, "point_labels": torch.ones(2, 1)} if with_points else {}
            ours = untrained.segment(embedding, boxes_xyxy=boxes, choice="levels", **prompts)
            with torch.inference_mode():
                theirs = reference(
                    image_embeddings=embedding.features[0],
                    input_boxes=boxes[None],
                    input_points=points[None] if with_points else None,
                    input_labels=torch.ones(1, 2, 1) if with_points else None,
                )
            torch.testing.assert_close(ours.mask_logits, theirs.pred_masks[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.scores, theirs.iou_scores[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    def test_openvino_gives_the_same_numbers(self, untrained: MobileSam) -> None:
        compiled = MobileSam(untrained.encoder, untrained.decoder, runner=GraphRunner("openvino", num_threads=1))
        image, boxes = noise(70, 100), torch.tensor([[10.0, 20, 90, 60], [5, 5, 60, 50], [1, 2, 3, 4]])
        masks = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(0))
        expected, found = untrained.encode(image), compiled.encode(image)
        torch.testing.assert_close(found.features[0], expected.features[0], rtol=1e-3, atol=1e-4)
        # One prompt first: the compiled graph must not have learnt that there is always one.
        for count, coarse in ((1, None), (3, None), (3, masks)):
            prompts = {"boxes_xyxy": boxes[:count], "mask_logits": coarse}
            a, b = untrained.segment(expected, **prompts), compiled.segment(expected, **prompts)
            torch.testing.assert_close(b.mask_logits, a.mask_logits, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(b.scores, a.scores, rtol=1e-3, atol=1e-4)

    def test_published_names_are_translated(self) -> None:
        known = SamDecoder(64).state_dict().keys()
        published = (
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
            "prompt_encoder.mask_downscaling.6.bias",
            "mask_decoder.transformer.layers.1.norm4.weight",
            "mask_decoder.transformer.norm_final_attn.bias",
            "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight",
            "mask_decoder.iou_prediction_head.layers.1.bias",
            "mask_decoder.transformer.layers.0.mlp.lin1.weight",
        )
        assert {transformers_key(key) for key in published} <= known

    def test_other_weights_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        save_file({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 3, 3)}, path)
        with pytest.raises(CheckpointError, match=r"other\.safetensors: not the weights of MobileSAM"):
            load_mobile_sam(path)
        path.write_bytes(b"no weights at all")
        with pytest.raises(CheckpointError, match="not the weights of MobileSAM"):
            load_mobile_sam(path)
        with pytest.raises(CheckpointError, match="no SAM 2 model"):
            load_sam2(tmp_path)


BOX = torch.tensor([[5.0, 5, 40, 40]])
POINT = torch.tensor([[[20.0, 20]]])


class TestBadPrompts:
    @pytest.mark.parametrize(
        ("prompts", "message"),
        [
            ({}, "needs points or a box"),
            ({"points_xy": POINT}, "points_xy and point_labels come together"),
            ({"boxes_xyxy": BOX[0]}, r"boxes_xyxy must be \(N, 4\), got \(4,\)"),
            (
                {"boxes_xyxy": torch.tensor([[5, 5, 40, 40], [10, 10, 10, 40.0]])},
                r"box \(10, 10, 10, 40\) of prompt 1 has no area",
            ),
            ({"boxes_xyxy": torch.tensor([[40, 5, 5, 40.0]])}, "of prompt 0 has no area"),
            ({"boxes_xyxy": torch.tensor([[5, 5, math.nan, 40]])}, "is not finite"),
            ({"boxes_xyxy": torch.tensor([[5, 5, math.inf, 40]])}, "is not finite"),
            (
                {"boxes_xyxy": torch.tensor([[200, 5, 240, 40.0]])},
                r"box \(200, 5, 240, 40\) of prompt 0 is outside the image, 100x90 pixels",
            ),
            (
                {"points_xy": torch.tensor([[[20.0, 95]]]), "point_labels": torch.ones(1, 1)},
                r"point \(20, 95\) of prompt 0 is outside",
            ),
            (
                {"points_xy": torch.tensor([[[math.nan, 5]]]), "point_labels": torch.ones(1, 1)},
                r"point \(nan, 5\) of prompt 0 is outside",
            ),
            ({"points_xy": POINT, "point_labels": torch.full((1, 1), 2)}, "a point label is 1"),
            ({"points_xy": POINT, "point_labels": torch.ones(2, 1)}, r"points_xy must be \(N, P, 2\)"),
            (
                {"points_xy": POINT, "point_labels": torch.ones(1, 1), "boxes_xyxy": BOX.repeat(2, 1)},
                "1 sets of points but 2 boxes",
            ),
            (
                {"boxes_xyxy": BOX, "mask_logits": torch.zeros(1, 9, 9)},
                r"mask_logits must be \(1, 32, 32\), got \(1, 9, 9\)",
            ),
            ({"boxes_xyxy": BOX, "mask_logits": torch.full((1, 32, 32), math.nan)}, "mask_logits are not finite"),
        ],
    )
    def test_the_message_says_which_and_why(
        self, untrained: MobileSam, prompts: dict[str, Tensor], message: str
    ) -> None:
        with pytest.raises(PromptError, match=message):
            untrained.segment(untrained.encode(noise(90, 100)), **prompts)

    def test_a_filled_up_point_may_lie_anywhere(self, untrained: MobileSam) -> None:
        points = torch.tensor([[[20.0, 20], [-1, -1]]])
        labels = torch.tensor([[1, -1]])
        untrained.segment(untrained.encode(noise(90, 100)), points_xy=points, point_labels=labels)

    def test_an_unknown_masker_is_named(self) -> None:
        with pytest.raises(UnknownModelError, match="no masker 'sam9'; there are mobile-sam, sam2-hiera-tiny"):
            load_masker("sam9")  # type: ignore[arg-type]


@pytest.mark.weights
class TestTrained:
    def test_a_box_masks_a_disc(self, trained: Masker) -> None:
        mask = disc(240, 320, center_xy=(200, 90), radius=60)
        embedding = trained.encode(image_of(mask))
        output = trained.segment(embedding, boxes_xyxy=torch.tensor([[140.0, 30, 260, 150]]))
        assert iou(output.image_logits()[0, 0].numpy() > 0, mask) > 0.93
        assert output.scores.item() > 0.8

    def test_a_point_masks_a_disc(self, trained: Masker) -> None:
        mask = disc(320, 240, center_xy=(70, 200), radius=50)
        embedding = trained.encode(image_of(mask))
        points, labels = torch.tensor([[[70.0, 200]]]), torch.ones(1, 1)
        output = trained.segment(embedding, points_xy=points, point_labels=labels, choice="levels").best()
        assert iou(output.image_logits()[0, 0].numpy() > 0, mask) > 0.93

    def test_the_coffee_of_a_bundled_photo(self, trained: Masker) -> None:
        """Its surface is, but for the part behind the rim, the ellipse that fills its box."""
        x0, y0, x1, y1 = 204, 94, 371, 193
        embedding = trained.encode(read_image(find_photo("coffee")))
        output = trained.segment(embedding, boxes_xyxy=torch.tensor([[x0, y0, x1, y1]]))
        y, x = np.mgrid[:400, :600] + 0.5
        ellipse = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1
        assert iou(output.image_logits()[0, 0].numpy() > 0, ellipse) > 0.85


@pytest.mark.weights
@pytest.mark.parametrize(("precision", "least_iou", "score_error"), [("f32", 0.999, 1e-4), ("bf16", 0.95, 0.02)])
def test_compiled_masks_of_a_photo_are_those_of_pytorch(
    precision: Precision, least_iou: float, score_error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_path = resolve("mobile-sam")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    plain = load_mobile_sam(weights_path, input_side=640)
    compiled = load_mobile_sam(
        weights_path, input_side=640, runner=GraphRunner("openvino", precision=precision, num_threads=1)
    )
    embedding = plain.encode(read_image(find_photo("coffee")))
    box, point = torch.tensor([[204.0, 94, 371, 193]]), torch.tensor([[[290.0, 140]]])
    coarse = torch.full((1, *(side // 4 for side in embedding.frame.canvas_hw)), -4.0)
    coarse[:, 30:48, 56:96] = 4.0
    for boxes, masks in ((box, None), (None, None), (box, coarse)):
        asked = {"points_xy": point, "point_labels": torch.ones(1, 1), "boxes_xyxy": boxes, "mask_logits": masks}
        expected, found = (masker.segment(embedding, **asked) for masker in (plain, compiled))
        assert iou((found.mask_logits > 0).numpy(), (expected.mask_logits > 0).numpy()) >= least_iou
        torch.testing.assert_close(found.scores, expected.scores, atol=score_error, rtol=0)
