"""A batch from sources to rows, with the tiny model in processes of its own."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from batch_world import draw_images
from command_line import Ended
from PIL import Image

import promptseg as ps
from promptseg.batch import Pool, batch, list_sources, read_rows
from promptseg.batch.rows import Row
from promptseg.errors import PromptError
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


_RUN = """
import sys
from batch_world import FragilePredictor
from promptseg.batch import Pool, batch, list_sources

if __name__ == "__main__":
    batch(FragilePredictor(), list_sources([sys.argv[1]]), "square", sys.argv[2], format="jsonl",
          runner=Pool(2), images_per_part=3)
"""


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "photos", tuple(range(20, 60)))
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    out = tmp_path / "out"
    arguments = [sys.executable, str(script), str(tmp_path / "photos"), str(out)]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    running = subprocess.Popen(arguments, env=environment)
    while running.poll() is None and not list(out.glob("part-*")):
        time.sleep(0.005)
    running.kill()
    running.wait()
    assert len(set(row["path"] for row in read_rows(out))) >= 3
    subprocess.run(arguments, env=environment, check=True, timeout=120)
    assert sorted(row["path"] for row in read_rows(out)) == sorted(image.id for image in images)


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
