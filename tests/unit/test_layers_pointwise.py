"""Fast forms of convolutions equal the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from promptseg.layers.context import ContextBlock, ContextStage
from promptseg.layers.norm import ChannelNorm
from promptseg.layers.pointwise import Pointwise, depthwise, pointwise


def test_pointwise_is_a_1x1_convolution() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 3, 4), torch.randn(7, 5), torch.randn(7)
    torch.testing.assert_close(pointwise(x, weight, bias), F.conv2d(x, weight[:, :, None, None], bias))
    layer = Pointwise(5, 7)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[:, :, None, None], layer.bias))


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0)])
def test_depthwise_stays_in_float32_on_a_cpu(stride: int, padding: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 9, 9), torch.randn(5, 1, 3, 3)
    expected = F.conv2d(x, weight, None, stride, padding, groups=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = depthwise(x, weight, stride=stride, padding=padding)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_channel_norm_normalises_each_cell() -> None:
    x = ChannelNorm(8)(5 + 3 * torch.randn(2, 8, 3, 4))
    torch.testing.assert_close(x.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(1, correction=0), torch.ones(2, 3, 4), atol=1e-3, rtol=0)


def test_context_block_is_a_shortcut_where_its_scale_is_zero() -> None:
    x = torch.randn(1, 6, 5, 5)
    torch.testing.assert_close(ContextBlock(6, layer_scale=0.0)(x), x)
    assert ContextStage(6, num_blocks=2)(x).shape == x.shape
