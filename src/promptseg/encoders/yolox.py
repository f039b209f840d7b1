"""YOLOX-Nano as an image tower: features and detections of 80 COCO names, painted onto maps.

Paper: Ge et al. 2021, arXiv:2107.08430; layout: Megvii-BaseDetection/YOLOX 0.3.0, yolox/models (Apache-2.0), batch
norms folded into the convolutions. Differs: no non-maximum suppression; detections are painted instead (see `paint`).

Shapes: B images, h w cells, K detections.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from promptseg.encoders.base import ImageTower, check_pixels
from promptseg.encoders.tower_facts import LITE_MEAN, LITE_STD, Layer
from promptseg.errors import WeightsError
from promptseg.language.class_names import COCO_THINGS
from promptseg.layers.pointwise import depthwise, pointwise

NUM_NAMES = len(COCO_THINGS)
WIDTH = 64  # channels of the heads
STRIDES = (8, 16, 32)
NUM_PAINTED = 60  # number of painted detections; images seldom have more objects
NUM_DETECTED = 150  # number of returned detections, with several per object
SHARPNESS = 8


class Conv(nn.Conv2d):
    """Convolution with bias, then SiLU; the padding keeps the size at stride 1 and halves it at stride 2."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size == (1, 1):
            return F.silu(pointwise(x, self.weight.flatten(1), self.bias))
        if self.groups > 1:
            return F.silu(depthwise(x, self.weight, self.bias, stride=self.stride[0], padding=1))
        return F.silu(super().forward(x))


def separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Build a depthwise and a pointwise convolution."""
    return nn.Sequential(Conv(in_channels, in_channels, 3, stride, groups=in_channels), Conv(in_channels, out_channels))


class Bottleneck(nn.Module):
    """A 1x1 and a separable convolution, with an optional shortcut, which the backbone uses."""

    def __init__(self, channels: int, *, has_shortcut: bool) -> None:
        super().__init__()
        self.narrow = Conv(channels, channels)
        self.filter = separable(channels, channels)
        self.has_shortcut = has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.filter(self.narrow(x))
        return x + y if self.has_shortcut else y


class CrossStage(nn.Module):
    """Cross-stage partial block: half of the channels go through bottlenecks, half around them."""

    def __init__(self, in_channels: int, out_channels: int, *, num_blocks: int, has_shortcut: bool) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.through = Conv(in_channels, hidden)
        self.around = Conv(in_channels, hidden)
        self.blocks = nn.Sequential(*(Bottleneck(hidden, has_shortcut=has_shortcut) for _ in range(num_blocks)))
        self.join = Conv(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([self.blocks(self.through(x)), self.around(x)], dim=1))
        return joined


class PyramidPooling(nn.Module):
    """Concatenate the cells with their maxima over windows of 5, 9 and 13 cells."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.narrow = Conv(in_channels, in_channels // 2)
        self.join = Conv(2 * in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        joined: Tensor = self.join(torch.cat([x, *(F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13))], dim=1))
        return joined


class DetectionHead(nn.Module):
    """Predict name scores, box and objectness of each cell of one stride."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = Conv(in_channels, WIDTH)
        self.name_features = nn.Sequential(separable(WIDTH, WIDTH), separable(WIDTH, WIDTH))
        self.names = nn.Conv2d(WIDTH, NUM_NAMES, 1)
        self.box_features = nn.Sequential(separable(WIDTH, WIDTH), separable(WIDTH, WIDTH))
        self.boxes = nn.Conv2d(WIDTH, 4, 1)
        self.objectness = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute name features (B, 64, h, w), scores (B, 80, h, w) in [0, 1], and raw boxes (B, 4, h, w)."""
        x = self.stem(x)
        named, boxed = self.name_features(x), self.box_features(x)
        scores = torch.sigmoid(self.names(named)) * torch.sigmoid(self.objectness(boxed))
        return named, scores, self.boxes(boxed)


