"""Output on streams that lack letters, as a Windows console does."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from promptseg.cli.output import dump_json, escape_unencodable


def test_a_name_that_the_console_lacks_is_escaped() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "promptseg", "predict", "\u732b.jpg", "--text", "cup", "--offline"],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: \\u732b.jpg") and b"Traceback" not in done.stderr


@pytest.mark.parametrize(("encoding", "text"), [("cp1252", "\\u00e9 \\ud83d\\ude00"), ("utf-8", "\u00e9 \U0001f600")])
def test_json_can_be_read_back_whatever_the_encoding(encoding: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    escape_unencodable()
    sys.stdout.write(dump_json(["\u00e9 \U0001f600", "caf\udce9"]))
    sys.stdout.flush()
    written = stdout.buffer.getvalue().decode(encoding)
    assert text in written
    assert json.loads(written) == ["\u00e9 \U0001f600", "caf\udce9"]


@pytest.mark.parametrize(("number", "code"), [(0, 1), (1, 0), (2, 0)])
def test_a_stream_that_was_closed_is_missing_and_nothing_else(number: int, code: int, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    image = "-" if number == 0 else tmp_path / "a.png"
    command = ["predict", image, "-t", "cat", "--model", "promptseg-test", "--engine", "torch", "--out", tmp_path / "o"]
    done = subprocess.run(
        [sys.executable, "-m", "promptseg", *map(str, command)],
        capture_output=True,
        check=False,
        preexec_fn=lambda: os.close(number),
    )
    assert done.returncode == code and b"Traceback" not in done.stderr, done.stderr
    if number == 0:
        assert b"nothing to read here" in done.stderr
    else:
        assert len(list((tmp_path / "o" / "a").iterdir())) == 3
    assert (b"  absent" in done.stdout) == (number == 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_an_output_that_goes_to_a_full_disk_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "promptseg", "predict", str(tmp_path / "a.png"), "-t", "cat"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*command, "--model", "promptseg-test", "--engine", "torch"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == b"error: the output can't be written: No space left on device\n"
