"""Split the network into steps that PyTorch runs or OpenVINO compiles."""

import torch
from torch import Tensor, nn

from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.runtime import Step

# Two texts of different length, so that the traced graph handles padding.
EXAMPLE_TEXTS = ("cat", "the second zebra from the left")
SIDES = (-2, -1)  # height and width are the last dimensions of every map


class _EncodeImages(nn.Module):
    def __init__(self, network: PromptSegNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        images = self.network.encode_images(pixels)
        if images.detections is None:
            return (images.pixel_embedding,)
        return images.pixel_embedding, images.detections


class _EmbedTexts(nn.Module):
    def __init__(self, network: PromptSegNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        return self.network.project_texts(self.network.text_tower(token_ids, token_mask))


class _CompareTexts(nn.Module):
    def __init__(self, network: PromptSegNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_embedding: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.network.maps_of(self.network.dense.similarity(pixel_embedding[0], texts))
        return maps.mask_logits, maps.iou, maps.presence_logit


class _EmbedExemplar(nn.Module):
    def __init__(self, network: PromptSegNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, cells: Tensor, coverage: Tensor) -> Tensor:
        return self.network.embed_exemplar(cells, coverage)


@torch.no_grad()
def build_step(name: str, network: PromptSegNetwork, size_hw: tuple[int, int]) -> Step:
    """Build one of the steps "images", "texts", "decode" and "exemplar".

    Args:
        name: Name of the step.
        network: The network, in evaluation mode, on the CPU.
        size_hw: Height and width of the input for tracing, pixels.
    """
    sides = SIDES if network.config.resize == "aspect" else ()
    pixels = torch.zeros(1, 3, *size_hw)
    if name == "images":
        outputs = ("pixel_embedding", "detections") if network.image_tower.detected_names else ("pixel_embedding",)
        return Step(_EncodeImages(network), {"pixels": pixels}, {"pixels": sides}, outputs)
    if name == "texts":
        token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
        tokens = {"token_ids": token_ids, "token_mask": token_mask}
        return Step(_EmbedTexts(network), tokens, dict.fromkeys(tokens, (0, 1)), ("embedding",))
    embedding = network.encode_images(pixels).pixel_embedding
    if name == "exemplar":
        example = {"cells": embedding[0], "coverage": torch.ones(embedding.shape[2:])}
        return Step(_EmbedExemplar(network), example, dict.fromkeys(example, sides), ("embedding",))
    texts = torch.zeros(len(EXAMPLE_TEXTS), embedding.shape[1])
    free = {"pixel_embedding": sides, "texts": (0,)}
    example = {"pixel_embedding": embedding, "texts": texts}
    return Step(_CompareTexts(network), example, free, ("mask_logits", "iou", "presence_logit"))
