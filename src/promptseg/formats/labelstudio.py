"""Label Studio: `images/`, `tasks.json` to import, and `label_config.xml` for the project.

Results are predictions, which a person accepts or corrects. `labelstudio` writes brush strokes, and
`labelstudio-polygons` polygons in percent of the image: one ring for each object, with holes and parts joined by lines
of zero width. Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the data set's directory.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import (
    DataSet,
    Format,
    LeftOut,
    list_classes,
    read_json,
    reading,
    write_json_list,
    write_text,
)
from promptseg.formats.brush_rle import decode_brush, encode_brush
from promptseg.images import check_stated_size
from promptseg.ops.polygons import TOLERANCE, fill_rings, join_parts, smooth_polygons
from promptseg.results import Instance

# The key of a region's labels, which is also its type.
RegionKind = Literal["brushlabels", "polygonlabels", "rectanglelabels"]

# Regions that enclose an area.
_AREAS = ("brushlabels", "polygonlabels")

INDEX = Path("tasks.json")
_IMAGE_URL = "/data/local-files/?d=images/"
_UNSAFE = re.compile(rb"[^A-Za-z0-9._~-]")


def write_brushes(directory: Path, classes: Sequence[str], annotations: Iterable[Annotation]) -> None:
    """Write tasks with brush strokes."""
    _write(directory, classes, annotations, kind="brushlabels")


def write_polygons(
    directory: Path, classes: Sequence[str], annotations: Iterable[Annotation], *, tolerance: float = 0.0
) -> None:
    """Write tasks with polygons."""
    _write(directory, classes, annotations, kind="polygonlabels", tolerance=tolerance)


def read(directory: Path) -> DataSet:
    """Read the tasks back, brush strokes, polygons or both, also as Label Studio exports them (JSON).

    What a person drew or corrected counts, not the predictions that it was made from. Regions without an outline, such
    as boxes and key points, are left out.

    Args:
        directory: Holds `tasks.json`. Labels that its class map lacks are further classes.

    Raises:
        DataError: They are missing or malformed; the message names the file.
    """
    path = directory / INDEX
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise DataError(f"{path}: not a list of Label Studio's tasks")
    annotations: list[Annotation] = []
    left_out: list[LeftOut] = []
    for number, task in enumerate(tasks, start=1):
        where = f"{path}, task {number}"
        with reading(where, "a task of Label Studio"):
            annotations += _to_annotations(task, where, left_out)
    return DataSet(list_classes(directory, annotations), tuple(annotations), tuple(left_out))


def _write(
    directory: Path,
    classes: Sequence[str],
    annotations: Iterable[Annotation],
    *,
    kind: RegionKind,
    tolerance: float = 0.0,
) -> None:
    write_json_list(directory / INDEX, (_to_task(annotation, kind, tolerance) for annotation in annotations))
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    control = {"brushlabels": "BrushLabels", "polygonlabels": "PolygonLabels"}[kind]
    labels = ElementTree.SubElement(view, control, name="label", toName="image")
    for name in classes:
        ElementTree.SubElement(labels, "Label", value=name)
    ElementTree.indent(view)
    write_text(directory / "label_config.xml", ElementTree.tostring(view, encoding="unicode") + "\n")


def to_region(
    instance: Instance,
    label: str,
    *,
    kind: RegionKind,
    region_id: str,
    from_name: str = "label",
    to_name: str = "image",
    tolerance: float = 0.0,
) -> dict[str, Any]:
    """Describe an object as a region: an item of "result" of an annotation or a prediction.

    Args:
        instance: The object.
        label: One of the labels of the tag `from_name`.
        kind: Of the region.
        region_id: Unique in the annotation.
        from_name: Name of the tag that has the labels.
        to_name: Name of the tag that shows the image.
        tolerance: Of a polygon, pixels.
    """
    height, width = instance.size_hw
    match kind:
        case "brushlabels":
            value = {"format": "rle", "rle": encode_brush(instance.mask)}
        case "polygonlabels":
            value = _polygon(instance, tolerance=tolerance)
        case "rectanglelabels":
            value = _rectangle(instance)
    return {
        "id": region_id,
        "type": kind,
        "from_name": from_name,
        "to_name": to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": instance.score,
        **({"meta": quality} if (quality := describe_quality(instance)) else {}),
        "value": value | {kind: [label]},
    }


def _to_task(annotation: Annotation, kind: RegionKind, tolerance: float) -> dict[str, Any]:
    height, width = annotation.size_hw
    results = [
        to_region(instance, label, kind=kind, region_id=f"object-{number}", tolerance=tolerance)
        for number, (label, instance) in enumerate(annotation.objects())
    ]
    # Percent-encoded as Label Studio's own addresses are, so that a name with '&' or '#' is found.
    name = _UNSAFE.sub(lambda match: b"%%%02X" % match.group()[0], annotation.file_name.encode()).decode()
    return {
        "data": {
            "image": _IMAGE_URL + name,
            "file_name": annotation.file_name,
            "width": width,
            "height": height,
        },
        "predictions": [
            {
                "model_version": "promptseg",
                "score": max((instance.score for _, instance in annotation.objects()), default=0.0),
                "result": results,
            }
        ],
    }


def _polygon(instance: Instance, *, tolerance: float) -> dict[str, Any]:
    height, width = instance.size_hw
    ring = join_parts(smooth_polygons(instance.polygons(), tolerance))
    return {"points": (ring * 100.0 / (width, height)).round(6).tolist(), "closed": True}


def _rectangle(instance: Instance) -> dict[str, Any]:
    height, width = instance.size_hw
    left, top, right, bottom = instance.box_xyxy
    return {
        "x": left * 100.0 / width,
        "y": top * 100.0 / height,
        "width": (right - left) * 100.0 / width,
        "height": (bottom - top) * 100.0 / height,
        "rotation": 0,
    }


def _to_annotations(task: dict[str, Any], where: str, left_out: list[LeftOut]) -> list[Annotation]:
    """Convert a task; none where nothing tells the size of its image."""
    file_name = _file_name(task["data"])
    regions = _find_regions(task, where, file_name, left_out)
    size_hw = _find_size(task["data"], regions, where)
    if size_hw is None:
        left_out.append(LeftOut(where, "no region, and no size of the image", file_name, ""))
        return []
    objects = []
    for index, region in enumerate(regions):
        value, kind = region.get("value") or {}, region.get("type")
        labels = value.get(kind, ())
        has_outline = "rle" in value or len(value.get("points") or ()) >= 3
        if kind not in _AREAS or not has_outline or region.get("image_rotation"):
            what = "a region of a rotated image" if region.get("image_rotation") else f"{kind}: it has no outline"
            left_out.extend(
                LeftOut(f"{where}, region {index + 1}", what, file_name, label) for label in labels or ("",)
            )
            continue
        mask = _to_mask(value, size_hw)
        score, quality = region.get("score"), (region.get("meta") or {}).get("mask_quality")
        instance = Instance.from_mask(mask, 1.0 if score is None else score, mask_quality=quality)
        objects += [(label, instance) for label in labels]
    return [Annotation.from_objects(file_name, size_hw, objects)]


def _find_regions(task: dict[str, Any], where: str, file_name: str, left_out: list[LeftOut]) -> list[dict[str, Any]]:
    """Find the regions that count: of the annotation that was changed last, else of the first prediction."""
    drawn = [each for each in task.get("annotations") or () if not each.get("was_cancelled")]
    if not drawn:
        return list((task.get("predictions") or [{"result": []}])[0]["result"])
    if len(drawn) > 1:
        what = f"{len(drawn) - 1} more of the same image: the one that was changed last counts"
        left_out.append(LeftOut(f"{where}, annotations", what, file_name, ""))
    return list(max(drawn, key=lambda each: str(each.get("updated_at") or ""))["result"])


def _find_size(data: dict[str, Any], regions: list[dict[str, Any]], where: str) -> tuple[int, int] | None:
    if "height" in data or "width" in data:
        return check_stated_size(data.get("height"), data.get("width"), where=where)
    stated = next((region for region in regions if "original_height" in region), None)
    if stated is None:
        return None
    return check_stated_size(stated["original_height"], stated.get("original_width"), where=where)


def _file_name(data: dict[str, Any]) -> str:
    """Give the name of a task's image: as `write` states it, else the end of its address."""
    if isinstance(data.get("file_name"), str):
        return str(data["file_name"])
    address = next(value for value in data.values() if isinstance(value, str) and value)
    return unquote(address).replace("\\", "/").rpartition("?d=")[2].rpartition("/")[2]


def _to_mask(value: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = size_hw
    if "rle" in value:
        return decode_brush(value["rle"], size_hw)
    return fill_rings([np.array(value["points"], dtype=np.float64) * (width, height) / 100.0], size_hw)


BRUSH_FORMAT = Format(
    name="labelstudio",
    images="images",
    write_image=None,
    write_index=write_brushes,
    read=read,
)


def polygon_format(tolerance: float) -> Format:
    """Create the format whose polygons have this tolerance, pixels."""
    return Format(
        name="labelstudio-polygons",
        images="images",
        write_image=None,
        write_index=partial(write_polygons, tolerance=tolerance),
        read=read,
    )


POLYGON_FORMAT = polygon_format(TOLERANCE)
