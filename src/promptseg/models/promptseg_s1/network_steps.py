"""Split the network into steps that PyTorch runs or OpenVINO compiles."""

import torch
from torch import Tensor, nn

from promptseg.layers.neck import NeckMaps
from promptseg.models.promptseg_s1.network import PromptSegS1Network, TextPrompts
from promptseg.runtime import Step

# Two texts of different length, so that the traced graph handles padding.
EXAMPLE_TEXTS = ("cat", "the second zebra from the left")
SIDES = (-2, -1)  # height and width are the last dimensions of every map


class _FuseImages(nn.Module):
    def __init__(self, network: PromptSegS1Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        maps = self.network.encode_images(pixels)
        return (maps.fused,) if maps.fine is None else (maps.fused, maps.fine)


class _ProjectTexts(nn.Module):
    def __init__(self, network: PromptSegS1Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        prompts = self.network.project_texts(self.network.text_tower(token_ids, token_mask))
        return prompts.tokens, prompts.token_mask


class _DecodeMasks(nn.Module):
    def __init__(self, network: PromptSegS1Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, tokens_mask: Tensor, fused: Tensor, *fine: Tensor) -> tuple[Tensor, ...]:
        only_image = torch.zeros(tokens.shape[0], dtype=torch.int64, device=tokens.device)
        maps = NeckMaps(fused, fine[0] if fine else None)
        decoded = self.network.decode(maps, TextPrompts(tokens, tokens_mask), only_image)
        return decoded.mask_logits, decoded.iou, decoded.presence_logit


@torch.no_grad()
def build_step(name: str, network: PromptSegS1Network, size_hw: tuple[int, int]) -> Step:
    """Build one of the steps "images", "texts" and "decode".

    Args:
        name: Name of the step.
        network: The network, in evaluation mode, on the CPU.
        size_hw: Height and width of the input for tracing, pixels.
    """
    sides = SIDES if network.config.resize == "aspect" else ()
    has_fine = network.config.fine_stride is not None
    map_names = ("fused", "fine") if has_fine else ("fused",)
    pixels = torch.zeros(1, 3, *size_hw)
    if name == "images":
        return Step(_FuseImages(network), {"pixels": pixels}, {"pixels": sides}, map_names)
    token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
    texts = {"token_ids": token_ids, "token_mask": token_mask}
    if name == "texts":
        return Step(_ProjectTexts(network), texts, dict.fromkeys(texts, (0, 1)), ("tokens", "tokens_mask"))
    tokens, mask = _ProjectTexts(network)(token_ids, token_mask)
    example = {"tokens": tokens, "tokens_mask": mask, **dict(zip(map_names, _FuseImages(network)(pixels), strict=True))}
    free = {key: (0, 1) if key.startswith("tokens") else sides for key in example}
    return Step(_DecodeMasks(network), example, free, ("mask_logits", "iou", "presence_logit"))
