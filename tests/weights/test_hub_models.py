"""Detectors and SAM from the hub: the configuration that their tensors tell."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    CLIPTokenizer,
    GroundingDinoConfig,
    Owlv2Config,
    Owlv2ForObjectDetection,
    SamConfig,
)

from promptseg.errors import WeightsError
from promptseg.weights import find_record
from promptseg.weights.convert.hub_models import convert_grounding_dino, convert_owlv2, convert_sam_hub

SWIN = "model.backbone.conv_encoder.model.embeddings.patch_embeddings.projection.weight"
OWL = "owlv2.vision_model.embeddings.position_embedding.weight"
SAM = "vision_encoder.patch_embed.projection.weight"


def published(directory: Path, name: str, *shape: int) -> Path:
    """A file that has only the tensor by which its size is told."""
    path = directory / "published.safetensors"
    save_file({name: torch.zeros(shape)}, path)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(("width", "depths", "window"), [(96, [2, 2, 6, 2], 7), (128, [2, 2, 18, 2], 12)])
def test_grounding_dino(width: int, depths: list[int], window: int, tmp_path: Path, target: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("[PAD]\n")
    weights = published(tmp_path, SWIN, width, 3, 4, 4)
    convert_grounding_dino({"model.safetensors": weights, "vocab.txt": vocabulary}, target)
    config = GroundingDinoConfig.from_pretrained(target)
    swin = config.backbone_config
    assert (swin.embed_dim, swin.depths, swin.window_size) == (width, depths, window)
    assert swin.out_features == ["stage2", "stage3", "stage4"]
    assert (target / "model.safetensors").read_bytes() == weights.read_bytes()
    assert (target / "vocab.txt").read_text() == "[PAD]\n"


def test_owlv2_has_exactly_the_published_bytes(tmp_path: Path, target: Path) -> None:
    vocabulary = tmp_path / "bpe.txt.gz"
    vocabulary.write_bytes(gzip.compress(b"#version: 0.2\nc a\nca t</w>\n"))
    weights = published(tmp_path, OWL, 3601, 768)
    convert_owlv2({"model.safetensors": weights, "bpe_simple_vocab_16e6.txt.gz": vocabulary}, target)
    assert CLIPTokenizer.from_pretrained(target).tokenize("cat") == ["cat</w>"]
    with torch.device("meta"):
        model = Owlv2ForObjectDetection(Owlv2Config.from_pretrained(target))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, value in sorted(model.state_dict().items()):
        end = offset + 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    num_bytes = len(json.dumps(header, separators=(",", ":")))
    (file,) = (file for file in find_record("owlv2-base").files if file.filename == "model.safetensors")
    assert 8 + -(-num_bytes // 8) * 8 + offset == file.num_bytes


@pytest.mark.parametrize(("width", "blocks"), [(768, 12), (1024, 24), (1280, 32)])
def test_sam(width: int, blocks: int, tmp_path: Path, target: Path) -> None:
    convert_sam_hub({"model.safetensors": published(tmp_path, SAM, width, 3, 16, 16)}, target)
    vision = SamConfig.from_pretrained(target).vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.mlp_dim) == (width, blocks, 4 * width)
    assert vision.global_attn_indexes[-1] == blocks - 1


def test_other_files_are_refused(tmp_path: Path, target: Path) -> None:
    other = {"model.safetensors": published(tmp_path, SAM, 7, 3, 16, 16)}
    with pytest.raises(WeightsError, match=r"not a SAM of a known size: .* is \(7, 3, 16, 16\)"):
        convert_sam_hub(other, target)
    with pytest.raises(WeightsError, match=r"not a GroundingDINO of a known size: .* is missing"):
        convert_grounding_dino(other, target)
    with pytest.raises(WeightsError, match=r"not OWLv2-base at 960 pixels: .* is missing"):
        convert_owlv2(other, target)
    (tmp_path / "published.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        convert_sam_hub(other, target)
