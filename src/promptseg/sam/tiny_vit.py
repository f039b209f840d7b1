"""TinyViT-5M with SAM's neck: the image encoder of MobileSAM.

Source:
    Zhang et al. 2023, "Faster Segment Anything", arXiv:2306.14289; ChaoningZhang/MobileSAM,
    mobile_sam/modeling/tiny_vit_sam.py (Apache-2.0), after Wu et al. 2022, "TinyViT", arXiv:2207.10666
    (microsoft/Cream, MIT). Module names are the published ones, so that the published state dict loads.
    Differs: no classification head, no dropout or drop path; any input whose sides are multiples of 16;
    attention through scaled_dot_product_attention; maps stay (B, C, h, w) between blocks.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
NUM_HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
# The last stage keeps its resolution, so that the output stride is 16 as in SAM.
DOWNSAMPLE_STRIDES = (2, 2, 1)
OUTPUT_CHANNELS = 256


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(out_channels))


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a (B, C, h, w) map."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, out_channels // 2, 3, stride=2),
            nn.GELU(),
            ConvNorm(out_channels // 2, out_channels, 3, stride=2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.seq(pixels)
        return features


class InvertedBottleneck(nn.Module):
    """Inverted bottleneck with expansion 4 (MBConv)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, 4 * channels, 1)
        self.conv2 = ConvNorm(4 * channels, 4 * channels, 3, groups=4 * channels)
        self.conv3 = ConvNorm(4 * channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return F.gelu(features + inner)


class PatchMerging(nn.Module):
    """Change of width and resolution between two stages."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, out_channels, 1)
        self.conv2 = ConvNorm(out_channels, out_channels, 3, stride=stride, groups=out_channels)
        self.conv3 = ConvNorm(out_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return merged


class WindowAttention(nn.Module):
    """Attention inside one window, with a learned bias for each pair of absolute offsets (|dy|, |dx|)."""

    bias_index: Tensor

    def __init__(self, channels: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        positions = list(itertools.product(range(window), range(window)))
        # Offsets are numbered in the order of first use, from position (0, 0): row-major.
        index = [[abs(y0 - y1) * window + abs(x0 - x1) for y1, x1 in positions] for y0, x0 in positions]
        self.register_buffer("bias_index", torch.tensor(index), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Attend within the windows of a map, (B, h, w, C); zeros fill up the last row and column of windows.

        Zeros take part in the attention, as in the published code. All of them have the same query, key and value,
        which are added after the projection, and no output of theirs is projected: a third of the projections in maps
        of 30 x 40 cells with windows of 14.
        """
        batch, height, width, channels = features.shape
        side = self.window
        normed = F.layer_norm(features, (channels,), self.norm.weight, None, self.norm.eps)
        of_zeros = self.qkv.weight @ self.norm.bias + self.qkv.bias
        qkv = F.pad(F.linear(normed, self.qkv.weight), (0, 0, 0, -width % side, 0, -height % side)) + of_zeros
        rows, columns = qkv.shape[1] // side, qkv.shape[2] // side
        windows = qkv.view(batch * rows, side, columns, side, self.num_heads, -1).permute(0, 2, 4, 1, 3, 5)
        parts = windows.reshape(-1, self.num_heads, side * side, 3, windows.shape[5] // 3)
        query, key, value = (parts[:, :, :, index] for index in range(3))  # ONNX's optimizer can't fold a chunk
        bias = self.attention_biases[:, self.bias_index].to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        merged = mixed.view(batch * rows, columns, self.num_heads, side, side, -1).permute(0, 3, 1, 4, 2, 5)
        merged = merged.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]
        projected: Tensor = self.proj(merged)
        return projected


class Mlp(nn.Module):
    """Norm, expansion 4, GELU, projection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return out


class WindowBlock(nn.Module):
    """Window attention, depthwise convolution, MLP."""

    def __init__(self, channels: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(channels, num_heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.attn(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        features = self.local_conv(features)
        mixed: Tensor = self.mlp(features.permute(0, 2, 3, 1))
        return features + mixed.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, then the step to the next width."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width = WIDTHS[index]
        self.blocks = nn.ModuleList(
            InvertedBottleneck(width) if index == 0 else WindowBlock(width, NUM_HEADS[index], WINDOWS[index])
            for _ in range(DEPTHS[index])
        )
        last = index == len(WIDTHS) - 1
        self.downsample = None if last else PatchMerging(width, WIDTHS[index + 1], DOWNSAMPLE_STRIDES[index])

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return features if self.downsample is None else self.downsample(features)


class TinyViT(nn.Module):
    """Normalized pixels to SAM's image embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(WIDTHS[0])
        self.layers = nn.ModuleList(Stage(index) for index in range(len(WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], OUTPUT_CHANNELS, 1, bias=False),
            LayerNorm2d(OUTPUT_CHANNELS, eps=1e-6),
            nn.Conv2d(OUTPUT_CHANNELS, OUTPUT_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(OUTPUT_CHANNELS, eps=1e-6),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode a batch.

        Args:
            pixels: (B, 3, H, W), normalized as SAM does, H and W multiples of 16.

        Returns:
            Embedding, (B, 256, H / 16, W / 16).
        """
        features = self.patch_embed(pixels)
        for stage in self.layers:
            features = stage(features)
        embedding: Tensor = self.neck(features)
        return embedding
