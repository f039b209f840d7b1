"""What a format promises to keep comes back from its own files."""

import base64
import io
import json
import re
import shutil
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from formats_world import CLASSES, SIZE_HW, disc, make_masks, make_segmentation

from promptseg.errors import DataError, ImageError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import write_json, write_json_list
from promptseg.formats.dataset import read, write
from promptseg.formats.dataset_writer import DatasetWriter
from promptseg.formats.table import FORMATS

KEEP_SCORES = set(FORMATS) - {"png", "yolo", "voc"}
KEEP_OVERLAPS = set(FORMATS) - {"png", "coco-panoptic", "voc"}
UNREAD = {
    ".promptseg", "classes.txt", "label_config.xml", "images", "JPEGImages", "SegmentationClass", "ImageSets",
    "overlay", "cutout",
}  # fmt: skip
WITH_IMAGES = set(FORMATS) - {"png", "npz", "geojson"}


def by_stem(annotations: tuple[Annotation, ...]) -> dict[str, Annotation]:
    return {annotation.stem: annotation for annotation in annotations}


def sorted_objects(annotation: Annotation) -> list[tuple[str, float, bytes]]:
    return sorted((label, each.score, each.mask.tobytes()) for label, each in annotation.objects())


@pytest.mark.parametrize("name", FORMATS)
def test_masks_and_labels_come_back_exactly(name: str, tmp_path: Path) -> None:
    masks = make_masks()
    nothing = make_segmentation({label: [] for label in CLASSES}, seed=1)
    write({"a.jpg": make_segmentation(masks), "b.jpg": nothing}, tmp_path / "out", format=name, tolerance=0)
    # From the files of the format alone.
    shutil.rmtree(tmp_path / "out" / ".promptseg")
    data = read(tmp_path / "out", format=name)
    assert data.classes == CLASSES
    found = by_stem(data.annotations)
    assert set(found) == {"a", "b"}
    assert found["a"].size_hw == found["b"].size_hw == SIZE_HW
    assert found["b"].regions == ()
    for region in found["a"].regions:
        np.testing.assert_array_equal(region.area.mask, np.logical_or.reduce(masks[region.label]))
    assert {region.label for region in found["a"].regions} == {label for label in CLASSES if masks[label]}
    if name != "png":
        scores = {label: [0.9 - 0.1 * i if name in KEEP_SCORES else 1.0 for i in range(2)] for label in CLASSES}
        wanted = [
            (label, round(scores[label][i], 3), mask.tobytes())
            for label, objects in masks.items()
            for i, mask in enumerate(objects)
        ]
        assert sorted_objects(found["a"]) == sorted(wanted)


@pytest.mark.parametrize("name", FORMATS)
def test_mask_quality_comes_back_where_scores_do(name: str, tmp_path: Path) -> None:
    masks = [disc(12, 20, 9), disc(45, 20, 9)]
    found = make_segmentation({"cat": masks})
    rated = (replace(found[0].instances[0], mask_quality=0.75), found[0].instances[1])
    found = replace(found, results=(replace(found[0], model_instances=rated),))
    write({"a": found}, tmp_path, format=name, tolerance=0)
    (annotation,) = read(tmp_path, format=name).annotations
    qualities = {each.mask.tobytes(): each.mask_quality for _, each in annotation.objects()}
    expected = [0.75, None] if name in KEEP_SCORES else [None, None]
    assert [qualities[mask.tobytes()] for mask in masks] == expected
    with DatasetWriter(tmp_path, format=name, classes=["cat"], origin=found.origin) as writer:
        ((_, kept),) = writer.annotations()
    assert [each.mask_quality for _, each in kept.objects()] == [0.75, None]


def test_archives_from_before_mask_quality_are_read(tmp_path: Path) -> None:
    out = write({"a": make_segmentation(make_masks())}, tmp_path, format="npz")
    with np.load(out / "a.npz") as arrays:
        older = {name: array for name, array in arrays.items() if name != "mask_qualities"}
    np.savez(out / "a.npz", **older)
    (annotation,) = read(out, format="npz").annotations
    assert [each.mask_quality for _, each in annotation.objects()] == [None] * 4


