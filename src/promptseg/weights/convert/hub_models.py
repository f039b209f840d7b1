"""Convert the hub's detectors and SAM to directories for transformers; the config follows from the tensors' shapes.

Source:
    Sizes as in transformers' own conversion scripts of GroundingDINO, OWLv2 and SAM (Apache-2.0).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from promptseg.errors import WeightsError
from promptseg.weights.convert.clip import convert_clip_tokenizer

Size = TypeVar("Size")

WEIGHTS_FILE = "model.safetensors"
# By the channels of the first patch embedding: window, blocks, heads, image side of the Swin tower.
_SWIN = {96: (7, (2, 2, 6, 2), (3, 6, 12, 24), 224), 128: (12, (2, 2, 18, 2), (4, 8, 16, 32), 384)}
# By the width of the image tower: blocks, heads, blocks with global attention.
_SAM = {768: (12, 12, (2, 5, 8, 11)), 1024: (24, 16, (5, 11, 17, 23)), 1280: (32, 16, (7, 15, 23, 31))}


def convert_grounding_dino(files: Mapping[str, Path], target: Path) -> None:
    """Write config.json, the tensors and BERT's vocabulary.

    Raises:
        WeightsError: The file is not a GroundingDINO of a known size.
    """
    # imported here: the import of transformers takes seconds, and most conversions don't need it
    from transformers import GroundingDinoConfig, SwinConfig

    shapes = _read_shapes(files[WEIGHTS_FILE])
    name = "model.backbone.conv_encoder.model.embeddings.patch_embeddings.projection.weight"
    window, depths, heads, side = _look_up(_SWIN, shapes, name, "GroundingDINO")
    swin = SwinConfig(
        window_size=window,
        image_size=side,
        embed_dim=shapes[name][0],
        depths=list(depths),
        num_heads=list(heads),
        out_indices=[2, 3, 4],  # type: ignore[call-arg]  # stages in the numbering of transformers
    )
    GroundingDinoConfig(backbone_config=swin).save_pretrained(target)
    shutil.copyfile(files[WEIGHTS_FILE], target / WEIGHTS_FILE)
    shutil.copyfile(files["vocab.txt"], target / "vocab.txt")


def convert_owlv2(files: Mapping[str, Path], target: Path) -> None:
    """Write config.json, the tensors and CLIP's tokenizer.

    Raises:
        WeightsError: The file is not OWLv2-base with patches of 16 pixels at 960 pixels.
    """
    from transformers import Owlv2Config

    shapes = _read_shapes(files[WEIGHTS_FILE])
    name = "owlv2.vision_model.embeddings.position_embedding.weight"
    if shapes.get(name) != (60 * 60 + 1, 768):
        raise WeightsError(f"not OWLv2-base at 960 pixels: {name} is {shapes.get(name, 'missing')}")
    Owlv2Config(vision_config={"image_size": 960}).save_pretrained(target)
    shutil.copyfile(files[WEIGHTS_FILE], target / WEIGHTS_FILE)
    convert_clip_tokenizer({key: path for key, path in files.items() if key != WEIGHTS_FILE}, target)


def convert_sam_hub(files: Mapping[str, Path], target: Path) -> None:
    """Write config.json and the tensors.

    Raises:
        WeightsError: The file is not a SAM of a known size.
    """
    from transformers import SamConfig

    shapes = _read_shapes(files[WEIGHTS_FILE])
    name = "vision_encoder.patch_embed.projection.weight"
    num_blocks, num_heads, global_blocks = _look_up(_SAM, shapes, name, "SAM")
    SamConfig(
        vision_config={
            "hidden_size": shapes[name][0],
            "mlp_dim": 4 * shapes[name][0],
            "num_hidden_layers": num_blocks,
            "num_attention_heads": num_heads,
            "global_attn_indexes": list(global_blocks),
        }
    ).save_pretrained(target)
    shutil.copyfile(files[WEIGHTS_FILE], target / WEIGHTS_FILE)


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise WeightsError(f"{path.name}: not a safetensors file: {error}") from error


def _look_up(sizes: Mapping[int, Size], shapes: Mapping[str, tuple[int, ...]], name: str, model: str) -> Size:
    width = shapes.get(name, (0,))[0]
    if width not in sizes:
        raise WeightsError(f"not a {model} of a known size: {name} is {shapes.get(name, 'missing')}")
    return sizes[width]
