"""The record of a run: `run.json` says what was run, `log.jsonl` what happened."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from promptseg.errors import OutputError
from promptseg.train.config import TrainConfig

LOG_FILE = "log.jsonl"
RUN_FILE = "run.json"


def write_run(
    out_dir: Path, *, recipe_name: str, config: TrainConfig, commit: str | None, facts: Mapping[str, Any]
) -> None:
    """Record what is run, once, before the first step.

    Args:
        out_dir: The run's directory.
        recipe_name: File name of the recipe.
        config: Its numbers, after the command line changed them.
        commit: Of the code, `evaluate.provenance.git_commit()`.
        facts: Counts and devices worth knowing.

    Raises:
        OutputError: The file can't be written.
    """
    record = {
        "recipe": recipe_name,
        "seed": config.seed,
        "commit": commit,
        "config": config.to_dict(),
        "versions": {name: version(name) for name in ("promptseg", "torch", "lightning-fabric")},
        **facts,
    }
    try:
        (out_dir / RUN_FILE).write_text(json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"{out_dir / RUN_FILE} can't be written: {error}") from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log; a last line that a kill cut short is left out."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class TrainLog:
    """Appends to `log.jsonl`; a resumed run first drops the lines of steps that it will repeat."""

    def __init__(self, out_dir: Path, *, step: int) -> None:
        self._path = out_dir / LOG_FILE
        kept = [line for line in read_log(self._path) if line["step"] <= step] if self._path.exists() else []
        try:
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
            self._file: TextIO = self._path.open("a")
        except OSError as error:
            raise OutputError(f"{self._path} can't be written: {error}") from error

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