@pytest.mark.parametrize("name", FORMATS)
def test_a_data_set_states_its_format(name: str, tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format=name)
    assert by_stem(read(tmp_path).annotations)["a"].to_dict() == read(tmp_path, format=name).annotations[0].to_dict()
    assert repr(read(tmp_path)) == "<DataSet images=1 classes=4>"


def test_a_folder_that_states_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither a data set .* nor a saved result; .* say its format: coco, coco-pol"):
        read(tmp_path)
    (tmp_path / ".promptseg").mkdir()
    (tmp_path / ".promptseg" / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset\.json: not the state of a data set"):
        read(tmp_path)


@pytest.mark.parametrize("name", sorted(KEEP_OVERLAPS))
def test_objects_that_overlap_come_back_whole(name: str, tmp_path: Path) -> None:
    objects = [disc(20, 20, 12), disc(28, 20, 12), disc(20, 20, 3)]
    write({"a": make_segmentation({"cat": objects})}, tmp_path / "out", format=name, tolerance=0)
    (annotation,) = read(tmp_path / "out", format=name).annotations
    assert {each.mask.tobytes() for _, each in annotation.objects()} == {mask.tobytes() for mask in objects}


@pytest.mark.parametrize("name", ["coco-panoptic", "voc"])
def test_where_objects_overlap_the_surest_is_on_top(name: str, tmp_path: Path) -> None:
    sure, unsure, hidden = disc(20, 20, 12), disc(28, 20, 12), disc(20, 20, 3)
    write({"a": make_segmentation({"cat": [sure, unsure, hidden]})}, tmp_path / "out", format=name)
    (annotation,) = read(tmp_path / "out", format=name).annotations
    assert {each.mask.tobytes() for _, each in annotation.objects()} == {sure.tobytes(), (unsure & ~sure).tobytes()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_images(name: str, size_hw: tuple[int, int], tmp_path: Path) -> None:
    mask = np.ones(size_hw, dtype=bool)
    mask[mask.shape[0] // 2, mask.shape[1] // 2] = mask.size == 1
    write({"a": make_segmentation({"cat": [mask]}, size_hw=size_hw)}, tmp_path / "out", format=name)
    (annotation,) = read(tmp_path / "out", format=name).annotations
    assert annotation.size_hw == size_hw
    np.testing.assert_array_equal(annotation.regions[0].area.mask, mask)


@pytest.mark.parametrize("name", sorted(WITH_IMAGES))
def test_the_image_is_where_the_annotation_says(name: str, tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path / "out", format=name)
    (annotation,) = read(tmp_path / "out", format=name).annotations
    folder = FORMATS[name].images
    assert folder is not None
    assert annotation.file_name == "a.png", "there is no a.jpg to copy: the pixels are kept without loss"
    assert (tmp_path / "out" / folder / annotation.file_name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write({"a.jpg": make_segmentation(make_masks())}, out, format=name)
    with pytest.raises(DataError, match=str(tmp_path / "nowhere")):
        read(tmp_path / "nowhere", format=name)
    hurt = 0
    for path in (path for path in sorted(out.rglob("*")) if path.is_file()):
        top = path.relative_to(out).parts[0]
        if top in UNREAD or (top, path.suffix) == ("pictures", ".png"):
            continue
        whole = path.read_bytes()
        path.write_bytes(b"\x00\x01 broken")
        with pytest.raises(DataError, match=str(out)):
            read(out, format=name)
        path.write_bytes(whole)
        hurt += 1
    assert hurt


@pytest.mark.parametrize(
    "segmentation",
    [[[1, 2, 3, 4, 5, 6, 7]], [["1"] * 6], {"counts": "0", "size": [5, 5]}, {"counts": [3], "size": list(SIZE_HW)}],
)
def test_masks_that_coco_cannot_mean_are_refused(segmentation: object, tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="coco")
    path = tmp_path / "annotations" / "instances.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"json, annotations\[0\]: not COCO's instances: .*(run-length code|the mask is)"
    ):
        read(tmp_path, format="coco")


@pytest.mark.parametrize("line", ["-1 0.1 0.1 0.5 0.1 0.5 0.5", "0", "0 0.1 0.1", "0 nan 0.1 0.5 0.1 0.5 0.5"])
def test_labels_that_yolo_cannot_mean_are_refused(line: str, tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="yolo")
    (tmp_path / "labels" / "a.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=r"a\.txt, line 1: not 'class x y"):
        read(tmp_path, format="yolo")


def test_a_panoptic_map_of_another_size_is_refused(tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="coco-panoptic")
    path = tmp_path / "annotations" / "panoptic.json"
    path.write_text(path.read_text().replace(f'"height": {SIZE_HW[0]}', '"height": 99'))
    with pytest.raises(DataError, match=r"a\.png is \(41, 60\)"):
        read(tmp_path, format="coco-panoptic")


def test_archives_damaged_anywhere_are_named(tmp_path: Path) -> None:
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="npz")
    path = tmp_path / "a.npz"
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :] for at in range(0, len(whole), 19))
    refused = 0
    for content in (b"", whole[:-30], *flipped):
        path.write_bytes(content)
        try:
            read(tmp_path, format="npz")
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > len(whole) // 19 // 2


@pytest.mark.parametrize(
    ("name", "place"), [("yolo", "images/a.png"), ("voc", "SegmentationObject/a.png"), ("labelme-masks", None)]
)
def test_an_image_that_says_it_is_enormous_is_refused(name: str, place: str | None, tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format=name)
    if place is None:
        path = tmp_path / "pictures" / "a.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        document["shapes"][0]["mask"] = base64.b64encode(bomb).decode()
        path.write_text(json.dumps(document))
    else:
        (tmp_path / place).write_bytes(bomb)
    with pytest.raises(DataError, match=r"a\.(json|png): .*(exceeds limit|the limit is)"):
        read(tmp_path, format=name)


@pytest.mark.parametrize(
    ("size_hw", "said"),
    [((10**9, 10**9), "1000000000x1000000000 pixels"), ((178_956_971, 1), "the limit is 178,956,970")]
    + [(size_hw, "whole numbers from 1 on, not ") for size_hw in ((0, 5), (-1, 5), (41.0, 60), (None, 60), ("41", 60))],
)
@pytest.mark.parametrize("name", ["coco", "coco-polygons", "labelme", "labelme-masks", "labelstudio", "geojson"])
def test_a_size_that_no_image_has_is_refused(name: str, size_hw: tuple[int, int], said: str, tmp_path: Path) -> None:
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format=name)
    height, width = size_hw
    where, place = {
        "coco": ("annotations/instances.json, image 1", lambda it: it["images"][0].update(height=height, width=width)),
        "labelme": ("pictures/a.json", lambda it: it.update(imageHeight=height, imageWidth=width)),
        "labelstudio": ("tasks.json, task 1", lambda it: it[0]["data"].update(height=height, width=width)),
        "geojson": ("a.geojson", lambda it: it["picture"].update(size_hw=[height, width])),
    }[name.partition("-")[0]]
    path = out / where.partition(",")[0]
    document = json.loads(path.read_text(encoding="utf-8"))
    place(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(out / where)) + f": .*{re.escape(said)}"):
        read(out, format=name)


