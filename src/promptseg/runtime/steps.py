"""The three steps of a network as functions of named tensors, each with an example to trace it by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from promptseg.encoders.pixels import fit_size
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import Decoded, EncodedImages, EncodedTexts, from_tensors, to_tensors

Compute = Callable[..., EncodedImages | EncodedTexts | Decoded]
STEP_NAMES = ("images", "texts", "decode")

# Two texts of different length: what is traced must know about padding.
EXAMPLE_TEXTS = ("cat", "the second zebra from the left")
TOKEN_FIELDS = {"token_ids", "token_mask", "prompt", "prompt_mask"}


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        module: Takes the example's tensors in order and gives a tuple.
        example: By name.
        free_axes: Axes of each input whose length differs from call to call, by name.
        outputs: Names of what the module gives.
    """

    module: nn.Module
    example: Mapping[str, Tensor]
    free_axes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


class _NamedTensors(nn.Module):
    """Tensors in, tensors out: the form that can be traced. What is None takes no part."""

    def __init__(self, network: PromptSeg, compute: Compute, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.compute = compute
        self.names = names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answer = self.compute(self.network, **dict(zip(self.names, tensors, strict=True)))
        return tuple(to_tensors(answer).values())


def build_steps(network: PromptSeg) -> dict[str, Step]:
    """Take a network apart; it must be in evaluation mode, on the CPU."""
    config = network.config
    multiple = network.image_tower.multiple
    height, width = fit_size((1, 1), image_size=config.image_size, multiple=multiple, resize=config.resize)
    pixels = {"pixels": torch.zeros(1, 3, height, width)}
    token_ids, token_mask = network.text_tower.tokenize(EXAMPLE_TEXTS)
    tokens = {"token_ids": token_ids, "token_mask": token_mask}
    with torch.no_grad():
        images = to_tensors(replace(_encode_images(network, **pixels), detections=None))
        texts = to_tensors(_encode_texts(network, **tokens))
        # every map ends with its height and width
        sides = (-2, -1) if config.resize == "aspect" else ()
        free: dict[str, tuple[int, ...]] = dict.fromkeys((*pixels, *images), sides)
        free |= {name: (0, 1) if name in TOKEN_FIELDS else (0,) for name in (*tokens, *texts)}
        return {
            "images": _build_step(network, _encode_images, pixels, free),
            "texts": _build_step(network, _encode_texts, tokens, free),
            "decode": _build_step(network, _decode, images | texts, free),
        }


def _build_step(
    network: PromptSeg, compute: Compute, example: dict[str, Tensor], free: Mapping[str, tuple[int, ...]]
) -> Step:
    return Step(
        module=_NamedTensors(network, compute, tuple(example)),
        example=example,
        free_axes={name: free[name] for name in example},
        outputs=tuple(to_tensors(compute(network, **example))),
    )


def _encode_images(network: PromptSeg, pixels: Tensor) -> EncodedImages:
    return network.encode_images(pixels)


def _encode_texts(network: PromptSeg, token_ids: Tensor, token_mask: Tensor) -> EncodedTexts:
    return network.project_texts(network.text_tower(token_ids, token_mask))


def _decode(network: PromptSeg, **encoded: Tensor) -> Decoded:
    texts = from_tensors(EncodedTexts, encoded)
    of_each_text = next(value for value in (texts.prompt, texts.dense) if value is not None)
    only_image = torch.zeros(of_each_text.shape[0], dtype=torch.int64)
    return network.decode(from_tensors(EncodedImages, encoded), texts, only_image)
