"""All file formats by name."""

from collections.abc import Callable, Collection

from promptseg._value_checks import is_number
from promptseg.errors import OutputError
from promptseg.formats import coco, coco_panoptic, geojson, labelme, labelstudio, npz, png, voc, yolo
from promptseg.formats.base import Format
from promptseg.ops.polygons import TOLERANCE

FORMATS = {
    "coco": coco.RLE_FORMAT,
    "coco-polygons": coco.POLYGON_FORMAT,
    "coco-panoptic": coco_panoptic.FORMAT,
    "yolo": yolo.FORMAT,
    "labelstudio": labelstudio.BRUSH_FORMAT,
    "labelstudio-polygons": labelstudio.POLYGON_FORMAT,
    "labelme": labelme.POLYGON_FORMAT,
    "labelme-masks": labelme.MASK_FORMAT,
    "voc": voc.FORMAT,
    "geojson": geojson.FORMAT,
    "png": png.FORMAT,
    "npz": npz.FORMAT,
}

# Formats that write polygons, by the tolerance of these.
_POLYGON_FORMATS: dict[str, Callable[[float], Format]] = {
    "coco-polygons": coco.polygon_format,
    "yolo": yolo.polygon_format,
    "labelstudio-polygons": labelstudio.polygon_format,
    "labelme": labelme.polygon_format,
    "geojson": geojson.polygon_format,
}


def find_format(name: str, *, tolerance: float | None = None, stuff: Collection[str] | None = None) -> Format:
    """Return the format of a name.

    Args:
        name: Of the format.
        tolerance: Of polygons, pixels; None: `ops.polygons.TOLERANCE`. Formats without polygons are exact.
        stuff: Classes without countable objects, for coco-panoptic; None: told by tables and WordNet.

    Raises:
        OutputError: There is none of that name (the message lists them), or the tolerance is no number from 0 on.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise OutputError(f"no format is named {name!r}; there are {', '.join(FORMATS)}")
    if name == coco_panoptic.FORMAT.name:
        return coco_panoptic.panoptic_format(stuff)
    if tolerance is None:
        return FORMATS[name]
    if not (is_number(tolerance) and tolerance >= 0):
        raise OutputError(f"a tolerance of polygons is a number of pixels from 0 on, not {tolerance!r}")
    return _POLYGON_FORMATS[name](tolerance) if name in _POLYGON_FORMATS else FORMATS[name]


def polygon_tolerance(name: str, tolerance: float | None) -> float | None:
    """Return the tolerance that a format writes polygons with, pixels; None: it writes none.

    Args:
        name: Of the format.
        tolerance: As `find_format` takes it.
    """
    if name not in _POLYGON_FORMATS:
        return None
    return TOLERANCE if tolerance is None else float(tolerance)
