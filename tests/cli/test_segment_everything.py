"""`promptseg segment-everything`: what it writes, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from promptseg.cli.app import app
from promptseg.errors import OutputError, PromptError, UnknownModelError
from promptseg.formats.dataset import read

FAST = ("--masker", "sam-test", "--points-per-side", "2", "--engine", "torch")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run() -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["segment-everything", *map(str, arguments)])

    return run


def test_says_and_writes_what_it_found(run: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\n\n dog \n", encoding="utf-8")
    ended = run(photo, *FAST, "--names", names, "--model", "promptseg-test", "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    assert [line.split()[1] for line in ended.stdout.splitlines()[1:]] == ["cat", "dog", "unnamed"]
    folder = tmp_path / "out" / "cat"
    assert {path.name for path in folder.iterdir()} >= {"everything.png", "overlay.png", "result.json"}
    labels = [result["label"] for result in json.loads((folder / "result.json").read_text())["results"]]
    assert labels == ["cat", "dog", "unnamed"]
    with Image.open(folder / "everything.png") as drawn:
        assert drawn.size == (60, 40)


def test_a_uniovseg_finds_the_masks_too(run: Callable[..., Result], photo: Path) -> None:
    ended = run(photo, *FAST, "--masker", "uniovseg-test", "--min-score", "0", "--min-stability", "0", "--json")
    assert ended.exit_code == 0, ended.output
    (result,) = json.loads(ended.stdout)["results"]
    assert result["label"] == "unnamed" and result["instances"]


def test_json_has_a_line_for_each_image(run: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    ended = run(photo, broken, *FAST, "--tile", 64, "--json")
    assert ended.exit_code == 1
    first, second = map(json.loads, ended.stdout.splitlines())
    assert first["image"] == str(photo) and [result["label"] for result in first["results"]] == ["unnamed"]
    assert second["image"] == str(broken) and "not an image" in second["error"]
    assert "1 of 2 images failed" in ended.stderr


def test_masks_become_a_data_set(run: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    request = (photo, *FAST, "--min-score", "0", "--min-stability", "0", "--format", "coco", "--out", tmp_path / "out")
    ended = run(*request)
    assert ended.exit_code == 0, ended.output
    assert run(*request).exit_code == 0, "the same request again is the same data set"
    for other in (("--points-per-side", "3"), ("--tile", "64")):
        refused = run(*request, *other).exception
        assert isinstance(refused, OutputError) and "another origin" in str(refused)
    data = read(tmp_path / "out" / "coco", format="coco")
    assert data.classes == ("unnamed",) and len(data.annotations) == 1


def test_what_is_wrong_is_said_at_once(run: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for arguments, error in (
        (("--names", empty), PromptError),
        (("--names", tmp_path / "none.txt"), PromptError),
        (("--format", "docx", "--out", tmp_path), OutputError),
        (("--masker", "sam9"), UnknownModelError),
    ):
        assert isinstance(run(photo, *arguments).exception, error)
    assert run(photo, *FAST, "--format", "coco").exit_code == 2
