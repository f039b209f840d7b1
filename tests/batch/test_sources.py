"""What sources stand for, and the bytes of each image."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from promptseg.batch.reader import ImageReader
from promptseg.batch.sources import BatchImage, list_sources
from promptseg.errors import DataError, ImageError
from promptseg.skipped_files import SkippedFile

MAX_BYTES = 10_000


def read(image: BatchImage) -> bytes:
    return ImageReader().read(image, max_bytes=MAX_BYTES)


def png(value: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), value, dtype=np.uint8)).save(encoded, format="PNG")
    return encoded.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for value in (1, 2, 3):
        (folder / f"{value}.png").write_bytes(png(value))
    return folder


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


def test_folders_files_and_lists_name_each_image_once(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "some.txt"
    listing.write_text(f"{folder / '3.png'}\n\n{folder / '1.png'}\r\n")
    images = list_sources([folder / "2.png", listing, folder])
    assert [image.id for image in images] == [str(folder / f"{value}.png") for value in (2, 3, 1)]
    assert read(images[0]) == png(2)


def test_a_shard_yields_its_images_and_names_the_rest(tmp_path: Path) -> None:
    shard = tmp_path / "000.tar"
    write_shard(shard, {"a/1.png": png(1), "a/1.json": b"{}", "a/2.png": png(2)})
    skipped: list[SkippedFile] = []
    images = list_sources([shard], skipped=skipped)
    assert [image.id for image in images] == [f"{shard}/a/1.png", f"{shard}/a/2.png"]
    assert [read(image) for image in images] == [png(1), png(2)]
    assert [each.path.name for each in skipped] == ["1.json"]


def test_a_shard_that_ends_in_the_middle_loses_only_its_end(tmp_path: Path) -> None:
    shard = tmp_path / "000.tar"
    write_shard(shard, {"1.png": png(1), "2.png": png(2)})
    shard.write_bytes(shard.read_bytes()[: 512 + 512 + 512 + 20])
    first, *others = list_sources([shard])
    assert read(first) == png(1)
    assert others, "what is missing is an image that fails, not silence"
    for image in others:
        with pytest.raises(ImageError, match="ends in the middle"):
            read(image)


@pytest.mark.parametrize("kind", ["bytes", "struct", "path"])
def test_a_table_holds_images_or_paths(kind: str, folder: Path, tmp_path: Path) -> None:
    contents = [png(value) for value in (1, 2, 3)]
    columns = {
        "bytes": {"image": contents},
        "struct": {"image": [{"bytes": content, "path": None} for content in contents]},
        "path": {"path": [str(folder / f"{value}.png") for value in (1, 2, 3)]},
    }[kind]
    table = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), table, row_group_size=2)
    images = list_sources([table])
    reader = ImageReader()
    assert [reader.read(image, max_bytes=MAX_BYTES) for image in images] == contents
    assert reader.read(images[0], max_bytes=MAX_BYTES) == contents[0], "an earlier row group again"
    expected = columns["path"] if kind == "path" else [f"{table}#{row}" for row in range(3)]
    assert [image.id for image in images] == expected


def test_a_row_without_an_image_is_named(tmp_path: Path) -> None:
    table = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"photo": [png(1), None]}), table)
    with pytest.raises(DataError, match=r"no column of images or paths .* it has photo"):
        list_sources([table])
    images = list_sources([table], column="photo")
    with pytest.raises(ImageError, match=r"images\.parquet#1: the table has no image here"):
        read(images[1])


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    contents = [png(value) for value in range(7)]
    table = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": contents}), table, row_group_size=3)
    images, reader = list_sources([table]), ImageReader()
    for row in (2, 0, 5, 6, 4, 4, 1):
        assert reader.read(images[row], max_bytes=MAX_BYTES) == contents[row]


READ_LAST_ROW = """
import resource, sys

from promptseg.batch.reader import ImageReader
from promptseg.batch.sources import list_sources
from promptseg.errors import PromptsegError

resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000, 4_000_000_000))
try:
    images = list_sources([sys.argv[1]])
    print(len(ImageReader().read(images[-1], max_bytes=100_000_000)))
except PromptsegError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("column", "kind", "said"),
    [
        ("image", "equal", "10000000"),
        ("image", "zeros", "decompression bomb"),
        ("path", "equal", "too long for a path"),
    ],
)
def test_a_small_table_does_not_expand_without_bound(column: str, kind: str, said: str, tmp_path: Path) -> None:
    table = tmp_path / "images.parquet"
    if kind == "equal":  # stored once for all rows, 5 GB of values
        value = "x" * 10_000_000 if column == "path" else bytes(10_000_000)
        rows = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 500), pyarrow.array([value]))
    else:
        rows = pyarrow.array([bytes(10_000_000)] * 30)
    pyarrow.parquet.write_table(
        pyarrow.table({column: rows}), table, compression="zstd", store_schema=False, use_dictionary=kind == "equal"
    )
    assert table.stat().st_size < 1_000_000
    command = [sys.executable, "-c", READ_LAST_ROW, str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and said in done.stdout, done.stderr


def test_a_column_of_categories_holds_paths(folder: Path, tmp_path: Path) -> None:
    paths = [str(folder / f"{value}.png") for value in (1, 2, 1)]
    table = tmp_path / "images.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"path": pyarrow.array(paths).dictionary_encode()}), table)
    assert [image.id for image in list_sources([table])] == paths[:2]


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    (image,) = list_sources([pipe])
    with pytest.raises(ImageError, match=r"pipe\.png: can't be read: a pipe or a device"):
        read(image)


def test_sources_that_hold_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "noise.tar").write_bytes(b"noise" * 400)
    (tmp_path / "noise.parquet").write_bytes(b"noise")
    write_shard(tmp_path / "text.tar", {"a.txt": b"a"})
    for name, error, message in (
        ("empty.txt", DataError, "lists no path"),
        ("noise.tar", DataError, "not a tar file"),
        ("noise.parquet", DataError, "not a Parquet table"),
        ("text.tar", ImageError, "no image in this tar file"),
        ("missing.tar", ImageError, "no such file"),
        ("shard.tar.gz", DataError, "unpack it"),
    ):
        with pytest.raises(error, match=message):
            list_sources([tmp_path / name])
