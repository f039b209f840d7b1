"""`promptseg weights` from the outside."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner
from weights_support import checkpoint_bytes, tiny_record

from promptseg.cli.weights import weights_app
from promptseg.errors import OfflineError, WeightsError
from promptseg.weights import RECORDS

CONTENT = checkpoint_bytes()
RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PROMPTSEG_SOURCES", "PROMPTSEG_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_PATH", str(tmp_path / "mine"))
    monkeypatch.setitem(RECORDS, "tiny", tiny_record(CONTENT))
    (tmp_path / "mine" / "tiny").mkdir(parents=True)
    (tmp_path / "mine" / "tiny" / "tiny.pth").write_bytes(CONTENT)


def test_pull_then_path_then_verify() -> None:
    pulled = RUNNER.invoke(weights_app, ["pull", "tiny", "--sources", "local,hub"])
    assert pulled.exit_code == 0
    assert Path(pulled.stdout.strip()).is_file()
    assert pulled.stderr == "fetching tiny, 0 MB\n"
    assert RUNNER.invoke(weights_app, ["path", "tiny"]).stdout == pulled.stdout
    verified = RUNNER.invoke(weights_app, ["verify"])
    assert (verified.exit_code, verified.stdout) == (0, f"ok {pulled.stdout}")


def test_verify_names_what_is_damaged() -> None:
    path = Path(RUNNER.invoke(weights_app, ["pull", "tiny"]).stdout.strip())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    verified = RUNNER.invoke(weights_app, ["verify", "tiny"])
    assert verified.exit_code == 1
    assert "another sha256" in verified.stderr
    assert "error:" in verified.stderr
    assert verified.stdout == ""


def test_path_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_PATH")
    result = RUNNER.invoke(weights_app, ["path", "tiny"])
    assert isinstance(result.exception, OfflineError)


def test_unknown_name() -> None:
    result = RUNNER.invoke(weights_app, ["pull", "mobilesam"])
    assert isinstance(result.exception, WeightsError)
    assert str(result.exception) == "no weights are named 'mobilesam'; similar names: mobile-sam"


def test_list_as_json_and_as_a_table() -> None:
    before = {row["name"]: row for row in json.loads(RUNNER.invoke(weights_app, ["list", "--json"]).stdout)}
    assert before.keys() == RECORDS.keys()
    assert before["tiny"]["cached"] is False
    assert before["tiny"]["license"] == "CC0-1.0"
    RUNNER.invoke(weights_app, ["pull", "tiny"])
    after = {row["name"]: row for row in json.loads(RUNNER.invoke(weights_app, ["list", "--json"]).stdout)}
    assert after["tiny"]["cached"] is True
    table = RUNNER.invoke(weights_app, ["list"], env={**os.environ, "COLUMNS": "120"}).stdout
    assert all(name in table for name in RECORDS)