class YoloxNano(ImageTower):
    """YOLOX-Nano that returns name features and scores for strides 8, 16 and 32, and painted detections for stride 8.

    Args:
        layers: Strides out of 8, 16, 32, ascending.

    Raises:
        ValueError: A layer is unknown, or the layers are out of order.
    """

    multiple = 32
    # The normalization is undone, so any values fit; these equal EfficientNet-Lite's, which it is paired with.
    mean = LITE_MEAN
    std = LITE_STD
    detected_names = COCO_THINGS

    def __init__(self, layers: Sequence[Layer] = STRIDES) -> None:
        super().__init__()
        if not layers or [stride for stride in STRIDES if stride in layers] != list(layers):
            raise ValueError(f"layers must be out of {STRIDES}, each once and in that order, got {tuple(layers)}")
        # modules are in execution order, because weight files list the tensors in that order
        self.stem = Conv(12, 16, 3)
        self.stage2 = nn.Sequential(separable(16, 32, 2), CrossStage(32, 32, num_blocks=1, has_shortcut=True))
        self.stage3 = nn.Sequential(separable(32, 64, 2), CrossStage(64, 64, num_blocks=3, has_shortcut=True))
        self.stage4 = nn.Sequential(separable(64, 128, 2), CrossStage(128, 128, num_blocks=3, has_shortcut=True))
        self.stage5 = nn.Sequential(
            separable(128, 256, 2), PyramidPooling(256, 256), CrossStage(256, 256, num_blocks=1, has_shortcut=False)
        )
        self.lateral5 = Conv(256, 128)
        self.down4 = CrossStage(256, 128, num_blocks=1, has_shortcut=False)
        self.lateral4 = Conv(128, 64)
        self.down3 = CrossStage(128, 64, num_blocks=1, has_shortcut=False)
        self.up4 = separable(64, 64, 2)
        self.join4 = CrossStage(128, 128, num_blocks=1, has_shortcut=False)
        self.up5 = separable(128, 128, 2)
        self.join5 = CrossStage(256, 256, num_blocks=1, has_shortcut=False)
        self.heads = nn.ModuleList(DetectionHead(channels) for channels in (64, 128, 256))
        self.layers = tuple(layers)
        self.strides = tuple(stride for stride in STRIDES if stride in layers)
        self.channels = tuple(WIDTH + NUM_NAMES * (2 if stride == STRIDES[0] else 1) for stride in self.strides)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.detect(pixels)[0]

    def detect(self, pixels: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode as `forward`, and return the boxes of `ImageTower.detect`, K = 150 or fewer, V = 80."""
        check_pixels(pixels, self.multiple)
        named, scores, boxes = zip(*self._run_heads(pixels), strict=True)
        # square roots, because most scores are near zero
        maps = [torch.cat([features, values.sqrt()], dim=1) for features, values in zip(named, scores, strict=True)]
        maps[0] = torch.cat([maps[0], paint(scores, boxes, NUM_PAINTED)], dim=1)
        corners, best_scores = surest(scores, boxes, NUM_DETECTED)
        # divide by shape values, because a new tensor of them would fix the size of the traced image in the graph
        shares = torch.stack([corners[..., corner] / pixels.shape[3 - corner % 2] for corner in range(4)], dim=2)
        taken = tuple(one for stride, one in zip(STRIDES, maps, strict=True) if stride in self.layers)
        return taken, torch.cat([shares, best_scores], dim=2)

    def _run_heads(self, pixels: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Run the network and yield the output of each head, from fine to coarse."""
        mean, std = pixels.new_tensor(self.mean)[:, None, None], pixels.new_tensor(self.std)[:, None, None]
        x = ((pixels * std + mean) * 255.0).flip(1)  # trained on BGR, 0 to 255
        corners = [x[:, :, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        x = torch.cat(corners, dim=1).contiguous(memory_format=torch.channels_last)
        c3 = self.stage3(self.stage2(self.stem(x)))
        c4 = self.stage4(c3)
        top = self.lateral5(self.stage5(c4))
        middle = self.lateral4(self.down4(torch.cat([double_size(top), c4], dim=1)))
        p3 = self.down3(torch.cat([double_size(middle), c3], dim=1))
        p4 = self.join4(torch.cat([self.up4(p3), middle], dim=1))
        p5 = self.join5(torch.cat([self.up5(p4), top], dim=1))
        for head, level in zip(self.heads, (p3, p4, p5), strict=True):
            yield head(level)

    def load_weights(self, *paths: Path) -> None:
        (path,) = paths
        state = load_file(path)
        convs = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            for index, conv in enumerate(convs):
                for name, parameter in (("weight", conv.weight), ("bias", conv.bias)):
                    value = state.pop(f"{index}.{name}", None)
                    if value is None or parameter is None or value.shape != parameter.shape:
                        raise WeightsError(f"{path} is not YOLOX-Nano: convolution {index} has no fitting {name}")
                    parameter.copy_(value)
        if state:
            raise WeightsError(f"{path} does not hold YOLOX-Nano: it has {len(state)} tensors too many")

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        raise ValueError("YOLOX-Nano takes no adapters: it is small enough to be trained (train_towers='image')")


def surest(scores: Sequence[Tensor], boxes: Sequence[Tensor], num_kept: int) -> tuple[Tensor, Tensor]:
    """Choose the detections with the highest score of any name, best first.

    Args:
        scores: As in `paint`.
        boxes: As in `paint`.
        num_kept: Number of detections to choose, K; all if there are fewer.

    Returns:
        Corners x0 y0 x1 y1 in pixels, shape (B, K, 4), and scores, shape (B, K, 80).
    """
    all_boxes = torch.cat([_decode(raw, stride) for raw, stride in zip(boxes, STRIDES, strict=True)], dim=1)
    all_scores = torch.cat([one.flatten(2) for one in scores], dim=2).transpose(1, 2).float()  # (B, cells, 80)
    best = all_scores.amax(dim=2).topk(min(num_kept, all_scores.shape[1]), dim=1).indices[..., None]
    return all_boxes.gather(1, best.expand(-1, -1, 4)), all_scores.gather(1, best.expand(-1, -1, NUM_NAMES))


def paint(scores: Sequence[Tensor], boxes: Sequence[Tensor], num_painted: int) -> Tensor:
    """Fill the boxes of the best detections with their scores, per name, on the finest map.

    Many cells detect the same object, so scores are not summed: a cell gets the `SHARPNESS`-norm of the scores of all
    boxes over it, which is close to their maximum and needs only one matrix product.

    Args:
        scores: Scores for each stride of `STRIDES`, shape (B, 80, h, w), in [0, 1].
        boxes: Raw boxes for each stride, shape (B, 4, h, w): offset of the center from the cell, log of width and
            height, in cells.
        num_painted: Number of detections to paint.

    Returns:
        Shape (B, 80, h, w) of the finest stride, in [0, 1].
    """
    height, width = scores[0].shape[-2:]
    corners, chosen = surest(scores, boxes, num_painted)
    columns = (torch.arange(width, device=corners.device) + 0.5) * STRIDES[0]
    rows = (torch.arange(height, device=corners.device) + 0.5) * STRIDES[0]
    in_columns = (columns > corners[..., 0:1]) & (columns < corners[..., 2:3])  # (B, K, w)
    in_rows = (rows > corners[..., 1:2]) & (rows < corners[..., 3:4])  # (B, K, h)
    inside = (in_rows[..., :, None] & in_columns[..., None, :]).flatten(2).float()  # (B, K, h * w)
    painted = (chosen**SHARPNESS).transpose(1, 2) @ inside
    return torch.unflatten(painted.clamp(1e-12, 1.0).pow(1.0 / SHARPNESS), 2, (height, width))


def _decode(raw: Tensor, stride: int) -> Tensor:
    """Convert raw boxes, shape (B, 4, h, w), to corners x0 y0 x1 y1 in pixels, shape (B, h * w, 4)."""
    height, width = raw.shape[-2:]
    raw = raw.float()
    columns = torch.arange(width, device=raw.device)
    rows = torch.arange(height, device=raw.device)[:, None]
    center_x, center_y = (raw[:, 0] + columns) * stride, (raw[:, 1] + rows) * stride
    half_width, half_height = raw[:, 2].exp() * (stride / 2), raw[:, 3].exp() * (stride / 2)
    corners = (center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height)
    return torch.stack(corners, dim=-1).flatten(1, 2)


def double_size(x: Tensor) -> Tensor:
    """Repeat every cell of a map, shape (B, C, h, w), to (B, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
