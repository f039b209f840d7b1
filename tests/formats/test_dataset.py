"""Data sets that grow: gone on with after a break, never mixed, every image with files of its own."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from formats_world import disc, make_segmentation
from PIL import Image

from promptseg.errors import DataError, ImageError, OutputError
from promptseg.formats.dataset import DatasetWriter, read, write
from promptseg.results import Segmentation

CLASSES = ("cat", "dog")


def result(seed: int) -> Segmentation:
    return make_segmentation({"cat": [disc(10 + seed, 20, 6)], "dog": [disc(40, 20, 2 + seed)]}, seed=seed)


def files(directory: Path) -> dict[str, bytes]:
    """All files of the format; the journal of a run that was broken off may differ."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".promptseg" not in path.parts
    }


@pytest.mark.parametrize("name", ["coco", "yolo", "labelstudio", "png"])
def test_a_run_that_was_killed_goes_on_to_the_same_data_set(name: str, tmp_path: Path) -> None:
    at_once = write({f"{seed}.jpg": result(seed) for seed in range(4)}, tmp_path / "once", format=name)
    program = f"""
        import os, signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "worlds")!r}]
        from test_dataset import *
        with DatasetWriter({str(tmp_path / "killed")!r}, format={name!r}, classes=CLASSES) as writer:
            for seed in range(2):
                writer.add(f"{{seed}}.jpg", result(seed))
            with (writer.directory / ".promptseg" / "pictures.jsonl").open("ab") as journal:
                journal.write(b'{{"source": "2.jpg", "anno')
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -9
    with DatasetWriter(tmp_path / "killed", format=name, classes=CLASSES) as writer:
        assert [source in writer for source in ("0.jpg", "1.jpg", "2.jpg")] == [True, True, False]
        for seed in range(2, 4):
            writer.add(f"{seed}.jpg", result(seed))
    assert files(tmp_path / "killed") == files(at_once)
    assert len(read(tmp_path / "killed", format=name).annotations) == 4


def test_a_repeated_run_does_not_make_the_journal_grow(tmp_path: Path) -> None:
    journal = tmp_path / "set" / ".promptseg" / "pictures.jsonl"
    sizes = []
    for seeds in ((0, 1), (0, 1), (1, 1)):
        with DatasetWriter(tmp_path / "set", format="geojson", classes=CLASSES) as writer:
            for number, seed in enumerate(seeds):
                writer.add(f"{number}.jpg", result(seed))
        sizes.append(len(journal.read_bytes().splitlines()))
    assert sizes == [2, 2, 3], "only what changed is written"
    first, second = read(tmp_path / "set", format="geojson").annotations
    assert [each.rle for _, each in first.objects()] == [each.rle for _, each in second.objects()]


def test_nothing_is_mixed(tmp_path: Path) -> None:
    out = write({"a.jpg": result(0)}, tmp_path / "out", format="coco")
    before = files(out)
    for format, classes, said in (
        ("yolo", CLASSES, r"another format \(\"coco\", not \"yolo\"\)"),
        ("coco", ("dog", "cat"), r"another class map \(\[\"cat\", \"dog\"\], not \[\"dog\", \"cat\"\]\)"),
        ("coco", ("cat", "dog", "cow"), "another class map"),
    ):
        with pytest.raises(OutputError, match=f"{out}: holds a data set of {said}"):
            DatasetWriter(out, format=format, classes=classes)
    with pytest.raises(OutputError, match="another origin"):
        DatasetWriter(out, format="coco", classes=CLASSES, origin="another model")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(OutputError, match=r"photos: holds other files; a data set goes to a new or empty folder"):
        write({"a.jpg": result(0)}, tmp_path / "photos", format="coco")
    (out / ".promptseg" / "dataset.json").write_text('{"schema": "promptseg/dataset-9"}')
    with pytest.raises(OutputError, match="a data set of another version"):
        write({"a.jpg": result(0)}, out, format="coco")
    assert files(out) == before


def test_results_of_two_models_or_thresholds_do_not_mix(tmp_path: Path) -> None:
    out = write({"a.jpg": result(0)}, tmp_path / "out", format="coco")
    write({"b.jpg": result(1)}, out, format="coco")
    for other in (replace(result(2), model="another"), replace(result(2), presence_threshold=0.25)):
        with pytest.raises(OutputError, match="another origin"):
            write({"c.jpg": other}, out, format="coco")
        with pytest.raises(
            OutputError, match=r"c\.jpg: found by .*, what was written before by promptseg-test, present"
        ):
            write({"a.jpg": result(0), "c.jpg": other}, out, format="coco")
        write({"a.jpg": result(0), "c.jpg": other}, tmp_path / "both", format="coco", origin="several models")
    assert len(read(out, format="coco").annotations) == 2


def test_two_processes_do_not_write_one_data_set(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, format="coco", classes=CLASSES):
        with pytest.raises(OutputError, match="another process is writing this data set"):
            DatasetWriter(tmp_path, format="coco", classes=CLASSES)
    with DatasetWriter(tmp_path, format="coco", classes=CLASSES) as writer:
        assert len(writer) == 0


def test_a_run_that_was_killed_at_its_very_beginning_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".promptseg").mkdir()
    (tmp_path / ".promptseg" / "lock").touch()
    write({"a.jpg": result(0)}, tmp_path, format="coco")
    # Killed after dataset.json, before the rest.
    (tmp_path / "classes.txt").unlink()
    (tmp_path / ".promptseg" / "pictures.jsonl").unlink()
    write({"a.jpg": result(0)}, tmp_path, format="coco")
    assert (tmp_path / "classes.txt").read_text() == "cat\ndog\n"


def test_a_data_set_without_images_does_not_stand_in_the_way(tmp_path: Path) -> None:
    results = [("a.jpg", result(0)), ("b.jpg", make_segmentation({"cow": []}))]
    for source, segmentation in results[::-1]:
        with pytest.raises(OutputError, match=r"not in the class map, which has 'pig'"):
            write(iter([(source, segmentation)]), tmp_path, format="coco", classes=["pig"])
    # a generator that breaks before its first image, with a class map that was mistyped
    with DatasetWriter(tmp_path, format="yolo", classes=["pig"], origin="nobody"):
        pass
    with pytest.raises(OutputError, match="files of an empty data set of another format"):
        write({"a.jpg": result(0)}, tmp_path, format="coco")
    write({"a.jpg": result(0)}, tmp_path, format="yolo")
    data = read(tmp_path)
    assert data.classes == CLASSES and len(data.annotations) == 1
    with pytest.raises(OutputError, match="another class map"):
        write({"a.jpg": result(0)}, tmp_path, format="yolo", classes=["cat", "dog", "pig"])


def test_outlines_of_one_data_set_have_one_tolerance(tmp_path: Path) -> None:
    disk = make_segmentation({"cat": [disc(30, 30, 20)]})
    write({"a": disk}, tmp_path / "coarse", format="labelme", tolerance=2)
    with pytest.raises(OutputError, match=r"another tolerance of polygons \(2\.0, not 0\.0\)"):
        write({"b": disk}, tmp_path / "coarse", format="labelme", tolerance=0)
    write({"b": disk}, tmp_path / "coarse", format="labelme")
    a, b = (
        len(json.loads(path.read_text())["shapes"][0]["points"])
        for path in sorted((tmp_path / "coarse" / "pictures").glob("*.json"))
    )
    assert a == b, "continued without a word about it: with the tolerance that it has"
    write({"a": disk}, tmp_path / "exact", format="png", tolerance=2)
    write({"b": disk}, tmp_path / "exact", format="png", tolerance=0)
    # a data set of an earlier version states none
    state = tmp_path / "coarse" / ".promptseg" / "dataset.json"
    stated = json.loads(state.read_text())
    del stated["tolerance"]
    state.write_text(json.dumps(stated))
    write({"c": disk}, tmp_path / "coarse", format="labelme", tolerance=0)


@pytest.mark.parametrize("classes", [(), ("cat", "cat"), ("",), (" cat",), ("a\nb",), ("a\x07",), ("\ud800",)])
def test_class_maps_that_no_file_can_hold(classes: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"class|at least one"):
        DatasetWriter(tmp_path / "out", format="coco", classes=classes)
    assert not (tmp_path / "out").exists()


def test_requests_that_make_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no image to write"):
        write({}, tmp_path / "out", format="coco")
    for images, kind in (
        (result(0), "QueryResult"),
        ([result(0)], "Segmentation"),
        ({"a.jpg": result(0)[0]}, "QueryResult"),
        ("a.jpg", "str"),
    ):
        with pytest.raises(OutputError, match=rf"by the images they are of, .*photo\.jpg.*, not {kind}$"):
            write(images, tmp_path / "out", format="coco")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match=r"classes are a list of names, such as \['cat'\], not one text"):
        write({"a.jpg": result(0)}, tmp_path / "out", format="coco", classes="cat")
    assert not (tmp_path / "out").exists()
    many = make_segmentation({f"class {number}": [] for number in range(20)})
    for images, said in (
        ({"a.jpg": result(0)}, r"a\.jpg: 'dog' is not in the class map, which has 'cat': name all labels in `classes`"),
        ({"a.jpg": many}, r"'class 0', 'class 1', 'class 10', 'class 11', 'class 12' and 15 more are not in the class"),
    ):
        with pytest.raises(OutputError, match=said):
            write(images, tmp_path / "out", format="coco", classes=["cat"])
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.*: can't be written"):
        write({"a.jpg": result(0)}, tmp_path / "file" / "out", format="coco")


def test_an_image_that_is_there_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco", "png"):
        out = write({"a.jpg": result(0), "b.jpg": result(1)}, tmp_path / name, format=name)
        write({"a.jpg": make_segmentation({"cat": [], "dog": [disc(30, 30, 5)]})}, out, format=name)
        first, second = read(out, format=name).annotations
        assert [region.label for region in first.regions] == ["dog"]
        assert [region.label for region in second.regions] == ["cat", "dog"]
    # With a file of its own now.
    monkeypatch.chdir(tmp_path)
    Image.fromarray(result(0).image_rgb).save("a.jpg")
    write({"a.jpg": result(0)}, tmp_path / "coco", format="coco")
    assert sorted(path.name for path in (tmp_path / "coco" / "images").iterdir()) == ["a.jpg", "b.png"]


def test_images_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    names = ["one/cat.jpg", "two/cat.jpg", "two/CAT.png", "a b/c:d?.jpg", "..", "/", "x\udcff.jpg", "猫.jpg"]
    pairs = ((name, result(index)) for index, name in enumerate(names))
    out = write(pairs, tmp_path / "out", format="yolo")
    stems = {path.stem for path in (out / "images").iterdir()}
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert {"cat", "two-cat", "two-CAT-png", "c_d_", "x_", "猫"} < stems
    assert {path.stem for path in (out / "labels").iterdir()} == stems
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_names_say_the_folder_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    sources = [f"photos/scene{number:04d}/rgb.png" for number in range(5)]
    found = make_segmentation({"cat": [disc(30, 30, 5)]})
    for name, order in (("out", sources), ("turned", sources[::-1])):
        out = write(dict.fromkeys(order, found), tmp_path / name, format="yolo")
        assert sorted(path.stem for path in (out / "labels").iterdir()) == [
            f"scene000{index}-rgb" for index in range(5)
        ]
    pairs = write([(source, found) for source in sources], tmp_path / "pairs", format="npz")
    assert (pairs / "scene0000-rgb.npz").is_file()
    write(dict.fromkeys([*sources, "photos/scene0005/rgb.png"], found), out, format="yolo")
    assert len(list((out / "labels").iterdir())) == 6


@pytest.mark.parametrize("name", ["yolo", "npz", "labelme", "voc", "png"])
def test_a_hidden_image_is_not_lost(name: str, tmp_path: Path) -> None:
    write({"one/.cat.jpg": result(0), "one/...": result(1)}, tmp_path, format=name)
    assert len(read(tmp_path, format=name).annotations) == 2


def test_a_name_may_be_too_long_for_a_file(tmp_path: Path) -> None:
    write({"x" * 300: result(0), "x" * 301: result(1), "猫" * 300: result(2)}, tmp_path, format="npz")
    names = [path.name for path in tmp_path.glob("*.npz")]
    assert len(names) == 3 and max(map(len, names)) <= 100
    write({"x/" * 3000 + "a.jpg": result(0)}, tmp_path / "paths", format="npz")
    assert (tmp_path / "paths" / "a.npz").is_file()


def test_a_file_is_copied_unless_readers_would_see_it_turned(tmp_path: Path) -> None:
    image = Image.fromarray(result(0).image_rgb)
    image.save(tmp_path / "upright.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    image.save(tmp_path / "odd.ppm")
    out = write(
        {tmp_path / name: result(0) for name in ("upright.jpg", "turned.png", "odd.ppm")},
        tmp_path / "out",
        format="coco",
    )
    assert sorted(path.name for path in (out / "images").iterdir()) == ["odd.png", "turned.png", "upright.jpg"]
    assert (out / "images" / "upright.jpg").read_bytes() == (tmp_path / "upright.jpg").read_bytes()
    with Image.open(out / "images" / "turned.png") as upright:
        np.testing.assert_array_equal(np.asarray(upright), result(0).image_rgb)


def test_a_file_that_is_not_the_image_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (41, 60)).save(tmp_path / "other.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"nonsense")
    for name, said in (("other.jpg", r"\(60, 41\) pixels \(H, W\)"), ("broken.jpg", "not an image that can be read")):
        with pytest.raises(ImageError, match=rf"{name}: {said}"):
            write({tmp_path / name: result(0)}, tmp_path / "out", format="coco")


def test_results_are_taken_one_by_one(tmp_path: Path) -> None:
    alive = []

    def pairs() -> Iterator[tuple[str, Segmentation]]:
        for seed in range(3):
            alive.append(len(list((tmp_path / "images").glob("*.png"))))
            yield f"{seed}.jpg", result(seed)

    write(pairs(), tmp_path, format="coco", classes=CLASSES)
    assert alive == [0, 1, 2]


def test_queries_of_one_label_are_one_class(tmp_path: Path) -> None:
    both = make_segmentation({"cat": [disc(10, 10, 5)]})
    other = make_segmentation({"cat": [disc(40, 20, 5)]})
    twice = Segmentation(both.image_rgb, (both[0], other[0]), "promptseg-test", 0.5, 0.5)
    write({"a.jpg": twice}, tmp_path, format="npz")
    data = read(tmp_path, format="npz")
    assert data.classes == ("cat",)
    (region,) = data.annotations[0].regions
    assert len(region.instances) == 2
    np.testing.assert_array_equal(region.area.mask, disc(10, 10, 5) | disc(40, 20, 5))


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    out = write({"a.jpg": result(0), "b.jpg": result(1)}, tmp_path / "out", format="coco")
    journal = out / ".promptseg" / "pictures.jsonl"
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    with pytest.raises(DataError, match=r"pictures\.jsonl: damaged at byte 0"):
        write({"a.jpg": result(0)}, out, format="coco")


def test_a_broken_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "labels" / "a.txt").mkdir(parents=True)
    (tmp_path / ".promptseg").mkdir()
    state = {"schema": "promptseg/dataset-1", "format": "yolo", "classes": list(CLASSES), "origin": "me"}
    (tmp_path / ".promptseg" / "dataset.json").write_text(json.dumps(state))
    (tmp_path / ".promptseg" / "pictures.jsonl").touch()
    with pytest.raises(OutputError, match=r"a\.txt: can't be written"):
        write({"a.jpg": result(0)}, tmp_path, format="yolo", origin="me")
    with DatasetWriter(tmp_path, format="yolo", classes=CLASSES, origin="me") as writer:
        assert "a.jpg" not in writer
    assert not [path for path in (tmp_path / "labels").iterdir() if path.name.startswith(".")]
