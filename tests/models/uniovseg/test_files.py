"""The authors' file of the first stage, made here tensor by tensor; and the start of a training run from OpenCLIP's."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from open_clip_layout import image_state, text_state
from safetensors.torch import save_file
from torch import Tensor, nn

import promptseg
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.convnext_clip import ConvNextClip
from promptseg.encoders.open_clip import rename_tower
from promptseg.errors import CheckpointError, WeightsError
from promptseg.models.build import build_network
from promptseg.models.checkpoint import load_pretrained
from promptseg.models.registry import find_row
from promptseg.models.uniovseg import files
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.files import is_stage1, load_stage1, save_start
from promptseg.models.uniovseg.layouts import CLIP_PREFIX, config_from_stage1
from promptseg.models.uniovseg.network import UniOvSeg

CONFIG = replace(
    find_row("uniovseg-test").config, text_tower="clip-text-test", towers="stored", image_size=1024, decoder_layers=3,
    encoder_layers=2, adapter_rank=8, settings=UniOvSegConfig().settings,
)  # fmt: skip
assert isinstance(CONFIG, UniOvSegConfig)


class Attended(nn.Module):
    """An attention of torch and its norm, as in the authors' layers."""

    def __init__(self, dim: int, heads: int, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.MultiheadAttention(dim, heads))
        self.norm = nn.LayerNorm(dim)


class FeedForward(nn.Module):
    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2, self.norm = nn.Linear(dim, inner), nn.Linear(inner, dim), nn.LayerNorm(dim)


class Perceptron(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, out)])


def authors_predictor(dim: int, heads: int, layers: int, inner: int) -> nn.Module:
    """The authors' mask decoder: the same modules under their names, without its computation."""
    predictor = nn.Module()
    predictor.transformer_self_attention_layers = nn.ModuleList(
        Attended(dim, heads, "self_attn") for _ in range(layers)
    )
    predictor.transformer_cross_attention_layers = nn.ModuleList(
        Attended(dim, heads, "multihead_attn") for _ in range(layers)
    )
    predictor.transformer_ffn_layers = nn.ModuleList(FeedForward(dim, inner) for _ in range(layers))
    predictor.extra_self_attention_layer = Attended(dim, heads, "self_attn")
    predictor.feat_embed = nn.Conv2d(dim, dim, 1)
    predictor.level_embed = nn.Embedding(3, dim)
    predictor.decoder_norm = nn.LayerNorm(dim)
    predictor.mask_embed = nn.ModuleList(Perceptron(dim, dim) for _ in range(5))
    predictor.iou_embed = nn.ModuleList(Perceptron(dim, 1) for _ in range(5))
    return predictor


