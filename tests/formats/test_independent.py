"""Every format as another program reads it: pycocotools, shapely, numpy, Pillow, or a decoder from its description.

labelme, ultralytics and Label Studio themselves need Qt, torchvision or a server; what they look for is spelled out.
"""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import shapely
import yaml
from formats_world import CLASSES, SIZE_HW, inside, make_masks, make_segmentation
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.ndimage import binary_dilation

from promptseg.formats.brush_rle import decode_brush, encode_brush
from promptseg.formats.dataset import write

OBJECTS = [(label, mask) for label, masks in make_masks().items() for mask in masks]
SCORES = [0.9, 0.8, 0.9, 0.9]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """The same two images in any format; in the second one there is nothing."""
    nothing = make_segmentation({label: [] for label in CLASSES}, seed=1)

    def make(name: str) -> Path:
        return write(
            {"a.jpg": make_segmentation(make_masks()), "b.jpg": nothing}, tmp_path / "out", format=name, tolerance=0
        )

    return make


def box_of(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("name", ["coco", "coco-polygons"])
def test_pycocotools_reads_the_instances(name: str, written: Callable[[str], Path]) -> None:
    out = written(name)
    coco = COCO(str(out / "annotations" / "instances.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(annotations) == len(OBJECTS) and not coco.getAnnIds(imgIds=[2])
    for (label, mask), score, annotation in zip(OBJECTS, SCORES, annotations, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert coco.loadCats(annotation["category_id"])[0]["name"] == label
        left, top, right, bottom = box_of(mask)
        assert annotation["bbox"] == [left, top, right - left, bottom - top]
        assert (annotation["area"], annotation["score"], annotation["iscrowd"]) == (mask.sum(), score, 0)
    # As results they are perfect.
    evaluation = COCOeval(coco, coco.loadRes(annotations), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]
    np.testing.assert_allclose(precision[precision >= 0], 1.0)


def test_panoptic_colors_are_the_ids_of_the_segments(written: Callable[[str], Path]) -> None:
    out = written("coco-panoptic")
    document = json.loads((out / "annotations" / "panoptic.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert all(category["isthing"] in (0, 1) for category in document["categories"])
    first, second = document["annotations"]
    assert second["segments_info"] == []
    with Image.open(out / "panoptic" / first["file_name"]) as image:
        assert image.mode == "RGB"
        ids = np.asarray(image).astype(np.int64) @ [1, 256, 65536]
    assert set(np.unique(ids)) - {0} == {segment["id"] for segment in first["segments_info"]}
    for (label, mask), segment in zip(OBJECTS, first["segments_info"], strict=True):
        np.testing.assert_array_equal(ids == segment["id"], mask)
        left, top, right, bottom = box_of(mask)
        assert segment["bbox"] == [left, top, right - left, bottom - top]
        assert (segment["area"], names[segment["category_id"]]) == (mask.sum(), label)


def test_yolo_labels_as_ultralytics_describes_them(written: Callable[[str], Path]) -> None:
    out = written("yolo")
    config = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert config == {"train": "images", "val": "images", "names": dict(enumerate(CLASSES))}
    height, width = SIZE_HW
    for image_path in sorted((out / config["train"]).iterdir()):
        # Labels are found by putting labels for images in the path.
        lines = (out / "labels" / image_path.with_suffix(".txt").name).read_text(encoding="utf-8").splitlines()
        rows = [[float(value) for value in line.split()] for line in lines]
        assert all(len(row) > 6 and len(row) % 2 == 1 for row in rows), "five or fewer would be a box"
        assert len(rows) == (len(OBJECTS) if image_path.stem == "a" else 0)
        for (label, mask), (class_id, *values) in zip(OBJECTS, rows, strict=False):
            assert config["names"][class_id] == label
            assert 0 <= min(values) and max(values) <= 1
            ring = np.reshape(values, (-1, 2)) * (width, height)
            np.testing.assert_array_equal(inside(ring.tolist()), mask)
            assert not (mask & ~draw_with_outline(ring)).any()


def test_label_studio_brushes_by_its_own_bit_stream(written: Callable[[str], Path]) -> None:
    out = written("labelstudio")
    first, second = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
    assert first["data"]["image"] == "/data/local-files/?d=images/a.png"
    assert second["predictions"][0]["result"] == []
    for (label, mask), score, result in zip(OBJECTS, SCORES, first["predictions"][0]["result"], strict=True):
        assert (result["type"], result["value"]["format"]) == ("brushlabels", "rle")
        assert (result["original_height"], result["original_width"], result["image_rotation"]) == (*SIZE_HW, 0)
        assert (result["value"]["brushlabels"], result["score"]) == ([label], score)
        rgba = unpack_brush(result["value"]["rle"]).reshape(*SIZE_HW, 4)
        np.testing.assert_array_equal(rgba[:, :, 3], mask * 255)
    assert_config_fits(out, first["predictions"][0]["result"], control="BrushLabels")
    ids = [result["id"] for result in first["predictions"][0]["result"]]
    assert len(set(ids)) == len(ids)


def test_label_studio_polygons_are_in_percent(written: Callable[[str], Path]) -> None:
    out = written("labelstudio-polygons")
    first, _ = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
    height, width = SIZE_HW
    for (label, mask), result in zip(OBJECTS, first["predictions"][0]["result"], strict=True):
        points = np.array(result["value"]["points"])
        assert result["value"]["polygonlabels"] == [label]
        assert points.min() >= 0 and points.max() <= 100
        np.testing.assert_array_equal(inside((points / 100 * (width, height)).tolist()), mask)
    assert_config_fits(out, first["predictions"][0]["result"], control="PolygonLabels")


def test_labelme_polygons_as_its_loader_takes_them(written: Callable[[str], Path]) -> None:
    shapes = load_labelme(written("labelme") / "pictures" / "a.json")
    groups: dict[int, np.ndarray] = {}
    labels = {}
    for shape in shapes:
        assert shape["shape_type"] == "polygon" and len(shape["points"]) > 2
        part = inside(shape["points"])
        drawn = draw_with_outline(shape["points"])
        assert not (part & ~drawn).any() and not (drawn & ~binary_dilation(part, np.ones((3, 3)))).any()
        groups[shape["group_id"]] = groups.get(shape["group_id"], np.zeros(SIZE_HW, dtype=bool)) | part
        labels[shape["group_id"]] = shape["label"]
    for (label, mask), group_id in zip(OBJECTS, sorted(groups), strict=True):
        assert labels[group_id] == label
        np.testing.assert_array_equal(groups[group_id], mask)


def test_labelme_masks_as_its_loader_takes_them(written: Callable[[str], Path]) -> None:
    shapes = load_labelme(written("labelme-masks") / "pictures" / "a.json")
    for (label, expected), shape in zip(OBJECTS, shapes, strict=True):
        assert (shape["label"], shape["shape_type"]) == (label, "mask")
        (left, top), (right, bottom) = np.array(shape["points"], dtype=int)
        mask = np.zeros(SIZE_HW, dtype=bool)
        mask[top : bottom + 1, left : right + 1] = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
        np.testing.assert_array_equal(mask, expected)


def test_voc_maps_and_boxes(written: Callable[[str], Path]) -> None:
    out = written("voc")
    assert (out / "ImageSets/Segmentation/train.txt").read_text().split() == ["a", "b"]
    root = ElementTree.parse(out / "Annotations" / "a.xml").getroot()
    assert (out / "JPEGImages" / root.findtext("filename", "")).is_file()
    assert (root.findtext("size/height"), root.findtext("size/width")) == tuple(str(side) for side in SIZE_HW)
    maps = {}
    for folder in ("SegmentationClass", "SegmentationObject"):
        with Image.open(out / folder / "a.png") as image:
            assert image.mode == "P"
            # Aeroplane, bicycle and the border, as in every copy of the set.
            palette = np.array(image.getpalette()).reshape(-1, 3)
            assert palette[[0, 1, 2, 255]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
            maps[folder] = np.asarray(image)
    found = root.findall("object")
    for number, ((label, mask), element) in enumerate(zip(OBJECTS, found, strict=True), start=1):
        assert element.findtext("name") == label
        corners = [int(element.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")]
        assert corners == np.add(box_of(mask), [1, 1, 0, 0]).tolist()
        np.testing.assert_array_equal(maps["SegmentationObject"] == number, mask)
        assert set(maps["SegmentationClass"][mask]) == {CLASSES.index(label) + 1}


def test_shapely_reads_pixel_geojson(written: Callable[[str], Path]) -> None:
    document = json.loads((written("geojson") / "a.geojson").read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    rows, columns = np.indices(SIZE_HW) + 0.5
    for (label, mask), score, feature in zip(OBJECTS, SCORES, document["features"], strict=True):
        geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert geometry.is_valid and geometry.area == mask.sum()
        assert (feature["properties"]["label"], feature["properties"]["score"]) == (label, score)
        np.testing.assert_array_equal(shapely.contains_xy(geometry, columns, rows), mask)
        for polygon in getattr(geometry, "geoms", [geometry]):
            assert polygon.exterior.is_ccw and not any(hole.is_ccw for hole in polygon.interiors)


def test_numpy_reads_the_archive(written: Callable[[str], Path]) -> None:
    out = written("npz")
    with np.load(out / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["masks"], [mask for _, mask in OBJECTS])
        np.testing.assert_array_equal(arrays["boxes_xyxy"], [box_of(mask) for _, mask in OBJECTS])
        assert [CLASSES[index] for index in arrays["class_ids"]] == [label for label, _ in OBJECTS]
        assert arrays["classes"].tolist() == list(CLASSES)
        assert arrays["class_masks"].shape == (3, *SIZE_HW)
    with np.load(out / "b.npz") as arrays:
        assert arrays["masks"].shape == (0, *SIZE_HW)
        assert (arrays["boxes_xyxy"].shape, arrays["scores"].shape) == ((0, 4), (0,))


def test_pillow_reads_indexes_masks_and_cut_outs(written: Callable[[str], Path]) -> None:
    out = written("png")
    with Image.open(out / "index" / "a.png") as image:
        assert image.mode == "P"
        indexes = np.asarray(image)
    for label, masks in make_masks().items():
        np.testing.assert_array_equal(indexes == CLASSES.index(label) + 1, np.logical_or.reduce([*masks, indexes < 0]))
    with Image.open(out / "binary" / "a" / "000-cat.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.logical_or(*make_masks()["cat"]) * np.uint8(255))
    ring = make_masks()["cat"][0]
    left, top, right, bottom = box_of(ring)
    with Image.open(out / "cutout" / "a" / "000-cat-0.png") as image:
        rgba = np.asarray(image)
    np.testing.assert_array_equal(rgba[..., 3], ring[top:bottom, left:right] * 255)
    image = make_segmentation(make_masks()).image_rgb[top:bottom, left:right]
    np.testing.assert_array_equal(rgba[rgba[..., 3] > 0][:, :3], image[rgba[..., 3] > 0])
    assert not rgba[rgba[..., 3] == 0].any()
    with Image.open(out / "overlay" / "b.png") as image:
        assert image.size == SIZE_HW[::-1]


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 2), (300, 200), (3, 20_000)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_brush_codes_of_short_and_long_runs(size_hw: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(size_hw) < share
    code = encode_brush(mask)
    np.testing.assert_array_equal(unpack_brush(code).reshape(*size_hw, 4), np.repeat(mask[..., None] * 255, 4, axis=2))
    np.testing.assert_array_equal(decode_brush(code, size_hw), mask)
    with pytest.raises(ValueError, match=r"values, expected 4 x"):
        decode_brush(code, (size_hw[0] + 1, size_hw[1]))
    with pytest.raises(ValueError, match="breaks off"):
        decode_brush(code[:-2], size_hw)


def test_a_brush_code_may_spell_its_values_out() -> None:
    # 4 values of 8 bits, sizes 3, 4, 8, 16; one block: spelled out, the first size, length 4.
    bits = f"{4:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + f"0{0:02b}{3:03b}" + f"{255:08b}" * 4
    padded = bits + "0" * (-len(bits) % 8)
    code = [int(padded[start : start + 8], 2) for start in range(0, len(padded), 8)]
    assert decode_brush(code, (1, 1)).tolist() == [[True]]


def unpack_brush(code: list[int]) -> np.ndarray:
    """Decode thi.ng's rle-pack, which Label Studio uses, bit by bit as its sources describe it."""
    bits = "".join(f"{byte:08b}" for byte in code)
    position = 0
    fields = []
    for num_bits in (32, 5, 4, 4, 4, 4):
        fields.append(int(bits[position : position + num_bits], 2))
        position += num_bits
    num_values, word_size, *sizes = fields[0], *(field + 1 for field in fields[1:])
    values: list[int] = []
    while len(values) < num_values:
        is_run, size_index = bits[position] == "1", int(bits[position + 1 : position + 3], 2)
        position += 3
        length = int(bits[position : position + sizes[size_index]], 2) + 1
        position += sizes[size_index]
        for _ in range(1 if is_run else length):
            value = int(bits[position : position + word_size], 2)
            position += word_size
            values += [value] * (length if is_run else 1)
    assert len(values) == num_values
    return np.array(values, dtype=np.uint8)


def load_labelme(path: Path) -> list[dict[str, Any]]:
    """What labelme's LabelFile looks for when it opens a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    with Image.open(path.parent / document["imagePath"]) as image:
        assert (image.height, image.width) == (document["imageHeight"], document["imageWidth"]) == SIZE_HW
    return list(document["shapes"])


def draw_with_outline(ring: Any) -> np.ndarray:
    """Fill a polygon and draw its outline, as labelme's label maps and ultralytics' masks do."""
    image = Image.new("1", SIZE_HW[::-1])
    ImageDraw.Draw(image).polygon([(int(x), int(y)) for x, y in ring], fill=1, outline=1)
    return np.asarray(image)


def assert_config_fits(out: Path, results: list[dict[str, Any]], *, control: str) -> None:
    root = ElementTree.parse(out / "label_config.xml").getroot()
    labels = root.find(control)
    assert labels is not None
    assert [label.get("value") for label in labels] == list(CLASSES)
    assert {result["from_name"] for result in results} == {labels.get("name")}
    assert {result["to_name"] for result in results} == {root.find("Image").get("name")}  # type: ignore[union-attr]
