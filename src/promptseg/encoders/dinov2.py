"""DINOv2: a plain vision transformer trained without labels, patch 14.

Paper: Oquab et al. 2023, arXiv:2304.07193. The network is transformers' Dinov2Model.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from promptseg.encoders.base import ImageTower, check_blocks, check_pixels
from promptseg.encoders.published import load_published
from promptseg.encoders.tower_facts import Layer
from promptseg.errors import WeightsError

# size: (width, blocks, heads, input side of the trained position table in pixels)
SIZES = {"small": (384, 12, 6, 518), "base": (768, 12, 12, 518), "large": (1024, 24, 16, 518), "test": (32, 4, 2, 56)}
PATCH = 14


class Dinov2(ImageTower):
    """Compute patch states after chosen blocks, without the final norm.

    Position codes are interpolated to the size of the input. Weights are random until `load_weights`.

    Args:
        size: "small", "base", "large", or "test".
        layers: Blocks whose output is returned, ascending; 0 is the first block, 11 the last of twelve.

    Raises:
        ValueError: The size is unknown, or a layer is not a block.
    """

    multiple = PATCH

    def __init__(self, size: str = "base", layers: Sequence[Layer] = (3, 6, 9, 11)) -> None:
        super().__init__()
        # imported here because the import of transformers takes seconds
        from transformers import Dinov2Config, Dinov2Model

        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        width, num_blocks, num_heads, position_pixels = SIZES[size]
        self.layers = check_blocks(layers, num_blocks)
        self.channels = (width,) * len(self.layers)
        self.strides = (PATCH,) * len(self.layers)
        self.model = Dinov2Model(
            Dinov2Config(
                hidden_size=width,
                num_hidden_layers=num_blocks,
                num_attention_heads=num_heads,
                image_size=position_pixels,
                patch_size=PATCH,
            )
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        check_pixels(pixels, self.multiple)
        grid_hw = (pixels.shape[2] // PATCH, pixels.shape[3] // PATCH)
        states = self.model.embeddings(pixels)
        maps = []
        for index, block in enumerate(self.model.encoder.layer[: self.layers[-1] + 1]):
            states = block(states)
            if index in self.layers:
                maps.append(states[:, 1:].transpose(1, 2).unflatten(2, grid_hw))
        return tuple(maps)

    def load_weights(self, *paths: Path) -> None:
        from transformers import Dinov2Model

        (directory,) = paths
        model = load_published(Dinov2Model, directory, what="a DINOv2", may_hold_more=False)
        if model.config.hidden_size != self.channels[0]:
            raise WeightsError(f"{directory} has width {model.config.hidden_size}, this tower {self.channels[0]}")
        self.model = model

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        return [f"model.encoder.layer.{i}.attention.{name}" for i in layers for name in ("q_proj", "v_proj")]
