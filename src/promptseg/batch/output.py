"""The output of a batch: a folder of part files, each complete or absent, so that a killed run goes on.

A part holds all rows of the images in it. What a run had not yet written when it was killed is segmented again by the
next one; nothing is lost and nothing is there twice.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from promptseg._extras import require
from promptseg._wording import shorten
from promptseg.batch.rows import COLUMNS, Row, RowForm, checked_row
from promptseg.batch.sources import BatchImage
from promptseg.errors import DataError, OutputError
from promptseg.formats.base import read_json, write_json
from promptseg.ops.atomic import atomic_file
from promptseg.ops.claimed_folder import claim_folder
from promptseg.results import Status
from promptseg.untrusted_files import parse_json

Format = Literal["parquet", "jsonl"]
FORMATS: tuple[Format, ...] = ("parquet", "jsonl")

# A part is written after so many seconds at the latest: a run that is killed loses the work since the last part.
_SECONDS_OF_A_PART = 60.0

_STATE = ".promptseg"
_SCHEMA = "promptseg/batch-1"


@dataclass(frozen=True)
class Claim:
    """What the rows of an output have in common; a run with another claim does not go on in it.

    Attributes:
        format: Of the part files.
        model: Name of the model.
        fingerprint: Identifies the checkpoint.
        threshold: Presence below which a label is absent.
        labels: Of the request, in order.
        queries: Hash of the request; see `BatchRequest.identify`.
    """

    format: Format
    model: str
    fingerprint: str
    threshold: float
    labels: tuple[str, ...]
    queries: str


class PartFiles:
    """The part files of a batch, an `Output`; `open_output` gives them.

    Args:
        directory: The folder.
        format: Of the parts.
        images_per_part: A part is written after so many images, or after a minute.
    """

    form = RowForm()

    def __init__(self, directory: Path, format: Format, images_per_part: int = 1000) -> None:
        self.directory = directory
        self._suffix = f".{format}"
        self._load, self._dump = _CODECS[format]
        self._numbers = [int(path.stem.removeprefix("part-")) for path in self._paths()]
        self._images_per_part = images_per_part
        self._waiting: list[list[Row]] = []
        self._written_at = time.monotonic()

    def list_to_do(self, images: Sequence[BatchImage]) -> list[BatchImage]:
        """List the images that have no rows yet.

        Raises:
            DataError: A part can't be read.
        """
        done = self.ids()
        return [image for image in images if image.id not in done]

    def add(self, outcome: list[Row]) -> str | None:
        """Take the rows of an image; return its error.

        Raises:
            OutputError: A part can't be written.
        """
        self._waiting.append(outcome)
        is_due = time.monotonic() - self._written_at >= _SECONDS_OF_A_PART
        if is_due or len(self._waiting) >= self._images_per_part:
            self.flush()
        return next((row["error"] for row in outcome if row["error"] is not None), None)

    def flush(self) -> None:
        """Write what was taken and is in no part yet.

        Raises:
            OutputError: The part can't be written.
        """
        if self._waiting:
            self.write([row for rows in self._waiting for row in rows])
        self._waiting, self._written_at = [], time.monotonic()

    def ids(self) -> set[str]:
        """Read the ids of the images that the parts hold.

        Raises:
            DataError: A part can't be read.
        """
        return {row["path"] for row in self.rows()}

    def rows(self) -> Iterator[Row]:
        """Read all rows, in the order in which they were written.

        Raises:
            DataError: A part can't be read.
        """
        for path in self._paths():
            yield from self._load(path)

    def write(self, rows: Sequence[Row]) -> Path:
        """Write the next part, complete or not at all.

        Raises:
            OutputError: It can't be written.
        """
        number = max(self._numbers, default=0) + 1
        path = self.directory / f"part-{number:06d}{self._suffix}"
        with atomic_file(path) as temporary:
            self._dump(temporary, rows)
        self._numbers.append(number)
        return path

    def drop_errors(self) -> int:
        """Remove the rows of images that failed, so that they are tried again; return how many.

        Raises:
            DataError: A part can't be read.
            OutputError: A part can't be written.
        """
        num_dropped = 0
        for path in self._paths():
            rows = list(self._load(path))
            kept = [row for row in rows if row["error"] is None]
            if len(kept) == len(rows):
                continue
            num_dropped += len(rows) - len(kept)
            if kept:
                with atomic_file(path) as temporary:
                    self._dump(temporary, kept)
            else:
                path.unlink()
        return num_dropped

    def _paths(self) -> list[Path]:
        return sorted(self.directory.glob(f"part-[0-9]*{self._suffix}"))


@contextmanager
def open_output(directory: Path, claim: Claim, *, images_per_part: int = 1000) -> Iterator[PartFiles]:
    """Open the output of a batch: a new or empty folder, or that of an earlier run with the same claim.

    What was added is written at the end of the block, also where it was interrupted.

    Raises:
        OutputError: The folder holds other files or the output of another request, another process writes it, or it
            can't be written.
        MissingExtraError: The format is parquet, and pyarrow is not installed.
    """
    if claim.format == "parquet":
        require("pyarrow", extra="batch")
    state = directory / _STATE / "batch.json"
    with claim_folder(directory, state, holds="batch"):
        _check_claim(directory, state, claim)
        parts = PartFiles(directory, claim.format, images_per_part)
        try:
            yield parts
        finally:  # what is done is kept, also when the run is interrupted
            parts.flush()


def read_rows(directory: str | Path) -> Iterator[Row]:
    """Read the rows of a batch.

    Raises:
        DataError: The folder holds no batch, or a part can't be read.
    """
    directory = Path(directory)
    stated = read_json(directory / _STATE / "batch.json")
    if not isinstance(stated, dict) or stated.get("schema") != _SCHEMA or stated.get("format") not in FORMATS:
        raise DataError(f"{directory}: holds no batch that this version reads")
    return PartFiles(directory, stated["format"]).rows()


def _check_claim(directory: Path, state: Path, claim: Claim) -> None:
    wanted = {"schema": _SCHEMA, **asdict(claim), "labels": list(claim.labels)}
    if not state.exists():
        write_json(state, wanted)
        return
    there = read_json(state)
    for key, value in wanted.items():
        if not isinstance(there, dict) or there.get(key) != value:
            stated = there.get(key) if isinstance(there, dict) else there
            raise OutputError(
                f"{directory}: holds a batch of another {_NAMES.get(key, key)} ({shorten(stated)}, not "
                f"{shorten(value)}); use another folder, or the arguments of that run"
            )


_NAMES = {"schema": "version", "fingerprint": "checkpoint", "labels": "list of labels", "queries": "request"}


def _load_jsonl(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield checked_row(parse_json(line))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a part of a batch that can be read: {error}") from error


def _dump_jsonl(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _load_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        yield from map(checked_row, pyarrow.parquet.read_table(path, partitioning=None).to_pylist())
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: not a part of a batch that can be read: {error}") from error


def _dump_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(list(rows), schema=_arrow_schema())
    pyarrow.parquet.write_table(table, path, compression="zstd")


def _arrow_schema() -> Any:
    import pyarrow as pa

    text, whole = pa.string(), pa.int32()
    types: dict[object, Any] = {
        bool: pa.bool_(),
        float: pa.float64(),
        int: whole,
        list[int]: pa.list_(whole),
        str: text,
        Status: text,
    }
    return pa.schema([(name, types[kind]) for name, (kind, _) in COLUMNS.items()])


_CODECS: dict[str, tuple[Callable[[Path], Iterator[Row]], Callable[[Path, Sequence[Row]], None]]] = {
    "parquet": (_load_parquet, _dump_parquet),
    "jsonl": (_load_jsonl, _dump_jsonl),
}
