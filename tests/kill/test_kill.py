"""A sample of the kill tests; `make test-kill` has all commands, at 20 moments each, and full disks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run_kills.py")


@pytest.mark.parametrize("command", ["autolabel", "weights pull"])
def test_a_killed_command_goes_on_and_a_full_disk_is_named(command: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["--moments", "2", "--disks", "1", "--only", command, "--out", str(report)]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["killed"] == 2 and found["full_disks"] >= 1
    assert found["problems"] == []
