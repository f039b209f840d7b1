"""Tiny benchmarks in the layout in which their authors hand them out: blocks of color on noise, 24 x 32 pixels."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

SIZE_HW = (24, 32)


def draw_image(path: Path, seed: int, blocks: dict[int, tuple[int, int, int, int]]) -> np.ndarray:
    """Save a JPEG with a block per class number; return the map of the numbers."""
    rng = np.random.default_rng(seed)
    image_rgb = rng.integers(90, 160, (*SIZE_HW, 3), dtype=np.uint8)
    class_map = np.zeros(SIZE_HW, dtype=np.uint8)
    for number, (x0, y0, x1, y1) in blocks.items():
        image_rgb[y0:y1, x0:x1] = ((number * 67) % 256, (number * 131) % 256, (number * 29) % 256)
        class_map[y0:y1, x0:x1] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_rgb).save(path, quality=95)
    return class_map


def write_class_map(path: Path, class_map: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(class_map).save(path)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def corners(box: tuple[int, int, int, int]) -> list[list[int]]:
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def write_phrasecut(root: Path, split: str = "test") -> Path:
    """Four images; "red chair" is in all of them, the other phrase is each image's own."""
    inner = root / "VGPhraseCut_v0"
    images, tasks = [], []
    for index in range(4):
        image_id = 100 + index
        boxes = {1: (2, 3, 14 + index, 12), 2: (18, 8, 30, 20)}
        draw_image(inner / f"images/{image_id}.jpg", index, boxes)
        images.append({"image_id": image_id, "coco_id": None, "height": 24, "width": 32, "split": split})
        for number, phrase in ((1, "red chair"), (2, f"dog number {index}")):
            tasks.append(
                {
                    "task_id": f"{image_id}__{number}",
                    "image_id": image_id,
                    "phrase": phrase,
                    "phrase_structure": {"name": phrase.split()[-1]},
                    "Polygons": [[corners(boxes[number])]],
                }
            )
    write_json(inner / "image_data_split.json", images)
    write_json(inner / f"refer_{split}.json", tasks)
    return root


def write_instances(root: Path, dataset: str, num_images: int = 3) -> None:
    """COCO images with two annotated things each: annotations 10 x image + 1 and + 2."""
    images, annotations = [], []
    for index in range(1, num_images + 1):
        name = f"COCO_train2014_{index:012d}.jpg"
        boxes = {1: (2, 2, 13, 12), 2: (16, 5 + index, 30, 22)}
        draw_image(root / "images/mscoco/images/train2014" / name, index, boxes)
        images.append({"id": index, "file_name": name, "height": 24, "width": 32})
        for number, box in boxes.items():
            polygon = [float(value) for corner in corners(box) for value in corner]
            annotations.append(
                {
                    "id": 10 * index + number,
                    "image_id": index,
                    "category_id": number,
                    "segmentation": [polygon],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    write_json(
        root / dataset / "instances.json", {"images": images, "annotations": annotations, "categories": categories}
    )


def write_refcoco(root: Path, dataset: str = "refcoco", split_by: str = "unc", split: str = "val") -> Path:
    """Three images, two objects each, two sentences for every object."""
    write_instances(root, dataset)
    refs = [
        {
            "ref_id": annotation_id,
            "ann_id": annotation_id,
            "image_id": annotation_id // 10,
            "split": split,
            "sentences": [{"sent": f"the thing {annotation_id}"}, {"sent": f"object number {annotation_id}"}],
        }
        for annotation_id in (11, 12, 21, 22, 31, 32)
    ]
    (root / dataset / f"refs({split_by}).p").write_bytes(pickle.dumps(refs))
    return root


def write_grefcoco(root: Path) -> Path:
    """Each image: one sentence for one thing, one for both, two for nothing."""
    write_instances(root, "grefcoco")
    refs = []
    for image_id in (1, 2, 3):
        for number, (meant, sentences) in enumerate(
            [
                ([10 * image_id + 1], ["the first"]),
                ([10 * image_id + 1, 10 * image_id + 2], ["both of them"]),
                ([-1], ["a third one", "nobody"]),
            ]
        ):
            refs.append(
                {
                    "ref_id": 100 * image_id + number,
                    "ann_id": meant,
                    "image_id": image_id,
                    "split": "val",
                    "sentences": [{"sent": sentence} for sentence in sentences],
                }
            )
    write_json(root / "grefcoco/grefs(unc).json", refs)
    return root


def write_voc(root: Path, labels: str, class_pairs: list[tuple[int, int]]) -> None:
    """A VOC2012 folder with one image per pair of class numbers; the second one has a border of 255."""
    names = []
    for index, (first, second) in enumerate(class_pairs):
        name = f"2008_{index:06d}"
        class_map = draw_image(
            root / f"VOC2012/JPEGImages/{name}.jpg",
            index,
            {first: (1, 1, 12, 11), second: (15, 4, 29, 10 + index % 12)},
        )
        class_map[3, 15:29] = 255
        write_class_map(root / f"VOC2012/{labels}/{name}.png", class_map)
        names.append(name)
    lists = root / "VOC2012/ImageSets/Segmentation/val.txt"
    lists.parent.mkdir(parents=True, exist_ok=True)
    lists.write_text("\n".join(names) + "\n", encoding="utf-8")


def write_pascal_5i(root: Path) -> Path:
    """Ten images; every class is in three of them at least, so that there is a support for each."""
    pairs = [(1, 2), (1, 2), (3, 4), (3, 4), (5, 1), (5, 2), (5, 3), (4, 1), (2, 3), (4, 5)]
    # Folds 1 to 3 are the same with other numbers, on the same images' labels they would not be: their own images.
    shifted = [(first + 5 * fold, second + 5 * fold) for fold in range(4) for first, second in pairs]
    write_voc(root, "SegmentationClassAug", shifted)
    for fold in range(4):
        lines = [
            f"2008_{len(pairs) * fold + index:06d}__{number + 5 * fold:02d}"
            for index, pair in enumerate(pairs)
            for number in pair
        ]
        path = root / f"splits/pascal/val/fold{fold}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def write_coco_20i(root: Path, fold: int = 0) -> Path:
    """Four images with the classes 0 and 4 of fold 0, whose numbers in the label maps are 1 and 5."""
    names = []
    for index in range(4):
        name = f"COCO_val2014_{index:012d}"
        class_map = draw_image(
            root / f"COCO2014/val2014/{name}.jpg", index, {1: (1, 1, 12, 11), 5: (15, 4, 29, 12 + index)}
        )
        write_class_map(root / f"COCO2014/annotations/val2014/{name}.png", class_map)
        names.append(f"val2014/{name}.jpg")
    path = root / f"splits/coco/val/fold{fold}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({class_id: names if class_id in (0, 4) else [] for class_id in range(80)}))
    return root
