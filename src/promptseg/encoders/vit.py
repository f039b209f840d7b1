"""A plain vision transformer trained on ImageNet, patch 16: the image tower of the baseline ViTSeg.

Paper: Dosovitskiy et al. 2021, arXiv:2010.11929. The network is transformers' ViTModel.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from promptseg.encoders.base import AttentionMask, TokenTower, check_blocks, check_pixels
from promptseg.encoders.published import load_published
from promptseg.encoders.tower_facts import Layer
from promptseg.errors import WeightsError

WIDTH, NUM_BLOCKS, PATCH, POSITION_PIXELS = 768, 12, 16, 384


class Vit(TokenTower):
    """Compute token states after chosen blocks of ViT-B/16; the embedding of an image is the class token.

    Position codes are interpolated to the size of the input. Weights are random until `load_weights`.

    Args:
        layers: Blocks whose output is returned, ascending; 0 is the first block, 11 the last.

    Raises:
        ValueError: A layer is not a block.
    """

    multiple = PATCH
    embedding_dim = WIDTH

    def __init__(self, layers: Sequence[Layer] = (3, 6, 9)) -> None:
        super().__init__()
        # imported here because the import of transformers takes seconds
        from transformers import ViTConfig, ViTModel

        self.layers = check_blocks(layers, NUM_BLOCKS)
        self.channels = (WIDTH,) * len(self.layers)
        self.strides = (PATCH,) * len(self.layers)
        # the other defaults of transformers fit this tower: width 768, 12 blocks, 12 heads, patch 16
        self.model = ViTModel(ViTConfig(image_size=POSITION_PIXELS), add_pooling_layer=False)

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, ...]:
        check_pixels(pixels, self.multiple)
        states = self.model(pixels, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
        # the first states are the input of the first block
        return tuple(states[index + 1] for index in self.layers)

    def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
        """Compute the class token of normalized pixels, shape (B, 3, H, W), after the last norm: shape (B, 768).

        Raises:
            ValueError: There is an attention mask, which only CLIP's tower supports.
        """
        if attention_mask is not None:
            raise ValueError("this image tower takes no attention mask: choose a visual prompt that changes pixels")
        check_pixels(pixels, self.multiple)
        states: Tensor = self.model(pixels, interpolate_pos_encoding=True).last_hidden_state
        return states[:, 0]

    def load_weights(self, *paths: Path) -> None:
        from transformers import ViTModel

        (directory,) = paths
        model = load_published(ViTModel, directory, what="a vision transformer", add_pooling_layer=False)
        if (model.config.hidden_size, model.config.patch_size) != (WIDTH, PATCH):
            raise WeightsError(f"{directory} is no ViT-B/16: its width is {model.config.hidden_size}")
        self.model = model

    def lora_targets(self, layers: Sequence[int]) -> list[str]:
        # module names differ between versions of transformers
        chosen = {str(layer) for layer in layers}
        names = [
            name for name, _ in self.model.named_modules() if name.endswith(("q_proj", "v_proj", "query", "value"))
        ]
        return [f"model.{name}" for name in names if chosen & set(name.split("."))]
