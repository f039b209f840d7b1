"""Read the bytes of the images of a batch."""

from promptseg._extras import require
from promptseg.batch.sources import BatchImage, open_table
from promptseg.errors import DataError, ImageError
from promptseg.images import DEFAULT_LIMITS
from promptseg.untrusted_files import open_file


class ImageReader:
    """Reads images one by one; it keeps the row group of a Parquet table that it read last, since rows come in order.

    It belongs to one thread.
    """

    def __init__(self) -> None:
        self._group: tuple[BatchImage, int, list[object]] | None = None

    def read(self, image: BatchImage) -> bytes:
        """Read the bytes of an encoded image.

        Raises:
            ImageError: They can't be read, or are more than `images.DEFAULT_LIMITS` allow; the message names the image.
        """
        content = self._read_row(image) if image.row is not None else _read_span(image)
        if len(content) > DEFAULT_LIMITS.max_bytes:
            raise ImageError(f"{image.id}: {len(content):,} bytes; the limit is {DEFAULT_LIMITS.max_bytes:,}")
        return content

    def _read_row(self, image: BatchImage) -> bytes:
        assert image.row is not None
        if self._group is None or not _is_in(image, self._group):
            self._group = _read_group(image)
        _, first, rows = self._group
        if image.row - first >= len(rows):
            raise ImageError(f"{image.id}: {image.file} is damaged: it states more rows than it holds")
        value = rows[image.row - first]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes) or not content:
            raise ImageError(f"{image.id}: the table has no image here")
        return content


def _is_in(image: BatchImage, group: tuple[BatchImage, int, list[object]]) -> bool:
    of, first, rows = group
    assert image.row is not None
    return (of.file, of.column) == (image.file, image.column) and first <= image.row < first + len(rows)


def _read_group(image: BatchImage) -> tuple[BatchImage, int, list[object]]:
    """Read the row group that a row is in: any row of it, the number of its first row, and its values."""
    assert image.row is not None
    try:
        table = open_table(image.file)
        first = 0
        for index in range(table.metadata.num_row_groups):
            num_rows = table.metadata.row_group(index).num_rows
            if image.row < first + num_rows:
                return image, first, table.read_row_group(index, columns=[image.column])[image.column].to_pylist()
            first += num_rows
    except (DataError, OSError, ValueError, require("pyarrow", extra="batch").ArrowException) as error:
        raise ImageError(f"{image.id}: can't be read: {error}") from error
    raise ImageError(f"{image.id}: the table has {first:,} rows now")


def _read_span(image: BatchImage) -> bytes:
    """Read a file, or the part of a shard that is an image."""
    try:
        with open_file(image.file) as file:
            if image.offset is None:
                return file.read(DEFAULT_LIMITS.max_bytes + 1)
            file.seek(image.offset)
            content = file.read(image.num_bytes)
    except FileNotFoundError as error:
        raise ImageError(f"{image.id}: no such file") from error
    except OSError as error:
        raise ImageError(f"{image.id}: can't be read: {error.strerror or error}") from error
    if len(content) < image.num_bytes:
        raise ImageError(f"{image.id}: {image.file} ends in the middle of it")
    return content