def test_run_length_codes_that_say_they_are_enormous_are_refused(tmp_path: Path) -> None:
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path / "coco", format="coco")
    path = out / "annotations" / "instances.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for counts in ("0", [10**18]):
        document["annotations"][1]["segmentation"] = {"size": [10**9, 10**9], "counts": counts}
        path.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(DataError, match=re.escape(f"{path}, annotations[1]: not COCO's instances")):
            read(out, format="coco")
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path / "brushes", format="labelstudio")
    path = out / "tasks.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document[0]["predictions"][0]["result"][0]["value"]["rle"][:4] = [255] * 4  # 2^32 - 1 values
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=r"tasks\.json, task 1: .* has 4,294,967,295 values, expected 4 x 41 x 60"):
        read(out, format="labelstudio")


def test_corners_beyond_all_numbers_are_refused(tmp_path: Path) -> None:
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="labelme-masks")
    path = out / "pictures" / "a.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["shapes"][0]["points"][1] = [10**30, 10**30]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json: not labelme's JSON: OverflowError"):
        read(out, format="labelme-masks")


def test_an_array_that_says_it_is_enormous_is_refused(tmp_path: Path) -> None:
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="npz")
    with np.load(out / "a.npz") as arrays:
        members = {name: io.BytesIO() for name in arrays}
        for name, file in members.items():
            np.save(file, arrays[name])
    for shape in ("(3, 1000000000, 1000000000)", "(3, 1000000000000000000000, 60)"):
        with zipfile.ZipFile(out / "a.npz", "w") as archive:
            for name, file in members.items():
                content = file.getvalue()
                if name == "masks":
                    header = f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
                    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
                archive.writestr(f"{name}.npy", content)
        with pytest.raises(DataError, match=r"a\.npz: not an archive of masks"):
            read(out, format="npz")


