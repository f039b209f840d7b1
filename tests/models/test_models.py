"""Every test variant of the registry: forward, backward, independence of queries, round trip; and what each refuses."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptseg import weights
from promptseg.errors import CheckpointError, OutputError, UnknownModelError, WeightsError
from promptseg.layers.mask_decoder import load_sam_decoder
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import DenseConfig, LoraConfig, PromptSegConfig
from promptseg.models.promptseg.network import Decoded, PromptSeg
from promptseg.models.registry import MODELS, find_record, get_model, load_model

ROWS = {name: row for name, row in MODELS.items() if isinstance(row.config, PromptSegConfig)}
VARIANTS = [name for name, row in ROWS.items() if row.status == "test"]
TEXTS = ["a cat", "the grass behind it", "sky", "a red bus"]
IMAGE_INDEX = torch.tensor([1, 0, 1, 0])


def build(name: str) -> PromptSeg:
    """The variant with all weights random: some start at zero, and would hide what they do."""
    model = load_model(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.1, generator=generator)
    return model


def images(model: PromptSeg, seed: int = 0) -> torch.Tensor:
    side = model.config.image_size
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def decode(model: PromptSeg, pixels: torch.Tensor, texts: list[str], image_index: torch.Tensor) -> Decoded:
    return model.decode(model.encode_images(pixels), model.encode_texts(texts), image_index)


def assert_same(got: Decoded, expected: Decoded, rows: torch.Tensor) -> None:
    torch.testing.assert_close(got.mask_logits, expected.mask_logits[rows], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.presence_logit, expected.presence_logit[rows], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.iou, expected.iou[rows], atol=1e-4, rtol=1e-4)


def test_there_are_variants_of_each_part() -> None:
    configs = [MODELS[name].config for name in VARIANTS]
    assert {config.decoder_depth == 0 for config in configs} == {True, False}
    assert {config.dense is None for config in configs} == {True, False}
    assert {config.text_mode for config in configs} == {"pooled", "tokens"}
    assert {config.train_towers for config in configs} == {"none", "image"}
    assert any(config.lora for config in configs)


@pytest.mark.parametrize("name", VARIANTS)
def test_forward_and_backward_reach_every_trained_parameter_within_a_second(name: str) -> None:
    model = build(name).train()
    pixels = images(model)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would wait for each other on a busy machine, and waiting counts as computing
    started = time.process_time()
    decoded = decode(model, pixels, TEXTS, IMAGE_INDEX)
    (decoded.mask_logits.square().mean() + decoded.iou.sum() + decoded.presence_logit.sum()).backward()
    spent = time.process_time() - started
    torch.set_num_threads(num_threads)
    assert spent < 1.0
    assert decoded.mask_logits.shape[0] == decoded.iou.shape[0] == decoded.presence_logit.shape[0] == len(TEXTS)
    assert decoded.mask_logits.ndim == 3
    untouched = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not untouched
    assert not [n for n, p in model.named_parameters() if not p.requires_grad and p.grad is not None]


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_a_batch_gives_what_its_parts_give(name: str) -> None:
    model = build(name)
    pixels = images(model)
    together = decode(model, pixels, TEXTS, IMAGE_INDEX)
    for row, (text, image) in enumerate(zip(TEXTS, IMAGE_INDEX.tolist(), strict=True)):
        alone = decode(model, pixels[image : image + 1], [text], torch.tensor([0]))
        assert_same(alone, together, torch.tensor([row]))


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_answers_follow_their_texts_and_images(name: str) -> None:
    model = build(name)
    pixels = images(model)
    expected = decode(model, pixels, TEXTS, IMAGE_INDEX)
    order = torch.tensor([2, 0, 3, 1])
    assert_same(decode(model, pixels, [TEXTS[i] for i in order], IMAGE_INDEX[order]), expected, order)
    assert_same(decode(model, pixels.flip(0), TEXTS, 1 - IMAGE_INDEX), expected, torch.arange(4))
    assert not torch.allclose(expected.mask_logits[0], expected.mask_logits[2], atol=1e-3)  # another text, same image


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_inference_equals_encode_and_decode(name: str) -> None:
    model = build(name)
    image_rgb = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    features = model.encode_image(image_rgb)
    assert all(value.shape[0] == 1 for value in features.values())
    texts = [f"{text} {number}" for number in range(5) for text in TEXTS]  # more than one chunk
    many = model.segment_texts(features, texts, (90, 60))
    assert len(many.mask_logits) == len(many.presence) == len(many.iou) == 20
    assert bool(((many.presence >= 0) & (many.presence <= 1) & (many.iou >= 0) & (many.iou <= 1)).all())
    few = model.segment_texts(features, texts[17:], (90, 60))
    torch.testing.assert_close(few.mask_logits, many.mask_logits[17:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(few.presence, many.presence[17:], atol=1e-4, rtol=1e-4)
    none = model.segment_texts(features, [], (90, 60))
    assert none.mask_logits.shape[0] == none.presence.shape[0] == none.iou.shape[0] == 0


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_bfloat16_autocast_gives_nearly_the_same(name: str) -> None:
    model = build(name)
    pixels = images(model)
    expected = decode(model, pixels, TEXTS, IMAGE_INDEX)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = decode(model, pixels, TEXTS, IMAGE_INDEX)
    difference = (got.mask_logits.float() - expected.mask_logits).norm() / expected.mask_logits.norm()
    assert difference < 0.05
    torch.testing.assert_close(got.presence_logit.float(), expected.presence_logit, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_maps_cover_the_image_and_nothing_else(name: str) -> None:
    """What lies in one corner changes the map most in that corner, at any ratio of the sides."""
    model = build(name)
    for height, width in ((40, 120), (120, 40)):
        image_rgb = np.full((height, width, 3), 90, dtype=np.uint8)
        before = model.segment_texts(model.encode_image(image_rgb), TEXTS[:1], (height, width)).mask_logits[0]
        image_rgb[-height // 4 :, -width // 4 :] = 255
        after = model.segment_texts(model.encode_image(image_rgb), TEXTS[:1], (height, width)).mask_logits[0]
        change = (after - before).abs()
        h, w = change.shape
        assert change[h // 2 :, w // 2 :].mean() > change[: h // 2, : w // 2].mean()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("half", [False, True])
@torch.inference_mode()
def test_round_trip(name: str, half: bool, tmp_path: Path) -> None:
    model = build(name)
    save_pretrained(model, tmp_path / "new" / "dir", half=half)
    assert sorted(path.name for path in (tmp_path / "new" / "dir").iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_pretrained(tmp_path / "new" / "dir").eval()
    assert loaded.config == model.config
    pixels = images(model)
    expected, got = (decode(each, pixels, TEXTS, IMAGE_INDEX) for each in (model, loaded))
    if half:
        torch.testing.assert_close(got.mask_logits, expected.mask_logits, atol=0.1, rtol=0.05)
    else:
        assert torch.equal(got.mask_logits, expected.mask_logits)
        assert torch.equal(got.presence_logit, expected.presence_logit)
    assert loaded.trained_names() == load_file(tmp_path / "new" / "dir" / "model.safetensors").keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_checkpoints_name_frozen_towers_and_store_trained_ones(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    save_pretrained(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors").keys()
    towers = json.loads((tmp_path / "config.json").read_text())["towers"]
    assert model.config.text_tower in towers
    assert not [key for key in stored if key.startswith("text_tower.") and "lora_" not in key]
    if model.config.train_towers == "image":
        assert model.config.image_tower not in towers
        assert {key for key in stored if key.startswith("image_tower.")}
    else:
        assert model.config.image_tower in towers
        assert not [key for key in stored if key.startswith("image_tower.") and "lora_" not in key]
    if model.config.lora is not None:
        assert {key.split(".")[0] for key in stored if "lora_" in key} == {"image_tower", "text_tower"}


@pytest.mark.parametrize("name", ROWS)
def test_table_states_the_exact_number_of_trained_parameters(name: str) -> None:
    record = find_record(name)
    with torch.device("meta"):
        model = PromptSeg(record.config)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == record.num_trained


def test_s1_is_the_published_model() -> None:
    """9.3 M trainable of 159.3 M, within 3 %."""
    record = find_record("promptseg-s1")
    assert record.num_trained == 9_222_786
    assert abs(record.num_trained / 9.3e6 - 1) < 0.03
    with torch.device("meta"):
        model = PromptSeg(record.config)
    assert abs(sum(parameter.numel() for parameter in model.parameters()) / 159.3e6 - 1) < 0.001
    config = record.config
    assert (config.image_tower, config.image_layers, config.image_size) == ("dinov2-base", (3, 6, 9, 11), 224)
    assert (config.text_tower, config.text_mode) == ("clip-vit-base-patch16", "pooled")
    assert (config.dim, config.num_heads, config.decoder_depth) == (256, 8, 3)
    features = model.encode_images(torch.empty(1, 3, 224, 224, device="meta"))
    assert features.fused is not None and features.fused.shape == (1, 256, 16, 16)


@pytest.mark.weights
def test_s1_starts_from_the_published_decoder_of_sam() -> None:
    config = replace(find_record("promptseg-s1").config, image_tower="dinov2-test", image_layers=(3,))
    with torch.device("meta"):
        model = PromptSeg(config)
    assert model.decoder is not None
    decoder = model.decoder.to_empty(device="cpu")
    names = load_sam_decoder(decoder, load_file(weights.resolve("sam-decoder")))
    assert sum(decoder.get_parameter(name).numel() for name in names if "positions" not in name) == 5_216_897
    assert bool(torch.isfinite(decoder.mask_token.weight).all() and decoder.mask_token.weight.any())


def test_frozen_towers_do_not_move_in_training() -> None:
    model = get_model("promptseg-test").train()
    assert not model.image_tower.training
    assert not model.text_tower.training
    assert model.neck.training
    assert get_model("promptseg-test-dense").train().image_tower.training


def test_adapters_change_the_tower_only_once_they_are_trained() -> None:
    model = get_model("promptseg-test-vit").eval()
    plain = PromptSeg(replace(model.config, lora=None)).eval()
    pixels = images(model)
    torch.testing.assert_close(model.image_tower(pixels)[-1], plain.image_tower(pixels)[-1])
    with torch.no_grad():
        for name, parameter in model.image_tower.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert not torch.allclose(model.image_tower(pixels)[-1], plain.image_tower(pixels)[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_mode": "words"}, r"text_mode must be one of \('pooled', 'tokens'\), got 'words'"),
        ({"decoder_depth": 0, "dense": None}, "set dense"),
        ({"presence_threshold": 1.5}, "presence_threshold must be a probability"),
        ({"train_towers": "image", "lora": LoraConfig(image_layers=(0,))}, "not both"),
        ({"refiner": "sam"}, "refiner must be one of"),
    ],
)
def test_config_refuses_what_no_model_is(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MODELS["promptseg-test"].config, **changes)  # type: ignore[arg-type]


def test_adapters_in_efficientnet_are_refused() -> None:
    config = PromptSegConfig(
        image_tower="efficientnet-lite0",
        image_layers=(16, 32),
        text_tower="bytes-test",
        lora=LoraConfig(image_layers=(3,)),
    )
    with pytest.raises(ValueError, match="EfficientNet-Lite takes no adapters"):
        PromptSeg(config)


def test_config_survives_json() -> None:
    for record in ROWS.values():
        assert PromptSegConfig.from_dict(json.loads(json.dumps(record.config.to_dict()))) == record.config
    config = PromptSegConfig("a", (1,), "b", dense=DenseConfig(known_names=("x",)), lora=LoraConfig(image_layers=(2,)))
    assert PromptSegConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_name_says_the_near_ones() -> None:
    with pytest.raises(UnknownModelError, match="no model is named 'promtseg-s1'; near ones: promptseg-s1"):
        load_model("promtseg-s1")


def test_recipe_without_weights_says_so() -> None:
    with pytest.raises(CheckpointError, match="promptseg-s1 has no trained weights: train it"):
        load_model("promptseg-s1")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_pretrained(load_model("promptseg-test"), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit_weights(checkpoint: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) remove weights; a double underscore stands for a dot."""
    state = load_file(checkpoint / "model.safetensors")
    for name, value in changes.items():
        state.pop(name.replace("__", "."), None)
        if value is not None:
            state[name.replace("__", ".")] = value
    save_file(state, checkpoint / "model.safetensors")


