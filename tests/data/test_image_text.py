"""Image-text pairs in their layouts: TSV with and without names of columns, webdataset, JSONL; broken files."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from promptseg.data.image_text import find_image_texts, load_captions, load_entities
from promptseg.errors import DataError, ImageError


def encoded(color: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), color).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    "text",
    [
        "filepath\ttitle\timages/a.jpg\n",
        'A cat.\timages/a.jpg\nA "dog".\timages/b.jpg\n',
        'title\tfilepath\nA cat.\timages/a.jpg\nA "dog".\timages/b.jpg\n\n',
        'id\tfilepath\ttitle\n1\timages/a.jpg\tA cat.\n2\timages/b.jpg\tA "dog".\n',
    ],
    ids=["header alone", "no header", "caption first", "more columns"],
)
def test_tsv_files_are_read_by_their_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(encoded())
    (tmp_path / "pairs.tsv").write_text(text)
    if "A cat" not in text:
        with pytest.raises(DataError, match="no image-text pairs"):
            find_image_texts(tmp_path)
        return
    pairs = find_image_texts(tmp_path / "pairs.tsv")
    assert [pair.sample_id for pair in pairs] == ["images/a.jpg", "images/b.jpg"]
    assert [pair.captions for pair in pairs] == [("A cat.",), ('A "dog".',)]
    assert pairs[0].size_hw == (10, 20) and isinstance(pairs[0].image, Path)


def test_what_a_tsv_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded())
    (tmp_path / "pairs.tsv").write_text("A cat.\ta.jpg\nA dog.\tnone.jpg\n\ta.jpg\n")
    pairs = find_image_texts(tmp_path)
    assert len(pairs) == 1
    assert [str(problem) for problem in pairs.problems] == [
        f"{tmp_path}/pairs.tsv:2: no image none.jpg", f"{tmp_path}/pairs.tsv:3: no caption"
    ]  # fmt: skip
    (tmp_path / "pairs.tsv").write_text("A cat without a path\n")
    with pytest.raises(DataError, match=r"pairs\.tsv:1: expected a caption and a path, got 1 column"):
        find_image_texts(tmp_path)
    (tmp_path / "pairs.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"pairs\.tsv: can't be read"):
        find_image_texts(tmp_path)


def test_an_archive_is_read_in_place(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "00000.tar",
        {
            "0.jpg": encoded("red"), "0.txt": b"A cat.", "0.json": json.dumps({"caption": "other"}).encode(),
            "1.jpg": encoded("blue"), "1.json": json.dumps({"caption": "A dog."}).encode(),
            "2.jpg": encoded(), "3.txt": b"no image", "../4.jpg": encoded(), "../4.txt": b"A bird.", "5.json": b"[]",
        },
    )  # fmt: skip
    pairs = find_image_texts(tmp_path / "00000.tar")
    assert [pair.captions for pair in pairs] == [("A cat.",), ("A dog.",), ("A bird.",)]
    assert isinstance(pairs[1].image, bytes) and pairs[1].image == encoded("blue")
    assert [str(problem) for problem in pairs.problems] == ["00000.tar/2.jpg: no caption beside it"]
    assert [path.name for path in tmp_path.parent.iterdir() if path.name == "4.jpg"] == [], "nothing is unpacked"
    (tmp_path / "00000.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"00000\.tar: can't be read as an uncompressed archive"):
        find_image_texts(tmp_path)


def test_a_broken_image_is_an_error_only_when_it_is_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"0.jpg": b"no image", "0.txt": b"A cat.", "1.jpg": encoded(), "1.txt": b"A dog."})
    pairs = find_image_texts(tmp_path)
    with pytest.raises(ImageError, match=r"0\.tar/0\.jpg"):
        pairs[0]
    assert pairs[1].captions == ("A dog.",)


def test_a_jsonl_index_gives_its_captioned_images_and_a_folder_all_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded())
    records = [{"image": "a.jpg", "width": 20, "height": 10, "captions": ["A cat.", "A small cat."]}]
    (tmp_path / "index.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "pairs.tsv").write_text("A dog.\ta.jpg\n")
    (tmp_path / "entities.jsonl").write_text(json.dumps({"image": "a.jpg", "entities": ["small cat"]}))
    pairs = find_image_texts(tmp_path)
    assert [pair.captions for pair in pairs] == [("A cat.", "A small cat."), ("A dog.",)]
    assert load_entities(tmp_path / "entities.jsonl") == {"a.jpg": ("small cat",)}
    assert [pair.captions for pair in pairs[:1]] == [("A cat.", "A small cat.")]


def test_better_captions_replace_those_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded())
    (tmp_path / "pairs.tsv").write_text("A dog.\ta.jpg\n")
    (tmp_path / "captions.jsonl").write_text(json.dumps({"image": "a.jpg", "captions": [" A small dog. "]}))
    pairs = find_image_texts(tmp_path).with_captions(load_captions(tmp_path / "captions.jsonl"))
    assert pairs[0].captions == ("A small dog.",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a.jpg"}', r"entities\.jsonl:1: field 'entities' must be list"),
        ('{"image": "a.jpg", "entities": ["cat", ""]}', r"entities\.jsonl:1: field 'entities' must be a list of texts"),
        ('{"entities": ["cat"]}', r"entities\.jsonl:1: field 'image' must be str"),
        ("{", r"entities\.jsonl:1: not valid JSON"),
    ],
)
def test_malformed_entities_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "entities.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        load_entities(tmp_path / "entities.jsonl")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").touch()
    with pytest.raises(DataError, match=r"image-text pairs are in \.tsv, \.tar or \.jsonl files"):
        find_image_texts(tmp_path / "pairs.csv")
    with pytest.raises(DataError, match="no image-text pairs"):
        find_image_texts(tmp_path)
