"""The network of EfficientDet-Lite0: scores and raw boxes of anchors for COCO's 80 names, at 320 x 320 pixels.

Paper: Tan, Pang, Le 2020, arXiv:1911.09070; Lite variant: google/automl, efficientdet (Apache-2.0). The weights are
those of MediaPipe's efficientdet_lite0/int8/1 (Apache-2.0), which `lab.convert_efficientdet` read from its .tflite.
Differs from it: computed in float, without the rounding of activations to 8 bits; of 90 names, the 80 that COCO uses;
only the best anchors are returned.

Lite differs from EfficientDet: ReLU6, maps are added without weights, and the backbone is EfficientNet-Lite0.

Shapes: B images, h w cells, A = 9 anchors of a cell, V = 80 names.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from promptseg.detectors.efficientdet import ASPECTS, GRIDS, IMAGE_SIDE, OCTAVES
from promptseg.encoders.efficientnet_lite import EfficientNetLite
from promptseg.errors import WeightsError
from promptseg.language.class_names import COCO_THINGS
from promptseg.layers.pointwise import depthwise, pointwise

NUM_ANCHORS = len(OCTAVES) * len(ASPECTS)
WIDTH = 64  # channels of the pyramid and of the heads
NUM_CELLS = 3  # of the pyramid
NUM_LAYERS = 3  # of each head
NUM_PUBLISHED_NAMES = 90
# COCO numbers its names from 1 to 90 and leaves these out; the published scores have them all.
_UNUSED_IDS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
NAME_ROWS = tuple(number - 1 for number in range(1, NUM_PUBLISHED_NAMES + 1) if number not in _UNUSED_IDS)
NUM_DETECTED = 200  # number of returned boxes, with several per object


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x, shape (B, C, h, w), to shape (B, O, h, w)."""
        x = depthwise(x, self.depthwise.weight, self.depthwise.bias, padding=1)
        return pointwise(x, self.pointwise.weight.flatten(1), self.pointwise.bias)


class PyramidCell(nn.Module):
    """Pass information down from coarse maps to fine ones, then back up.

    Args:
        channels: Channels of the backbone's maps if the cell reads them, else None: it reads another cell's five maps.
    """

    def __init__(self, channels: Sequence[int] | None = None) -> None:
        super().__init__()
        if channels is not None:
            self.lateral = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels)
            # the way up reads the two coarser maps of the backbone through convolutions of its own
            self.lateral_up = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels[1:])
            self.coarser = nn.Conv2d(channels[-1], WIDTH, 1)
        self.reads_backbone = channels is not None
        self.down = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in GRIDS[1:])
        self.up = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in GRIDS[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Compute five maps of 64 channels, from fine to coarse, from three maps of the backbone or such five maps."""
        incoming, to_add = self._enter(maps) if self.reads_backbone else (list(maps), list(maps))
        lowered = [incoming[-1]]
        for conv, level in zip(self.down, reversed(incoming[:-1]), strict=True):
            enlarged = F.interpolate(lowered[0], size=level.shape[-2:], mode="nearest")
            lowered.insert(0, conv(F.relu6(level + enlarged)))
        raised = [lowered[0]]
        for index, conv in enumerate(self.up, start=1):
            # the coarsest map has not been lowered, and is added once
            level = to_add[index] if index == len(GRIDS) - 1 else to_add[index] + lowered[index]
            raised.append(conv(F.relu6(level + halve(raised[-1]))))
        return raised

    def _enter(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the five maps that the way down reads, and those that the way up adds."""
        sixth = halve(self.coarser(maps[-1]))
        coarse = [sixth, halve(sixth)]
        incoming = [conv(level) for level, conv in zip(maps, self.lateral, strict=True)]
        added = [conv(level) for level, conv in zip(maps[1:], self.lateral_up, strict=True)]
        return [*incoming, *coarse], [incoming[0], *added, *coarse]


class LevelHead(nn.Module):
    """Predict something for every anchor of one level.

    Levels have batch norms of their own, which are folded into the convolutions, so they share no weights here.

    Args:
        num_values: Values for each anchor.
    """

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in range(NUM_LAYERS))
        self.predict = Separable(WIDTH, NUM_ANCHORS * num_values)
        self.num_values = num_values

    def forward(self, x: Tensor) -> Tensor:
        """Map x, shape (B, 64, h, w), to shape (B, h * w * A, num_values)."""
        for layer in self.layers:
            x = F.relu6(layer(x))
        return self.predict(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.num_values)


