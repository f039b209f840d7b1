"""One hostile input: where it is, what reads it, what was done to it, and which outcomes are right."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

# "refused": an error of promptseg that names the input, or a reader that reads the rest and names what it left out.
# "same": the answer of the undamaged input. "other": another answer, where nobody can tell that it is wrong.
Outcome = Literal["refused", "same", "other"]

REFUSED: tuple[Outcome, ...] = ("refused",)
SAME: tuple[Outcome, ...] = ("same",)
NOTICED: tuple[Outcome, ...] = ("refused", "same")
UNNOTICEABLE: tuple[Outcome, ...] = ("refused", "same", "other")


@dataclass(frozen=True)
class Case:
    """A hostile input.

    Attributes:
        path: The file or folder, relative to the corpus.
        reader: Name of what reads it, see `probe.py`.
        damage: What was done to it.
        allowed: The outcomes that are right.
        original: The undamaged file or folder, relative to the corpus; "" where there is none.
        commands: Commands that read such inputs, see `probe.py`.
    """

    path: str
    reader: str
    damage: str
    allowed: tuple[Outcome, ...]
    original: str = ""
    commands: tuple[str, ...] = ()


def write_manifest(path: Path, cases: list[Case]) -> None:
    """Write cases; names of files that are not Unicode survive."""
    path.write_text(json.dumps([asdict(case) for case in cases]), encoding="ascii")


def read_manifest(path: Path) -> list[Case]:
    """Read what `write_manifest` wrote."""
    return [Case(**{**one, "allowed": tuple(one["allowed"])}) for one in json.loads(path.read_text(encoding="ascii"))]
