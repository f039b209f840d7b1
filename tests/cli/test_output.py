"""Output on streams that lack letters, as a Windows console does."""

import io
import json
import os
import subprocess
import sys

import pytest

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
