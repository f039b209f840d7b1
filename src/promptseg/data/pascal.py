"""Reader of Pascal VOC 2012's segmentation: its 20 classes, its label maps, and the zero-shot split of its classes.

    VOCdevkit/VOC2012/ (or VOC2012/)
      JPEGImages/NAME.jpg
      SegmentationClass/NAME.png                    class numbers 0-20, 255 at the borders
      ImageSets/Segmentation/{train,val}.txt        names, one per line

Source:
    Everingham et al. 2015. The class pairs: Bucher et al. 2019, arXiv:1906.00817, as in timojl/clipseg @ 77c4e2d,
    datasets/pascal_zeroshot.py (MIT), and cvlab-yonsei/JoEm, data_loader/__init__.py, which CLIPSeg evaluates with.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.data.layout import Tree, image_problem, load_class_map, load_list
from promptseg.data.sample import Problem, Sample, SampleSet, Target
from promptseg.errors import DataError
from promptseg.language.class_names import VOC_NAMES
from promptseg.ops.rle import encode_rle

Split = Literal["train", "val"]

# In the spelling of the data set; language.class_names.VOC_NAMES has plain words in the same order.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# Unseen-2 is the first pair, unseen-4 the first two, and so on.
UNSEEN_PAIRS = (
    ("cow", "motorbike"), ("aeroplane", "sofa"), ("cat", "tvmonitor"), ("train", "bottle"), ("chair", "pottedplant"),
)  # fmt: skip

VOID = 255

SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
LICENCE = "images under Flickr terms, for research; annotations: none stated"


@dataclass(frozen=True)
class ZeroShotSet:
    """Images of the 20 classes, and the seen and unseen classes.

    Attributes:
        samples: One target per class in the image; all 20 classes are annotated completely, so the others are absent.
        seen: Classes for training, in the spelling and order of the data set.
        unseen: The other classes.
    """

    samples: SampleSet
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def read_pascal_zeroshot(root: Path, num_unseen: int, split: Split = "val") -> ZeroShotSet:
    """Read Pascal VOC 2012 for generalized zero-shot segmentation.

    Args:
        root: Folder with VOCdevkit/VOC2012 or VOC2012, or that folder itself.
        num_unseen: Number of unseen classes: 2, 4, 6, 8 or 10.
        split: "val": all images with all classes. "train": only images without any unseen class.

    Returns:
        The images with `category` as in `VOC_CLASSES`, `phrase` as in `language.class_names.VOC_NAMES`, and the borders
        (255) as the void of every target; the split of the classes; and everything that was left out.

    Raises:
        DataError: There is no such split, or a file is missing (the message names its source) or malformed.
    """
    if num_unseen not in range(2, 2 * len(UNSEEN_PAIRS) + 1, 2):
        raise DataError(f"Pascal zero-shot has 2, 4, 6, 8 or 10 unseen classes, not {num_unseen}")
    unseen = {name for pair in UNSEEN_PAIRS[: num_unseen // 2] for name in pair}
    tree = voc_tree(root)
    labels = tree.folder("SegmentationClass")
    images = tree.folder("JPEGImages")
    names = load_list(tree.file(f"ImageSets/Segmentation/{split}.txt"))
    problems: list[Problem] = []
    samples = []
    for name in names:
        if not (labels / f"{name}.png").is_file():
            problems.append(Problem(str(labels / f"{name}.png"), "no such label map"))
            continue
        class_map = load_class_map(labels / f"{name}.png")
        height, width = class_map.shape
        if problem := image_problem(images / f"{name}.jpg", (height, width)):
            problems.append(problem)
            continue
        targets = class_targets(class_map, labels / f"{name}.png")
        if split == "train" and (shown := sorted({target.category for target in targets} & unseen)):
            problems.append(Problem(str(images / f"{name}.jpg"), f"shows unseen classes: {', '.join(shown)}"))
            continue
        samples.append(voc_sample(images / f"{name}.jpg", (height, width), targets))
    if not samples:
        raise DataError(f"{tree.root}: no image of split {split}{f'; for one, {problems[0]}' if problems else ''}")
    return ZeroShotSet(
        SampleSet(tuple(samples), tuple(problems)),
        seen=tuple(name for name in VOC_CLASSES if name not in unseen),
        unseen=tuple(name for name in VOC_CLASSES if name in unseen),
    )


def voc_tree(root: Path) -> Tree:
    """Find VOC 2012 in a folder, or take the folder itself."""
    inner = (root / place for place in ("VOCdevkit/VOC2012", "VOC2012"))
    return Tree("Pascal VOC 2012", next((path for path in inner if path.is_dir()), root), SOURCE)


def voc_sample(image: Path, size_hw: tuple[int, int], targets: tuple[Target, ...]) -> Sample:
    """Build the sample of a VOC image; `targets` are all requested classes in it."""
    return Sample(
        sample_id=f"pascal/{image.stem}",
        image=image,
        size_hw=size_hw,
        targets=targets,
        exhaustive=frozenset(VOC_NAMES),
        dataset="pascal",
        license=LICENCE,
    )


def class_targets(class_map: NDArray[np.uint8], where: Path) -> tuple[Target, ...]:
    """Build one target per class in a label map of VOC numbers, uint8, shape (H, W); 255 is the void of each.

    Raises:
        DataError: The map has an unknown class number; the message starts with `where`.
    """
    numbers = np.unique(class_map)
    strange = numbers[(numbers > len(VOC_CLASSES)) & (numbers != VOID)]
    if strange.size:
        raise DataError(f"{where}: {strange.tolist()} are not class numbers; valid are 0-{len(VOC_CLASSES)} and {VOID}")
    void = (encode_rle(class_map == VOID),) if VOID in numbers else ()
    return tuple(
        Target(
            phrase=VOC_NAMES[number - 1],
            masks=(encode_rle(class_map == number),),
            void=void,
            category=VOC_CLASSES[number - 1],
        )
        for number in numbers.tolist()
        if number not in (0, VOID)
    )
