"""Conversions, on small models made here; the published files are compared in test_weights_published.py."""

import gzip
from pathlib import Path
from typing import get_args

import onnx
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from promptseg.errors import WeightsError
from promptseg.weights import RECORDS
from promptseg.weights.convert import CONVERTERS
from promptseg.weights.convert.clip import (
    CLIPSEG_CONFIG,
    CLIPSEG_DECODER,
    convert_clip,
    convert_clip_tokenizer,
    convert_clipseg,
)
from promptseg.weights.convert.dinov2 import convert_dinov2_hub
from promptseg.weights.convert.onnx_graph import initializers, linear_weights, read_graph
from promptseg.weights.convert.sam2 import split_position_table
from promptseg.weights.records import Conversion, LocalPath, WheelMember


def write_vocabulary(path: Path) -> Path:
    merges = ["c a", "ca t</w>", "d o", "do g</w>"]
    path.write_bytes(gzip.compress("\n".join(["#version: 0.2", *merges, ""]).encode()))
    return path


def test_table_is_complete() -> None:
    assert set(CONVERTERS) == set(get_args(Conversion)) == {record.conversion for record in RECORDS.values()}
    for name, record in RECORDS.items():
        assert name == record.name
        # the one that restricts its user: taken by name alone, and said aloud
        permissive = {"Apache-2.0", "MIT"} if name != "yolo-world-v2-s" else {"AGPL-3.0"}
        assert record.license.split(" (")[0] in permissive
        assert record.summary
        assert len({file.filename for file in record.files}) == len(record.files)
        for file in record.files:
            assert len(file.sha256) == 64
            assert file.sources
            assert Path(file.filename).name == file.filename
            assert not any(isinstance(source, LocalPath) for source in file.sources)


@pytest.mark.parametrize("member", ["", "/etc/passwd", "a/../../b", "a\\b"])
def test_member_outside_its_archive_is_refused(member: str) -> None:
    with pytest.raises(ValueError, match="not a plain relative path"):
        WheelMember("package", "1.0", member)


def test_position_table_splits_into_grid_and_window() -> None:
    generator = torch.Generator().manual_seed(0)
    grid, window = torch.randn(1, 5, 7, 7, generator=generator), torch.randn(1, 5, 8, 8, generator=generator)

    def as_hiera_adds_them(grid: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return F.interpolate(grid, size=(64, 64), mode="bicubic") + window.tile(1, 1, 8, 8)

    table = as_hiera_adds_them(grid, window)
    found = split_position_table(table, grid_size=7, window_size=8)
    torch.testing.assert_close(as_hiera_adds_them(*found), table, atol=1e-5, rtol=0)
    # At another size too, the two found tables act as the true ones, but for a constant that cancels in the sum.
    for got, true in zip(found, (grid, window), strict=True):
        shift = (got - true).mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(got - shift, true, atol=1e-4, rtol=0)


def test_other_position_tables_are_refused() -> None:
    with pytest.raises(WeightsError, match="not the sum of a grid and a window: it differs by"):
        split_position_table(torch.randn(1, 2, 64, 64), grid_size=7, window_size=8)


def test_linear_weights_are_found_by_their_bias(tmp_path: Path) -> None:
    first, second = torch.randn(3, 4), torch.randn(4, 2)
    tensors = {"stored_7": first, "first.bias": torch.randn(4), "stored_8": second, "second.bias": torch.randn(2)}
    tensors["free.bias"] = torch.randn(2)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "stored_7"], ["a"]),
        onnx.helper.make_node("Add", ["a", "first.bias"], ["b"]),
        onnx.helper.make_node("MatMul", ["b", "stored_8"], ["c"]),
        onnx.helper.make_node("Add", ["second.bias", "c"], ["d"]),
        onnx.helper.make_node("Add", ["d", "free.bias"], ["y"]),
    ]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "two linear layers",
        [onnx.helper.make_tensor_value_info("x", float32, [1, 3])],
        [onnx.helper.make_tensor_value_info("y", float32, [1, 2])],
        [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in tensors.items()],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "graph.onnx")
    read = read_graph(tmp_path / "graph.onnx")
    found = linear_weights(read, initializers(read))
    assert found.keys() == {"first.weight", "second.weight"}
    torch.testing.assert_close(torch.from_numpy(found["first.weight"].copy()), first.T)
    torch.testing.assert_close(torch.from_numpy(found["second.weight"].copy()), second.T)


def test_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match=r"graph.onnx: not an ONNX file"):
        read_graph(tmp_path / "graph.onnx")


