"""The config of the default model: it travels through config.json, and names what it does not know."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from promptseg.errors import CheckpointError
from promptseg.models.build import build_seeded
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.checkpoint_files import read_description
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.settings import PipelineSettings
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.models.registry import find_row

CONFIG = find_row("promptseg-test").config
# What version 0.1 wrote, of a network that is tiny.
FIRST = {
    "image_tower": "conv-test",
    "image_layers": [4, 8, 16, 32],
    "text_tower": "bytes-test",
    "text_mode": "pooled",
    "image_size": 96,
    "resize": "aspect",
    "dim": 32,
    "num_heads": 8,
    "mlp_dim": 2048,
    "decoder_depth": 0,
    "fine_stride": 4,
    "fine_dim": 16,
    "dense": {
        "embedding_dim": 16,
        "hidden_dim": 24,
        "peak_margin": 2.75,
        "exemplar_dim": 24,
        "known_names": ["abacus", "acorn"],
        "detection_evidence": [1.2, 4.6],
    },
    "lora": None,
    "train_towers": "none",
    "mask_threshold": 0.69,
    "presence_threshold": 0.63,
    "presence_calibration": [0.72, -0.17],
    "refiner": "mobile-sam",
}


def changed(values: Any) -> Any:
    """Every number of nested settings, changed."""
    if isinstance(values, dict):
        return {name: changed(value) for name, value in values.items()}
    if isinstance(values, str):  # a choice
        return values
    if isinstance(values, bool):
        return not values
    return values + 1 if isinstance(values, int) else values * 0.5


def test_every_setting_survives_a_checkpoint(tmp_path: Path) -> None:
    plain = CONFIG.to_dict()
    config = PromptSegConfig.from_dict({**plain, "settings": changed(plain["settings"])})
    network = build_seeded(config)
    save_pretrained(network, tmp_path)
    read = read_description(tmp_path).config
    assert read == load_pretrained(tmp_path).config == config
    assert isinstance(read, PromptSegConfig)
    assert asdict(read.settings) == changed(asdict(PipelineSettings()))


def test_settings_that_are_left_out_are_the_defaults() -> None:
    plain = CONFIG.to_dict()
    del plain["settings"]["ranking"], plain["settings"]["refine"]["num_points"]
    config = PromptSegConfig.from_dict(plain)
    defaults = PipelineSettings()
    assert config.settings.ranking == defaults.ranking
    del plain["settings"]
    assert PromptSegConfig.from_dict(plain).settings == defaults


@pytest.mark.parametrize(
    "place", [(), ("settings",), ("settings", "detection"), ("settings", "refine"), ("settings", "ranking")]
)
def test_an_unknown_key_is_refused_at_every_level(place: tuple[str, ...]) -> None:
    values = json.loads(json.dumps(CONFIG.to_dict()))
    part = values
    for name in place:
        part = part[name]
    part["glow"] = 1
    with pytest.raises(CheckpointError, match=r"not a config of this version of promptseg: .*'glow'"):
        PromptSegConfig.from_dict(values)


def test_the_config_of_version_0_1_is_read() -> None:
    config = PromptSegConfig.from_dict(FIRST)
    assert config == replace(
        CONFIG,
        peak_margin=2.75,
        trained_names=("abacus", "acorn"),
        detection_evidence=(1.2, 4.6),
        mask_threshold=0.69,
        presence_threshold=0.63,
        presence_calibration=(0.72, -0.17),
        refiner="mobile-sam",
    )


def test_a_checkpoint_of_version_0_1_is_read(tmp_path: Path) -> None:
    save_pretrained(build_seeded(PromptSegConfig.from_dict(FIRST)), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "config": FIRST}))
    assert load_pretrained(tmp_path).config == PromptSegConfig.from_dict(FIRST)


def test_a_checkpoint_of_version_0_1_with_a_decoder_is_one_of_s1(tmp_path: Path) -> None:
    config = find_row("promptseg-s1-test").config
    save_pretrained(build_seeded(config), tmp_path)
    path = tmp_path / "config.json"
    first = {**config.to_dict(), "dense": None, "refiner": None}
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": "promptseg", "config": first}))
    loaded = load_pretrained(tmp_path)
    assert isinstance(loaded.config, PromptSegS1Config) and loaded.config == config
    with pytest.raises(CheckpointError, match="with a mask decoder is of architecture promptseg-s1"):
        PromptSegConfig.from_dict(first)


@pytest.mark.parametrize(("field", "value"), [("refiner", "sam9"), ("mask_threshold", 0.0), ("mask_threshold", 1.0)])
def test_a_config_that_can_not_be_refined_is_refused(field: str, value: object) -> None:
    values = {**CONFIG.to_dict(), "refiner": "mobile-sam"}
    assert PromptSegConfig.from_dict(values).refiner == "mobile-sam"
    with pytest.raises(CheckpointError, match=field):
        PromptSegConfig.from_dict({**values, field: value})
