"""MobileSAM: TinyViT image encoder, SAM's prompt encoder and mask decoder; 10 M parameters.

Source:
    Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications", arXiv:2306.14289;
    ChaoningZhang/MobileSAM (Apache-2.0).
    Differs: the longer side may be less than 1024 pixels (faster, and enough for small images), and less is padded:
    a canvas of 4:3 instead of a square where the image fits in.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from promptseg.errors import CheckpointError
from promptseg.ops.deferred import Deferred
from promptseg.runtime import Runtime, Step
from promptseg.sam.base import Frame
from promptseg.sam.graphs import SamGraphs, SamPart
from promptseg.sam.prompt_encoder import PromptEncoder
from promptseg.sam.sam import Sam
from promptseg.weights.cache import file_sha256

if TYPE_CHECKING:
    from promptseg.sam.mobile_sam_network import MobileSamNetwork

_CODE = ("sam/mobile_sam_network.py", "sam/decoder.py", "sam/mask_decode.py", "sam/tiny_vit.py")


def load_mobile_sam(path: Path, *, runtime: Runtime, input_side: int = 1024, identity: str | None = None) -> Sam:
    """Load MobileSAM from a safetensors file with the published names.

    A compiled runtime reads the network only for graphs that are not in the cache.

    Args:
        path: The file.
        runtime: Computes it.
        input_side: The longer side is brought to so many pixels, a multiple of 64; it was trained with 1024.
        identity: Hash of the weights; None: the file is hashed.

    Raises:
        CheckpointError: The file is not MobileSAM's.
    """
    prompt_encoder = read_prompt_encoder(path, input_side)
    network = Deferred(lambda: _load_network(path, input_side))
    if not runtime.is_compiled:
        network.get()  # so that weights that do not fit are an error here, not at the first image
    return build_mobile_sam(network, prompt_encoder, runtime=runtime, identity=identity or file_sha256(path))


def build_mobile_sam(
    network: "Deferred[MobileSamNetwork]", prompt_encoder: PromptEncoder, *, runtime: Runtime, identity: str
) -> Sam:
    """Put MobileSAM together.

    Args:
        network: Built at most once, when an engine needs it.
        prompt_encoder: With the same weights.
        runtime: Computes it.
        identity: Hash of the weights.
    """
    input_side = prompt_encoder.input_side
    graphs = SamGraphs(
        "mobile-sam",
        f"{identity} {input_side}",
        num_features=1,
        build=lambda part, canvas_hw: _build_step(network.get(), part, canvas_hw),
        code=_CODE,
        int8_fits="sam/mobile_sam_int8.npz",
    )
    return Sam(prompt_encoder, graphs, partial(place_image, input_side), runtime)


def read_prompt_encoder(path: Path, input_side: int) -> PromptEncoder:
    """Read the prompt encoder's arrays from a file with the published names.

    Raises:
        CheckpointError: The file is not MobileSAM's.
    """
    try:
        with safe_open(path, framework="numpy") as tensors:
            own = {
                name: np.asarray(tensors.get_tensor(f"prompt_encoder.{name}"), np.float32)
                for name in (
                    "pe_layer.positional_encoding_gaussian_matrix",
                    *(f"point_embeddings.{index}.weight" for index in range(4)),
                    "not_a_point_embed.weight",
                    "no_mask_embed.weight",
                )
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not the weights of MobileSAM: {error}") from error
    return PromptEncoder(
        frequencies=own["pe_layer.positional_encoding_gaussian_matrix"],
        point_types=np.concatenate([own[f"point_embeddings.{index}.weight"] for index in range(4)]),
        no_point=own["not_a_point_embed.weight"][0],
        no_mask=own["no_mask_embed.weight"][0],
        input_side=input_side,
    )


def place_image(input_side: int, original_hw: tuple[int, int]) -> Frame:
    """Place an image on the smallest canvas of three: square, 4:3, 3:4 (few, as each is compiled anew)."""
    scale = input_side / max(original_hw)
    height, width = original_hw
    short_side = input_side * 3 // 4
    canvas_height = short_side if round(height * scale) <= short_side else input_side
    canvas_width = short_side if round(width * scale) <= short_side else input_side
    return Frame(original_hw, (canvas_height, canvas_width), (scale, scale))


def _load_network(path: Path, input_side: int) -> "MobileSamNetwork":
    # here and not above: a compiled model does without torch and transformers, which take seconds to import
    from promptseg.sam.mobile_sam_network import load_network

    return load_network(path, input_side)


def _build_step(network: "MobileSamNetwork", part: SamPart, canvas_hw: tuple[int, int]) -> Step:
    from promptseg.sam.mobile_sam_network import build_step

    return build_step(network, part, canvas_hw)