def test_clip_vocabulary_becomes_a_tokenizer(tmp_path: Path) -> None:
    convert_clip_tokenizer({"bpe.txt.gz": write_vocabulary(tmp_path / "bpe.txt.gz")}, tmp_path)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    # 256 bytes, the same at the end of a word, four merges, then the marks of start and end.
    start, end = 516, 517
    assert len(tokenizer) == 518
    assert tokenizer("Cat dog").input_ids == [start, 513, 515, end]
    assert tokenizer("ca!").input_ids == [start, ord("c") - ord("!"), 256 + ord("a") - ord("!"), 256, end]
    padded = tokenizer(["cat", "cat dog"], padding=True)
    assert padded.input_ids[0] == [start, 513, end, end]
    assert padded.attention_mask[0] == [1, 1, 1, 0]


def build_clip() -> transformers.CLIPModel:
    text = {"hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"vocab_size": 518, "max_position_embeddings": 20, "bos_token_id": 516, "eos_token_id": 517}
    vision = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"image_size": 64, "patch_size": 16}
    torch.manual_seed(0)
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=48)
    ).eval()


def check_towers(directory: Path, original: transformers.CLIPModel) -> None:
    """Either tower loads alone, whole, and says what it said inside."""
    text, report = transformers.CLIPTextModelWithProjection.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    inputs = transformers.CLIPTokenizer.from_pretrained(directory)(
        ["cat", "dog cat"], padding=True, return_tensors="pt"
    )
    image, report = transformers.CLIPVisionModelWithProjection.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = original.text_projection(original.text_model(**inputs).pooler_output)
        torch.testing.assert_close(text.eval()(**inputs).text_embeds, expected)
        expected = original.visual_projection(original.vision_model(pixels).pooler_output)
        torch.testing.assert_close(image.eval()(pixels).image_embeds, expected)


def test_clip_keeps_both_towers(tmp_path: Path) -> None:
    original = build_clip()
    # As published: with a buffer that older versions stored.
    state = original.state_dict() | {"text_model.embeddings.position_ids": torch.arange(20)[None]}
    torch.save(state, tmp_path / "pytorch_model.bin")
    files = {"pytorch_model.bin": tmp_path / "pytorch_model.bin"}
    files["bpe.txt.gz"] = write_vocabulary(tmp_path / "bpe.txt.gz")
    out = tmp_path / "out"
    out.mkdir()
    convert_clip(files, out)
    check_towers(out, original)


def test_clipseg_becomes_a_clip_and_a_decoder(tmp_path: Path) -> None:
    original = build_clip()
    state = {f"clip.{name}": value for name, value in original.state_dict().items()}
    state["decoder.film_mul.weight"] = torch.ones(2, 3)
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    files = {name: tmp_path / name for name in ("model.safetensors", "config.json")}
    files["bpe.txt.gz"] = write_vocabulary(tmp_path / "bpe.txt.gz")
    out = tmp_path / "out"
    out.mkdir()
    convert_clipseg(files, out)
    check_towers(out, original)
    assert load_file(out / CLIPSEG_DECODER).keys() == {"decoder.film_mul.weight"}
    assert (out / CLIPSEG_CONFIG).read_text() == "{}"
    save_file({"clip.x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="not a CLIPSeg: it has no decoder"):
        convert_clipseg(files, out)


def test_checkpoint_of_another_model_is_no_clip(tmp_path: Path) -> None:
    torch.save({"text_model.something": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    files = {"pytorch_model.bin": tmp_path / "pytorch_model.bin", "bpe.txt.gz": tmp_path / "bpe.txt.gz"}
    with pytest.raises(WeightsError, match=r"not a CLIP: text_model.embeddings.token_embedding.weight is missing"):
        convert_clip(files, tmp_path)


def test_dinov2_from_the_hub_gets_its_configuration_back(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
    )
    torch.manual_seed(0)
    original = transformers.Dinov2Model(config).eval()
    original.save_pretrained(tmp_path / "published")
    out = tmp_path / "out"
    out.mkdir()
    convert_dinov2_hub({"model.safetensors": tmp_path / "published" / "model.safetensors"}, out)
    tower, report = transformers.Dinov2Model.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    pixels = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        expected = original(pixels).last_hidden_state
        torch.testing.assert_close(tower.eval()(pixels).last_hidden_state, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff" * 64, r"model.safetensors: not a safetensors file"),
        (b"\x02\0\0\0\0\0\0\0{}", "not a DINOv2: embeddings.patch_embeddings.projection.weight is missing"),
    ],
)
def test_file_of_another_form_is_no_dinov2(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        convert_dinov2_hub({"model.safetensors": tmp_path / "model.safetensors"}, tmp_path)
