"""`promptseg evaluate` on a folder of images and masks and on indexes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended
from data_trees import write_mask
from evaluate_world import block, paint, write_indexes

from promptseg.errors import OutputError

MODEL = ("--model", "promptseg-test", "--engine", "torch", "--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with masks of two phrases; a black mask says that "blue" is absent from the first."""
    root = tmp_path / "shapes.v2"
    for number in range(3):
        red = block(0, 0, 5 + number, 6)
        paint(root / f"images/{number}.png", {"red": red})
        write_mask(root / f"masks/red/{number}.png", red)
        write_mask(root / f"masks/blue/{number}.png", np.zeros_like(red) if number == 0 else block(8, 8, 10, 10))
    return root


def only_report(path: Path) -> dict:
    (report,) = json.loads(path.read_text())["reports"]
    return report


def test_a_folder_is_measured(promptseg: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    out, gallery = tmp_path / "out/report.json", tmp_path / "out/gallery.png"
    ended = promptseg("evaluate", "--data", folder, *MODEL, "--out", out, "--gallery", gallery)
    assert ended.code == 0, ended.err
    assert "promptseg-test on shapes.v2: 3 images, 5 present and 1 absent pairs" in " ".join(ended.out.split())
    report = only_report(out)
    assert report["data_set"] == "shapes.v2"
    assert list(report["numbers"])[:2] == ["mean_iou_gated", "mean_iou"]
    assert report["numbers"]["absent_rejected"]["count"] == 1
    assert gallery.exists()
    assert len(out.with_name("report.shapes.v2.jsonl").read_text().splitlines()) == 3


def test_a_folder_is_measured_by_example(promptseg: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    arguments = ("--engine", "torch", "--device", "cpu", "--prompt", "exemplar", "--limit", 2, "--out", out)
    ended = promptseg("evaluate", "--data", folder, "--model", "clipseg-test", *arguments)
    assert ended.code == 0, ended.err
    assert only_report(out)["data_set"] == "shapes.v2, by example"
    refused = promptseg("evaluate", "--data", folder, "--model", "promptseg-s1-test", *arguments)
    assert refused.code == 2 and "no exemplar prompts" in refused.err


def test_indexes_are_measured_and_resumed(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    write_indexes(tmp_path, "clothes", "shapes")
    (tmp_path / "clothes/3.png").write_bytes(b"no image")
    out = tmp_path / "out/report.json"
    arguments = ("evaluate", "--data", tmp_path, "--set", "clothes", "--set", "shapes", *MODEL, "--out", out)
    ended = promptseg(*arguments)
    assert ended.code == 1, "one image is broken"
    assert "promptseg-test on clothes: 3 images, 1 more failed" in " ".join(ended.out.split())
    assert "error: clothes/3.png: ImageError" in ended.err
    reports = json.loads(out.read_text())["reports"]
    assert [report["data_set"] for report in reports] == ["clothes", "shapes"]
    assert reports[0]["num_absent"] == 3, "blue is a complete name that is in no image"
    assert promptseg(*arguments, "--resume").code == 1
    again = json.loads(out.read_text())["reports"]
    assert [report["numbers"] for report in again] == [report["numbers"] for report in reports]


def test_one_index_is_measured_on_listed_images(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    write_indexes(tmp_path, "shapes")
    listed, out = tmp_path / "ids.txt", tmp_path / "report.json"
    listed.write_text("shapes/1.png\nshapes/2.png\n")
    common = ("evaluate", "--data", tmp_path / "shapes.jsonl", *MODEL, "--only", listed)
    assert promptseg(*common, "--limit", 1, "--out", out).code == 0
    assert (only_report(out)["data_set"], only_report(out)["num_images"]) == ("shapes", 1)
    listed.write_text("elsewhere.png\n")
    ended = promptseg(*common)
    assert (ended.code, ended.err) == (2, "error: shapes: its 4 images and the list have none in common\n")


def test_problems_of_the_data_are_named(promptseg: Callable[..., Ended], folder: Path) -> None:
    (folder / "images/notes.txt").touch()
    ended = promptseg("evaluate", "--data", folder, *MODEL)
    assert ended.code == 0
    assert f"left out: {folder / 'images/notes.txt'}: not an image" in ended.err


def test_outputs_that_can_not_be_written_are_refused_before_anything_is_loaded(
    promptseg: Callable[..., Ended], folder: Path, tmp_path: Path
) -> None:
    for gallery in ("sheet.pdff", "sheet", "sheet.pdf"):
        ended = promptseg("evaluate", "--data", folder, "--model", "no-such", "--gallery", tmp_path / gallery)
        assert ended.code == 2
        assert ended.err == (
            f"error: {tmp_path / gallery}: can't be written: use one of the suffixes .png, .jpg, .jpeg, .webp\n"
        )


def test_a_gallery_that_fails_does_not_take_the_report_with_it(
    promptseg: Callable[..., Ended], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("promptseg.evaluate.evaluate_set.draw_pairs", fail)
    out = tmp_path / "report.json"
    ended = promptseg("evaluate", "--data", folder, *MODEL, "--out", out, "--gallery", tmp_path / "sheet.jpg")
    assert (ended.code, only_report(out)["num_images"]) == (2, 3)
    assert "error: the disk is full" in ended.err and "mean_iou" in ended.out


def test_an_image_or_mask_that_can_not_be_used_makes_the_exit_code_1(
    promptseg: Callable[..., Ended], folder: Path
) -> None:
    for path in (folder / "images/2.png", folder / "masks/blue/1.png"):
        whole = path.read_bytes()
        path.write_bytes(b"no image")
        ended = promptseg("evaluate", "--data", folder, *MODEL)
        assert ended.code == 1
        assert f"error: {path}: not an image" in ended.err and ended.err.count(str(path)) == 1
        path.write_bytes(whole)
    assert promptseg("evaluate", "--data", folder, *MODEL).code == 0


def test_nothing_to_score_by_example_is_an_error(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    for number, phrase in enumerate(("red", "blue")):
        paint(tmp_path / f"images/{number}.png", {phrase: block(0, 0, 5, 6)})
        write_mask(tmp_path / f"masks/{phrase}/{number}.png", block(0, 0, 5, 6))
    ended = promptseg("evaluate", "--data", tmp_path, "--model", "no-such", "--prompt", "exemplar")
    assert ended.code == 2 and ended.out == ""
    assert "nothing can be scored by example: no phrase of an image is shown by another one" in ended.err


def test_a_mask_value_that_nothing_reads_is_refused(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    write_indexes(tmp_path, "shapes")
    ended = promptseg("evaluate", "--data", tmp_path / "shapes.jsonl", "--model", "no-such", "--mask-value", 7)
    assert ended.code == 2 and "leave mask_value (--mask-value) out" in ended.err
