"""The record of a run: `run.json` describes the run, `log.jsonl` has its numbers."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from promptseg.ops.atomic import atomic_file
from promptseg.train.config import TrainConfig

LOG_FILE = "log.jsonl"
RUN_FILE = "run.json"


def write_run(
    out_dir: Path, *, recipe_name: str, config: TrainConfig, commit: str | None, facts: Mapping[str, Any]
) -> None:
    """Write the description of a run, once, before the first step.

    Args:
        out_dir: The run's directory.
        recipe_name: File name of the recipe.
        config: Numbers of the run, with the changes of the command line.
        commit: Commit of the code, from `evaluate.provenance.git_commit()`.
        facts: Counts and devices.

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
    with atomic_file(out_dir / RUN_FILE) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log; an incomplete last line, left by a kill, is skipped."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class TrainLog:
    """Appends to `log.jsonl`; a resumed run first drops the lines of steps that it will repeat."""

    def __init__(self, out_dir: Path, *, step: int) -> None:
        self._path = out_dir / LOG_FILE
        kept = [line for line in read_log(self._path) if line["step"] <= step] if self._path.exists() else []
        with atomic_file(self._path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one line."""
        # opened for each line: a run that is stopped leaves nothing open
        with self._path.open("a") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
