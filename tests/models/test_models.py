"""Every tiny network of the table: forward, backward, independence of queries, round trip; and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from promptseg import weights
from promptseg.errors import CheckpointError, OutputError, UnknownModelError, WeightsError
from promptseg.layers.mask_decoder import load_sam_decoder
from promptseg.models.build import Network, build_network, build_pretrained, build_seeded
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.checkpoint_files import read_description
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg_s1.config import LoraConfig, PromptSegS1Config
from promptseg.models.promptseg_s1.network import PromptSegS1Network
from promptseg.models.registry import LoadOptions, find_row, load_model
from promptseg.models.table import MODELS, NETWORK_CONFIGS
from promptseg.runtime import Runtime

ROWS = {name: row for name, row in MODELS.items() if row.config.architecture in NETWORK_CONFIGS}
# Uni-OVSeg decodes prompts, not phrases: its tests are in uniovseg/
TINY = [name for name, row in ROWS.items() if row.status == "test" and row.config.architecture != "uniovseg"]
TEXTS = ["a cat", "the grass behind it", "sky", "a red bus"]
IMAGE_INDEX = torch.tensor([1, 0, 1, 0])
TORCH = LoadOptions(Runtime("torch"))


def build(name: str) -> Network:
    """The network with all weights random: some start at zero, and would hide what they do."""
    network = build_seeded(find_row(name).config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.1, generator=generator)
    return network


def images(network: Network, seed: int = 0) -> Tensor:
    side = network.config.image_size
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def decode(network: Network, pixels: Tensor, texts: list[str], image_index: Tensor) -> tuple[Tensor, ...]:
    """What the network gives for N pairs of image and text, mask logits first; every tensor begins with N."""
    if isinstance(network, ClipSeg):
        return (network(pixels[image_index], network.embed_texts(texts)),)
    decoded = network.decode(network.encode_images(pixels), network.encode_texts(texts), image_index)
    return decoded.mask_logits, decoded.iou, decoded.presence_logit


def assert_same(got: tuple[Tensor, ...], expected: tuple[Tensor, ...], rows: Tensor) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other[rows], atol=1e-4, rtol=1e-4)


def test_there_is_a_tiny_network_of_each_kind() -> None:
    configs = [MODELS[name].config for name in TINY]
    assert {row.config.architecture for row in ROWS.values() if row.status == "test"} == set(NETWORK_CONFIGS)
    assert {config.train_towers for config in configs if isinstance(config, PromptSegConfig)} == {"none", "image"}
    decoded = [config for config in configs if isinstance(config, PromptSegS1Config)]
    assert {config.text_mode for config in decoded} == {"pooled", "tokens"}
    assert any(config.lora for config in decoded)


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_every_trained_parameter_and_no_other(name: str) -> None:
    network = build(name).train()
    pixels = images(network)
    decoded = decode(network, pixels, TEXTS, IMAGE_INDEX)
    loss = sum((each.square().mean() + each.sum() for each in decoded), torch.zeros(()))
    if isinstance(network, PromptSegNetwork):
        cells = network.encode_images(pixels).pixel_embedding[0]
        loss = loss + network.embed_exemplar(cells, torch.ones(cells.shape[1:])).square().sum()
        loss = loss + network.embed_exemplar(cells, torch.eye(*cells.shape[1:])).sum()
    loss.backward()
    assert all(len(each) == len(TEXTS) for each in decoded)
    assert decoded[0].ndim == 3
    untouched = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not untouched
    assert not [n for n, p in network.named_parameters() if not p.requires_grad and p.grad is not None]


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_a_batch_gives_what_its_parts_give(name: str) -> None:
    network = build(name)
    pixels = images(network)
    together = decode(network, pixels, TEXTS, IMAGE_INDEX)
    for row, (text, image) in enumerate(zip(TEXTS, IMAGE_INDEX.tolist(), strict=True)):
        alone = decode(network, pixels[image : image + 1], [text], torch.tensor([0]))
        assert_same(alone, together, torch.tensor([row]))


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_answers_follow_their_texts_and_images(name: str) -> None:
    network = build(name)
    pixels = images(network)
    expected = decode(network, pixels, TEXTS, IMAGE_INDEX)
    order = torch.tensor([2, 0, 3, 1])
    assert_same(decode(network, pixels, [TEXTS[i] for i in order], IMAGE_INDEX[order]), expected, order)
    assert_same(decode(network, pixels.flip(0), TEXTS, 1 - IMAGE_INDEX), expected, torch.arange(4))
    assert not torch.allclose(expected[0][0], expected[0][2], atol=1e-3)  # another text, same image


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_bfloat16_autocast_gives_nearly_the_same(name: str) -> None:
    network = build(name)
    pixels = images(network)
    expected = decode(network, pixels, TEXTS, IMAGE_INDEX)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = decode(network, pixels, TEXTS, IMAGE_INDEX)
    assert (got[0].float() - expected[0]).norm() / expected[0].norm() < 0.05
    for one, other in zip(got[1:], expected[1:], strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("half", [False, True])
@torch.inference_mode()
def test_round_trip(name: str, half: bool, tmp_path: Path) -> None:
    network = build(name)
    save_pretrained(network, tmp_path / "new" / "dir", half=half)
    assert sorted(path.name for path in (tmp_path / "new" / "dir").iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_pretrained(tmp_path / "new" / "dir").eval()
    assert loaded.config == network.config
    pixels = images(network)
    expected, got = (decode(each, pixels, TEXTS, IMAGE_INDEX) for each in (network, loaded))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **({"atol": 0.1, "rtol": 0.05} if half else {"atol": 0, "rtol": 0}))
    assert loaded.trained_names() == load_file(tmp_path / "new" / "dir" / "model.safetensors").keys()


@pytest.mark.parametrize("name", TINY)
def test_checkpoints_name_frozen_towers_and_store_trained_ones(name: str, tmp_path: Path) -> None:
    network = build_seeded(find_row(name).config)
    save_pretrained(network, tmp_path)
    stored = load_file(tmp_path / "model.safetensors").keys()
    towers = json.loads((tmp_path / "config.json").read_text())["towers"]
    assert network.config.text_tower in towers
    assert not [key for key in stored if key.startswith("text_tower.") and "lora_" not in key]
    if getattr(network.config, "train_towers", "none") == "image":
        assert network.config.image_tower not in towers
        assert {key for key in stored if key.startswith("image_tower.")}
    else:
        assert network.config.image_tower in towers
        assert not [key for key in stored if key.startswith("image_tower.") and "lora_" not in key]
    if getattr(network.config, "lora", None) is not None:
        assert {key.split(".")[0] for key in stored if "lora_" in key} == {"image_tower", "text_tower"}


@pytest.mark.parametrize("name", ROWS)
def test_table_states_the_exact_number_of_trained_parameters(name: str) -> None:
    row = find_row(name)
    with torch.device("meta"):
        network = build_network(row.config)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == row.num_trained


def test_the_default_has_the_published_number_of_trained_parameters() -> None:
    assert find_row("promptseg").num_trained == 8_613_588


def test_a_seeded_network_is_always_the_same_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, second = (build_seeded(find_row("promptseg-test").config).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_s1_is_the_published_model() -> None:
    """9.3 M trainable of 159.3 M, within 3 %."""
    row = find_row("promptseg-s1")
    assert row.num_trained == 9_222_786
    assert abs(row.num_trained / 9.3e6 - 1) < 0.03
    with torch.device("meta"):
        network = PromptSegS1Network(row.config)
    assert abs(sum(parameter.numel() for parameter in network.parameters()) / 159.3e6 - 1) < 0.001
    config = row.config
    assert (config.image_tower, config.image_layers, config.image_size) == ("dinov2-base", (3, 6, 9, 11), 224)
    assert (config.text_tower, config.text_mode) == ("clip-vit-base-patch16", "pooled")
    assert (config.dim, config.num_heads, config.decoder_depth) == (256, 8, 3)
    assert network.encode_images(torch.empty(1, 3, 224, 224, device="meta")).fused.shape == (1, 256, 16, 16)


@pytest.mark.weights
def test_s1_starts_from_the_published_decoder_of_sam() -> None:
    config = replace(find_row("promptseg-s1").config, image_tower="dinov2-test", image_layers=(3,))
    with torch.device("meta"):
        network = PromptSegS1Network(config)
    decoder = network.decoder.to_empty(device="cpu")
    names = load_sam_decoder(decoder, load_file(weights.resolve("sam-decoder")))
    assert sum(decoder.get_parameter(name).numel() for name in names if "positions" not in name) == 5_216_897
    assert bool(torch.isfinite(decoder.mask_token.weight).all() and decoder.mask_token.weight.any())


@pytest.mark.parametrize(("name", "is_trained"), [("promptseg-test", False), ("promptseg-test-dense", True)])
def test_frozen_towers_stay_in_evaluation_mode(name: str, is_trained: bool) -> None:
    network = build_pretrained(find_row(name).config).train()
    assert network.image_tower.training == is_trained
    assert not network.text_tower.training
    assert network.neck.training


def test_adapters_change_the_tower_only_once_they_are_trained() -> None:
    network = build_pretrained(find_row("promptseg-test-vit").config).eval()
    plain = PromptSegS1Network(replace(network.config, lora=None)).eval()
    pixels = images(network)
    torch.testing.assert_close(network.image_tower(pixels)[-1], plain.image_tower(pixels)[-1])
    with torch.no_grad():
        for name, parameter in network.image_tower.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert not torch.allclose(network.image_tower(pixels)[-1], plain.image_tower(pixels)[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("promptseg-s1-test", {"text_mode": "words"}, r"text_mode must be one of \('pooled', 'tokens'\), got 'words'"),
        ("promptseg-s1-test", {"decoder_depth": 0}, "decoder_depth must be 1 or more, got 0"),
        ("promptseg-s1-test", {"train_towers": "image", "lora": LoraConfig(image_layers=(0,))}, "not both"),
        ("promptseg-test", {"presence_threshold": 1.5}, "presence_threshold must be a probability"),
        ("promptseg-test", {"resize": "pad"}, "resize must be one of"),
        ("promptseg-test", {"refiner": "sam"}, "refiner must be one of"),
        ("promptseg-test", {"refiner": "mobile-sam", "mask_threshold": 1.0}, "between 0 and 1, got 1.0"),
    ],
)
def test_config_refuses_what_no_model_is(name: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MODELS[name].config, **changes)  # type: ignore[arg-type]


def test_adapters_in_efficientnet_are_refused() -> None:
    config = PromptSegS1Config(
        image_tower="efficientnet-lite0",
        image_layers=(16, 32),
        text_tower="bytes-test",
        lora=LoraConfig(image_layers=(3,)),
    )
    with pytest.raises(ValueError, match="EfficientNet-Lite takes no adapters"):
        PromptSegS1Network(config)


@pytest.mark.parametrize("name", ROWS)
def test_config_survives_json(name: str) -> None:
    config = ROWS[name].config
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_name_says_the_near_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"no model is named 'promtseg-s1', .*similar names: promptseg-s1"):
        load_model("promtseg-s1", TORCH)


def test_recipe_without_weights_says_so() -> None:
    with pytest.raises(CheckpointError, match="promptseg-s1 has no trained weights: train it"):
        load_model("promptseg-s1", TORCH)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_pretrained(build_seeded(find_row("promptseg-s1-test").config), tmp_path / "checkpoint")
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
    with pytest.raises(CheckpointError, match=r"has 1 weights that the model lacks: decoder\.other"):
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
        (
            {"config": {**MODELS["promptseg-s1-test"].config.to_dict(), "image_layers": [64]}},
            "config that fits no model",
        ),
        ({"config": {**MODELS["promptseg-s1-test"].config.to_dict(), "fine_stride": 2}}, "config that fits no model"),
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
        load_model(tmp_path, TORCH)
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="file: not a plain PyTorch checkpoint"):
        load_model(tmp_path / "file", TORCH)


def test_unwritable_target_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write a checkpoint to"):
        save_pretrained(build_seeded(find_row("promptseg-s1-test").config), tmp_path / "file")


def test_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()  # can't be replaced by a file
    with pytest.raises(OutputError, match="can't write a checkpoint"):
        save_pretrained(build_seeded(find_row("promptseg-s1-test").config), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_values_too_large_for_half_are_refused(tmp_path: Path) -> None:
    model = build_seeded(find_row("promptseg-s1-test").config)
    with torch.no_grad():
        model.decoder.mask_token.weight.fill_(1e5)
    with pytest.raises(OutputError, match=r"decoder\.mask_token\.weight has values too large for float16"):
        save_pretrained(model, tmp_path, half=True)


def test_writing_again_replaces_and_leaves_nothing_behind(checkpoint: Path) -> None:
    save_pretrained(build_seeded(find_row("promptseg-test-dense").config), checkpoint)
    assert sorted(path.name for path in checkpoint.iterdir()) == ["config.json", "model.safetensors"]
    assert load_pretrained(checkpoint).config == MODELS["promptseg-test-dense"].config


def test_identity_follows_config_and_weights(checkpoint: Path) -> None:
    before = read_description(checkpoint).identity()
    assert read_description(checkpoint).identity() == before
    edit_weights(checkpoint, decoder__mask_token__weight=torch.zeros(1, 32))
    other_weights = read_description(checkpoint).identity()
    config = {**MODELS["promptseg-s1-test"].config.to_dict(), "mask_threshold": 0.4}
    edit_config(checkpoint, config=config)
    assert len({before, other_weights, read_description(checkpoint).identity()}) == 3
