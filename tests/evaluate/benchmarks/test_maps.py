"""Benchmarks of maps from their files on disk to the numbers; the model reads the truth off the gray values."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map_trees import SIZE_HW, write_tree
from PIL import Image

from promptseg.errors import DataError, PromptError
from promptseg.evaluate.benchmarks.benchmark_table import BENCHMARKS
from promptseg.evaluate.benchmarks.run_benchmark import load_benchmark, run_benchmark
from promptseg.evaluate.evaluate_set import Outputs
from promptseg.evaluate.report import EvaluationRun, Report
from promptseg.images import read_image
from promptseg.language.class_list import NamedClass
from promptseg.results.panoptic import Panoptic, Unlabelled
from promptseg.results.segment import number_segments

RUN = EvaluationRun("gray", "0", "numpy", "cpu", 0.5, 0.5, "test", "0", None, num_resamples=20)
NAMES = (
    "coco-panoptic", "ade20k-panoptic", "cityscapes-panoptic", "ade20k-150", "ade20k-847", "pascal-context-59",
    "pascal-context-459", "voc-21", "voc-20", "cityscapes",
)  # fmt: skip
FULL = {"ade20k-847": 847, "pascal-context-459": 459}


@dataclasses.dataclass
class GrayReader:
    """Reads the map off the image; `confused` takes the second band for the first."""

    labels: tuple[str, ...]
    confused: bool = False
    asked: list[tuple[int, Unlabelled]] = dataclasses.field(default_factory=list)

    def encode(self, image: Any, /) -> Any:
        return read_image(image)

    def panoptic(self, image: Any, names: tuple[NamedClass, ...], *, unlabelled: Unlabelled) -> Panoptic:
        self.asked.append((len(names), unlabelled))
        ids = np.round(image[..., 0] / 60).astype(np.int32)
        if self.confused:
            ids[ids == 2] = 1
        kinds = {one.label: one.is_thing for one in names}
        kept = [number for number in (1, 2, 3) if (ids == number).any() and self.labels[number - 1] in kinds]
        new_ids = {number: new_id for new_id, number in enumerate(kept, start=1)}
        ids = np.array([new_ids.get(number, 0) for number in range(4)], np.int32)[ids]
        named = [(self.labels[number - 1], kinds[self.labels[number - 1]], 1.0) for number in kept]
        presence = tuple(float(one.label in self.labels) for one in names)
        return Panoptic(image, ids, number_segments(ids, named), names, presence, 0.5, unlabelled, "gray")


def run(name: str, root: Path, model: GrayReader) -> Report:
    names = None
    if name in FULL:
        names = root / "names.txt"
        names.write_text("".join(f"name {number} [stuff]\n" for number in range(FULL[name])))
    selection = BENCHMARKS[name].select(root, names=names)
    return run_benchmark(model, selection, load_benchmark(BENCHMARKS[name], selection), run=RUN, outputs=Outputs())


def test_all_benchmarks_of_maps_are_here() -> None:
    assert tuple(BENCHMARKS)[-len(NAMES) :] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_model_gets_all_and_a_confused_one_what_it_is_worth(name: str, tmp_path: Path) -> None:
    model = GrayReader(write_tree(name, tmp_path))
    numbers = run(name, tmp_path, model).numbers
    assert (numbers["miou"].value, numbers["pixel_accuracy"].value) == (1.0, 1.0)
    is_panoptic = name.endswith("-panoptic")
    assert model.asked[0][1] == ("keep" if is_panoptic or name == "voc-21" else "fill")
    assert ("pq" in numbers) is is_panoptic
    if is_panoptic:
        assert [numbers[key].value for key in ("pq", "sq", "rq", "pq/thing", "pq/stuff")] == [1.0] * 5
    confused = run(name, tmp_path, dataclasses.replace(model, confused=True))
    true_classes = 2 if name == "voc-20" else 3
    above, below = (11 * SIZE_HW[1] - share for share in (4 * 9, 6 * 9))
    iou = 0.0 if name == "voc-20" else above / (above + below)
    assert confused.numbers["miou"].value == pytest.approx((1 + iou) / true_classes)
    assert confused.published, "the paper's rows stand beside"


def test_a_class_list_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    write_tree("ade20k-847", tmp_path)
    with pytest.raises(PromptError, match=r"ade20k-847 needs the list of its classes.*--names FILE"):
        load_benchmark(BENCHMARKS["ade20k-847"], BENCHMARKS["ade20k-847"].select(tmp_path))


def test_a_segment_without_an_entry_is_named(tmp_path: Path) -> None:
    labels = write_tree("coco-panoptic", tmp_path)
    png = tmp_path / "panoptic_val2017" / "000001.png"
    with Image.open(png) as opened:
        colors = np.array(opened)
    colors[0, 0] = (9, 1, 0)
    Image.fromarray(colors).save(png)
    report = run("coco-panoptic", tmp_path, GrayReader(labels))
    assert "000001.png: has the segment 265, which segments_info of" in report.failures["000001"]
    assert report.num_images == 1


def test_a_tree_that_is_none_says_what_is_missing(tmp_path: Path) -> None:
    for name in NAMES:
        if name not in FULL:
            with pytest.raises(DataError, match=r"no (file|folder) .*expected .*Get it from"):
                load_benchmark(BENCHMARKS[name], BENCHMARKS[name].select(tmp_path))