class EfficientDetLite(nn.Module):
    """EfficientDet-Lite0 for normalized pixels, shape (B, 3, 320, 320)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNetLite("lite0", (8, 16, 32))
        others = (PyramidCell() for _ in range(NUM_CELLS - 1))
        self.cells = nn.ModuleList([PyramidCell(self.backbone.channels), *others])
        self.names = nn.ModuleList(LevelHead(len(COCO_THINGS)) for _ in GRIDS)
        self.boxes = nn.ModuleList(LevelHead(4) for _ in GRIDS)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the K = 200 anchors with the highest score of any name, best first.

        Args:
            pixels: Normalized RGB, shape (B, 3, 320, 320).

        Returns:
            Their scores, shape (B, K, V), in [0, 1]; raw boxes, shape (B, K, 4); and indexes among all, shape (B, K).
        """
        logits, boxes = self.predict(pixels)
        best = logits.amax(dim=2).topk(NUM_DETECTED, dim=1).indices
        index = best[..., None]
        chosen = logits.gather(1, index.expand(-1, -1, logits.shape[2]))
        return torch.sigmoid(chosen), boxes.gather(1, index.expand(-1, -1, 4)), best

    def predict(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits, shape (B, 19206, V), and raw boxes, shape (B, 19206, 4), of all anchors.

        Raises:
            ValueError: The pixels have another shape.
        """
        if tuple(pixels.shape[1:]) != (3, IMAGE_SIDE, IMAGE_SIDE):
            raise ValueError(f"pixels must have shape (B, 3, {IMAGE_SIDE}, {IMAGE_SIDE}), got {tuple(pixels.shape)}")
        maps: Sequence[Tensor] = self.backbone(pixels)
        for cell in self.cells:
            maps = cell(maps)
        logits = torch.cat([head(level) for head, level in zip(self.names, maps, strict=True)], dim=1)
        boxes = torch.cat([head(level) for head, level in zip(self.boxes, maps, strict=True)], dim=1)
        return logits.float(), boxes.float()

    def load_weights(self, path: Path) -> None:
        """Load the file that `lab.convert_efficientdet` writes: int8 weights, their scales and biases, by convolution.

        Raises:
            WeightsError: The file is of another network.
        """
        state = load_file(path)
        with torch.no_grad():
            for name, conv, bias in self.convolutions():
                parts = [state.pop(f"{name}.{part}", None) for part in ("weight", "scale", "bias")]
                if any(part is None for part in parts):
                    raise WeightsError(f"{path} is not EfficientDet-Lite0: it lacks {name}")
                weight, scale, shift = (part.float() for part in parts if part is not None)
                if weight.shape != conv.weight.shape or shift.shape != bias.shape or scale.shape != bias.shape:
                    raise WeightsError(f"{path} is not EfficientDet-Lite0: {name} has another shape")
                conv.weight.copy_(weight * scale[:, None, None, None])
                bias.copy_(shift)
            for norm in self.modules():
                if isinstance(norm, nn.BatchNorm2d):  # folded into the convolutions: all but the bias does nothing
                    norm.weight.fill_(1.0)
                    norm.running_mean.zero_()  # type: ignore[union-attr]  # all norms here have statistics
                    norm.running_var.fill_(1.0 - norm.eps)  # type: ignore[union-attr]
        if state:
            raise WeightsError(f"{path} is not EfficientDet-Lite0: it has {len(state)} tensors too many")

    def convolutions(self) -> Iterator[tuple[str, nn.Conv2d, Tensor]]:
        """Yield each convolution with its name and the bias that is added after it; the backbone's are in norms."""
        backbone = self.backbone
        yield "backbone._conv_stem", backbone._conv_stem, backbone._bn0.bias
        for index, block in enumerate(backbone._blocks):
            for conv, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
                if hasattr(block, conv):
                    yield f"backbone._blocks.{index}.{conv}", getattr(block, conv), getattr(block, norm).bias
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("backbone."):
                assert module.bias is not None
                yield name, module, module.bias


def halve(x: Tensor) -> Tensor:
    """Take the maximum of windows of 3 x 3 cells at every second cell, with TensorFlow's SAME padding."""
    low, high = (0, 1) if x.shape[-1] % 2 == 0 else (1, 1)
    return F.max_pool2d(F.pad(x, (low, high, low, high), value=float("-inf")), 3, 2)
