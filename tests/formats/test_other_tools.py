"""Data sets with the quirks of other tools: COCO, YOLO, Label Studio, VOC and labelme as people have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promptseg import read
from promptseg.errors import DataError

RING = [10, 10, 40, 10, 40, 30, 10, 30]
CORNERS = "0.1 0.125 0.4 0.125 0.4 0.375 0.1 0.375"
IMAGE = {"id": 1, "file_name": "a.jpg", "height": 80, "width": 100}
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20], "segmentation": [RING]}


def write_coco(folder: Path, place: str = "annotations/instances.json", **changes: Any) -> Path:
    document = {"images": [IMAGE], "categories": [{"id": 1, "name": "cat"}], "annotations": [OBJECT], **changes}
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def areas(folder: Path, format: str) -> list[tuple[str, int]]:
    return [
        (label, instance.area)
        for annotation in read(folder, format=format).annotations
        for label, instance in annotation.objects()
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": [{**OBJECT, "image_id": "1", "category_id": "1"}]},
        {"annotations": [{**OBJECT, "image_id": 1.0, "category_id": 1.0}]},
        {"images": [{**IMAGE, "id": "1"}]},
        {"categories": [{"id": 1, "name": " cat "}]},
        {"annotations": [{**OBJECT, "segmentation": RING}]},
        {"annotations": [{**OBJECT, "segmentation": [[[10, 10], [40, 10], [40, 30], [10, 30]]]}]},
        {"annotations": [{**OBJECT, "segmentation": [RING, [5, 5, 6, 6], []]}]},
        {"annotations": [{**OBJECT, "score": None, "bbox": [-5, -5, 1, 1]}]},
    ],
    ids=str,
)
def test_coco_objects_are_read_as_people_have_them(changes: dict[str, Any], tmp_path: Path) -> None:
    write_coco(tmp_path, **changes)
    assert areas(tmp_path, "coco") == [("cat", 600)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_of_windows_tools_is_read(encoding: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert areas(tmp_path, "coco") == [("cat", 600)]


@pytest.mark.parametrize("segmentation", [[], [[]], None, [[1, 2, 3, 4]]], ids=str)
def test_coco_boxes_are_left_out_and_told(segmentation: Any, tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[OBJECT, {**OBJECT, "id": 2, "segmentation": segmentation}])
    dataset = read(tmp_path, format="coco")
    assert areas(tmp_path, "coco") == [("cat", 600)]
    (left_out,) = dataset.left_out
    assert left_out.where.endswith("annotations[1]") and left_out.what == "a box without an outline"
    assert (left_out.file_name, left_out.label) == ("a.jpg", "cat") and "left_out=1" in repr(dataset)


@pytest.mark.parametrize("place", ["_annotations.coco.json", "annotations/instances_default.json", "labels.json"])
def test_the_only_json_file_is_the_index(place: str, tmp_path: Path) -> None:
    write_coco(tmp_path, place)
    assert areas(tmp_path, "coco") == [("cat", 600)]
    write_coco(tmp_path, "other.json")
    with pytest.raises(DataError, match=r"which file is meant\? .*other\.json"):
        read(tmp_path, format="coco")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"category_id": 9}, "no category of the category_id '9'"), ({"image_id": 9}, "no image of the image_id '9'")],
)
def test_coco_ids_that_nothing_has_are_named(change: dict[str, int], said: str, tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[OBJECT, {**OBJECT, **change}])
    with pytest.raises(DataError, match=rf"annotations\[1\]: the file has {said}"):
        read(tmp_path, format="coco")


@pytest.fixture
def write_yolo(tmp_path: Path) -> Callable[..., Path]:
    def write(
        labels: str | None, names: str = "names: [cat, dog]\n", folders: str = "images", yaml: str = "data.yaml"
    ) -> Path:
        images = tmp_path / folders
        images.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80)).save(images / "a.jpg")
        (tmp_path / yaml).write_text(names)
        if labels is not None:
            path = tmp_path / folders.replace("images", "labels") / "a.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(labels)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "names",
    [
        "names: ['cat', 'dog']\nnc: 2\n",
        "# classes\nnc: 2\nnames:\n- cat\n- dog\n",
        "names:\n  0: cat  # the animal\n  1: dog\n",
        "names: {1: dog, 0: cat}\n",
        "path: ../x\r\ntrain: images\r\nnames:\r\n  '0': 'cat'\r\n  '1': 'dog'\r\n",
    ],
)
def test_yolo_names_are_read_in_every_form_of_yaml(names: str, write_yolo: Callable[..., Path]) -> None:
    folder = write_yolo(f"0 {CORNERS}\n\n", names)
    assert read(folder, format="yolo").classes == ("cat", "dog") and areas(folder, "yolo") == [("cat", 600)]


@pytest.mark.parametrize("folders", ["images", "images/train", "train/images"])
def test_yolo_splits_are_read(folders: str, write_yolo: Callable[..., Path]) -> None:
    folder = write_yolo(f"1.0 {CORNERS}\r\n", folders=folders, yaml="dataset.yml")
    dataset = read(folder, format="yolo")
    assert [one.file_name for one in dataset.annotations] == ["a.jpg" if folders == "images" else "train/a.jpg"]
    assert areas(folder, "yolo") == [("dog", 600)]


def test_yolo_boxes_and_images_without_labels_are_left_out_and_told(write_yolo: Callable[..., Path]) -> None:
    folder = write_yolo(f"0 {CORNERS}\n1 0.5 0.5 0.2 0.2\n")
    Image.new("RGB", (100, 80)).save(folder / "images" / "b.jpg")
    dataset = read(folder, format="yolo")
    assert areas(folder, "yolo") == [("cat", 600)]
    assert [(one.what, one.file_name) for one in dataset.left_out] == [
        ("a box without an outline", "a.jpg"),
        ("there is no such file: an image without labels", "b.jpg"),
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("names: [cat, no]\n", "a name that YAML reads as false; write it in quotes"),
        ("names:\n  0: cat\n  2: dog\n", r"the classes have the numbers \[0, 2\]"),
        ("names: 2\n", "no names as"),
        ("names: [cat\n", "not YAML"),
    ],
)
def test_yolo_names_that_say_nothing_are_refused(names: str, said: str, write_yolo: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=rf"data\.yaml: .*{said}"):
        read(write_yolo(f"0 {CORNERS}\n", names), format="yolo")


def polygon(label: str = "cat", **changes: Any) -> dict[str, Any]:
    points = [[10, 12.5], [40, 12.5], [40, 37.5], [10, 37.5]]
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return {"type": "polygonlabels", "original_width": 100, "original_height": 80, "value": value, **changes}


def write_tasks(folder: Path, *tasks: dict[str, Any]) -> Path:
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return folder


def test_label_studio_what_a_person_drew_counts_and_not_the_prediction(tmp_path: Path) -> None:
    task = {
        "data": {"image": "/data/local-files/?d=images/a%20b.jpg", "file_name": "a b.jpg", "width": 100, "height": 80},
        "predictions": [{"result": [polygon("dog"), polygon("dog")]}],
        "annotations": [
            {"result": [polygon("bird")], "updated_at": "2026-01-02T00:00:00Z", "was_cancelled": True},
            {"result": [polygon("cat")], "updated_at": "2026-01-01T00:00:00Z", "was_cancelled": False},
        ],
    }
    (tmp_path / "classes.txt").write_text("dog\n")
    dataset = read(write_tasks(tmp_path, task), format="labelstudio")
    assert areas(tmp_path, "labelstudio") == [("cat", 600)] and dataset.classes == ("dog", "cat")


@pytest.mark.parametrize("address", ["/data/upload/1/a.jpg", "https://x.org/a.jpg?d=a.jpg", "C:\\photos\\a.jpg"])
def test_label_studio_exports_need_no_size_and_no_class_map(address: str, tmp_path: Path) -> None:
    box = {"type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["dog"]}}
    result = [polygon(), box, {"type": "relation", "from_id": "x", "to_id": "y"}, polygon(image_rotation=90)]
    write_tasks(
        tmp_path,
        {"data": {"image": address}, "annotations": [{"result": result}], "predictions": []},
        {"data": {"image": "b.jpg"}, "annotations": []},
    )
    dataset = read(tmp_path, format="labelstudio")
    assert [one.file_name for one in dataset.annotations] == ["a.jpg"] and dataset.classes == ("cat",)
    assert areas(tmp_path, "labelstudio") == [("cat", 600)]
    assert [(one.what, one.label) for one in dataset.left_out] == [
        ("rectanglelabels: it has no outline", "dog"),
        ("relation: it has no outline", ""),
        ("a region of a rotated image", "cat"),
        ("no region, and no size of the image", ""),
    ]


VOC = (
    "<annotation><filename>a.jpg</filename><size><width>100</width><height>80</height></size>"
    "<object><name>cat</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>"
    "</annotation>"
)


@pytest.mark.parametrize("with_map", [True, False])
def test_voc_as_its_authors_publish_it(with_map: bool, tmp_path: Path) -> None:
    for folder in ("Annotations", "SegmentationObject"):
        (tmp_path / folder).mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(VOC, encoding="utf-8-sig")
    if with_map:
        objects = np.zeros((80, 100), dtype=np.uint8)
        objects[9:31, 9:41], objects[10:30, 10:40] = 255, 1  # a border of 255 around the object
        Image.fromarray(objects).save(tmp_path / "SegmentationObject" / "a.png")
    dataset = read(tmp_path, format="voc")
    assert areas(tmp_path, "voc") == ([("cat", 600)] if with_map else [])
    assert [one.what for one in dataset.left_out] == ([] if with_map else ["a box without an outline"])


def test_labelme_labels_have_no_blanks_around_them(tmp_path: Path) -> None:
    corners = [[10, 10], [40, 10], [40, 30], [10, 30]]
    shapes = [{"label": label, "points": corners} for label in ("cat ", "cat")]
    document = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": None, "imageWidth": None}
    (tmp_path / "a.json").write_text(json.dumps(document))
    Image.new("RGB", (100, 80)).save(tmp_path / "a.jpg")
    assert read(tmp_path, format="labelme").classes == ("cat",)
    assert areas(tmp_path, "labelme") == [("cat", 600), ("cat", 600)]
    document["shapes"][0]["label"] = " "
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"a\.json: .*shapes\[0\] has the label ' '"):
        read(tmp_path, format="labelme")
