"""The command line's ways to write data sets: `predict --format` and `autolabel`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from opened_files import opened_files
from PIL import Image

from promptseg.cli.options import FORMAT_HELP
from promptseg.formats.dataset import read
from promptseg.formats.table import FORMATS

MODEL = ("--model", "promptseg-test", "--threshold", "0", "--engine", "torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        noise = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    (tmp_path / "names.txt").write_text("cat\nthe left ear\n")
    return folder


def test_help_names_every_format() -> None:
    assert FORMAT_HELP.removesuffix(".").replace(" or ", ", ").split(", ") == list(FORMATS)


def test_predict_writes_data_sets(promptseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = ("predict", folder, "-t", "cat", "-t", "dog", "-t", "cat", "-f", "coco", "-f", "labelme", *MODEL)
    code, said, err = promptseg(*request, "-o", out)
    assert code == 0, err
    assert str(folder / "0.png") in said and f"written: {out / 'coco'}, 2 images as coco" in err
    assert sorted(path.name for path in out.iterdir()) == ["coco", "labelme"]
    for name in ("coco", "labelme"):
        data = read(out / name, format=name)
        assert data.classes == ("cat", "dog")
        assert [annotation.file_name for annotation in data.annotations] == ["0.png", "1.png"]
    assert promptseg(*request, "-o", out)[0] == 0, "the same request again is the same data set"
    code, _, err = promptseg("predict", folder, "-t", "cow", "-f", "coco", *MODEL, "-o", out)
    assert code == 2 and "holds a data set of another class map" in err
    code, _, err = promptseg(*request, "--threshold", "0.5", "-o", out)
    assert code == 2 and "another origin" in err and "present from 0.5" in err
    code, _, err = promptseg(*request, "--model", "promptseg-test-dense", "-o", out)
    assert code == 2 and "another origin" in err, "answers of two models do not mix"
    code, _, err = promptseg(*request)
    assert code == 2 and "--out" in err
    code, _, err = promptseg("predict", folder, "-t", "cow", "-f", "pdf", "-o", out)
    assert code == 2 and "error: no format is named 'pdf'" in err


def test_a_point_outside_one_image_does_not_end_the_run(
    promptseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(folder / "1-small.png")
    request = ("predict", folder, "--masker", "sam-test", "--engine", "torch", "-f", "coco", "--json")
    code, said, err = promptseg(*request, "--point", "20,20", "-o", tmp_path / "out")
    assert code == 1, err
    assert f"error: {folder / '1-small.png'}: the point (20, 20) of 'object' is outside the image, 8x8" in err
    assert "1 of 3 images failed" in err
    assert ["error" in json.loads(line) for line in said.splitlines()] == [False, True, False]
    written = read(tmp_path / "out" / "coco", format="coco").annotations
    assert [annotation.file_name for annotation in written] == ["0.png", "1.png"]
    code, said, err = promptseg(*request, "-t", "cat", "-o", tmp_path / "other")
    assert (code, said) == (2, "") and "no text prompts" in err, "what concerns every image ends the run"


def test_autolabel_ends_with_1_where_a_image_failed(
    promptseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    request = ("autolabel", folder, "--names", tmp_path / "names.txt", "-f", "yolo", "-o", tmp_path / "out", *MODEL)
    code, said, err = promptseg(*request)
    assert code == 1, err
    assert said == f"2 images labeled, 0 of them before; see {tmp_path / 'out' / 'preview.png'}\n"
    assert f"error: {folder / 'broken.png'}: " in err and "1 image failed, see" in err
    (folder / "broken.png").unlink()
    code, said, _ = promptseg(*request)
    assert (code, said.split(";")[0]) == (0, "2 images labeled, 2 of them before")


def test_autolabel_names_no_preview_where_nothing_was_labeled(
    promptseg: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "names.txt").write_text("cat\n")
    out = tmp_path / "out"
    code, said, err = promptseg(
        "autolabel", tmp_path / "photos", "--names", tmp_path / "names.txt", "-f", "coco", "-o", out, *MODEL
    )
    assert (code, said) == (1, "0 images labeled, 0 of them before\n"), err
    assert "1 image failed, see" in err and not (out / "preview.png").exists()


def test_autolabel_takes_what_predict_takes(
    promptseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("# two classes\ncat, kitty\nwall [stuff]\n")
    request = (
        "autolabel",
        folder,
        "--names",
        tmp_path / "names.txt",
        "-x",
        f"cat={folder / '0.png'}:2,2,20,20",
        *MODEL,
    )
    out = tmp_path / "maps"
    code, said, err = promptseg(*request, "-t", "cup", "--tile", 64, "--workers", 2, "-f", "coco-panoptic", "-o", out)
    assert code == 0, err
    assert said == f"2 images labeled, 0 of them before; see {out / 'preview.png'}\n"
    kinds = json.loads((out / "annotations" / "panoptic.json").read_text())["categories"]
    assert [(each["name"], each["isthing"]) for each in kinds] == [("cup", 1), ("cat", 1), ("wall", 0)]
    (tmp_path / "points.csv").write_text("image,x,y\n0.png,20,20\n")
    pointing = ("autolabel", folder, "--points", tmp_path / "points.csv", "--masker", "sam-test", "--engine", "torch")
    with opened_files() as opened:
        code, said, err = promptseg(*pointing, "-f", "coco", "-o", tmp_path / "points")
    assert opened.count(str(tmp_path / "points.csv")) == 1
    assert (code, said.split(",")[0]) == (0, "1 image labeled") and "1 image without a point or box: left out" in err
    assert read(tmp_path / "points").classes == ("object",)
    detected = ("autolabel", folder, "-t", "cat", "--detector", "promptseg-test-vit", "--masker", "sam-test")
    code, said, err = promptseg(*detected, "--engine", "torch", "-f", "coco", "-o", tmp_path / "detected")
    assert (code, said.split(",")[0]) == (0, "2 images labeled"), err


def test_autolabel_refuses_bad_requests_before_a_model_is_loaded(
    promptseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "twice.txt").write_text("cat\ncat\n")
    names = ("--names", tmp_path / "names.txt")
    nowhere = ("--model", "no-such-model", "-o", tmp_path / "out")
    for request, said in (
        ((folder, "--names", tmp_path / "twice.txt", "-f", "coco"), "line 2: 'cat' is in line 1 already"),
        ((folder, *names, "-f", "pdf"), "no format is named 'pdf'"),
        ((folder, "-f", "coco"), "no class was given"),
        ((folder, "--points", tmp_path / "gone.csv", "-f", "coco"), "gone.csv: no such file"),
        ((folder / "*", *names, "-f", "coco"), "no such folder"),  # two folders may hold images of one name
    ):
        code, _, err = promptseg("autolabel", *request, *nowhere)
        assert code == 2 and said in err
    assert not (tmp_path / "out").exists()
