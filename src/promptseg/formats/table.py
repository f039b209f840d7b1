"""Every file format by its name."""

from promptseg.errors import OutputError
from promptseg.formats import coco, coco_panoptic, geojson, labelme, labelstudio, npz, png, voc, yolo
from promptseg.formats.base import Format

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


def find_format(name: str) -> Format:
    """Look a format up.

    Raises:
        OutputError: There is none of that name; the message lists them.
    """
    if name not in FORMATS:
        raise OutputError(f"no format is named {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]
