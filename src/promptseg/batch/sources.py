"""Where the images of a batch come from: files, folders, patterns, list files, tar shards and Parquet tables.

Listing reads names only. What it yields is small and can be pickled; the process that segments an image reads its
bytes, see `batch.reader`.
"""

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptseg.batch.parquet_tables import find_column, open_table, read_paths
from promptseg.errors import DataError, ImageError
from promptseg.image_files import IMAGE_SUFFIXES, expand_home, list_images
from promptseg.prompts import Query
from promptseg.skipped_files import SkippedFile

_LISTS = frozenset({".txt", ".lst"})
_SHARDS = frozenset({".tar"})
_COMPRESSED = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst"})
_TABLES = frozenset({".parquet"})


@dataclass(frozen=True)
class BatchImage:
    """An image of a batch, and where its bytes are.

    Attributes:
        id: Its path; of a member of a shard "shard.tar/member.jpg", of a row of a table "table.parquet#12".
        file: The file that holds its bytes.
        offset: Of the first byte in a shard; None: the file is the image.
        num_bytes: Length in a shard.
        row: Number of the row in a table; None: it is in no table.
        column: Column of the bytes in a table.
        pointing: Points and boxes of this image alone, a query for each object.
    """

    id: str
    file: Path
    offset: int | None = None
    num_bytes: int = 0
    row: int | None = None
    column: str = ""
    pointing: tuple[Query, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether it is a file of its own."""
        return self.offset is None and self.row is None

    @property
    def where(self) -> str:
        """What messages call it."""
        return str(self.file) if self.is_file else self.id


def list_sources(
    sources: Sequence[str | Path], *, column: str | None = None, skipped: list[SkippedFile] | None = None
) -> list[BatchImage]:
    """List the images that sources stand for.

    Args:
        sources: Images, folders and patterns, as `image_files.list_images` takes them; list files (.txt, .lst) of one
            path a line, relative to the current folder; tar files, such as WebDataset's shards; Parquet tables with a
            column of encoded images or of paths.
        column: Column of the images in Parquet tables; None: the first of image, jpg, png, bytes (bytes, or a struct
            that has them), path, image_path, file_name.
        skipped: Receives whatever else folders, patterns and shards hold.

    Returns:
        Each image once, in the order of the sources.

    Raises:
        ImageError: A source doesn't exist, or holds no image.
        DataError: A list, a shard or a table can't be read, or a table has no column of images.
        MissingExtraError: A Parquet table is given, and pyarrow is not installed.
    """
    found: dict[str, BatchImage] = {}
    for source in sources:
        for image in _list_source(expand_home(source), column, skipped):
            found.setdefault(image.id, image)
    return list(found.values())


def _list_source(source: Path, column: str | None, skipped: list[SkippedFile] | None) -> Iterable[BatchImage]:
    suffix = source.suffix.lower()
    if source.is_dir():
        return _files(list_images([source], skipped=skipped))
    if suffix in _COMPRESSED:
        raise DataError(f"{source}: a compressed archive has no random access: unpack it, or write a plain .tar")
    if suffix in _LISTS | _SHARDS | _TABLES and not source.is_file():
        raise ImageError(f"{source}: no such file")
    if suffix in _LISTS:
        return _files(list_images(_read_list(source), skipped=skipped))
    if suffix in _SHARDS:
        return _list_shard(source, skipped)
    if suffix in _TABLES:
        return _list_table(source, column)
    return _files(list_images([source], skipped=skipped))


def _files(paths: Iterable[Path]) -> Iterator[BatchImage]:
    return (BatchImage(str(path), path) for path in paths)


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as a list of paths, in UTF-8, one a line: {error}") from error
    listed = [line.rstrip("\r") for line in lines if line.strip()]
    if not listed:
        raise DataError(f"{path}: lists no path; write one a line")
    return listed


def _list_shard(path: Path, skipped: list[SkippedFile] | None) -> list[BatchImage]:
    """List the images of a tar file; one that ends in the middle yields the members that begin before its end."""
    images: list[BatchImage] = []
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if member.isfile() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    images.append(BatchImage(f"{path}/{member.name}", path, member.offset_data, member.size))
                elif member.isfile() and skipped is not None:
                    skipped.append(SkippedFile(path / member.name, "not an image"))
    except (OSError, tarfile.TarError) as error:
        # A shard that was cut off: what is whole is segmented, and the cut is an image that can't be read.
        if not images:
            raise DataError(f"{path}: not a tar file that can be read: {error}") from error
        images.append(BatchImage(f"{path}/(end)", path, path.stat().st_size, 1))
    if not images:
        raise ImageError(f"{path}: no image in this tar file ({' '.join(sorted(IMAGE_SUFFIXES))})")
    return images


def _list_table(path: Path, column: str | None) -> list[BatchImage]:
    table = open_table(path)
    name, holds_bytes = find_column(path, table.schema_arrow, column)
    num_rows, num_bytes = table.metadata.num_rows, path.stat().st_size
    if num_rows > num_bytes:  # an image or a path has a byte at least
        raise DataError(f"{path}: damaged: it states {num_rows:,} rows in {num_bytes:,} bytes")
    if holds_bytes:
        return [BatchImage(f"{path}#{row}", path, row=row, column=name) for row in range(num_rows)]
    return list(_files(map(expand_home, read_paths(path, name))))
