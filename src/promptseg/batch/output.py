"""The output of a batch: a folder of part files, each complete or absent, so that a killed run goes on.

A part holds all rows of the images in it. What a run had not yet written when it was killed is segmented again by the
next one; nothing is lost and nothing is there twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from promptseg._extras import require
from promptseg._wording import shorten
from promptseg.batch.rows import Row, checked_row
from promptseg.errors import DataError, OutputError
from promptseg.formats.base import read_json, write_json
from promptseg.ops.atomic import atomic_file
from promptseg.untrusted_files import parse_json

Format = Literal["parquet", "jsonl"]
FORMATS: tuple[Format, ...] = ("parquet", "jsonl")

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
        queries: Hash of the request; see `rows.identify_queries`.
    """

    format: Format
    model: str
    fingerprint: str
    threshold: float
    labels: tuple[str, ...]
    queries: str


class PartFiles:
    """The part files of a batch; `open_output` gives them."""

    def __init__(self, directory: Path, format: Format) -> None:
        self.directory = directory
        self._suffix = f".{format}"
        self._load, self._dump = _CODECS[format]
        self._numbers = [int(path.stem.removeprefix("part-")) for path in self._paths()]

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
def open_output(directory: Path, claim: Claim) -> Iterator[PartFiles]:
    """Open the output of a batch: a new or empty folder, or that of an earlier run with the same claim.

    Raises:
        OutputError: The folder holds other files or the output of another request, another process writes it, or it
            can't be written.
        MissingExtraError: The format is parquet, and pyarrow is not installed.
    """
    if claim.format == "parquet":
        require("pyarrow", extra="batch")
    state = directory / _STATE / "batch.json"
    if directory.is_dir() and not state.exists() and any(path.name != _STATE for path in directory.iterdir()):
        raise OutputError(f"{directory}: holds other files; the rows of a batch go to a new or empty folder")
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(state.with_name("lock"))
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OutputError(f"{directory}: another process is writing this batch") from error
    except OSError as error:
        raise OutputError(f"{directory}: can't be written: {error.strerror or error}") from error
    try:
        _check_claim(directory, state, claim)
        yield PartFiles(directory, claim.format)
    finally:
        lock.release()


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

    text, number, whole = pa.string(), pa.float64(), pa.int32()
    return pa.schema(
        [
            ("path", text),
            ("sha256", text),
            ("width", whole),
            ("height", whole),
            ("model", text),
            ("fingerprint", text),
            ("label", text),
            ("presence", number),
            ("is_present", pa.bool_()),
            ("status", text),
            ("read_as", text),
            ("object", whole),
            ("score", number),
            ("box_xyxy", pa.list_(whole)),
            ("mask", text),
            ("error", text),
            ("seconds", number),
        ]
    )


_CODECS: dict[str, tuple[Callable[[Path], Iterator[Row]], Callable[[Path, Sequence[Row]], None]]] = {
    "parquet": (_load_parquet, _dump_parquet),
    "jsonl": (_load_jsonl, _dump_jsonl),
}
