"""SAMs by name and from directories: what is refused, and how the error says it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.runtime import Runtime
from promptseg.sam.decoder import SamDecoder
from promptseg.sam.load import load_sam
from promptseg.sam.mobile_sam import load_mobile_sam
from promptseg.weights.convert.sam_names import sam_decoder_name

TORCH = Runtime("torch")


def test_an_unknown_name_is_an_error_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="no SAM is named 'sam9'; there are mobile-sam, sam2-hiera-tiny"):
        load_sam("sam9", runtime=TORCH)
    with pytest.raises(UnknownModelError, match="or give a directory"):
        load_sam(tmp_path / "nowhere", runtime=TORCH)


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"can't read its config\.json"):
        load_sam(tmp_path, runtime=TORCH)
    for model_type, message in (
        ("bert", "holds a 'bert'; SAMs are sam and sam2"),
        ("sam", "no SAM for transformers"),
        ("sam2", "no SAM 2 model for transformers"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        with pytest.raises(CheckpointError, match=message):
            load_sam(tmp_path, runtime=TORCH)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"other\.safetensors: not the weights of MobileSAM"):
        load_mobile_sam(path, runtime=TORCH)
    path.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="not the weights of MobileSAM"):
        load_mobile_sam(path, runtime=TORCH)


def test_published_weights_without_an_encoder_are_refused_by_pytorch_at_once(tmp_path: Path) -> None:
    path = tmp_path / "prompts.safetensors"
    shapes = {
        "pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "not_a_point_embed.weight": (1, 256),
        "no_mask_embed.weight": (1, 256),
        **{f"point_embeddings.{index}.weight": (1, 256) for index in range(4)},
    }
    save_file({f"prompt_encoder.{name}": torch.zeros(shape) for name, shape in shapes.items()}, path)
    with pytest.raises(CheckpointError, match="not the weights of MobileSAM"):
        load_mobile_sam(path, runtime=TORCH)


def test_published_names_are_translated() -> None:
    known = SamDecoder(64).state_dict().keys()
    published = (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "prompt_encoder.mask_downscaling.6.bias",
        "mask_decoder.transformer.layers.1.norm4.weight",
        "mask_decoder.transformer.norm_final_attn.bias",
        "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight",
        "mask_decoder.iou_prediction_head.layers.1.bias",
        "mask_decoder.transformer.layers.0.mlp.lin1.weight",
    )
    assert {sam_decoder_name(key) for key in published} <= known
