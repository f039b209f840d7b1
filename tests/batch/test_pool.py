"""Processes: every image once, whatever happens to them."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from batch_world import DEADLY_SIDE, FragilePredictor, draw_images

from promptseg.batch.pool import Pool
from promptseg.batch.requests import ClassesRequest
from promptseg.batch.rows import Row, RowForm
from promptseg.batch.worker import BatchJob
from promptseg.errors import WeightsError
from promptseg.ops.rle import Rle, decode_rle


def job() -> BatchJob[list[Row]]:
    return BatchJob(
        "fragile", "0123", pickle.dumps(FragilePredictor()), ClassesRequest.read("square"), RowForm(), num_threads=1
    )


def test_a_worker_that_dies_takes_one_image_with_it(tmp_path: Path) -> None:
    images = draw_images(tmp_path, (20, 21, DEADLY_SIDE, 23, 24, 25))
    rows = [row for rows in Pool(2).run(job(), images) for row in rows]
    assert sorted(row["path"] for row in rows) == [image.id for image in images], "each image has its one object, once"
    (failed,) = (row for row in rows if row["error"] is not None)
    assert failed["path"] == images[2].id and "died" in str(failed["error"])
    for row in rows:
        if row is not failed:
            assert row["box_xyxy"] == [3, 2, 8, 6] and row["height"] is not None and row["mask"] is not None
            mask = decode_rle(Rle(size=[row["height"], row["height"]], counts=row["mask"]))
            assert mask[2:6, 3:8].all() and mask.sum() == 4 * 5


@dataclass(frozen=True)
class Unloadable:
    """A job whose model is missing."""

    def open(self) -> Callable[[int], int]:
        raise WeightsError("the weights are gone")

    def describe_death(self, item: int, error: str) -> int:
        return -item


def test_a_job_that_cannot_be_opened_ends_the_run() -> None:
    with pytest.raises(WeightsError, match="the weights are gone"):
        list(Pool(2).run(Unloadable(), range(1, 5)))


def test_items_are_taken_a_few_ahead(tmp_path: Path) -> None:
    images = draw_images(tmp_path, tuple(range(20, 40)))
    taken: list[str] = []
    outcomes = Pool(2).run(job(), (taken.append(image.id) or image for image in images))
    next(outcomes)
    assert len(taken) <= 5
    outcomes.close()


def test_a_pool_that_is_no_longer_wanted_stops(tmp_path: Path) -> None:
    images = draw_images(tmp_path, tuple(range(20, 32)))
    outcomes = Pool(1).run(job(), images)
    assert len(next(outcomes)) == 1
    outcomes.close()
