"""The two convolutions of mobile networks and the blocks made of them, against nn.Conv2d."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from promptseg.layers.convnext import ContextBlock, ContextStage
from promptseg.layers.norm import ChannelNorm
from promptseg.layers.pointwise import Pointwise, depthwise, pointwise


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pointwise_is_a_1x1_convolution(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 1)
    x = torch.randn(2, 5, 3, 4).to(memory_format=memory_format).requires_grad_()
    got, expected = pointwise(x, conv.weight.flatten(1), conv.bias), conv(x)
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (got, expected)))
    layer = Pointwise(5, 7)
    layer.load_state_dict({"weight": conv.weight.flatten(1), "bias": conv.bias})
    torch.testing.assert_close(layer(x), expected)


def test_pointwise_is_the_same_in_an_exported_graph() -> None:
    torch.manual_seed(0)
    layer = Pointwise(5, 7).eval()
    exported = torch.export.export(layer, (torch.randn(1, 5, 4, 4),)).module()
    x = torch.randn(1, 5, 4, 4)
    torch.testing.assert_close(exported(x), layer(x))


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (5, 2, 2), (7, 1, 3)])
def test_depthwise_is_a_grouped_convolution(kernel_size: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel_size, stride, padding, groups=6)
    x = torch.randn(2, 6, 9, 11)
    torch.testing.assert_close(depthwise(x, conv.weight, conv.bias, stride=stride, padding=padding), conv(x))


def test_depthwise_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 1, 3, 3)
    expected = F.conv2d(x, weight, padding=1, groups=4)
    with torch.autocast("cpu", torch.bfloat16):
        assert pointwise(x, torch.randn(2, 4)).dtype == torch.bfloat16
        assert torch.equal(depthwise(x, weight, padding=1), expected)
        assert depthwise(x.bfloat16(), weight, padding=1).dtype == torch.float32


def test_context_block_is_a_convnext_block() -> None:
    """The same sums with 1x1 convolutions and a norm over channels, as the paper draws them."""
    torch.manual_seed(0)
    block = ContextBlock(8, expansion=2)
    x = torch.randn(2, 8, 6, 5)
    y = F.conv2d(x, block.look.weight, block.look.bias, padding=3, groups=8)
    mean, variance = y.mean(1, keepdim=True), y.var(1, keepdim=True, correction=0)
    y = (y - mean) / (variance + block.norm.eps).sqrt()
    y = F.conv2d(y, block.widen.weight[:, :, None, None], block.widen.bias)
    y = F.conv2d(F.gelu(y), block.narrow.weight[:, :, None, None], block.narrow.bias)
    torch.testing.assert_close(block(x), x + 0.1 * y, atol=1e-5, rtol=1e-5)


def test_context_stage_norms_then_looks() -> None:
    stage = ContextStage(8, num_blocks=2)
    assert [type(part) for part in stage] == [ChannelNorm, ContextBlock, ContextBlock]
    x = 5.0 + 3.0 * torch.randn(1, 8, 4, 4)
    normed = stage[0](x)
    torch.testing.assert_close(normed.mean(1), torch.zeros(1, 4, 4), atol=1e-5, rtol=0)
    # each block starts near the identity, and reaches three cells around
    spike = torch.zeros(1, 8, 15, 15)
    spike[..., 7, 7] = torch.randn(8)
    block = stage[1]
    reached = (block(spike) - block(torch.zeros_like(spike)))[0].abs().sum(0) > 1e-6
    assert reached[4:11, 4:11].all() and reached.sum() == 49
