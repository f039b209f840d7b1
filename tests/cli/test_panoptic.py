"""`promptseg panoptic` on the tiny model: folders, data sets, resuming, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended
from hotcoco.panoptic import pq_compute
from PIL import Image

from promptseg.results.panoptic_files import read_panoptic_file

TINY = ("--model", "promptseg-test", "--engine", "torch", "--threshold", "0")
Run = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        noise = np.random.default_rng(index).integers(0, 256, (40 + index, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes((folder / "1.png").read_bytes()[:200])
    return folder


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("cat\n\nwall, brick wall\nblorp\nmeadow\n")
    return path


def test_a_folder_is_done_once_and_a_broken_image_is_recorded(
    promptseg: Run, folder: Path, names: Path, tmp_path: Path
) -> None:
    command = ("panoptic", folder, "--names", names, "--out", tmp_path / "out", *TINY)
    ended = promptseg(*command)
    assert ended.code == 1 and "1 of 3 images failed" in ended.err
    assert f"{names}, line 2 is empty: skipped" in ended.err
    assert "stuff by tables: wall" in ended.err and "thing by tables: cat" in ended.err
    assert "stuff by WordNet: meadow" in ended.err and "thing by default (unknown words): blorp" in ended.err
    assert "(no class)" in ended.out
    assert (tmp_path / "out" / "failures.txt").read_text().startswith(str(folder / "broken.png"))
    document = read_panoptic_file(tmp_path / "out" / "0")
    assert [one["label"] for one in document["classes"]] == ["cat", "wall", "blorp", "meadow"]

    again = promptseg(*command)
    assert again.out == "" and "2 images done before: skipped" in again.err
    Image.new("RGB", (40, 30)).save(folder / "broken.png")
    repaired = promptseg(*command)
    assert repaired.code == 0 and "broken.png" in repaired.out and not (tmp_path / "out" / "failures.txt").exists()
    other = promptseg(*command, "--unlabelled", "fill")
    assert "done before" not in other.err, "another request is done anew"


def test_a_folder_holds_a_map_and_a_result_of_predict(
    promptseg: Run, folder: Path, names: Path, tmp_path: Path
) -> None:
    image, out = folder / "0.png", tmp_path / "out"
    found = ("predict", image, "-t", "cat", "-t", "wall", "--out", out, *TINY)
    mapped = ("panoptic", image, "--names", names, "--out", out, *TINY)
    contents: dict[str, bytes] = {}
    for command in (found, mapped, found):
        assert promptseg(*command).code == 0
        written = {path.name: path.read_bytes() for path in (out / "0").iterdir()}
        assert {name: written[name] for name in contents} == contents, "nothing of the other command was replaced"
        contents = written
    assert {"overlay.png", "panoptic-overlay.png", "result.json", "panoptic.json"} <= contents.keys()


def test_a_data_set_is_continued_and_another_scorer_reads_it(
    promptseg: Run, folder: Path, names: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").unlink()
    out = tmp_path / "out"
    command = (
        "panoptic", folder, "--names", names, "--stuff", "blorp", "--out", out, "--unlabelled", "fill", "--json",
        "--format", "coco-panoptic", "--format", "png", *TINY,
    )  # fmt: skip
    ended = promptseg(*command)
    assert ended.code == 0
    lines = [json.loads(line) for line in ended.out.splitlines()]
    index = json.loads((out / "coco-panoptic" / "annotations" / "panoptic.json").read_text())
    assert {one["name"]: one["isthing"] for one in index["categories"]} == {
        "cat": 1,
        "wall": 0,
        "blorp": 0,
        "meadow": 0,
    }
    for line, annotation in zip(lines, index["annotations"], strict=True):
        assert len(line["segments"]) == len(annotation["segments_info"]) > 0
        assert sorted(one["area"] for one in line["segments"]) == sorted(
            one["area"] for one in annotation["segments_info"]
        )
    written = str(out / "coco-panoptic" / "annotations" / "panoptic.json")
    maps = str(out / "coco-panoptic" / "panoptic")
    assert pq_compute(written, written, maps, maps)["All"]["pq"] == 1.0
    assert "2 images done before: skipped" in promptseg(*command).err


def test_names_are_optional(promptseg: Run, folder: Path) -> None:
    ended = promptseg("panoptic", folder / "0.png", "--json", *TINY)
    assert ended.code == 0
    classes = json.loads(ended.out)["classes"]
    assert len(classes) > 60 and {one["decided_by"] for one in classes} == {"mark"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", (), "no name; write one class a line"),
        ("".join(f"name {number}\n" for number in range(5000)).encode(), (), "5,000 classes; a map has 1,000 at most"),
        (b"cat\ndog\ncat\n", (), "names.txt, line 3: the class 'cat' is in"),
        (b"couch, sofa\narmchair, sofa\n", (), "'sofa' is a name of 'armchair' and, in"),
        (b"wall [thing]\nwall [stuff]\n", (), "'wall' is marked [stuff], in"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", (), "can't be read as UTF-8 text"),
        (b"cat\n", ("--stuff", "sky"), "'sky' is said to be stuff, but no class has that name"),
    ],
)
def test_a_list_that_is_refused_ends_the_command_before_anything_is_loaded(
    promptseg: Run, folder: Path, tmp_path: Path, content: bytes, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    ended = promptseg("panoptic", folder, "--names", tmp_path / "names.txt", "--model", "no-such", *options)
    assert ended.code == 2 and ended.out == ""
    assert ended.err.startswith("error: ") and message in ended.err and ended.err.count("\n") == 1
