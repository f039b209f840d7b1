"""The steps after training, on a tiny model: averaging, calibration and the exemplar head."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab import average_checkpoints, fit_exemplars, fit_presence, fit_references, make_nouns, recipe
from promptseg.data.folder import read_folder
from promptseg.data.sample import Sample
from promptseg.errors import CheckpointError
from promptseg.models.build import build_pretrained
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row, load_network
from promptseg.train.recipe import load_recipe

TINY = Path(__file__).parents[2] / "recipes" / "tiny.py"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Images of two colored shapes each, as names that are annotated completely."""
    root = tmp_path_factory.mktemp("shapes")
    load_recipe(TINY).build_data(root, None)  # draws the images
    return [
        replace(
            sample,
            targets=tuple(replace(target, kind="thing") for target in sample.targets),
            exhaustive=frozenset({*sample.absent, "zebra"}),
        )
        for sample in read_folder(root / "validation").samples
    ]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_pretrained(load_network("promptseg-test-dense"), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, samples: list[Sample], tmp_path: Path) -> tuple[str, ...]:
    """The arguments for data, which the recipe reads from memory instead."""
    monkeypatch.setattr(recipe, "read", lambda data_dir, pseudo_dir: (samples, samples))
    return ("--data", str(tmp_path))


def test_an_average_lies_between_its_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    model = load_pretrained(checkpoint)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    save_pretrained(model, tmp_path / "after")
    average_checkpoints.main([str(checkpoint), str(tmp_path / "after"), str(tmp_path / "mean"), "--share", "0.25"])
    old, mean = load_pretrained(checkpoint).state_dict(), load_pretrained(tmp_path / "mean").state_dict()
    torch.testing.assert_close(mean["dense.bias"], old["dense.bias"] + 0.25)
    torch.testing.assert_close(
        mean["dense.text_shortcut.weight"], old["dense.text_shortcut.weight"] + 0.25, atol=2e-3, rtol=0
    )


def test_checkpoints_of_two_architectures_are_not_averaged(checkpoint: Path, tmp_path: Path) -> None:
    save_pretrained(build_pretrained(find_row("promptseg-test").config), tmp_path / "other")
    with pytest.raises(CheckpointError, match="different architectures"):
        average_checkpoints.main([str(tmp_path / "other"), str(checkpoint), str(tmp_path / "mean")])


def test_calibration_and_thresholds_reach_the_checkpoint(
    checkpoint: Path, data: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "finished"
    fit_presence.main(
        [str(checkpoint), str(out), *data, "--images", "6", "--peak-margin", "2", "--refiner", "mobile-sam"]
    )
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] > report["present"] > 0 and report["presence_loss"] < 0.7
    assert len((out / "held_out.txt").read_text().splitlines()) == 24
    model = load_pretrained(out)
    assert isinstance(model, PromptSegNetwork)
    assert model.config.refiner == "mobile-sam" and model.config.peak_margin == 2.0
    (tmp_path / "fitted.json").write_text(
        json.dumps({"mask_threshold": 0.6, "presence_threshold": 0.4, "presence_calibration": [2.0, -1.0]})
    )
    fit_presence.main([str(out), str(out), "--thresholds", str(tmp_path / "fitted.json")])
    config = load_pretrained(out).config
    assert (config.mask_threshold, config.presence_threshold, config.presence_calibration) == (0.6, 0.4, (2.0, -1.0))


def test_a_finished_model_gets_an_exemplar_head(
    checkpoint: Path, data: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "with-exemplars"
    options = ("--images", "12", "--steps", "20", "--hidden-dim", "16")
    fit_exemplars.main([str(checkpoint), str(out), *data, *options, "--run", str(tmp_path / "run")])
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 12 and report["names"] >= 2 and report["examples"] >= 12
    model = load_pretrained(out)
    assert isinstance(model, PromptSegNetwork) and model.config.exemplar_dim == 16
    assert (tmp_path / "run" / "log.jsonl").exists()


@pytest.mark.parametrize("script", [average_checkpoints, fit_exemplars, fit_presence, fit_references, make_nouns])
def test_every_script_describes_its_options(script, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main(["--help"])
    assert stopped.value.code == 0 and "python -m lab." in capsys.readouterr().out
