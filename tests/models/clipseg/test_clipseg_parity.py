"""CLIPSeg against transformers' CLIPSegForImageSegmentation: same weights, same logits; and both ways on disk."""

import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from promptseg import weights
from promptseg.models.clipseg.files import load_transformers, save_transformers
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.registry import LoadOptions, load_model
from promptseg.models.table import MODELS
from promptseg.runtime import Runtime
from promptseg.weights.convert.clip import convert_clipseg

TOKEN_IDS = torch.tensor([[49406, 320, 2368, 49407], [49406, 320, 1125, 49407], [49406, 2368, 49407, 49407]])
TINY = {
    "text_config": {
        "hidden_size": 24,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    },
    "projection_dim": 24,
    "extract_layers": [0, 2, 3],
    "reduce_dim": 16,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}
PUBLISHED = {"vision_config": {"patch_size": 16}, "use_complex_transposed_convolution": True}
VARIANTS = {
    "simple": TINY,
    "refined": {**TINY, "use_complex_transposed_convolution": True},
    "second block conditioned": {**TINY, "conditional_layer": 1},
    "one layer": {**TINY, "extract_layers": [2]},
}


def build_theirs(variant: dict[str, object]) -> CLIPSegForImageSegmentation:
    torch.manual_seed(0)
    model = CLIPSegForImageSegmentation(CLIPSegConfig(**variant)).eval()
    with torch.no_grad():
        # Biases start at zero, and what is zero hides what it does; heads start so that logits are in the hundreds, and
        # the last digit of those is not 1e-5.
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("bias") or "transposed" in name:
                parameter.normal_(std=0.1)
    return model


def write(model: CLIPSegForImageSegmentation, directory: Path) -> None:
    """Save a model, and a vocabulary of four tokens so that none has to be fetched."""
    model.save_pretrained(directory)
    (directory / "vocab.json").write_text('{"a": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}')
    (directory / "merges.txt").write_text("#version: 0.2\n")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')


@pytest.fixture(params=VARIANTS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[CLIPSegForImageSegmentation, ClipSeg]:
    theirs = build_theirs(VARIANTS[request.param])
    write(theirs, tmp_path)
    return theirs, load_transformers(tmp_path).eval()


def check_texts(theirs: CLIPSegForImageSegmentation, ours: ClipSeg, side: int) -> None:
    """One image and three texts: they get the image three times, we encode it once."""
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
    expected = theirs(pixel_values=pixels.repeat(3, 1, 1, 1), input_ids=TOKEN_IDS)
    condition: Tensor = ours.text_tower(TOKEN_IDS, torch.ones_like(TOKEN_IDS, dtype=torch.bool)).embedding
    torch.testing.assert_close(condition, expected.conditional_embeddings, atol=1e-5, rtol=0)
    logits = ours.decode(ours.encode_tokens(pixels), condition, (side // 16, side // 16))
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=0)


def check_images(theirs: CLIPSegForImageSegmentation, ours: ClipSeg, side: int) -> None:
    pixels, examples = torch.randn(2, 2, 3, side, side, generator=torch.Generator().manual_seed(side))
    expected = theirs(pixel_values=pixels, conditional_pixel_values=examples)
    condition = ours.embed_images(examples)
    torch.testing.assert_close(condition, expected.conditional_embeddings, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours(pixels, condition), expected.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [224, 352])
@torch.inference_mode()
def test_same_logits_for_texts_and_for_images(pair: tuple[CLIPSegForImageSegmentation, ClipSeg], side: int) -> None:
    check_texts(*pair, side)
    check_images(*pair, side)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPSegForImageSegmentation, Path]:
    """A model of the published size and what transformers writes of it."""
    directory = tmp_path_factory.mktemp("published")
    theirs = build_theirs(PUBLISHED)
    write(theirs, directory)
    return theirs, directory


@pytest.mark.slow
@torch.inference_mode()
def test_same_logits_at_the_published_size(published: tuple[CLIPSegForImageSegmentation, Path]) -> None:
    theirs, directory = published
    ours = load_transformers(directory).eval()
    for side in (224, 352):
        check_texts(theirs, ours, side)
        check_images(theirs, ours, side)


@pytest.mark.slow
@torch.inference_mode()
def test_published_weights_become_the_same_model(
    published: tuple[CLIPSegForImageSegmentation, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of `promptseg.load("clipseg")` from the two files of the hub on, with random weights in them."""
    theirs, directory = published
    (tmp_path / "bpe.txt.gz").write_bytes(gzip.compress(b"#version: 0.2\nc a\n"))
    files = {name: directory / name for name in ("model.safetensors", "config.json")}
    (tmp_path / "converted").mkdir()
    convert_clipseg({**files, "bpe.txt.gz": tmp_path / "bpe.txt.gz"}, tmp_path / "converted")
    monkeypatch.setattr(weights, "resolve", lambda name, **_: tmp_path / "converted")
    loaded = load_model("clipseg", LoadOptions(Runtime("torch")))
    assert loaded.source is not None
    ours = loaded.source.network.get()
    assert isinstance(ours, ClipSeg) and ours.config == loaded.config == MODELS["clipseg"].config
    assert all(name.startswith("decoder.") for name in ours.trained_names())
    check_texts(theirs, ours, 352)
    check_images(theirs, ours, 224)


@torch.inference_mode()
def test_transformers_reads_what_we_write(pair: tuple[CLIPSegForImageSegmentation, ClipSeg], tmp_path: Path) -> None:
    theirs, ours = pair
    save_transformers(ours, tmp_path / "saved")
    again, report = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    pixels = torch.randn(1, 3, 64, 64)
    arguments = {"pixel_values": pixels, "input_ids": TOKEN_IDS[:1]}
    torch.testing.assert_close(again.eval()(**arguments).logits, theirs(**arguments).logits, atol=1e-5, rtol=0)
    assert all(
        torch.equal(value, again.state_dict()[name])
        for name, value in theirs.state_dict().items()
        if "scale" not in name
    )
    assert again.config.extract_layers == theirs.config.extract_layers
    back = load_transformers(tmp_path / "saved")
    assert back.config == ours.config
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in ours.state_dict().items())
