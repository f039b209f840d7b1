"""Tiny benchmarks of maps in their layouts on disk: two bands of stuff and a thing over them, 24 x 32 pixels."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.ops.index_images import encode_segment_ids

SIZE_HW = (24, 32)


def draw_bands(seed: int) -> NDArray[np.int32]:
    """Draw a map of 1 (above), 2 (below), 3 (a square over both) and a free border, 0."""
    ids = np.zeros(SIZE_HW, np.int32)
    ids[1:12], ids[12:23] = 1, 2
    left = 4 + 3 * seed
    ids[8:18, left : left + 9] = 3
    return ids


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def save_image(path: Path, ids: NDArray[np.int32]) -> None:
    """Save an image whose gray value tells the segment of each pixel, 60 times its id."""
    save(path, Image.fromarray(np.repeat((ids * 60).astype(np.uint8)[..., None], 3, axis=2)))


def write_panoptic(
    index: Path, maps: Path, stems: list[str], categories: dict[int, tuple[int, str]], suffix: str = ".png"
) -> None:
    """Write COCO's panoptic format; categories: id and name by the segment."""
    annotations = []
    for seed, stem in enumerate(stems):
        ids = draw_bands(seed)
        save(maps / f"{stem}.png", encode_segment_ids(ids))
        segments = [
            {"id": number, "category_id": category, "area": int((ids == number).sum()), "iscrowd": 0}
            for number, (category, _) in categories.items()
        ]
        annotations.append({"image_id": seed, "file_name": f"{stem}{suffix}", "segments_info": segments})
    index.parent.mkdir(parents=True, exist_ok=True)
    listed = [
        {"id": category, "name": name, "isthing": int(number == 3)} for number, (category, name) in categories.items()
    ]
    index.write_text(json.dumps({"annotations": annotations, "categories": listed}))


def write_tree(name: str, root: Path) -> tuple[str, ...]:
    """Write two pictures of a benchmark; give the labels of the segments 1, 2 and 3."""
    match name:
        case "coco-panoptic":
            categories = {1: (187, "sky-other-merged"), 2: (193, "grass-merged"), 3: (17, "cat")}
            write_panoptic(
                root / "annotations/panoptic_val2017.json", root / "panoptic_val2017", ["000001", "000002"], categories
            )
            images = [root / "val2017" / f"00000{number}.jpg" for number in (1, 2)]
            labels = ("sky", "grass", "cat")
        case "ade20k-panoptic":
            categories = {1: (2, "sky"), 2: (9, "grass"), 3: (20, "car")}
            base = root / "ADEChallengeData2016"
            write_panoptic(base / "ade20k_panoptic_val.json", base / "ade20k_panoptic_val", ["a", "b"], categories)
            images = [base / "images/validation" / f"{stem}.jpg" for stem in "ab"]
            labels = ("sky", "grass", "car")
        case "cityscapes-panoptic":
            categories = {1: (23, "sky"), 2: (7, "road"), 3: (26, "car")}
            stems = [f"ulm_00000{number}_000019_gtFine_panoptic" for number in (1, 2)]
            write_panoptic(
                root / "gtFine/cityscapes_panoptic_val.json", root / "gtFine/cityscapes_panoptic_val", stems, categories
            )
            images = [root / f"leftImg8bit/val/ulm/ulm_00000{n}_000019_leftImg8bit.png" for n in (1, 2)]
            labels = ("sky", "road", "car")
        case "cityscapes":
            images = [root / f"leftImg8bit/val/ulm/ulm_00000{n}_000019_leftImg8bit.png" for n in (1, 2)]
            maps = [root / f"gtFine/val/ulm/ulm_00000{n}_000019_gtFine_labelIds.png" for n in (1, 2)]
            write_values(maps, {0: 3, 1: 23, 2: 7, 3: 26})
            labels = ("sky", "road", "car")
        case "ade20k-150":
            base = root / "ADEChallengeData2016"
            images = [base / "images/validation" / f"{stem}.jpg" for stem in "ab"]
            write_values([base / "annotations/validation" / f"{stem}.png" for stem in "ab"], {0: 0, 1: 3, 2: 10, 3: 21})
            labels = ("sky", "grass", "car")
        case "ade20k-847":
            base = root / "ADE20K_2021_17_01"
            images = [base / "images_detectron2/validation" / f"{stem}.jpg" for stem in "ab"]
            maps = [base / "annotations_detectron2/validation" / f"{stem}.tif" for stem in "ab"]
            write_values(maps, {0: 65535, 1: 0, 2: 1, 3: 300}, bits=16)
            labels = ("name 0", "name 1", "name 300")
        case "pascal-context-459":
            base = root / "pascal_ctx_d2"
            images = [base / "images/validation" / f"{stem}.jpg" for stem in "ab"]
            maps = [base / "annotations_ctx459/validation" / f"{stem}.tif" for stem in "ab"]
            write_values(maps, {0: 65535, 1: 0, 2: 1, 3: 300}, bits=16)
            labels = ("name 0", "name 1", "name 300")
        case "pascal-context-59":
            base = root / "pascal_ctx_d2"
            images = [base / "images/validation" / f"{stem}.jpg" for stem in "ab"]
            maps = [base / "annotations_ctx59/validation" / f"{stem}.png" for stem in "ab"]
            write_values(maps, {0: 255, 1: 46, 2: 28, 3: 14})
            labels = ("sky", "grass", "cat")
        case "voc-20" | "voc-21":
            base = root / "VOCdevkit/VOC2012"
            images = [base / "JPEGImages" / f"{stem}.jpg" for stem in "ab"]
            write_values([base / "SegmentationClass" / f"{stem}.png" for stem in "ab"], {0: 255, 1: 0, 2: 7, 3: 8})
            (base / "ImageSets/Segmentation").mkdir(parents=True)
            (base / "ImageSets/Segmentation/val.txt").write_text("a\nb\n")
            labels = ("background", "car", "cat")
        case _:
            raise AssertionError(name)
    for seed, path in enumerate(images):
        save_image(path, draw_bands(seed))
    return labels


def write_values(paths: list[Path], values: dict[int, int], *, bits: int = 8) -> None:
    """Write maps of class numbers."""
    for seed, path in enumerate(paths):
        table = np.array([values[number] for number in range(4)], np.uint16 if bits == 16 else np.uint8)
        save(path, Image.fromarray(table[draw_bands(seed)]))
