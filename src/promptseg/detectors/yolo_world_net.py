"""The network of YOLO-World v2: a YOLOv8 pyramid whose cells are compared with texts, and guided by them on the way.

Source:
    Cheng et al. 2024, "YOLO-World: Real-Time Open-Vocabulary Object Detection", arXiv:2401.17270, in the layout of the
    published yolov8{s,m,l,x}-worldv2.pt. Written for inference alone: batch norms are folded into the convolutions.

Shapes: B images, N texts, A cells of all strides, C channels, h w cells of a map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptseg.encoders.yolox import Conv, PyramidPooling, double_size

STRIDES = (8, 16, 32)
TEXT_DIM = 512
# The distance to a side of a box is the mean of so many bins, one stride apart.
NUM_BINS = 16
HEAD_CHANNELS = 32


@dataclass(frozen=True)
class Layout:
    """What differs between sizes.

    Attributes:
        widths: Channels at strides 2, 4, 8, 16, 32.
        depth: Blocks of the first stage; the middle ones have twice as many.
    """

    widths: tuple[int, int, int, int, int]
    depth: int


class Block(nn.Module):
    """Two 3x3 convolutions, with a shortcut in the backbone."""

    def __init__(self, channels: int, *, has_shortcut: bool) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3)
        self.has_shortcut = has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y if self.has_shortcut else y


class Stage(nn.Module):
    """Half of the channels go through a chain of blocks; every link's output is kept."""

    def __init__(self, in_channels: int, out_channels: int, *, num_blocks: int) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.enter = Conv(in_channels, 2 * hidden)
        self.blocks = nn.ModuleList(Block(hidden, has_shortcut=True) for _ in range(num_blocks))
        self.leave = Conv((2 + num_blocks) * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        links = list(self.enter(x).chunk(2, dim=1))
        for block in self.blocks:
            links.append(block(links[-1]))
        joined: Tensor = self.leave(torch.cat(links, dim=1))
        return joined


class GuidedStage(nn.Module):
    """A stage with one link more, whose channels are dimmed where no text resembles the cell."""

    def __init__(self, in_channels: int, out_channels: int, *, num_blocks: int) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.num_heads = hidden // HEAD_CHANNELS
        self.enter = Conv(in_channels, 2 * hidden)
        self.blocks = nn.ModuleList(Block(hidden, has_shortcut=False) for _ in range(num_blocks))
        self.guide_text = nn.Linear(TEXT_DIM, hidden)
        self.guide_bias = nn.Parameter(torch.zeros(self.num_heads))
        self.guided = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.leave = Conv((3 + num_blocks) * hidden, out_channels)

    def forward(self, x: Tensor, texts: Tensor) -> Tensor:
        links = list(self.enter(x).chunk(2, dim=1))
        for block in self.blocks:
            links.append(block(links[-1]))
        links.append(self._guide(links[-1], texts))
        joined: Tensor = self.leave(torch.cat(links, dim=1))
        return joined

    def _guide(self, x: Tensor, texts: Tensor) -> Tensor:
        """Weigh each head's channels (B, C, h, w) by the best match of the cell among texts (N, 512)."""
        cells = x.unflatten(1, (self.num_heads, HEAD_CHANNELS))
        guides = self.guide_text(texts).unflatten(1, (self.num_heads, HEAD_CHANNELS))
        match = torch.einsum("bmchw,nmc->bnmhw", cells, guides).amax(1) / HEAD_CHANNELS**0.5
        weights = torch.sigmoid(match + self.guide_bias[:, None, None])
        values = self.guided(x).unflatten(1, (self.num_heads, HEAD_CHANNELS))
        return (values * weights[:, :, None]).flatten(1, 2)


class Head(nn.Module):
    """Box and embedding of each cell of one stride."""

    def __init__(self, in_channels: int, box_channels: int, embedding_channels: int) -> None:
        super().__init__()
        self.boxes = _three_layers(in_channels, box_channels, 4 * NUM_BINS)
        self.embeddings = _three_layers(in_channels, embedding_channels, TEXT_DIM)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, texts: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Give boxes (B, h w, 4) in pixels, left, top, right, bottom, and logits (B, h w, N)."""
        _, _, height, width = x.shape
        bins = self.boxes(x).flatten(2).unflatten(1, (4, NUM_BINS)).softmax(2)
        steps = torch.arange(NUM_BINS, dtype=x.dtype, device=x.device)
        left, top, right, bottom = torch.einsum("bskc,k->bsc", bins, steps).unbind(1)
        y, x_cell = torch.meshgrid(
            torch.arange(height, device=x.device) + 0.5, torch.arange(width, device=x.device) + 0.5, indexing="ij"
        )
        y, x_cell = y.flatten(), x_cell.flatten()
        boxes = torch.stack([x_cell - left, y - top, x_cell + right, y + bottom], dim=2) * stride
        similarity = torch.einsum("bdc,nd->bcn", self.embeddings(x).flatten(2), texts)
        return boxes, similarity * self.log_scale.exp() + self.bias


class YoloWorldNet(nn.Module):
    """YOLO-World v2; the backbone needs the image alone, so it runs once for all texts.

    Args:
        layout: Of the size.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = layout.widths
        depth = layout.depth
        # Keys are the numbers of the published layers.
        self.layers = nn.ModuleDict(
            {
                "0": Conv(3, w2, 3, 2),
                "1": Conv(w2, w4, 3, 2),
                "2": Stage(w4, w4, num_blocks=depth),
                "3": Conv(w4, w8, 3, 2),
                "4": Stage(w8, w8, num_blocks=2 * depth),
                "5": Conv(w8, w16, 3, 2),
                "6": Stage(w16, w16, num_blocks=2 * depth),
                "7": Conv(w16, w32, 3, 2),
                "8": Stage(w32, w32, num_blocks=depth),
                "9": PyramidPooling(w32, w32),
                "12": GuidedStage(w32 + w16, w16, num_blocks=depth),
                "15": GuidedStage(w16 + w8, w8, num_blocks=depth),
                "16": Conv(w8, w8, 3, 2),
                "18": GuidedStage(w8 + w16, w16, num_blocks=depth),
                "19": Conv(w16, w16, 3, 2),
                "21": GuidedStage(w16 + w32, w32, num_blocks=depth),
            }
        )
        box_channels = max(4 * NUM_BINS, w8 // 4)
        # 80 names were trained at once; the head is at least that wide.
        embedding_channels = max(80, w8)
        self.heads = nn.ModuleList(Head(width, box_channels, embedding_channels) for width in (w8, w16, w32))

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode pixels, RGB in [0, 1], shape (B, 3, H, W) in multiples of 32, to maps of strides 8, 16 and 32."""
        x, maps = pixels, []
        for number in range(10):
            x = self.layers[str(number)](x)
            if number in (4, 6):
                maps.append(x)
        return maps[0], maps[1], x

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Compare every cell with texts.

        Args:
            fine: Stride 8, from `encode`.
            middle: Stride 16.
            coarse: Stride 32.
            texts: Shape (N, 512), length 1.

        Returns:
            Boxes (B, A, 4), pixels of the encoded image, and logits (B, A, N).
        """
        layers = self.layers
        down16 = layers["12"](torch.cat([double_size(coarse), middle], dim=1), texts)
        up8 = layers["15"](torch.cat([double_size(down16), fine], dim=1), texts)
        up16 = layers["18"](torch.cat([layers["16"](up8), down16], dim=1), texts)
        up32 = layers["21"](torch.cat([layers["19"](up16), coarse], dim=1), texts)
        answers = [
            head(x, texts, stride) for head, x, stride in zip(self.heads, (up8, up16, up32), STRIDES, strict=True)
        ]
        boxes, logits = (torch.cat(parts, dim=1) for parts in zip(*answers, strict=True))
        return boxes, logits


def _three_layers(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(Conv(in_channels, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, out_channels, 1))
