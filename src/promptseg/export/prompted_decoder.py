"""SAM's prompt encoder and mask decoder as one graph: points, a box and a coarse mask in, masks out.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0),
    whose exported decoder has the same labels of points: segment_anything/utils/onnx.py @ dca509f.
    Differs: the mask keeps the decoder's resolution; the embedding may be of an oblong image.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptseg.runtime import Step
from promptseg.sam.graphs import feature_names
from promptseg.sam.prompt_encoder import STRIDE, PromptEncoder

# Points in the example: two corners of a box, and one that fills up.
EXAMPLE_LABELS = (2, 3, -1)


class PromptedDecoder(nn.Module):
    """Decode one prompt; shapes as `sam.graphs.SamGraphs`.

    Args:
        prompt_encoder: Arrays that turn positions into tokens.
        decode: Features, position, tokens and dense to masks and scores.
        embed_coarse: A coarse mask to what it adds to the embedding.
    """

    frequencies: Tensor
    point_types: Tensor
    no_mask: Tensor

    def __init__(self, prompt_encoder: PromptEncoder, decode: nn.Module, embed_coarse: nn.Module) -> None:
        super().__init__()
        self.decode = decode
        self.embed_coarse = embed_coarse
        self.input_side = prompt_encoder.input_side
        # the last row is that of label -1
        types = np.concatenate([prompt_encoder.point_types, prompt_encoder.no_point[None]])
        self.register_buffer("frequencies", _tensor(prompt_encoder.frequencies))
        self.register_buffer("point_types", _tensor(types))
        self.register_buffer("no_mask", _tensor(prompt_encoder.no_mask))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            inputs: Features; points_xy (1, P, 2), canvas pixels; point_labels (1, P), int64: 1 on the object, 0 beside
                it, 2 and 3 the box's top left and bottom right corner, -1 no point; coarse_logits (1, 1, 4h, 4w);
                has_coarse (1,), 1 or 0.

        Returns:
            Mask logits (1, K, 4h, 4w) and scores (1, K).
        """
        *features, points_xy, point_labels, coarse_logits, has_coarse = inputs
        is_point = (point_labels >= 0)[..., None].to(points_xy.dtype)
        index = torch.where(point_labels >= 0, point_labels, len(self.point_types) - 1)
        tokens = self._encode(points_xy + 0.5) * is_point + self.point_types[index]
        no_mask = self.no_mask[None, :, None, None]
        dense = no_mask + has_coarse * (self.embed_coarse(coarse_logits) - no_mask)
        masks, scores = self.decode(*features, self._positions(features[0]), tokens, dense)
        return masks, scores

    def _positions(self, feature: Tensor) -> Tensor:
        """Encode the positions of a map's cells, (1, C, h, w)."""
        height, width = feature.shape[-2:]
        y = ((torch.arange(height, dtype=torch.float32) + 0.5) * STRIDE)[:, None].expand(height, width)
        x = ((torch.arange(width, dtype=torch.float32) + 0.5) * STRIDE)[None, :].expand(height, width)
        return self._encode(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]

    def _encode(self, points_xy: Tensor) -> Tensor:
        unit = 2 * (points_xy / self.input_side) - 1
        angles = 2 * math.pi * (unit[..., :1] * self.frequencies[0] + unit[..., 1:] * self.frequencies[1])
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def prompted_step(prompt_encoder: PromptEncoder, decode: Step, coarse: Step) -> Step:
    """Put the steps of one SAM together: "single" or "levels", and "coarse"."""
    features = {name: decode.example[name] for name in decode.example if name.startswith("feature")}
    assert tuple(features) == feature_names(len(features))
    side = prompt_encoder.input_side
    example = {
        **features,
        "points_xy": torch.tensor([[[0.25, 0.25], [0.75, 0.75], [0.0, 0.0]]]) * side,
        "point_labels": torch.tensor([EXAMPLE_LABELS]),
        "coarse_logits": coarse.example["masks"][:1],
        "has_coarse": torch.ones(1),
    }
    module = PromptedDecoder(prompt_encoder, decode.module, coarse.module).eval()
    return Step(module, example, {}, ("masks", "scores"))


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
