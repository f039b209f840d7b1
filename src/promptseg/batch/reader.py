"""Read the bytes of the images of a batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptseg.batch.parquet_tables import iterate_rows
from promptseg.batch.sources import BatchImage
from promptseg.errors import DataError, ImageError
from promptseg.untrusted_files import open_file

# Rows of a table that are passed over; beyond that, its row group is looked up.
_MAX_SKIPPED = 1_000


class ImageReader:
    """Reads images one by one; it goes on in the Parquet table that it read last, since rows come in order.

    It belongs to one thread.
    """

    def __init__(self) -> None:
        self._table: tuple[Path, str] | None = None
        self._rows: Iterator[tuple[int, Any]] = iter(())
        self._next_row = 0

    def read(self, image: BatchImage, *, max_bytes: int) -> bytes:
        """Read the bytes of an encoded image.

        Raises:
            ImageError: They can't be read, or are more than the limit; the message names the image.
        """
        content = self._read_row(image) if image.row is not None else _read_span(image, max_bytes)
        if len(content) > max_bytes:
            raise ImageError(f"{image.where}: {len(content):,} bytes; the limit is {max_bytes:,}")
        return content

    def _read_row(self, image: BatchImage) -> bytes:
        assert image.row is not None
        if self._table != (image.file, image.column) or not self._next_row <= image.row < self._next_row + _MAX_SKIPPED:
            self._table, self._rows = (image.file, image.column), iterate_rows(image.file, image.column, row=image.row)
        try:
            found = next((each for each in self._rows if each[0] == image.row), None)
        except DataError as error:
            self._table = None
            raise ImageError(f"{image.where}: can't be read: {error}") from error
        if found is None:
            self._table = None
            raise ImageError(f"{image.where}: the table has fewer rows now, or is damaged")
        self._next_row, value = image.row + 1, found[1]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes) or not content:
            raise ImageError(f"{image.where}: the table has no image here")
        return content


def _read_span(image: BatchImage, max_bytes: int) -> bytes:
    """Read a file, or the part of a shard that is an image."""
    try:
        with open_file(image.file) as file:
            if image.offset is None:
                return file.read(max_bytes + 1)
            file.seek(image.offset)
            content = file.read(image.num_bytes)
    except FileNotFoundError as error:
        raise ImageError(f"{image.where}: no such file") from error
    except OSError as error:
        raise ImageError(f"{image.where}: can't be read: {error.strerror or error}") from error
    if len(content) < image.num_bytes:
        raise ImageError(f"{image.where}: {image.file} ends in the middle of it")
    return content
