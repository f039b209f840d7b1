"""Necks: shapes, what reads what, and the errors of strides that don't fit."""

import pytest
import torch

from promptseg.layers.neck import PyramidNeck, SingleStrideNeck

STRIDES = (4, 8, 16, 32, 32)
CHANNELS = (6, 8, 10, 12, 14)


def pyramid(height: int = 64, width: int = 96) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, c, height // s, width // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@pytest.mark.parametrize(("fine_stride", "fine_shape"), [(4, (2, 8, 16, 24)), (8, (2, 8, 8, 12))])
def test_pyramid_gives_a_fused_and_a_fine_map(fine_stride: int, fine_shape: tuple[int, ...]) -> None:
    neck = PyramidNeck(CHANNELS, STRIDES, dim=16, fine_dim=8, fine_stride=fine_stride)
    maps = neck(pyramid())
    assert maps.fused.shape == (2, 16, 4, 6)
    assert maps.fine is not None and maps.fine.shape == fine_shape


def test_pyramid_without_a_fine_map() -> None:
    maps = PyramidNeck(CHANNELS, STRIDES, dim=16)(pyramid())
    assert maps.fused.shape == (2, 16, 4, 6)
    assert maps.fine is None


def test_fused_map_reads_every_coarser_map_and_no_finer_one() -> None:
    neck = PyramidNeck(CHANNELS, STRIDES, dim=16, fine_dim=8, fine_stride=4)
    inputs = [x.requires_grad_() for x in pyramid()]
    neck(inputs).fused.sum().backward()
    assert [x.grad is not None and bool(x.grad.any()) for x in inputs] == [False, False, True, True, True]


def test_every_parameter_of_the_pyramid_is_trained() -> None:
    neck = PyramidNeck(CHANNELS, STRIDES, dim=16, fine_dim=8, fine_stride=8)
    maps = neck(pyramid())
    assert maps.fine is not None
    (maps.fused.square().mean() + maps.fine.square().mean()).backward()
    assert not [name for name, parameter in neck.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fused_stride": 64}, "fused_stride must be one of .* got 64"),
        ({"fine_stride": 2}, "fine_stride must be one of .* below 16, got 2"),
        ({"fine_stride": 16}, "fine_stride must be one of .* below 16, got 16"),
    ],
)
def test_strides_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PyramidNeck(CHANNELS, STRIDES, dim=16, **options)


def test_single_stride_neck_fuses_layers_of_one_size() -> None:
    torch.manual_seed(0)
    neck = SingleStrideNeck((12, 12, 12), dim=16)
    inputs = [torch.randn(2, 12, 4, 5, requires_grad=True) for _ in range(3)]
    maps = neck(inputs)
    assert maps.fused.shape == (2, 16, 4, 5)
    assert maps.fine is None
    maps.fused.sum().backward()
    assert all(x.grad is not None and bool(x.grad.any()) for x in inputs)