@pytest.mark.parametrize(
    ("size_hw", "said"),
    [
        ((42, 60), r"not an archive of masks: masks has the shape \(4, 41, 60\), its image is \(42, 60\)"),
        ((10**9, 10**9), r"says that its image has 1000000000x1000000000 pixels \(H x W\); the limit is 178,956,970"),
    ],
)
def test_arrays_of_another_size_than_the_image_are_refused(size_hw: tuple[int, int], said: str, tmp_path: Path) -> None:
    out = write({"a.jpg": make_segmentation(make_masks())}, tmp_path, format="npz")
    with np.load(out / "a.npz") as arrays:
        np.savez(out / "a.npz", **{**arrays, "size_hw": np.array(size_hw)})
    with pytest.raises(DataError, match=r"a\.npz: " + said):
        read(out, format="npz")


def test_a_list_is_written_one_by_one_and_as_json_writes_it(tmp_path: Path) -> None:
    class Item(dict[str, object]):
        """A dict that can be watched."""

    made: list[weakref.ref[Item]] = []
    num_alive = []

    def items() -> Iterator[Item]:
        for index in range(5):
            num_alive.append(sum(item() is not None for item in made))
            item = Item(name=f"猫 {index}", score=0.1 * index, points=[[1.0, 2.5]])
            made.append(weakref.ref(item))
            yield item
            del item

    write_json_list(tmp_path / "streamed.json", items())
    assert max(num_alive) == 1, "the one that was written last"
    for path, content in (("streamed", [*items()]), ("none", [])):
        write_json_list(tmp_path / f"{path}.json", iter(content))
        write_json(tmp_path / "whole.json", content)
        assert (tmp_path / f"{path}.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_formats_say_what_they_cannot_hold(tmp_path: Path) -> None:
    many = make_segmentation({"cat": [disc(i % 60, i // 60, 1) for i in range(300)]})
    with pytest.raises(ImageError, match=r"Pascal VOC holds the numbers 1 to 254, there are 300"):
        write({"a": many}, tmp_path / "voc", format="voc")
    with pytest.raises(OutputError, match=r"no format is named 'cocoa'; there are coco, coco-polygons"):
        write({"a": many}, tmp_path / "cocoa", format="cocoa")
    assert not (tmp_path / "cocoa").exists()


def test_an_index_map_of_many_classes_has_16_bits(tmp_path: Path) -> None:
    classes = [f"class {index}" for index in range(300)]
    masks = {classes[0]: [disc(10, 10, 5)], classes[299]: [disc(40, 20, 5)]}
    write({"a": make_segmentation(masks)}, tmp_path, format="png", classes=classes)
    data = read(tmp_path, format="png")
    assert [region.label for region in data.annotations[0].regions] == ["class 0", "class 299"]
    assert (tmp_path / "index" / "a.png").is_file()


def test_the_guide_describes_every_format() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    heading, *rows = re.findall(r"^\| `([a-z-]+)` \|", guide, re.MULTILINE)
    assert (heading, rows) == ("format", list(FORMATS))
