"""The log of a run: lines that survive a kill, and steps that are repeated after a resume."""

from pathlib import Path

import pytest

from promptseg.errors import OutputError
from promptseg.train.log import LOG_FILE, TrainLog, read_log


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    assert read_log(tmp_path / LOG_FILE) == [{"kind": "train", "step": 1}]


def test_a_resumed_run_drops_the_steps_that_it_repeats(tmp_path: Path) -> None:
    log = TrainLog(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write("train", step, loss=float(step))
    resumed = TrainLog(tmp_path, step=2)
    resumed.write("train", 3, loss=9.0)
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path / LOG_FILE)] == [(1, 1.0), (2, 2.0), (3, 9.0)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/log\.jsonl: can't be written"):
        TrainLog(tmp_path / "file", step=0)
