"""YOLOX-Nano as a tower, its painted detections, and pairs of towers; the published file: test_weights_published.py."""

import itertools
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv
from promptseg.encoders.towers import build_image_tower
from promptseg.encoders.yolox import STRIDES, CrossStage, YoloxNano, paint
from promptseg.errors import WeightsError
from promptseg.layers.neck import PyramidNeck
from promptseg.weights.convert.yolox import convert_yolox


@pytest.fixture(scope="module")
def tower() -> YoloxNano:
    torch.manual_seed(0)
    tower = YoloxNano().eval()
    for head in tower.heads:
        nn.init.normal_(head.names.weight, std=0.1)
        nn.init.normal_(head.boxes.weight, std=0.1)
    return tower


def write_graph(path: Path, tensors: dict[str, Tensor]) -> Path:
    """An ONNX graph of the convolutions "0", "1", ... under names that say nothing, with other nodes between."""
    nodes, initializers = [], []
    num_convs = sum(name.endswith(".weight") for name in tensors)
    # stored in another order than they run in
    for index in reversed(range(num_convs)):
        for part in ("weight", "bias"):
            stored = onnx.numpy_helper.from_array(tensors[f"{index}.{part}"].numpy(), f"{part}_{907 - index}")
            initializers.append(stored)
    for index in range(num_convs):
        inputs = [f"x{index}", f"weight_{907 - index}", f"bias_{907 - index}"]
        nodes.append(onnx.helper.make_node("Conv", inputs, [f"y{index}"]))
        nodes.append(onnx.helper.make_node("Sigmoid", [f"y{index}"], [f"x{index + 1}"]))
    graph = onnx.helper.make_graph(nodes, "convs", [], [], initializers)
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def in_order(tower: YoloxNano) -> dict[str, Tensor]:
    convs = [module for module in tower.modules() if isinstance(module, nn.Conv2d)]
    return {
        f"{index}.{part}": getattr(conv, part).detach().clone()
        for index, conv in enumerate(convs)
        for part in ("weight", "bias")
    }


def test_layout_is_the_published_one(tower: YoloxNano) -> None:
    """The paper has 0.91 million parameters: batch norms have two a channel, of which folding leaves one."""
    assert sum(value.numel() for value in tower.parameters()) == 904_463
    assert len(in_order(tower)) == 2 * 113
    assert tower.channels == (64 + 160, 64 + 80, 64 + 80) and tower.strides == STRIDES