def edit_config(checkpoint: Path, **changes: object) -> None:
    description = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**description, **changes}))


def test_missing_weights_are_named(checkpoint: Path) -> None:
    edit_weights(checkpoint, decoder__mask_token__weight=None)
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of the model: decoder\.mask_token\.weight"):
        load_pretrained(checkpoint)


def test_unexpected_weights_are_named(checkpoint: Path) -> None:
    edit_weights(checkpoint, decoder__other=torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"has 1 weights that the model has not: decoder\.other"):
        load_pretrained(checkpoint)


def test_weights_of_another_shape_are_named(checkpoint: Path) -> None:
    edit_weights(checkpoint, decoder__mask_token__weight=torch.zeros(1, 7))
    with pytest.raises(CheckpointError, match=r"mask_token\.weight has shape \(1, 7\), the model needs \(1, 32\)"):
        load_pretrained(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(checkpoint: Path, value: float) -> None:
    edit_weights(checkpoint, decoder__mask_token__weight=torch.full((1, 32), value))
    with pytest.raises(CheckpointError, match=r"mask_token\.weight holds values that are not finite"):
        load_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "other"}, "a checkpoint of another model: 'other'"),
        ({"format": "other"}, "is not a promptseg checkpoint"),
        ({"config": None}, "lacks 'config'"),
        ({"config": {"image_tower": "conv-test"}}, "not a config of this version of promptseg: .*missing"),
        ({"config": {**MODELS["promptseg-test"].config.to_dict(), "image_layers": [64]}}, "config that fits no model"),
        ({"config": {**MODELS["promptseg-test"].config.to_dict(), "fine_stride": 2}}, "config that fits no model"),
        ({"towers": {"conv-test": [], "bytes-test": ["00"]}}, "trained on other weights of bytes-test"),
    ],
)
def test_configs_of_others_are_refused(checkpoint: Path, changes: dict[str, object], message: str) -> None:
    edit_config(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(checkpoint)


def test_damaged_files_are_refused(checkpoint: Path) -> None:
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"can't read .*model\.safetensors"):
        load_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no model\.safetensors"):
        load_pretrained(checkpoint)
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"can't read .*config\.json"):
        load_pretrained(checkpoint)


def test_a_file_or_an_empty_directory_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        load_model(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="file: not a plain PyTorch checkpoint"):
        load_model(tmp_path / "file")


def test_unwritable_target_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write a checkpoint to"):
        save_pretrained(load_model("promptseg-test"), tmp_path / "file")


def test_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()  # can't be replaced by a file
    with pytest.raises(OutputError, match="can't write a checkpoint"):
        save_pretrained(load_model("promptseg-test"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_values_too_large_for_half_are_refused(tmp_path: Path) -> None:
    model = load_model("promptseg-test")
    assert model.decoder is not None
    with torch.no_grad():
        model.decoder.mask_token.weight.fill_(1e5)
    with pytest.raises(OutputError, match=r"decoder\.mask_token\.weight has values too large for float16"):
        save_pretrained(model, tmp_path, half=True)


def test_writing_again_replaces_and_leaves_nothing_behind(checkpoint: Path) -> None:
    save_pretrained(load_model("promptseg-test-dense"), checkpoint)
    assert sorted(path.name for path in checkpoint.iterdir()) == ["config.json", "model.safetensors"]
    assert load_pretrained(checkpoint).config == MODELS["promptseg-test-dense"].config
