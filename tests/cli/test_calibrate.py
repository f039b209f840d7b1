"""`promptseg calibrate`: thresholds as JSON."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from evaluate_world import block, index_record, paint, write_indexes

ENGINE = ("--engine", "torch", "--device", "cpu")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two indexes: red and green are in every image of "shapes", blue in every image of "others"."""
    write_indexes(tmp_path, "shapes")
    records = []
    for number in range(4):
        image = tmp_path / f"others/{number}.png"
        image.parent.mkdir(exist_ok=True)
        shutil.copy(paint(tmp_path / "blue.png", {"blue": block(0, 0, 5, 5)}), image)
        records.append(index_record(f"others/{number}.png", {"blue": block(0, 0, 5, 5)}))
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def test_thresholds_are_written_or_refused(promptseg: Callable[..., Ended], data_dir: Path) -> None:
    # The order in which a random model ranks phrases is arbitrary: presence fits one of the two sets.
    path = data_dir / "thresholds.json"
    arguments = ("--model", "promptseg-test", "--data", data_dir, *ENGINE)
    written = []
    for name in ("shapes", "others"):
        ended = promptseg("calibrate", *arguments, "--set", name, "--out", path)
        if ended.code == 0:
            written.append(json.loads(path.read_text()))
            assert json.loads(ended.out) == written[-1]
            assert written[-1]["sets"] == [name]
            old = promptseg("evaluate", *arguments, "--set", name, "--fit-thresholds", path)
            assert (old.code, old.out) == (0, ended.out)
            assert old.err.startswith("deprecated: ")
        else:
            assert "presence is not higher for present phrases" in ended.err
    assert written
    assert set(written[0]) >= {"mask_threshold", "presence_threshold", "presence_calibration", "mean_iou"}


def test_a_model_without_thresholds_is_refused(promptseg: Callable[..., Ended], data_dir: Path) -> None:
    ended = promptseg("calibrate", "--data", data_dir / "shapes.jsonl", "--model", "langsam-test", *ENGINE)
    assert ended.code == 2
    assert "langsam-test has no thresholds of its own" in ended.err
