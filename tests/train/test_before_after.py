"""The effect of fine-tuning on held-out images: IoU by name, presence, and the drawing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_world import SIZE_HW, ColorSegmenter, block, paint

from promptseg.data.sample import Sample, Target
from promptseg.ops.rle import encode_rle
from promptseg.train.before_after import draw_before_after, evaluate_held_out


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A large red area, of which the annotation has one half, and a small blue one."""
    red, blue = block(0, 0, 6, 10), block(8, 8, 10, 10)
    image = paint(tmp_path / "one.png", {"red": red, "blue": blue})
    targets = (Target("red", masks=(encode_rle(block(0, 0, 3, 10)),)), Target("blue", masks=(encode_rle(blue),)))
    return Sample("one", image, SIZE_HW, targets, absent=("green",))


def test_present_names_are_scored_whatever_their_presence(sample: Sample) -> None:
    results = evaluate_held_out(ColorSegmenter(), [sample])
    # four blue pixels have a presence below the threshold
    assert results.ious == {"red": [0.5], "blue": [1.0]} and results.kept == 0.5
    assert results.mean_iou == 0.75
    (tile,) = results.tiles
    assert tile.title == "red" and np.array_equal(tile.truth, block(0, 0, 3, 10))


def test_the_order_of_the_two_results_matters(sample: Sample) -> None:
    results = evaluate_held_out(ColorSegmenter(), [sample])
    worse = replace(results, ious={"red": [0.0], "blue": [0.0]})
    drawn, turned = (draw_before_after(*pair, title="mine") for pair in ((worse, results), (results, worse)))
    assert drawn.size == turned.size and drawn.tobytes() != turned.tobytes()
