"""`python -m lab.evaluate`: the named sets of this project, measured by the library."""

import json
from pathlib import Path

import pytest
from evaluate_world import ColorSegmenter, write_indexes
from typer.testing import CliRunner

from lab.calibrate import app as calibrate_app
from lab.evaluate import app
from lab.sets import load_samples
from promptseg.errors import DataError
from promptseg.evaluate.runner import evaluate_samples

MODEL = ("--model", "promptseg-test", "--engine", "torch", "--device", "cpu")


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_evaluation_sets_and_training_sets_are_measured(tmp_path: Path) -> None:
    write_indexes(tmp_path, "clothes_dev", "shapes")
    out = tmp_path / "out/report.json"
    result = run(app, "--data", tmp_path, "--set", "clothes_dev", "--set", "shapes", *MODEL, "--out", out)
    assert result.exit_code == 0, result.stderr
    reports = json.loads(out.read_text())["reports"]
    assert [(report["data_set"], report["num_present"], report["num_absent"]) for report in reports] == [
        ("clothes_dev", 8, 0),
        ("shapes", 8, 4),
    ]


def test_class_names_of_a_set_give_class_iou(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_indexes(tmp_path, "camvid_val")
    monkeypatch.chdir(tmp_path)
    result = run(app, "--data", tmp_path, "--set", "camvid_val", *MODEL, "--out", "report.json")
    assert result.exit_code == 0, result.stderr
    assert "class_mean_iou" in json.loads(Path("report.json").read_text())["reports"][0]["numbers"]


def test_calibration_refuses_evaluation_sets(tmp_path: Path) -> None:
    write_indexes(tmp_path, "clothes_dev")
    result = run(calibrate_app, "--data", tmp_path, "--set", "clothes_dev", *MODEL)
    assert isinstance(result.exception, DataError)
    assert "evaluation set" in str(result.exception)


def test_the_library_takes_these_sets_as_values(tmp_path: Path) -> None:
    write_indexes(tmp_path, "clothes_dev")
    records = list(evaluate_samples(ColorSegmenter(), load_samples("clothes_dev", tmp_path)))
    assert [len(record.pairs) for record in records] == [2] * 4
