"""Parquet tables of encoded images or of paths: which column has them, and its rows without expanding more than needed.

A page of a table is compressed, and a value may be stored once for many rows. So a small file can stand for more memory
than any machine has. Values are read row by row here, and what a column states to expand to is checked before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg._extras import require
from promptseg.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet

# Columns that hold images, in the order in which they are looked for.
_BYTES_COLUMNS = ("image", "jpg", "png", "bytes")
_PATH_COLUMNS = ("path", "image_path", "file_name")
# Images are compressed already; where more than so many bytes of a row group expand by more than this, it is a bomb.
_FREE_BYTES, _MAX_EXPANSION = 256_000_000, 100
# All paths of a table together, and one of them; Linux allows 4,096 bytes.
_MAX_PATH_BYTES, _MAX_PATH_LENGTH = 1_000_000_000, 32_768


def open_table(path: Path, *, dictionary: str | None = None) -> "pyarrow.parquet.ParquetFile":
    """Open a Parquet table.

    Args:
        path: Of the file.
        dictionary: A column whose equal values are kept once.

    Raises:
        DataError: It can't be read.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = require("pyarrow.parquet", extra="batch")
    try:
        return parquet.ParquetFile(path, read_dictionary=None if dictionary is None else [dictionary])
    except table_errors() as error:
        raise DataError(f"{path}: not a Parquet table that can be read: {error}") from error


def table_errors() -> tuple[type[Exception], ...]:
    """Name the errors of pyarrow at a table that is damaged."""
    arrow = require("pyarrow", extra="batch")
    return OSError, ValueError, arrow.ArrowException


def find_column(path: Path, schema: Any, column: str | None) -> tuple[str, bool]:
    """Find the column of images, and whether it holds their bytes.

    Args:
        path: Of the table, for messages.
        schema: Of the table.
        column: Its name; None: the first that usually has them.

    Raises:
        DataError: There is none.
    """
    import pyarrow

    names = [column] if column is not None else [*_BYTES_COLUMNS, *_PATH_COLUMNS]
    for name in names:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if pyarrow.types.is_dictionary(kind):
            kind = kind.value_type
        has_bytes = pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if has_bytes or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            return name, True
        if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
            return name, False
    raise DataError(
        f"{path}: no column of images or paths ({', '.join(names)}); it has {', '.join(schema.names)}: say which with "
        "--column"
    )


def read_paths(path: Path, column: str) -> list[str]:
    """Read a column of paths.

    Raises:
        DataError: It can't be read, is too large, or a row has no path.
    """
    table = open_table(path, dictionary=column)
    size = sum(stated for group in range(table.metadata.num_row_groups) for stated, _ in [_sizes(table, group, column)])
    if size > _MAX_PATH_BYTES:
        raise DataError(f"{path}: its column {column!r} expands to {size:,} bytes; the limit is {_MAX_PATH_BYTES:,}")
    found: list[str] = []
    try:
        for batch in table.iter_batches(columns=[column]):
            chunk = batch.column(0)
            paths = chunk.dictionary.to_pylist()
            found += [paths[index] if index is not None else "" for index in chunk.indices.to_pylist()]
    except table_errors() as error:
        raise DataError(f"{path}: not a Parquet table that can be read: {error}") from error
    if not all(found):
        raise DataError(f"{path}: its column {column!r} has rows without a path")
    if any(len(each) > _MAX_PATH_LENGTH for each in found):
        raise DataError(f"{path}: its column {column!r} has text that is too long for a path")
    return found


def iterate_rows(path: Path, column: str, *, row: int) -> Iterator[tuple[int, Any]]:
    """Yield the rows from the row group on that holds a row, as (number, value), one at a time.

    Raises:
        DataError: The table can't be read, or a row group expands like a bomb; the message names it.
    """
    table = open_table(path)
    first = 0
    for group in range(table.metadata.num_row_groups):
        num_rows = table.metadata.row_group(group).num_rows
        if row < first + num_rows:
            _check_expansion(path, table, group, column)
            try:
                for index, batch in enumerate(table.iter_batches(batch_size=1, row_groups=[group], columns=[column])):
                    yield first + index, batch.column(0)[0].as_py()
            except table_errors() as error:
                raise DataError(f"{path}: can't be read: {error}") from error
        first += num_rows


def _check_expansion(path: Path, table: Any, group: int, column: str) -> None:
    expanded, stored = _sizes(table, group, column)
    if expanded > max(_FREE_BYTES, stored * _MAX_EXPANSION):
        raise DataError(
            f"{path}: {stored:,} bytes of its column {column!r} expand to {expanded:,}, it may be a decompression "
            "bomb; write the table again without compression"
        )


def _sizes(table: Any, group: int, column: str) -> tuple[int, int]:
    """Give the expanded and the stored size that a row group states for a column, bytes."""
    metadata = table.metadata.row_group(group)
    parts = [metadata.column(index) for index in range(metadata.num_columns)]
    own = [part for part in parts if part.path_in_schema.split(".")[0] == column]
    return sum(part.total_uncompressed_size for part in own), sum(part.total_compressed_size for part in own)
