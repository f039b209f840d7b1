"""SAM's mask decoder with one mask token and a presence token: it decodes one mask per query from prompt tokens.

Paper: Kirillov et al. 2023, arXiv:2304.02643; parameter names as SamMaskDecoder of transformers 5.23 (Apache-2.0).
Differs: one mask instead of four, an additional presence token, and optional finer maps in the upsampler.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptseg.layers.mlp import Mlp
from promptseg.layers.position import FourierPositions
from promptseg.layers.two_way import TwoWayTransformer
from promptseg.layers.upsampler import ProgressiveUpsampler, project_dynamically

SAM_DECODER = "mask_decoder."
# transformers stores the same frequencies under two names; one of them is enough
SAM_POSITIONS = (
    "prompt_encoder.shared_embedding.positional_embedding",
    "shared_image_embedding.positional_embedding",
)


@dataclass(frozen=True)
class DecodedQueries:
    """Output of the decoder for N queries.

    Attributes:
        mask_logits: Shape (N, 4h, 4w).
        iou: Predicted IoU of each mask, shape (N,), trained towards [0, 1] but not clamped.
        presence_logit: Shape (N,).
    """

    mask_logits: Tensor
    iou: Tensor
    presence_logit: Tensor


class MaskDecoder(nn.Module):
    """Two-way transformer, upsampler and the three heads.

    Args:
        dim: Width of tokens and image cells.
        num_heads: Attention heads.
        mlp_dim: Inner width of the transformer's feed-forward parts.
        depth: Number of two-way blocks, at least 1.
        skip_dim: Channels of the finer map that is added in the upsampler; None: no finer map.
        skip_scale: Ratio of the finer map's size to that of the image map, 2 or 4.
    """

    def __init__(
        self, dim: int, *, num_heads: int, mlp_dim: int, depth: int, skip_dim: int | None = None, skip_scale: int = 4
    ) -> None:
        super().__init__()
        self.iou_token = nn.Embedding(1, dim)
        self.mask_token = nn.Embedding(1, dim)
        self.presence_token = nn.Embedding(1, dim)
        self.positions = FourierPositions(dim)
        self.transformer = TwoWayTransformer(dim, num_heads, mlp_dim, depth)
        self.upsampler = ProgressiveUpsampler(dim, skip_dim=skip_dim, skip_scale=skip_scale)
        self.mask_head = Mlp(dim, dim, self.upsampler.out_channels)
        self.iou_head = Mlp(dim, dim, 1)
        self.presence_head = Mlp(dim, dim, 1)

    def forward(
        self, cells: Tensor, prompt: Tensor, prompt_mask: Tensor | None = None, skip: Tensor | None = None
    ) -> DecodedQueries:
        """Decode one mask for each query.

        Args:
            cells: Image map of each query, shape (N, D, h, w).
            prompt: Prompt tokens, shape (N, T, D).
            prompt_mask: True for real prompt tokens, bool, shape (N, T). None: all are real.
            skip: Result of the upsampler's `project_skip` for the image of each query; None: no finer map.
        """
        num_queries, _, height, width = cells.shape
        outputs = torch.cat([self.iou_token.weight, self.mask_token.weight, self.presence_token.weight])
        tokens = torch.cat([outputs.expand(num_queries, -1, -1), prompt], dim=1)
        if prompt_mask is not None:
            prompt_mask = torch.cat([prompt_mask.new_ones(num_queries, len(outputs)), prompt_mask], dim=1)
        tokens, decoded = self.transformer(
            tokens, cells.flatten(2).transpose(1, 2), self.positions((height, width)), prompt_mask
        )
        upscaled = self.upsampler(decoded.transpose(1, 2).unflatten(2, (height, width)), skip)
        return DecodedQueries(
            mask_logits=project_dynamically(self.mask_head(tokens[:, 1]), upscaled),
            iou=self.iou_head(tokens[:, 0]).squeeze(1),
            presence_logit=self.presence_head(tokens[:, 2]).squeeze(1),
        )


def load_sam_decoder(decoder: MaskDecoder, state: Mapping[str, Tensor]) -> list[str]:
    """Initialize a decoder with SAM's weights, for the parts that both have.

    SAM has two blocks, which initialize the first two here; further blocks become copies of SAM's second, because the
    final attention and the upsampler were trained on its output. Of SAM's four masks, the first (one mask per prompt)
    is used. Parts that SAM lacks (presence token and head, projection of the finer map) do not change.

    Args:
        decoder: A decoder with SAM's width and heads; changed in place.
        state: SAM's weights under the names of transformers' SamModel.

    Returns:
        Sorted names of the parameters and buffers that were set.

    Raises:
        ValueError: A weight is missing or has another shape than in the decoder.
    """
    own = decoder.state_dict()
    new: dict[str, Tensor] = {}
    for name, current in own.items():
        source = _sam_source(name, state)
        if source is None:
            continue
        if source.shape != current.shape:
            raise ValueError(f"SAM's {name} has shape {tuple(source.shape)}, the decoder's {tuple(current.shape)}")
        new[name] = source
    decoder.load_state_dict({**own, **new}, strict=True)
    return sorted(new)


def _sam_source(name: str, state: Mapping[str, Tensor]) -> Tensor | None:
    """Find SAM's tensor for one of the decoder's names; None if SAM has no such part.

    Raises:
        ValueError: The weight is missing.
    """
    if name.startswith(("presence_", "upsampler.skip.")):
        return None
    if name == "positions.positional_embedding":
        found = [state[key] for key in SAM_POSITIONS if key in state]
        if not found:
            raise ValueError(f"SAM's weights lack {SAM_POSITIONS[0]}")
        return found[0]
    part, _, rest = name.partition(".")
    if part == "transformer" and rest.startswith("layers."):
        _, index, inner = rest.split(".", 2)
        key = f"{SAM_DECODER}transformer.layers.{min(int(index), 1)}.{inner}"
    else:
        key = SAM_DECODER + {
            "mask_token": f"mask_tokens.{rest}",
            "mask_head": f"output_hypernetworks_mlps.0.{rest}",
            "iou_head": f"iou_prediction_head.{rest}",
            "upsampler": rest,
        }.get(part, name)
    if key not in state:
        raise ValueError(f"SAM's weights lack {key}")
    # there are four mask tokens and IoU outputs: one for the single mask, three for the parts of an ambiguous prompt
    is_first_of_four = part == "mask_token" or name.startswith("iou_head.proj_out.")
    return state[key][:1] if is_first_of_four else state[key]
