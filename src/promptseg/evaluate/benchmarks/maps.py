"""Maps: panoptic and semantic benchmarks, in which every pixel gets a class of a list.

Panoptic maps keep pixels of which no class is sure; semantic ones fill them, as these benchmarks want it.

Source:
    Layouts and ignored values as in facebookresearch/detectron2 @ 02b5c4e and bytedance/fc-clip @ 2b0bbe2.
"""

from functools import partial
from pathlib import Path

from promptseg.data.class_maps import MappedSet, pair_files, read_panoptic, read_semantic
from promptseg.data.layout import Tree, load_list
from promptseg.data.pascal import voc_tree
from promptseg.errors import PromptError
from promptseg.evaluate.benchmarks.benchmark import BenchmarkSelection, LoadedBenchmark
from promptseg.evaluate.panoptic_scores import PanopticModel, define_panoptic, define_semantic, map_example
from promptseg.language.class_list import NamedClass, parse_class_list, read_class_list
from promptseg.language.map_classes import ADE20K_150, CITYSCAPES, PASCAL_CONTEXT_59, coco_classes, voc_classes
from promptseg.results.panoptic import Unlabelled

COCO_SOURCE = "https://cocodataset.org/#download"
ADE_SOURCE = (
    "http://sceneparsing.csail.mit.edu, and for the panoptic files detectron2's datasets/prepare_ade20k_pan_seg.py"
)
ADE_FULL_SOURCE = (
    "https://groups.csail.mit.edu/vision/datasets/ADE20K, prepared by detectron2's prepare_ade20k_full_sem_seg.py"
)
CITYSCAPES_SOURCE = "https://www.cityscapes-dataset.com"
CONTEXT_SOURCE = "https://cs.stanford.edu/~roozbeh/pascal-context, prepared by fc-clip's datasets/README.md"


