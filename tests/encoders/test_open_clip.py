"""OpenCLIP's ConvNeXt and its text tower: transformers' numbers, the published sizes, OpenCLIP's names, refusals."""

import re
from pathlib import Path

import pytest
import torch
from open_clip_layout import image_state, text_state
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, ConvNextConfig, ConvNextModel

from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.convnext_clip import SIZES, ConvNextClip
from promptseg.encoders.open_clip import load_part, read_open_clip, rename_tower
from promptseg.encoders.tokenizers import CLIP_END_TOKEN
from promptseg.encoders.towers import build_image_tower, build_text_tower
from promptseg.errors import WeightsError


def random_tower() -> ConvNextClip:
    torch.manual_seed(0)
    tower = ConvNextClip("test").eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(std=0.3)
    return tower


def transformers_names(name: str) -> str:
    for pattern, new in (
        (r"^visual\.trunk\.stem\.0\.", "embeddings.patch_embeddings."),
        (r"^visual\.trunk\.stem\.1\.", "embeddings.layernorm."),
        (r"^visual\.trunk\.stages\.(\d)\.downsample\.", r"encoder.stages.\1.downsampling_layer."),
        (r"^visual\.trunk\.stages\.(\d)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
        (r"^visual\.trunk\.head\.norm\.", "layernorm."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.norm\.", ".layernorm."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"\.gamma$", ".layer_scale_parameter"),
    ):
        name = re.sub(pattern, new, name)
    return name


@torch.no_grad()
def test_convnext_gives_transformers_numbers() -> None:
    tower = random_tower()
    widths, depths, _ = SIZES["test"]
    theirs = ConvNextModel(
        ConvNextConfig(depths=list(depths), hidden_sizes=list(widths), layer_norm_eps=1e-6, drop_path_rate=0.0)
    ).eval()
    trunk = {name: value for name, value in image_state(tower).items() if name.startswith("visual.trunk.")}
    theirs.load_state_dict({transformers_names(name): value for name, value in trunk.items()}, strict=True)
    pixels = torch.randn(2, 3, 64, 96)
    expected = theirs(pixels, output_hidden_states=True)
    maps = tower(pixels)
    assert [tuple(one.shape) for one in maps] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 24, 4, 6), (2, 32, 2, 3)]
    # the first of theirs is before the first stage
    for one, other in zip(maps, expected.hidden_states[1:], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    pooled = tower.region_norm(maps[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(pooled, expected.pooler_output, atol=1e-5, rtol=1e-5)
    assert tower.project(maps[-1].mean(dim=(2, 3))).shape == (2, 24)


def test_towers_have_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        image, text = ConvNextClip("large-d-320"), ClipText("convnext-large")
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in image.named_children()}
    assert counts["stages"] + counts["region_norm"] == 196_230_336
    assert counts["widen"] + counts["narrow"] == 3_540_480
    assert sum(p.numel() for p in text.parameters()) == 152_001_793 - 1, "OpenCLIP counts the scale with the texts"
    assert image.channels == (192, 384, 768, 1536) and (text.dim, text.max_tokens) == (image.embedding_dim, 77)
    # OpenCLIP packs the three projections of each of the 16 attentions
    assert len(image.state_dict()) + len(text.state_dict()) - 16 * 4 == 543


@torch.no_grad()
def test_text_tower_gives_transformers_numbers_from_openclips_names() -> None:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, projection_dim=24,
        hidden_act="quick_gelu", bos_token_id=CLIP_END_TOKEN - 1, eos_token_id=CLIP_END_TOKEN,
    )  # fmt: skip
    theirs = CLIPTextModelWithProjection(config).eval()
    tower = ClipText("test").eval()
    load_part(tower, "text", {**text_state(theirs), **image_state(random_tower())}, source="made")
    tokens = torch.tensor([[CLIP_END_TOKEN - 1, 320, 2368, CLIP_END_TOKEN]])
    expected = theirs(input_ids=tokens).text_embeds
    torch.testing.assert_close(tower(tokens, tokens > 0).embedding, expected, atol=1e-5, rtol=1e-5)


def test_the_large_text_tower_has_no_quick_gelu() -> None:
    with torch.device("meta"):
        config = ClipText("convnext-large").clip.config
    assert (config.hidden_act, config.hidden_size, config.num_hidden_layers) == ("gelu", 768, 16)
    assert (config.num_attention_heads, config.intermediate_size, config.projection_dim) == (12, 3072, 768)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@torch.no_grad()
def test_an_image_tower_is_read_from_openclips_file(tmp_path: Path, suffix: str) -> None:
    tower, path = random_tower(), tmp_path / f"open_clip{suffix}"
    state = {**image_state(tower), "token_embedding.weight": torch.zeros(2, 2)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = ConvNextClip("test")
    loaded.load_weights(path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in tower.state_dict().items())
    assert rename_tower(read_open_clip(path), "image").keys() == tower.state_dict().keys()


def test_what_is_no_openclip_is_refused(tmp_path: Path) -> None:
    state = image_state(random_tower())
    del state["visual.head.mlp.fc2.weight"]
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"does not hold this image tower of OpenCLIP: Missing.*narrow\.weight"):
        ConvNextClip("test").load_weights(tmp_path / "other.safetensors")
    torch.save({"weights": Path("code")}, tmp_path / "code.bin")
    with pytest.raises(WeightsError, match="not a plain PyTorch checkpoint"):
        read_open_clip(tmp_path / "code.bin")
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        read_open_clip(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("layers", [(), (8, 4), (2, 4), (4, "head")])
def test_unknown_layers_are_refused(layers: tuple[int | str, ...]) -> None:
    with pytest.raises(ValueError, match="layers must be out of"):
        ConvNextClip("test", layers)


def test_test_towers_are_always_the_same_and_the_large_ones_random() -> None:
    first, second = (build_image_tower("clip-convnext-test", (4, 8, 16, 32)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with torch.device("meta"):
        assert build_text_tower("clip-convnext-large-d-320").dim == 768


def test_the_scale_of_cosines_is_clamped() -> None:
    tower = ConvNextClip("test")
    assert tower.cosine_scale().item() == pytest.approx(1 / 0.07, rel=1e-3)
    with torch.no_grad():
        tower.logit_scale.fill_(9.0)
    assert tower.cosine_scale().item() == 100.0