@torch.no_grad()
def test_maps_have_their_strides_and_layers_choose_among_them(tower: YoloxNano) -> None:
    pixels = torch.randn(2, 3, 64, 96)
    maps = tower(pixels)
    assert [tuple(x.shape) for x in maps] == [(2, 224, 8, 12), (2, 144, 4, 6), (2, 144, 2, 3)]
    assert all(0.0 <= x[:, 64:].min() and x[:, 64:].max() <= 1.0 for x in maps)
    some = YoloxNano((8, 32)).eval()
    some.load_state_dict(tower.state_dict())
    for got, expected in zip(some(pixels), (maps[0], maps[2]), strict=True):
        assert torch.equal(got, expected)
    alone = tower(pixels[1:])
    for got, expected in zip(alone, maps, strict=True):
        torch.testing.assert_close(got, expected[1:], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_pixels_reach_the_network_as_bgr_of_255(tower: YoloxNano) -> None:
    seen = []
    hook = tower.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image_rgb = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).float() % 256
    mean, std = (torch.tensor(values)[:, None, None] for values in (tower.mean, tower.std))
    tower((image_rgb / 255.0 - mean) / std)
    hook.remove()
    # blocks of two by two pixels, column by column, three colors each
    bgr = image_rgb.flip(1)
    expected = torch.cat([bgr[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=1)
    torch.testing.assert_close(seen[0], expected, atol=1e-3, rtol=0)


def test_cross_stage_block_against_plain_convolutions() -> None:
    torch.manual_seed(0)
    block = CrossStage(6, 8, num_blocks=1, has_shortcut=True)
    x = torch.randn(1, 6, 5, 5)

    def run(conv: nn.Conv2d, x: Tensor) -> Tensor:
        y = nn.functional.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
        return y * torch.sigmoid(y)

    through = run(block.through, x)
    bottleneck = block.blocks[0]
    filtered = run(bottleneck.filter[1], run(bottleneck.filter[0], run(bottleneck.narrow, through)))
    expected = run(block.join, torch.cat([through + filtered, run(block.around, x)], dim=1))
    torch.testing.assert_close(block(x), expected)


def test_weights_come_from_the_graph_in_the_order_it_runs(tower: YoloxNano, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "yolox_nano.onnx", in_order(tower))
    convert_yolox({"yolox_nano.onnx": graph}, tmp_path / "yolox.safetensors")
    loaded = YoloxNano().eval()
    loaded.load_weights(tmp_path / "yolox.safetensors")
    assert all(torch.equal(value, tower.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_other_graphs_and_files_are_refused(tower: YoloxNano, tmp_path: Path) -> None:
    tensors = in_order(tower)
    changes = {
        "too short": (
            {name: value for name, value in tensors.items() if not name.startswith("80.")},
            "convolution 80 has",
        ),
        "too long": (tensors | {"999.weight": torch.zeros(1)}, "1 tensors too many"),
        "other shape": (tensors | {"0.weight": torch.zeros(16, 3, 3, 3)}, "convolution 0 has no fitting weight"),
    }
    for name, (content, message) in changes.items():
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsError, match=message):
            YoloxNano().load_weights(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("layers", [(), (16, 8), (4, 8), (8, 8), ("head",)])
def test_other_layers_are_refused(layers: tuple[int | str, ...]) -> None:
    with pytest.raises(ValueError, match="layers must be out of"):
        YoloxNano(layers)


# Painting


def paint_slowly(scores: list[Tensor], boxes: list[Tensor], num_painted: int) -> Tensor:
    """Each detection's rectangle, cell by cell, for one image."""
    detections = []
    for level, raw, stride in zip(scores, boxes, STRIDES, strict=True):
        for y, x in itertools.product(range(level.shape[2]), range(level.shape[3])):
            dx, dy, log_width, log_height = raw[0, :, y, x].tolist()
            cx, cy = (x + dx) * stride, (y + dy) * stride
            width, height = stride * 2.718281828**log_width, stride * 2.718281828**log_height
            detections.append((level[0, :, y, x], (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)))
    detections.sort(key=lambda one: -one[0].max().item())
    height, width = scores[0].shape[2:]
    painted = torch.zeros(80, height, width)
    for values, (x0, y0, x1, y1) in detections[:num_painted]:
        for y, x in itertools.product(range(height), range(width)):
            if x0 < 8 * x + 4 < x1 and y0 < 8 * y + 4 < y1:
                painted[:, y, x] += values**8
    return painted.clamp(1e-12, 1.0) ** 0.125


def random_detections(generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    shapes = [(8, 12), (4, 6), (2, 3)]
    scores = [torch.rand(1, 80, *shape, generator=generator) ** 4 for shape in shapes]
    boxes = [torch.randn(1, 4, *shape, generator=generator) for shape in shapes]
    return scores, boxes


@pytest.mark.parametrize("num_painted", [1, 20, 500])
def test_painting_is_the_rectangles_of_the_surest(num_painted: int) -> None:
    scores, boxes = random_detections(torch.Generator().manual_seed(num_painted))
    torch.testing.assert_close(paint(scores, boxes, num_painted)[0], paint_slowly(scores, boxes, num_painted))


def test_painted_is_nearly_the_highest_score() -> None:
    """One object that a single cell reports with 0.6: its rectangle has 0.6 for its name, all else is near zero."""
    scores = [torch.zeros(1, 80, *shape) for shape in ((8, 12), (4, 6), (2, 3))]
    boxes = [torch.zeros(1, 4, *shape) for shape in ((8, 12), (4, 6), (2, 3))]
    scores[1][0, 15, 1, 2] = 0.6
    boxes[1][0, :, 1, 2] = torch.tensor([0.5, 0.5, torch.log(torch.tensor(4.0)), torch.log(torch.tensor(2.0))])
    painted = paint(scores, boxes, 60)[0]
    # center at (2.5, 1.5) cells of 16 pixels, 64 wide and 32 high: pixels 8 to 72 and 8 to 40
    torch.testing.assert_close(painted[15, 1:5, 1:9], torch.full((4, 8), 0.6))
    painted[15, 1:5, 1:9] = 0.0
    assert painted.max() < 0.04


def test_images_are_painted_one_by_one() -> None:
    one, other = (random_detections(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    both = [[torch.cat(pair) for pair in zip(a, b, strict=True)] for a, b in zip(one, other, strict=True)]
    together = paint(both[0], both[1], 10)
    torch.testing.assert_close(together, torch.cat([paint(*one, 10), paint(*other, 10)]))


# Pairs


class Constant(ImageTower):
    """Maps whose values say which they are."""

    multiple = 32

    def __init__(self, strides: tuple[int, ...], start: int) -> None:
        super().__init__()
        self.strides, self.start = strides, start
        self.channels = tuple(range(start, start + len(strides)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.full((1, c, pixels.shape[2] // s, pixels.shape[3] // s), float(c))
            for c, s in zip(self.channels, self.strides, strict=True)
        )

    def load_weights(self, *paths: Path) -> None:
        self.loaded = paths

    def lora_targets(self, layers) -> list[str]:
        return [f"block.{layer}" for layer in layers]


def test_pair_sorts_by_stride_with_the_first_towers_overview_last() -> None:
    pair = PairedTower(Constant((8, 16, 32, 32), 10), Constant((8, 16, 32), 20))
    assert pair.strides == (8, 8, 16, 16, 32, 32, 32)
    assert pair.channels == (10, 20, 11, 21, 12, 22, 13)
    maps = pair(torch.zeros(1, 3, 64, 96))
    assert [x.flatten()[0].item() for x in maps] == list(pair.channels)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(pair.channels, pair.strides, strict=True)
    ]


def test_pair_shares_its_parts(tmp_path: Path) -> None:
    pair = PairedTower(Constant((8, 16), 10), Constant((8,), 20))
    pair.load_weights(tmp_path / "a", tmp_path / "b")
    assert (pair.first.loaded, pair.second.loaded) == ((tmp_path / "a",), (tmp_path / "b",))
    assert pair.lora_targets([1]) == ["first.block.1"]
    with pytest.raises(ValueError, match="YOLOX-Nano takes no adapters"):
        YoloxNano().lora_targets([0])
    other = Constant((8,), 20)
    other.mean = (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="same mean and standard deviation"):
        PairedTower(TinyConv(), other)


def test_default_pair_feeds_every_map_to_the_neck() -> None:
    torch.manual_seed(0)
    pair = build_image_tower("efficientnet-lite2+yolox-nano", (8, 16, 32, "head")).eval()
    assert pair.strides == (8, 8, 16, 16, 32, 32, 32)
    assert pair.channels == (48, 224, 120, 144, 352, 144, 1280)
    neck = PyramidNeck(pair.channels, pair.strides, dim=16, fine_dim=8, fine_stride=8, num_blocks=1)
    with torch.no_grad():
        maps = pair(torch.randn(1, 3, 64, 96))
    inputs = [x.requires_grad_() for x in maps]
    out = neck(inputs)
    assert out.fused.shape == (1, 16, 4, 6) and out.fine.shape == (1, 8, 8, 12)
    out.fine.square().sum().backward()
    assert all(x.grad is not None and bool(x.grad.any()) for x in inputs)
