"""Checks of a request: devices by their spelling, outputs by their folder."""

from pathlib import Path

import pytest

from promptseg.cli.checks import check_device, check_output_file, check_output_folder
from promptseg.errors import EngineError, OutputError


def test_devices() -> None:
    check_device("auto")
    check_device("cpu")
    for device, said in (("tpu", "'tpu' is no device"), ("cuda:99", "no device 'cuda:99' here")):
        with pytest.raises(EngineError, match=said):
            check_device(device)


def test_outputs_need_a_folder_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    check_output_folder(None)
    check_output_folder(tmp_path / "new" / "newer")
    check_output_file(tmp_path / "new" / "report.json")
    check_output_file(tmp_path / "file")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="can't be written"):
            check_output_folder(folder)
    with pytest.raises(OutputError, match="it is a folder; give a file name"):
        check_output_file(tmp_path)
    assert not (tmp_path / "new").exists(), "a check makes nothing"
    # root may write anywhere, so the permission itself is simulated
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="is read-only"):
        check_output_folder(tmp_path / "new")
