"""YOLOX-Nano as a tower, what it paints, and pairs of towers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower
from promptseg.encoders.efficientnet_lite import EfficientNetLite
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv
from promptseg.encoders.yolox import NUM_NAMES, STRIDES, YoloxNano, paint
from promptseg.errors import WeightsError


def write_weights(tower: YoloxNano, path: Path) -> None:
    convs = [module for module in tower.modules() if isinstance(module, nn.Conv2d)]
    save_file({f"{i}.{name}": value for i, conv in enumerate(convs) for name, value in conv.state_dict().items()}, path)


def detections(
    cell: tuple[int, int], name: int, *, score: float, box_cells: float
) -> tuple[list[Tensor], list[Tensor]]:
    """One detection at the finest stride of a 64x96 picture, centred in its cell."""
    sizes = [(64 // stride, 96 // stride) for stride in STRIDES]
    scores = [torch.zeros(1, NUM_NAMES, *size) for size in sizes]
    boxes = [torch.zeros(1, 4, *size) for size in sizes]
    row, column = cell
    scores[0][0, name, row, column] = score
    boxes[0][0, :2, row, column] = 0.5
    boxes[0][0, 2:, row, column] = torch.tensor(box_cells).log()
    return scores, boxes


def test_painting_fills_the_box_with_the_score() -> None:
    painted = paint(*detections((3, 5), 7, score=0.8, box_cells=3.0), num_painted=10)
    assert painted.shape == (1, NUM_NAMES, 8, 12)
    expected = torch.zeros(8, 12)
    expected[2:5, 4:7] = 0.8
    torch.testing.assert_close(painted[0, 7], expected, atol=0.04, rtol=0)  # nothing is painted as 1e-12 ** (1 / 8)
    assert painted[0, :7].max() < 0.04


def test_painting_the_same_thing_twice_is_hardly_surer() -> None:
    scores, boxes = detections((3, 5), 7, score=0.8, box_cells=3.0)
    scores[0][0, 7, 3, 6] = 0.8
    boxes[0][0, :, 3, 6] = torch.tensor([-0.5, 0.5, 1.0986, 1.0986])
    painted = paint(scores, boxes, num_painted=10)[0, 7, 3, 5]
    assert 0.8 < painted < 0.9


def test_maps_have_their_strides_and_channels() -> None:
    tower = YoloxNano((8, 32)).eval()
    with torch.no_grad():
        maps = tower(torch.randn(2, 3, 64, 96))
    assert tower.strides == (8, 32)
    assert [tuple(x.shape) for x in maps] == [(2, tower.channels[0], 8, 12), (2, tower.channels[1], 2, 3)]


def test_weights_are_read_in_the_order_of_the_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = YoloxNano().eval(), YoloxNano().eval()
    write_weights(first, tmp_path / "yolox.safetensors")
    second.load_weights(tmp_path / "yolox.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "yolox.safetensors"
    write_weights(YoloxNano(), path)
    state = load_file(path)
    save_file({**state, "500.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="1 tensors too many"):
        YoloxNano().load_weights(path)
    save_file({**state, "3.bias": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="convolution 3 has no fitting bias"):
        YoloxNano().load_weights(path)


@pytest.mark.parametrize("layers", [(), (4,), (16, 8)])
def test_yolox_refuses_other_layers(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="layers must be out of"):
        YoloxNano(layers)


def test_pair_puts_maps_side_by_side_and_keeps_the_first_towers_last_map_last() -> None:
    first, second = EfficientNetLite("lite0", (8, 16, "head")).eval(), YoloxNano((8, 16)).eval()
    pair = PairedTower(first, second)
    assert pair.strides == (8, 8, 16, 16, 32)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, own, others = pair(pixels), first(pixels), second(pixels)
    assert tuple(x.shape[1] for x in maps) == pair.channels
    for got, expected in zip(maps, (own[0], others[0], own[1], others[1], own[2]), strict=True):
        torch.testing.assert_close(got, expected)


def test_pair_refuses_towers_that_normalise_differently() -> None:
    other: ImageTower = TinyConv()
    other.mean = (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="same mean and standard deviation"):
        PairedTower(TinyConv(), other)
