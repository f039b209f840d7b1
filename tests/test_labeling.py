"""A folder of images and a list of names in, a data set out; on the tiny model, which is random but real."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptseg
from promptseg.batch import AskedClass, Pool
from promptseg.errors import ImageError, OutputError, PromptError, UnsupportedPromptError
from promptseg.formats.dataset import read
from promptseg.labeling import autolabel, read_names
from promptseg.language.class_list import read_class_list
from promptseg.predictor import Predictor

NAMES = ("cat", "the left ear")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return promptseg.load("promptseg-test", threshold=0.0, engine="torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, one of them broken, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (30 + index, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    (folder / "1b.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "notes.txt").touch()
    return folder


def test_a_bad_image_is_named_and_passed_over(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = autolabel(predictor, folder, NAMES, out, format="yolo")
    assert (done.num_images, done.num_done_before) == (4, 0)
    assert list(done.failures) == ["1b.png"] and "damaged or cut short" in done.failures["1b.png"]
    assert (out / "failures.txt").read_text().startswith("1b.png\t") and len((out / "failures.txt").read_text()) > 20
    data = read(out, format="yolo")
    assert data.classes == NAMES
    assert [annotation.file_name for annotation in data.annotations] == ["0.png", "1.png", "2.png", "3.png"]
    for annotation in data.annotations:
        expected = predictor.segment(folder / annotation.file_name, NAMES)
        for region in annotation.regions:
            (result,) = (result for result in expected if result.label == region.label)
            kept = np.logical_or.reduce([instance.mask for instance in result.instances])
            np.testing.assert_array_equal(region.area.mask, kept)
    with Image.open(out / "preview.png") as preview:
        assert preview.width > 400 and preview.height > 600, "two by two"


def test_a_folder_that_is_none_leaves_an_earlier_data_set_alone(
    predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    autolabel(predictor, folder, NAMES, out, format="yolo")
    failures = (out / "failures.txt").read_text()
    for mistyped in (tmp_path / "phtoos", folder / "0.png"):
        with pytest.raises(ImageError, match=f"{mistyped.name}: no such folder"):
            autolabel(predictor, mistyped, NAMES, out, format="yolo")
    assert (out / "failures.txt").read_text() == failures


def test_a_run_that_was_broken_off_goes_on(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def break_off(paths: Sequence[Path]) -> Iterator[Path]:
        yield from paths[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        autolabel(predictor, folder, NAMES, out, format="coco", watch=break_off)
    assert not (out / "annotations").exists()
    assert (out / "failures.txt").exists()
    Image.new("RGB", (40, 30)).save(folder / "1b.png")
    asked: list[str] = []

    def note(paths: Sequence[Path]) -> Sequence[Path]:
        asked.extend(path.name for path in paths)
        return paths

    done = autolabel(predictor, folder, NAMES, out, format="coco", watch=note)
    assert asked == ["1b.png", "2.png", "3.png"], "0 and 1 were done, the bad one is tried again"
    assert (done.num_images, done.num_done_before, done.failures) == (5, 2, {})
    assert not (out / "failures.txt").exists()
    assert len(read(out, format="coco").annotations) == 5
    again = autolabel(predictor, folder, NAMES, out, format="coco")
    assert (again.num_images, again.num_done_before) == (5, 5)


def test_equal_names_of_two_folders_are_two_images(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "others"
    (folder / "1b.png").unlink()
    other.mkdir()
    Image.new("RGB", (20, 24)).save(other / "0.png")
    (other / "1.png").write_bytes((folder / "1.png").read_bytes())
    for labeled, num_images, num_before in ((folder, 4, 0), (other, 5, 4), (other, 5, 5), (folder, 5, 5)):
        done = autolabel(predictor, labeled, NAMES, out, format="yolo")
        assert (done.num_images, done.num_done_before) == (num_images, num_before)
    names = {each.file_name: each.size_hw for each in read(out, format="yolo").annotations}
    assert names["others-0.png"] == (24, 20) and names["0.png"] == (30, 40), "one is in both folders"
    folder.rename(tmp_path / "moved")
    assert autolabel(predictor, tmp_path / "moved", NAMES, out, format="yolo").num_done_before == 5


def test_an_image_that_was_damaged_or_replaced_since_is_not_shown(
    predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (folder / "1b.png").unlink()
    autolabel(predictor, folder, NAMES, out, format="coco")
    (folder / "0.png").write_bytes(b"damaged")
    Image.new("RGB", (90, 90)).save(folder / "1.png")
    Image.new("RGB", (40, 30)).save(folder / "4.png")
    done = autolabel(predictor, folder, NAMES, out, format="coco")
    assert (done.num_images, done.num_done_before) == (5, 4)
    assert len(read(out, format="coco").annotations) == 5
    with Image.open(out / "preview.png") as preview:
        assert 400 < preview.height < 800, "two and one"


def test_one_data_set_has_one_model_and_one_threshold(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    autolabel(predictor, folder, NAMES, out, format="coco")
    with pytest.raises(OutputError, match=r"another origin .*present from 0.*present from 0\.5"):
        autolabel(replace(predictor, presence_threshold=0.5), folder, NAMES, out, format="coco")
    with pytest.raises(OutputError, match="another class map"):
        autolabel(predictor, folder, NAMES[:1], out, format="coco")
    with pytest.raises(OutputError, match="photos: holds other files"):
        autolabel(predictor, folder, NAMES, folder, format="coco")


def test_requests_that_are_wrong_from_the_start(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    for names, error, said in (
        (["cat", "cat"], OutputError, "class 1 has the name of class 0: 'cat'"),
        ([], PromptError, "no"),
        (["?"], PromptError, "no letter or digit"),
    ):
        with pytest.raises(error, match=said):
            autolabel(predictor, folder, names, tmp_path / "out", format="coco")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no image in this folder"):
        autolabel(predictor, tmp_path / "empty", NAMES, tmp_path / "out", format="coco")
    with pytest.raises(OutputError, match="no format is named 'pdf'"):
        autolabel(predictor, folder, NAMES, tmp_path / "out", format="pdf")
    assert not (tmp_path / "out").exists()


def test_a_request_that_is_refused_does_not_spoil_the_folder(folder: Path, tmp_path: Path) -> None:
    pointing = promptseg.load("sam-test", engine="torch")
    concepts = promptseg.load("promptseg-test", threshold=0.0, engine="torch")
    out = tmp_path / "out"
    for predictor, names, error in (
        (pointing, NAMES, UnsupportedPromptError),
        (concepts, ["background"], PromptError),
        (concepts, ["cup, table"], PromptError),
    ):
        with pytest.raises(error):
            autolabel(predictor, folder, names, out, format="coco")
        assert not out.exists()
    assert autolabel(concepts, folder, NAMES, out, format="coco").num_images == 4


def test_several_processes_write_the_same_data_set(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    alone = autolabel(predictor, folder, NAMES, tmp_path / "alone", format="coco")
    done = autolabel(
        predictor,
        folder,
        NAMES,
        tmp_path / "out",
        format="coco",
        runner=Pool(2),
        report=lambda *progress: told.append(progress),
    )
    assert done.failures == alone.failures and (done.num_images, done.num_done_before) == (4, 0)
    assert told == [(number, 5) for number in range(1, 6)]
    for name in ("annotations/instances.json", "failures.txt", "classes.txt"):
        written, expected = ((tmp_path / each / name).read_text() for each in ("out", "alone"))
        assert re.sub(r"\d\.\d{3,}", "", written) == re.sub(r"\d\.\d{3,}", "", expected), "but for the digits of scores"


def test_a_class_may_have_several_wordings_and_examples(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    example = promptseg.ExemplarPrompt.from_file(folder / "0.png", box_xyxy=(2, 2, 20, 20))
    names = [AskedClass.named("cat", "kitty"), promptseg.Query("logo", (example,))]
    out = tmp_path / "out"
    assert autolabel(predictor, folder, names, out, format="coco").num_images == 4
    assert read(out).classes == ("cat", "logo")
    for other in (["cat", "logo"], [AskedClass.named("cat", "puss"), names[1]]):
        with pytest.raises(OutputError, match="another origin"):
            autolabel(predictor, folder, other, out, format="coco")


def test_points_of_images_are_objects(folder: Path, tmp_path: Path) -> None:
    pointing = promptseg.load("sam-test", engine="torch")
    points = tmp_path / "points.csv"
    points.write_text(
        "image,label,x,y,on_object\n0.png,cup,10,10,1\n0.png,cup,30,20,0\n2.png,dog,5,6,\n3.png,dog,99,6,\n"
    )
    out = tmp_path / "out"
    done = autolabel(pointing, folder, [], out, format="coco", points=points)
    assert (done.num_images, done.num_left_out) == (2, 2)
    assert list(done.failures) == ["3.png"] and "outside the image" in done.failures["3.png"]
    first, second = read(out).annotations
    assert [region.label for region in first.regions] == ["cup"] and [each.label for each in second.regions] == ["dog"]
    asked = promptseg.Query("cup", (promptseg.PointPrompt(((10, 10), (30, 20)), (True, False)),))
    (expected,) = pointing.segment(folder / "0.png", asked)
    assert first.regions[0].instances[0].rle == expected.instances[0].rle
    points.write_text(
        "image,label,x,y,on_object\n0.png,cup,10,10,1\n0.png,cup,30,20,0\n2.png,dog,25,16,\n1.png,cup,9,6,\n"
    )
    seen: list[str] = []

    def note(paths: Sequence[Path]) -> Sequence[Path]:
        seen.extend(path.name for path in paths)
        return paths

    done = autolabel(pointing, folder, [], out, format="coco", points=points, watch=note)
    assert seen == ["1.png", "2.png"], "a new one, and one whose points changed"
    assert (done.num_images, done.failures) == (3, {})


def test_points_that_fit_no_image_or_name(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.jsonl"
    for image, label, model, said in (
        ("9.png", "cat", predictor, r"points\.jsonl: there is no image '9\.png'"),
        ("0.png", "dog", predictor, "the label 'dog' is none of the names: cat, the left ear"),
        ("0.png", "cat", predictor, "no point prompts"),
    ):
        points.write_text(f'{{"image": "{image}", "label": "{label}", "points": [[3, 4]]}}\n')
        with pytest.raises(PromptError, match=said):
            autolabel(model, folder, NAMES, tmp_path / "out", format="coco", points=points)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", ["- cat", "1. cat", "0: cat", "2) cat", "\u2022 cat"])
def test_marks_of_a_list_are_no_part_of_a_name(line: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(f"7 up\n{line}\n", encoding="utf-8")
    for read_file in (read_names, read_class_list):
        with pytest.raises(PromptError, match=r"names\.txt, line 2: .* as lists do; write the name alone: 'cat'"):
            read_file(path)


def test_names_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\n\n# of the head\n  the left ear \n猫".encode())
    assert read_names(path) == ("cat", "the left ear", "猫")
    for content, said in (
        (b"", r"names\.txt: no name; write one per line"),
        (b"\n \n", "no name"),
        (b"cat\ndog\ncat\n", r"names\.txt, line 3: 'cat' is in line 1 already"),
        (b"\xff\xfe\x00", "is no UTF-8 text"),
        (b"cup\ncat, dog, bird\n", r"names\.txt, line 2: 'cat, dog, bird' lists 3 names; write one per line"),
    ):
        path.write_bytes(content)
        with pytest.raises(PromptError, match=said):
            read_names(path)
    with pytest.raises(PromptError, match=r"gone\.txt: no such file; it holds the names"):
        read_names(tmp_path / "gone.txt")
