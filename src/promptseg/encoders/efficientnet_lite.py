"""EfficientNet-Lite: a convolutional image tower with strides 2 to 32.

Paper: Tan and Le 2019, arXiv:1905.11946; Lite variant: tensorflow/tpu, models/official/efficientnet/lite (Apache-2.0).
Parameter names follow the PyPI package efficientnet_lite_pytorch 0.1.0, so that its weight files load without renaming.
Lite differs from EfficientNet: no squeeze-and-excite, ReLU6, and stem, first and last stage and head are not scaled.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, check_pixels
from promptseg.encoders.tower_facts import LITE_MEAN, LITE_STD, Layer
from promptseg.errors import WeightsError
from promptseg.layers.pointwise import depthwise, pointwise

# variant: (width, depth) coefficients
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# (repeats, kernel, stride, expansion, output channels) before scaling
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSIFIER_KEYS = frozenset({"_fc.weight", "_fc.bias"})
HEAD_PREFIXES = ("_conv_head.", "_bn1.")


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, for input sizes divisible by the stride.

    With stride 2, the odd pixel of padding is on the right and at the bottom; symmetric padding would shift the grid.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=0, groups=groups, bias=False)
        total = kernel_size - stride
        self.same_padding = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.same_padding))


def _convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve and normalize in one step: frozen batch statistics become a factor on the kernel and a bias."""
    assert norm.running_mean is not None and norm.running_var is not None  # all norms here have statistics
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = conv.weight * factor[:, None, None, None]
    bias = norm.bias - norm.running_mean * factor
    if conv.kernel_size == (1, 1):
        return pointwise(x, weight.flatten(1), bias)
    assert isinstance(conv, SameConv2d)
    low, high = conv.same_padding[:2]
    if low != high:
        x, low = F.pad(x, conv.same_padding), 0
    if conv.groups > 1:
        return depthwise(x, weight, bias, stride=conv.stride[0], padding=low)
    return F.conv2d(x, weight, bias, conv.stride, low)


def _batch_norm(num_features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(num_features, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand with a 1x1 convolution, filter each channel, project back; add the input if the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, hidden, 1, bias=False)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel_size, stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self._bn2 = _batch_norm(out_channels)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(_convolve(x, self._expand_conv, self._bn0)) if self.expands else x
        y = F.relu6(_convolve(y, self._depthwise_conv, self._bn1))
        y = _convolve(y, self._project_conv, self._bn2)
        return x + y if self.has_shortcut else y


class EfficientNetLite(ImageTower):
    """EfficientNet-Lite0, 1 or 2 that returns the last map of each chosen stride.

    Batch norm keeps its pretrained statistics in training mode too, because small batches give poor statistics.

    Args:
        variant: "lite0", "lite1" or "lite2".
        layers: Strides out of 2, 4, 8, 16, 32, ascending, and optionally "head" at the end: the 1280-channel map
            (stride 32) that the ImageNet classifier reads.
        classifier: Also build the ImageNet classifier of 1000 names, for `classify`.

    Raises:
        ValueError: The variant or a layer is unknown, or the layers are out of order.
    """

    multiple = 32
    # (x - 127) / 128 of RGB in [0, 255], as in its training
    mean = LITE_MEAN
    std = LITE_STD

    def __init__(
        self, variant: str = "lite2", layers: Sequence[Layer] = (4, 8, 16, 32), *, classifier: bool = False
    ) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ValueError(f"variant must be one of {', '.join(SCALES)}, got {variant!r}")
        known = (2, 4, 8, 16, 32, "head")
        if not layers or [x for x in known if x in layers] != list(layers):
            raise ValueError(f"layers must be out of {known}, each once and in that order, got {tuple(layers)}")
        width, depth = SCALES[variant]
        self.layers = tuple(layers)
        self._conv_stem = SameConv2d(3, STEM_CHANNELS, 3, 2)
        self._bn0 = _batch_norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList()
        stride, channels = 2, STEM_CHANNELS
        last_block: dict[int, tuple[int, int]] = {}  # stride -> (index of its last block, channels there)
        for stage, (repeats, kernel_size, stage_stride, expansion, out_channels) in enumerate(STAGES):
            # the first and the last stage keep their single block (fix_head_stem in TensorFlow's Lite builder)
            num_blocks = repeats if stage in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
            out_channels = _round_channels(out_channels * width)
            stride *= stage_stride
            for block in range(num_blocks):
                self._blocks.append(
                    InvertedResidual(
                        channels,
                        out_channels,
                        kernel_size=kernel_size,
                        stride=stage_stride if block == 0 else 1,
                        expansion=expansion,
                    )
                )
                channels = out_channels
            last_block[stride] = (len(self._blocks) - 1, channels)
        self.has_head = "head" in self.layers or classifier
        if self.has_head:
            self._conv_head = nn.Conv2d(channels, HEAD_CHANNELS, 1, bias=False)
            self._bn1 = _batch_norm(HEAD_CHANNELS)
        self._fc = nn.Linear(HEAD_CHANNELS, 1000) if classifier else None
        self.taps = {last_block[x][0] for x in self.layers if isinstance(x, int)}
        self.strides = tuple(x if isinstance(x, int) else 32 for x in self.layers)
        self.channels = tuple(last_block[x][1] if isinstance(x, int) else HEAD_CHANNELS for x in self.layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        check_pixels(pixels, self.multiple)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        x = F.relu6(_convolve(pixels, self._conv_stem, self._bn0))
        maps = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.taps:
                maps.append(x)
        if "head" in self.layers:
            maps.append(self._head(x))
        return tuple(maps)

    def classify(self, pixels: Tensor) -> Tensor:
        """Compute ImageNet logits, shape (B, 1000), of normalized pixels, shape (B, 3, H, W); errors as below."""
        return self.classify_cells(pixels).mean(dim=(2, 3))

    def classify_cells(self, pixels: Tensor) -> Tensor:
        """Compute ImageNet logits of each cell, shape (B, 1000, h, w), of normalized pixels, shape (B, 3, H, W).

        The classifier is linear, so the mean over cells gives the logits of their part of the image.

        Raises:
            ValueError: The tower has no classifier, or the pixels have a wrong shape.
        """
        if self._fc is None:
            raise ValueError("build the tower with classifier=True to classify")
        check_pixels(pixels, self.multiple)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        x = F.relu6(_convolve(pixels, self._conv_stem, self._bn0))
        for block in self._blocks:
            x = block(x)
        return pointwise(self._head(x), self._fc.weight, self._fc.bias)

    def _head(self, x: Tensor) -> Tensor:
        return F.relu6(_convolve(x, self._conv_head, self._bn1))

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the training mode; batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def load_weights(self, *paths: Path) -> None:
        (path,) = paths
        state = load_file(path)
        unused = set() if self._fc is not None else set(CLASSIFIER_KEYS)
        if not self.has_head:
            unused |= {key for key in state if key.startswith(HEAD_PREFIXES)}
        try:
            self.load_state_dict({key: value for key, value in state.items() if key not in unused}, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not hold this EfficientNet-Lite: {error}") from error

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        raise ValueError("EfficientNet-Lite takes no adapters: it is small enough to be trained (train_towers='image')")


class CellClassifier(nn.Module):
    """Classify the cells of normalized pixels; see `EfficientNetLite.classify_cells`."""

    def __init__(self, tower: EfficientNetLite) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        return self.tower.classify_cells(pixels)


def _round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, and never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
