"""The table of benchmarks."""

from collections.abc import Mapping
from functools import partial

from promptseg.errors import DataError
from promptseg.evaluate.benchmarks import maps
from promptseg.evaluate.benchmarks.benchmark import Benchmark
from promptseg.evaluate.benchmarks.one_shot import load_coco_20i, load_pascal_5i
from promptseg.evaluate.benchmarks.referring import load_grefcoco, load_phrasecut, load_refcoco
from promptseg.evaluate.benchmarks.zero_shot import load_pascal_zeroshot

_ROWS = (
    Benchmark(
        name="phrasecut",
        summary="phrases of attributes and relations on Visual Genome images",
        load=load_phrasecut,
        splits=("test", "val", "miniv"),
        prompts=("text", "exemplar"),
    ),
    Benchmark(
        name="refcoco",
        summary="expressions for one object of several",
        load=partial(load_refcoco, dataset="refcoco"),
        splits=("unc/val", "unc/testA", "unc/testB", "google/val", "google/test"),
    ),
    Benchmark(
        name="refcoco+",
        summary="the same without spatial words",
        load=partial(load_refcoco, dataset="refcoco+"),
        splits=("unc/val", "unc/testA", "unc/testB"),
    ),
    Benchmark(
        name="refcocog",
        summary="longer expressions",
        load=partial(load_refcoco, dataset="refcocog"),
        splits=("umd/val", "umd/test", "google/val"),
    ),
    Benchmark(
        name="grefcoco",
        summary="expressions for one object, for several, or for none",
        load=load_grefcoco,
        splits=("val", "testA", "testB"),
    ),
    Benchmark(
        name="pascal-5i",
        summary="one-shot, 20 classes in four folds",
        load=load_pascal_5i,
        splits=("val",),
        prompts=("exemplar", "text"),
        num_folds=4,
    ),
    Benchmark(
        name="coco-20i",
        summary="one-shot, 80 classes in four folds",
        load=load_coco_20i,
        splits=("val",),
        prompts=("exemplar", "text"),
        num_folds=4,
    ),
    Benchmark(
        name="pascal-zs",
        summary="generalized zero-shot: every pixel of Pascal VOC gets a name",
        load=load_pascal_zeroshot,
        splits=("unseen-10", "unseen-8", "unseen-6", "unseen-4", "unseen-2"),
    ),
    Benchmark(
        name="coco-panoptic",
        summary="panoptic maps, 80 things and 53 stuff classes",
        load=maps.load_coco_panoptic,
        splits=("val2017", "train2017"),
    ),
    Benchmark(
        name="ade20k-panoptic",
        summary="panoptic maps, 100 things and 50 stuff classes",
        load=maps.load_ade20k_panoptic,
        splits=("val",),
    ),
    Benchmark(
        name="cityscapes-panoptic",
        summary="panoptic maps of streets, 19 classes",
        load=maps.load_cityscapes_panoptic,
        splits=("val",),
    ),
    Benchmark(name="ade20k-150", summary="semantic maps, 150 classes", load=maps.load_ade20k, splits=("val",)),
    Benchmark(
        name="ade20k-847", summary="semantic maps, 847 classes (--names)", load=maps.load_ade20k_full, splits=("val",)
    ),
    Benchmark(
        name="pascal-context-59", summary="semantic maps, 59 classes", load=maps.load_context_59, splits=("val",)
    ),
    Benchmark(
        name="pascal-context-459",
        summary="semantic maps, 459 classes (--names)",
        load=maps.load_context_459,
        splits=("val",),
    ),
    Benchmark(
        name="voc-21",
        summary="semantic maps, 20 classes and background",
        load=partial(maps.load_voc, background=True),
        splits=("val",),
    ),
    Benchmark(
        name="voc-20",
        summary="semantic maps, 20 classes, background ignored",
        load=partial(maps.load_voc, background=False),
        splits=("val",),
    ),
    Benchmark(
        name="cityscapes", summary="semantic maps of streets, 19 classes", load=maps.load_cityscapes, splits=("val",)
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _ROWS}


def find_benchmark(name: str) -> Benchmark:
    """Find a benchmark by its name.

    Raises:
        DataError: There is no benchmark of that name; the message lists all.
    """
    if name not in BENCHMARKS:
        raise DataError(f"no benchmark is named '{name}'; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
