"""A batch from sources to rows, with the tiny model in processes of its own."""

import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from batch_world import DEADLY_SIDE, FragilePredictor, draw_images
from command_line import Ended
from PIL import Image

import promptseg as ps
from promptseg.batch import AskedClass, MapRequest, Pool, batch, list_sources, read_rows
from promptseg.batch.rows import Row
from promptseg.errors import OutputError, PromptError
from promptseg.ops.rle import Rle, decode_rle
from promptseg.panoptic_map import PanopticOptions, read_classes
from promptseg.predictor import Predictor

TEXTS = ("cat", "the left ear")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return ps.load("promptseg-test", engine="torch", threshold=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (30 + index, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    (folder / "1b.png").write_bytes((folder / "1.png").read_bytes()[:200])
    return folder


def rows_by_name(out: Path) -> dict[str, list[Row]]:
    by_name: dict[str, list[Row]] = {}
    for row in read_rows(out):
        by_name.setdefault(Path(row["path"]).name, []).append(row)
    return by_name


def test_rows_say_what_segment_says(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    out = tmp_path / "out"
    done = batch(
        predictor,
        list_sources([folder]),
        TEXTS,
        out,
        runner=Pool(2),
        images_per_part=2,
        report=lambda *progress: told.append(progress),
    )
    assert (done.num_images, done.num_done_before, done.num_errors) == (5, 0, 1)
    assert told == [(number, 5) for number in range(1, 6)]
    by_name = rows_by_name(out)
    (broken,) = by_name.pop("1b.png")
    assert "damaged or cut short" in str(broken["error"]) and broken["sha256"] is not None
    assert len(by_name) == 4
    for name, rows in by_name.items():
        expected = [
            (query, instance)
            for query in predictor.segment(folder / name, TEXTS)
            for instance in query.instances or (None,)
        ]
        for row, (query, instance) in zip(rows, expected, strict=True):
            assert (row["label"], row["is_present"]) == (query.label, query.is_present)
            assert row["presence"] == pytest.approx(query.presence, abs=1e-4)
            assert (row["height"], row["width"]) == query.size_hw
            assert row["box_xyxy"] == (instance and list(instance.box_xyxy))
            assert row["mask"] == (instance and instance.to_rle()["counts"])


def test_a_second_run_does_what_is_new(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = batch(predictor, list_sources([folder / "0.png", folder / "1b.png"]), TEXTS, out, runner=Pool(1))
    assert (first.num_images, first.num_errors) == (2, 1)
    (folder / "1.png").rename(folder / "1b.png")
    again = batch(predictor, list_sources([folder]), TEXTS, out, runner=Pool(1))
    assert (again.num_images, again.num_done_before, again.num_errors) == (4, 2, 0), "the failure is on record"
    mended = batch(predictor, list_sources([folder]), TEXTS, out, runner=Pool(1), retry_errors=True)
    assert (mended.num_done_before, mended.num_errors) == (3, 0)
    assert all(row["error"] is None for row in read_rows(out))
    assert sorted(rows_by_name(out)) == ["0.png", "1b.png", "2.png", "3.png"]


def test_a_request_that_the_model_does_not_take_leaves_no_folder(
    predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(PromptError):
        batch(predictor, list_sources([folder]), ["background"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_of_a_map_are_its_segments(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    classes = read_classes(["cat, kitty", "sky", "blorp [stuff]"])
    request = MapRequest(classes, PanopticOptions("fill"))
    out = tmp_path / "out"
    done = batch(predictor, list_sources([folder]), request, out, runner=Pool(2))
    assert (done.num_images, done.num_errors) == (5, 1)
    by_name = rows_by_name(out)
    (broken,) = by_name.pop("1b.png")
    assert broken["error"] is not None and broken["is_thing"] is None
    num_segments = 0
    for name, rows in by_name.items():
        expected = predictor.panoptic(folder / name, classes, unlabelled="fill")
        assert {row["label"]: row["is_thing"] for row in rows} == {"cat": True, "sky": False, "blorp": False}
        assert sorted((row["label"], row["box_xyxy"], row["mask"]) for row in rows if row["object"] is not None) == (
            sorted(
                (segment.label, list(segment.box_xyxy), expected.instance(segment).to_rle()["counts"])
                for segment in expected.segments
            )
        )
        for row in rows:
            assert row["presence"] == pytest.approx(
                expected.presence[expected.labels.index(str(row["label"]))], abs=1e-4
            )
            assert (row["height"], row["width"]) == expected.size_hw
        masks = [decode(row) for row in rows if row["mask"] is not None]
        assert np.sum(masks, axis=0, dtype=int).tolist() == np.ones(expected.size_hw, int).tolist(), "each pixel once"
        num_segments += len(masks)
    assert num_segments >= 4


def decode(row: Row) -> np.ndarray:
    assert row["height"] is not None and row["width"] is not None and row["mask"] is not None
    return decode_rle(Rle(size=[row["height"], row["width"]], counts=row["mask"]))


def test_a_data_set_holds_what_write_writes(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    out, format = tmp_path / "out", "npz"
    done = batch(predictor, list_sources([folder]), TEXTS, out, format=format, runner=Pool(2))
    assert (done.num_images, done.num_errors) == (5, 1)
    failures = (out / "failures.txt").read_text()
    assert failures.startswith(f"{folder / '1b.png'}\t{folder / '1b.png'}: damaged or cut short")
    good = sorted(path for path in folder.iterdir() if path.name != "1b.png")
    at_once = ps.write({path: predictor.segment(path, TEXTS) for path in good}, tmp_path / "once", format=format)
    written, expected = ps.read(out), ps.read(at_once)
    assert written.classes == expected.classes
    for one, other in zip(written.annotations, expected.annotations, strict=True):
        assert (one.file_name, one.size_hw) == (other.file_name, other.size_hw)
        assert [region.label for region in one.regions] == [region.label for region in other.regions]
        for region, same in zip(one.regions, other.regions, strict=True):
            assert region.area.rle == same.area.rle and len(region.instances) == len(same.instances)
    (folder / "1b.png").write_bytes((folder / "1.png").read_bytes())
    again = batch(predictor, list_sources([folder]), TEXTS, out, format=format, runner=Pool(1))
    assert (again.num_done_before, again.num_errors) == (4, 0), "what failed is tried again"
    assert not (out / "failures.txt").exists()
    journal = (out / ".promptseg" / "pictures.jsonl").read_text()
    assert journal.rindex("1b.png") > journal.rindex("3.png"), "it came last"
    assert len(ps.read(out).annotations) == 5


def test_images_of_a_shard_keep_their_bytes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "a.jpg")
    Image.fromarray(noise).save(photos / "b.ppm")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(noise).save(photos / "c.jpg", exif=turned)
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(photos.iterdir()):
            tar.add(path, path.name)
    out = tmp_path / "out"
    batch(FragilePredictor(), list_sources([shard]), "square", out, format="png", runner=Pool(1))
    batch(FragilePredictor(), list_sources([shard]), "square", tmp_path / "coco", format="coco", runner=Pool(1))
    images = tmp_path / "coco" / "images"
    assert sorted(path.name for path in images.iterdir()) == ["a.jpg", "b.png", "c.png"]
    assert (images / "a.jpg").read_bytes() == (photos / "a.jpg").read_bytes()
    with Image.open(images / "b.png") as plain, Image.open(images / "c.png") as upright:
        np.testing.assert_array_equal(np.asarray(plain), noise)
        assert upright.size == (30, 40), "turned upright, since few tools read the orientation"
    assert sorted(path.name for path in (out / "overlay").iterdir()) == ["a.png", "b.png", "c.png"]


def test_a_shard_that_ends_in_the_middle_is_a_row_with_an_error(tmp_path: Path) -> None:
    draw_images(tmp_path / "photos", (20, 21))
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("0.png", "1.png"):
            tar.add(tmp_path / "photos" / name, name)
    with tarfile.open(shard) as tar:
        second = tar.getmembers()[1].offset_data
    shard.write_bytes(shard.read_bytes()[: second + 20])
    out = tmp_path / "out"
    done = batch(FragilePredictor(), list_sources([shard]), "square", out, format="jsonl", runner=Pool(1))
    assert done.num_errors >= 1
    rows = list(read_rows(out))
    assert [row["path"] for row in rows if row["error"] is None] == [f"{shard}/0.png"]
    # rows come as they are ready: in any order
    assert all("ends in the middle" in str(row["error"]) for row in rows if row["error"] is not None)


def test_an_image_that_ends_its_process_is_no_part_of_a_data_set(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "photos", (20, DEADLY_SIDE, 22, 23))
    out = tmp_path / "out"
    done = batch(FragilePredictor(), images, "square", out, format="coco", runner=Pool(2))
    assert (done.num_images, done.num_errors) == (4, 1)
    assert f"{images[1].id}: its process died, twice" in (out / "failures.txt").read_text()
    assert [each.file_name for each in ps.read(out).annotations] == ["0.png", "2.png", "3.png"]


def test_folders_and_formats_that_are_refused(tmp_path: Path) -> None:
    images, predictor = draw_images(tmp_path / "photos", (20,)), FragilePredictor()
    with pytest.raises(OutputError, match="no format is named 'pdf'; there are parquet, jsonl, coco"):
        batch(predictor, images, TEXTS, tmp_path / "out", format="pdf")
    assert not (tmp_path / "out").exists()
    batch(predictor, images, TEXTS, tmp_path / "rows", format="jsonl", runner=Pool(1))
    with pytest.raises(OutputError, match="rows: holds other files; a data set goes to a new or empty folder"):
        batch(predictor, images, TEXTS, tmp_path / "rows", format="coco", runner=Pool(1))
    batch(predictor, images, TEXTS, tmp_path / "coco", format="coco", runner=Pool(1))
    with pytest.raises(OutputError, match="coco: holds other files; a batch goes to a new or empty folder"):
        batch(predictor, images, TEXTS, tmp_path / "coco", format="jsonl", runner=Pool(1))
    for request, said in (
        (["cat"], "another class map"),
        ([AskedClass.named("cat", "kitty"), TEXTS[1]], "another origin .*request"),
        (MapRequest.of_names(TEXTS), "another origin .*panoptic"),
    ):
        with pytest.raises(OutputError, match=said):
            batch(predictor, images, request, tmp_path / "coco", format="coco", runner=Pool(1))


_RUN = """
import sys
from batch_world import FragilePredictor
from promptseg.batch import Pool, batch, list_sources

if __name__ == "__main__":
    batch(FragilePredictor(0.02), list_sources([sys.argv[1]]), "square", sys.argv[2], format=sys.argv[3],
          runner=Pool(2), images_per_part=3)
"""


def run_twice(folder: Path, out: Path, format: str, *, until: Callable[[], bool]) -> None:
    """Run a batch, kill it, and run it again."""
    script = out.with_name("run.py")
    script.write_text(_RUN)
    arguments = [sys.executable, str(script), str(folder), str(out), format]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    running = subprocess.Popen(arguments, env=environment)
    while running.poll() is None and not until():
        time.sleep(0.005)
    assert running.poll() is None, "it was killed, not done"
    running.kill()
    running.wait()
    subprocess.run(arguments, env=environment, check=True, timeout=120)


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "photos", tuple(range(20, 60)))
    out = tmp_path / "out"
    run_twice(tmp_path / "photos", out, "jsonl", until=lambda: bool(list(out.glob("part-*"))))
    assert sorted(row["path"] for row in read_rows(out)) == sorted(image.id for image in images)


def test_a_data_set_whose_run_is_killed_is_the_same_as_at_once(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "photos", tuple(range(20, 60)))
    out = tmp_path / "out"
    journal = out / ".promptseg" / "pictures.jsonl"
    run_twice(
        tmp_path / "photos", out, "coco", until=lambda: journal.exists() and journal.read_bytes().count(b"\n") > 2
    )
    batch(FragilePredictor(), images, "square", tmp_path / "once", format="coco", runner=Pool(2))
    for name in ("annotations/instances.json", "classes.txt"):
        assert (out / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    assert len(list((out / "images").iterdir())) == len(images)


def test_the_command(promptseg: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("batch", folder, "--text", "cat", "--out", out, "--model", "promptseg-test", "--engine", "torch")
    ended = promptseg(*words, "--workers", 1, "--format", "jsonl")
    assert ended.code == 1 and ended.out.startswith("5 images in ") and "1 image failed" in ended.err
    (folder / "1b.png").unlink()
    ended = promptseg(*words, "--workers", 1, "--format", "jsonl")
    assert ended.code == 0 and "0 images in" in ended.out and "4 were done before" in ended.out
    ended = promptseg(*words[:2], "--text", "dog", *words[4:], "--workers", 1, "--format", "jsonl")
    assert ended.code == 2 and "holds a batch of another list of labels" in ended.err
    assert promptseg("batch", folder, "--out", out).err.startswith("error: no prompt was given; use --text")


def test_the_command_writes_maps_and_data_sets(promptseg: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    (folder / "1b.png").unlink()
    names = tmp_path / "names.txt"
    names.write_text("# classes\ncat, kitty\nwall [stuff]\n")
    model = ("--model", "promptseg-test", "--engine", "torch", "--threshold", 0, "--workers", 1)
    words = ("batch", folder, "--names", names, *model)
    ended = promptseg(*words, "--panoptic", "--unlabelled", "fill", "--format", "jsonl", "--out", tmp_path / "rows")
    assert ended.code == 0 and ended.out.endswith(f"; rows: {tmp_path / 'rows'}\n") and "thing by" in ended.err
    assert {(row["label"], row["is_thing"]) for row in read_rows(tmp_path / "rows")} == {("cat", True), ("wall", False)}
    ended = promptseg(*words, "--panoptic", "--format", "coco-panoptic", "--out", tmp_path / "maps")
    assert ended.code == 0 and len(ps.read(tmp_path / "maps").annotations) == 4
    for more, said in (
        (("--panoptic", "--text", "cat"), "--names alone"),
        (("--stuff", "wall"), "it is for --panoptic"),
        (("--min-area", 3), "it is for --panoptic"),
        (("--format", "pdf"), "no format is named 'pdf'"),
        (("--model", "promptseg-test", "--detector", "promptseg"), "not both"),
    ):
        ended = promptseg(*words, *more, "--out", tmp_path / "none")
        assert ended.code == 2 and said in ended.err, ended
    assert not (tmp_path / "none").exists()