def authors_state() -> dict[str, Tensor]:
    """Random tensors in the authors' layout."""
    torch.manual_seed(3)
    dim, inner = CONFIG.dim, CONFIG.decoder_mlp_dim
    predictor = authors_predictor(dim, CONFIG.num_heads, CONFIG.decoder_layers, inner)
    state = {f"sem_seg_head.predictor.{name}": value for name, value in predictor.state_dict().items()}
    prompts = "sem_seg_head.predictor.prompt_encoder"
    state |= {
        f"{prompts}.corner_emb": torch.randn(1, 2, dim), f"{prompts}.point_emb": torch.randn(1, 1, dim),
        f"{prompts}.box_emb": torch.randn(1, 1, dim), f"{prompts}.attr_emb.weight": torch.randn(2, dim),
        f"{prompts}.mask_emb": torch.randn(1, 5, dim),
    }  # fmt: skip
    for owner in ("predictor.pe_layer", "pixel_decoder.pe_layer", "predictor.prompt_encoder.pos_emb"):
        state[f"sem_seg_head.{owner}.positional_encoding_gaussian_matrix"] = torch.randn(2, dim // 2)
    pixel = {}
    for name, value in build_network(CONFIG).pixel_decoder.state_dict().items():
        for pattern, new in (
            (r"^projections\.", "input_proj."), (r"^level_codes$", "transformer.level_embed"),
            (r"^layers\.(\d+)\.attention\.", r"transformer.encoder.layers.\1.self_attn."),
            (r"^layers\.(\d+)\.attention_norm\.", r"transformer.encoder.layers.\1.norm1."),
            (r"^layers\.(\d+)\.mlp_norm\.", r"transformer.encoder.layers.\1.norm2."),
            (r"^layers\.(\d+)\.mlp\.lin", r"transformer.encoder.layers.\1.linear"),
            (r"^lateral\.0\.", "adapter_1."), (r"^lateral\.1\.", "adapter_1.norm."),
            (r"^smooth\.0\.", "layer_1."), (r"^smooth\.1\.", "layer_1.norm."),
        ):  # fmt: skip
            name = re.sub(pattern, new, name)
        if name != "positions.positional_embedding":
            pixel[f"sem_seg_head.pixel_decoder.{name}"] = torch.randn_like(value)
    return {**state, **pixel, **{f"{CLIP_PREFIX}{name}": value for name, value in open_clip_state().items()}}


def open_clip_state() -> dict[str, Tensor]:
    """Both tiny towers in OpenCLIP's layout."""
    torch.manual_seed(4)
    return {**image_state(ConvNextClip("test")), **text_state(ClipText("test").clip), "attn_mask": torch.zeros(77, 77)}


@pytest.fixture(autouse=True)
def no_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vocabulary is a download; nothing here reads texts."""
    monkeypatch.setattr(files, "load_vocabulary", lambda tower, **options: None)


@pytest.mark.parametrize("form", ["plain", "detectron2", "safetensors"])
def test_the_authors_first_stage_is_read(tmp_path: Path, form: str) -> None:
    state = authors_state()
    path = tmp_path / ("stage1.safetensors" if form == "safetensors" else "stage1.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if form == "plain" else {"model": state, "iteration": 110_000}, path)
    assert is_stage1(path)
    model = load_stage1(path)
    assert model.config == CONFIG
    own = model.state_dict()
    assert torch.equal(own["prompts.corner_codes"], state["sem_seg_head.predictor.prompt_encoder.corner_emb"][0])
    assert torch.equal(own["prompts.point_code"], state["sem_seg_head.predictor.prompt_encoder.point_emb"][0, 0])
    packed = state["sem_seg_head.predictor.transformer_cross_attention_layers.1.multihead_attn.in_proj_weight"]
    assert torch.equal(own["mask_decoder.layers.1.image_attention.k_proj.weight"], packed[CONFIG.dim : 2 * CONFIG.dim])
    head = state["sem_seg_head.predictor.iou_embed.3.layers.2.weight"]
    assert torch.equal(own["mask_decoder.score_heads.3.proj_out.weight"], head)
    text = rename_tower(open_clip_state(), "text")["clip.text_projection.weight"]
    assert torch.equal(own["text_tower.clip.text_projection.weight"], text)
    assert not any(layer.weight.any() for layer in model.adapter.up), "the second stage is not published"


def test_attentions_compute_what_the_authors_compute() -> None:
    """The packed attention and ours, from the same tensors."""
    state = authors_state()
    theirs = nn.MultiheadAttention(CONFIG.dim, CONFIG.num_heads, batch_first=True)
    prefix = "sem_seg_head.predictor.extra_self_attention_layer.self_attn."
    theirs.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    model = UniOvSeg(CONFIG)
    renamed = files.rename_stage1(state, "made")
    model.load_state_dict({**model.state_dict(), **renamed})
    tokens = torch.randn(2, 7, CONFIG.dim)
    expected = theirs(tokens, tokens, tokens)[0]
    torch.testing.assert_close(model.mask_decoder.first_attention(tokens, tokens, tokens), expected)


def test_the_first_stage_is_a_model_to_load(tmp_path: Path) -> None:
    torch.save(authors_state(), tmp_path / "stage1.pth")
    predictor = promptseg.load(tmp_path / "stage1.pth", engine="torch", offline=True)
    assert predictor.prompt_kinds == {"text", "point", "box"} and predictor.config == CONFIG


@pytest.mark.parametrize("num_layers", [6, 9])
def test_layers_of_paper_and_checkpoint_are_told_apart(num_layers: int) -> None:
    state = authors_state()
    for index in range(CONFIG.decoder_layers, num_layers):
        state[f"sem_seg_head.predictor.transformer_ffn_layers.{index}.linear1.bias"] = torch.zeros(1)
    assert config_from_stage1(state, "made").decoder_layers == num_layers


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stage1.pth"
    state = authors_state()
    torch.save({**state, "sem_seg_head.predictor.class_embed.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"1 weights that Uni-OVSeg's first stage lacks: .*class_embed"):
        load_stage1(path)
    lacking = {name: value for name, value in state.items() if "feat_embed" not in name}
    torch.save(lacking, path)
    with pytest.raises(CheckpointError, match=r"lacks 2 weights of the model: mask_decoder\.feature_projection"):
        load_stage1(path)
    torch.save({name: value for name, value in state.items() if "mask_emb" not in name}, path)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of Uni-OVSeg's first stage: it lacks .*mask_emb"):
        load_stage1(path)
    torch.save({**state, f"{CLIP_PREFIX}visual.trunk.stem.0.weight": torch.zeros(128, 3, 4, 4)}, path)
    with pytest.raises(CheckpointError, match="a CLIP with a stem of 128 channels"):
        load_stage1(path)
    torch.save({"model": {**state, "sem_seg_head.predictor.code": Path("run")}}, path)
    with pytest.raises(WeightsError, match="not a plain PyTorch checkpoint"):
        load_stage1(path)
    torch.save({"model": 3}, path)
    with pytest.raises(CheckpointError, match="'model' is a int, not a state dict"):
        load_stage1(path)


def test_other_files_are_not_taken_for_it(tmp_path: Path) -> None:
    torch.save({"decoder.weight": torch.zeros(1)}, tmp_path / "clipseg.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("clipseg.pth", "text.pth", "other.safetensors", "nowhere.pth"):
        assert not is_stage1(tmp_path / name)


def test_a_run_starts_from_openclips_file(tmp_path: Path) -> None:
    save_file(open_clip_state(), tmp_path / "open_clip.safetensors")
    save_start(tmp_path / "open_clip.safetensors", tmp_path / "start", CONFIG)
    model = load_pretrained(tmp_path / "start", offline=True)
    expected = rename_tower(open_clip_state(), "image")
    assert all(torch.equal(model.image_tower.state_dict()[name], value) for name, value in expected.items())
    with pytest.raises(CheckpointError, match='use a config with towers="stored"'):
        save_start(tmp_path / "open_clip.safetensors", tmp_path / "start", replace(CONFIG, towers="published"))
