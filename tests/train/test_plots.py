"""The images of a run are drawn from its log and its answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.train.plots import draw_run
from promptseg.train.recipe import ValidationExample


@pytest.fixture
def run_dir(tmp_path) -> Path:
    lines = [{"kind": "train", "step": i, "epoch": i / 10, "loss": 1 / i} for i in range(1, 100)]
    lines += [{"kind": "validation", "step": i, "epoch": i / 10, "loss": 0.5, "iou": i / 200} for i in (50, 100)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def case(iou: float, phrase: str = "the cat") -> ValidationExample:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:15, 5:25] = True
    return ValidationExample(np.full((20, 30, 3), 128, dtype=np.uint8), phrase, mask, mask, iou, 0.5)


def test_all_plots_are_images(run_dir):
    draw_run(run_dir, iter([case(i / 40, "word " * (1 + i % 15)) for i in range(40)]))
    paths = sorted((run_dir / "plots").iterdir())
    assert [path.stem for path in paths] == ["gallery", "iou", "iou_distribution", "loss", "prompt_length"]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 300 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_without_cases_there_are_the_curves(run_dir):
    draw_run(run_dir, iter(()))
    assert sorted(path.stem for path in (run_dir / "plots").iterdir()) == ["iou", "loss"]


def test_a_line_that_a_kill_cut_short_is_left_out(run_dir):
    with (run_dir / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    draw_run(run_dir, iter([case(1.0)]))
    assert (run_dir / "plots" / "gallery.png").exists()
