"""Split the network into steps that PyTorch runs or OpenVINO compiles."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from promptseg.layers.masked_decoder import DecodedMasks
from promptseg.layers.pixel_decoder import PixelFeatures
from promptseg.layers.region_pooling import Pooling
from promptseg.models.uniovseg.graphs import FEATURE_NAMES, PIXEL_NAMES, REGION_NAMES, Part, PromptPart
from promptseg.models.uniovseg.network import RegionFeatures, UniOvSeg
from promptseg.runtime import Step

EXAMPLE_TEXTS = ("cat", "There is a medium traffic light in the scene.")


class _Encode(nn.Module):
    def __init__(self, network: UniOvSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        maps = self.network.encode_maps(pixels)
        decoded = self.network.decode_pixels(maps)
        if self.network.adapter is None:
            return (*decoded.maps, decoded.mask_features)
        regions = self.network.region_features(maps)
        return (*decoded.maps, decoded.mask_features, regions.clip, *regions.reduced)


class _Mask(nn.Module):
    """Decode the prompts of one image: masks (N, K, h, w), scores (N, K)."""

    def __init__(self, network: UniOvSeg, part: PromptPart) -> None:
        super().__init__()
        self.network = network
        self.part = part

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        *maps, mask_features = inputs[: len(PIXEL_NAMES)]
        prompts = (one[None] for one in inputs[len(PIXEL_NAMES) :])
        of_part: dict[PromptPart, Callable[..., DecodedMasks]] = {
            "point": self.network.mask_points,
            "points": self.network.mask_point_sets,
            "box": self.network.mask_boxes,
        }
        decoded = of_part[self.part](PixelFeatures(tuple(maps), mask_features), *prompts)
        return decoded.mask_logits()[0], decoded.layers[-1].score_logits[0].sigmoid()


class _EmbedRegions(nn.Module):
    def __init__(self, network: UniOvSeg, pooling: Pooling) -> None:
        super().__init__()
        self.network = network
        self.pooling = pooling

    def forward(self, clip: Tensor, *rest: Tensor) -> Tensor:
        *reduced, masks = rest
        return self.network.embed_regions(RegionFeatures(clip, tuple(reduced)), masks[None], self.pooling)[0]


class _EmbedTexts(nn.Module):
    def __init__(self, network: UniOvSeg) -> None:
        super().__init__()
        assert network.text_tower is not None  # only a model that takes names has this step
        self.text_tower = network.text_tower

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        pooled: Tensor = self.text_tower(token_ids, token_mask).pooled
        return pooled


@torch.no_grad()
def build_step(part: Part, network: UniOvSeg, pooling: Pooling) -> Step:
    """Build one of the steps.

    Args:
        part: Which step; `graphs.UniOvSegGraphs` describes them.
        network: The network, in evaluation mode, on the CPU.
        pooling: How the cells of a region are weighted.
    """
    if part == "texts":
        assert network.text_tower is not None  # only a model that takes names has this step
        token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
        tokens = {"token_ids": token_ids, "token_mask": token_mask}
        return Step(_EmbedTexts(network), tokens, dict.fromkeys(tokens, (0, 1)), ("vectors",))
    side = network.config.image_size
    if part == "encode":
        names = PIXEL_NAMES if network.adapter is None else FEATURE_NAMES
        return Step(_Encode(network), {"pixels": torch.zeros(1, 3, side, side)}, {}, names)
    shapes = {
        name: torch.zeros(1, channels, side // stride, side // stride) for name, channels, stride in _maps(network)
    }
    if part == "regions":
        example = {name: shapes[name] for name in REGION_NAMES} | {"masks": torch.ones(2, side // 4, side // 4)}
        return Step(_EmbedRegions(network, pooling), example, {"masks": (0,)}, ("vectors",))
    image = {name: shapes[name] for name in PIXEL_NAMES}
    outputs = ("masks", "scores")
    if part == "points":
        prompts = {"boxes": torch.rand(2, 3, 4), "on_object": torch.ones(2, 3, dtype=torch.bool)}
        return Step(_Mask(network, part), image | prompts, dict.fromkeys(prompts, (0, 1)), outputs)
    return Step(_Mask(network, part), {**image, "boxes": torch.rand(2, 4)}, {"boxes": (0,)}, outputs)


def _maps(network: UniOvSeg) -> list[tuple[str, int, int]]:
    """List the name, channels and stride of each map of an encoded image."""
    config, tower = network.config, network.image_tower
    strides = (*(32, 16, 8, 4), 32, *tower.strides)
    channels = (*(config.dim,) * len(PIXEL_NAMES), tower.channels[-1], *(config.adapter_rank,) * len(tower.strides))
    return list(zip(FEATURE_NAMES, channels, strides, strict=True))