def load_coco_panoptic(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read COCO's panoptic set: `annotations/panoptic_val2017.json`, `panoptic_val2017/`, `val2017/`."""
    tree = Tree("COCO panoptic", selection.root, COCO_SOURCE)
    split = selection.split
    by_name = coco_classes()
    order = {name: index for index, name in enumerate(by_name)}
    images = tree.folder(split, f"images/{split}")
    found = read_panoptic(
        tree.file(f"annotations/panoptic_{split}.json"),
        tree.folder(f"panoptic_{split}", f"annotations/panoptic_{split}"),
        lambda stem: images / f"{stem}.jpg",
        order.get,
    )
    return _load(found, tuple(by_name.values()), selection, "keep")


def load_ade20k_panoptic(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read ADE20K's panoptic set: `ade20k_panoptic_val.json`, `ade20k_panoptic_val/`, `images/validation/`."""
    tree = Tree("ADE20K", _inner(selection.root, "ADEChallengeData2016"), ADE_SOURCE)
    classes = parse_class_list(ADE20K_150)
    owners = {name: index for index, one in enumerate(classes) for name in one.phrases}
    images = tree.folder("images/validation")
    found = read_panoptic(
        tree.file("ade20k_panoptic_val.json"),
        tree.folder("ade20k_panoptic_val"),
        lambda stem: images / f"{stem}.jpg",
        lambda name: next((owners[part.strip()] for part in name.split(",") if part.strip() in owners), None),
    )
    return _load(found, classes, selection, "keep")


def load_cityscapes_panoptic(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read Cityscapes' panoptic set: `gtFine/cityscapes_panoptic_val.json`, its folder, `leftImg8bit/val/`."""
    tree = Tree("Cityscapes", selection.root, CITYSCAPES_SOURCE)
    classes = _cityscapes_classes()
    owners = {one.label: index for index, one in enumerate(classes)}
    images = tree.folder("leftImg8bit/val")

    def find_image(stem: str) -> Path:
        base = stem.removesuffix("_gtFine_panoptic")
        return images / base.split("_")[0] / f"{base}_leftImg8bit.png"

    found = read_panoptic(
        tree.file("gtFine/cityscapes_panoptic_val.json"),
        tree.folder("gtFine/cityscapes_panoptic_val"),
        find_image,
        owners.get,
    )
    return _load(found, classes, selection, "keep")


def load_cityscapes(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read Cityscapes: `gtFine/val/CITY/*_labelIds.png`, `leftImg8bit/val/CITY/`; 19 classes."""
    tree = Tree("Cityscapes", selection.root, CITYSCAPES_SOURCE)
    images, maps = tree.folder("leftImg8bit/val"), tree.folder("gtFine/val")
    pairs = []
    for image in sorted(images.rglob("*_leftImg8bit.png")):
        base = image.stem.removesuffix("_leftImg8bit")
        pairs.append((image, maps / image.parent.name / f"{base}_gtFine_labelIds.png"))
    values = {value: index for index, (value, _) in enumerate(CITYSCAPES)}
    others = frozenset(range(-1, 34)) | {255}
    found = read_semantic(pairs, values, ignored=others - set(values))
    return _load(found, _cityscapes_classes(), selection, "fill")


def load_ade20k(selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read ADE20K's 150 classes: `annotations/validation/*.png`, 0 is ignored; `images/validation/`."""
    tree = Tree("ADE20K", _inner(selection.root, "ADEChallengeData2016"), ADE_SOURCE)
    classes = parse_class_list(ADE20K_150)
    pairs = list(pair_files(tree.folder("images/validation"), tree.folder("annotations/validation"), suffix=".png"))
    values = {index + 1: index for index in range(len(classes))}
    return _load(read_semantic(pairs, values, ignored=frozenset({0})), classes, selection, "fill")


def load_prepared(
    selection: BenchmarkSelection, *, folder: str, maps: str, images: str, suffix: str, source: str
) -> LoadedBenchmark:
    """Read maps that detectron2's scripts prepared: class numbers from 0, 255 or 65535 is ignored.

    Args:
        selection: The selected part; its class list is needed where this package has none.
        folder: Usual name of the data set's folder.
        maps: Folder of the maps in it.
        images: Folder of the images in it.
        suffix: Of the maps.
        source: Address where the data set is distributed.
    """
    tree = Tree(selection.benchmark, _inner(selection.root, folder), source)
    pairs = list(pair_files(tree.folder(images), tree.folder(maps), suffix=suffix))
    classes = _given_classes(selection)
    values = {index: index for index in range(len(classes))}
    return _load(
        read_semantic(pairs, values, ignored=frozenset({255, 65535}) - set(values)), classes, selection, "fill"
    )


def load_voc(selection: BenchmarkSelection, *, background: bool) -> LoadedBenchmark:
    """Read Pascal VOC 2012, with background as a class of its own (21) or ignored (20)."""
    tree = voc_tree(selection.root)
    images, maps = tree.folder("JPEGImages"), tree.folder("SegmentationClass")
    names = load_list(tree.file("ImageSets/Segmentation/val.txt"))
    classes = voc_classes(background=background)
    shift = 0 if background else 1
    values = {value: value - shift for value in range(shift, 21)}
    pairs = [(images / f"{name}.jpg", maps / f"{name}.png") for name in names]
    # "background" is what no other class is sure of: nothing is left to fill.
    found = read_semantic(pairs, values, ignored=frozenset({255, 0}) - set(values))
    return _load(found, classes, selection, "keep" if background else "fill")


load_ade20k_full = partial(
    load_prepared,
    folder="ADE20K_2021_17_01",
    maps="annotations_detectron2/validation",
    images="images_detectron2/validation",
    suffix=".tif",
    source=ADE_FULL_SOURCE,
)
load_context_59 = partial(
    load_prepared,
    folder="pascal_ctx_d2",
    maps="annotations_ctx59/validation",
    images="images/validation",
    suffix=".png",
    source=CONTEXT_SOURCE,
)
load_context_459 = partial(
    load_prepared,
    folder="pascal_ctx_d2",
    maps="annotations_ctx459/validation",
    images="images/validation",
    suffix=".tif",
    source=CONTEXT_SOURCE,
)


def _load(
    found: MappedSet, classes: tuple[NamedClass, ...], selection: BenchmarkSelection, unlabelled: Unlabelled
) -> LoadedBenchmark:
    is_panoptic = selection.benchmark.endswith("-panoptic")
    examples = tuple(
        map_example(image.sample_id, image.image, image.load_truth, classes)
        for image in found.images[: selection.limit]
    )
    return LoadedBenchmark(
        examples,
        define_panoptic if is_panoptic else define_semantic,
        found.problems,
        partial(PanopticModel, classes=classes, unlabelled=unlabelled),
    )


def _given_classes(selection: BenchmarkSelection) -> tuple[NamedClass, ...]:
    if selection.names is not None:
        return read_class_list(selection.names)
    if selection.benchmark == "pascal-context-59":
        return parse_class_list(PASCAL_CONTEXT_59)
    raise PromptError(
        f"{selection.benchmark} needs the list of its classes, in the order of their numbers: --names FILE, one a "
        "line, synonyms after commas"
    )


def _cityscapes_classes() -> tuple[NamedClass, ...]:
    return parse_class_list([line for _, line in CITYSCAPES])


def _inner(root: Path, name: str) -> Path:
    """Take the usual folder in a folder, or the folder itself."""
    return root / name if (root / name).is_dir() else root
