"""GeoJSON: one file for each image, one feature for each object, one polygon for each part of it, with its holes.

Coordinates are pixels, x to the right and y down. If the image is a GeoTIFF, they are longitude and latitude (RFC 7946,
WGS 84), and the file keeps the raster's own coordinate system, so that it can be read back.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    find_files,
    read_class_map,
    read_json,
    reading,
    write_json,
)
from promptseg.formats.georeference import Georeference
from promptseg.images import check_stated_size
from promptseg.ops.polygons import TOLERANCE, Polygon, fill_rings, ring_area, smooth_polygons
from promptseg.results import Instance

_SUFFIX = ".geojson"


def write_image(
    directory: Path,
    annotation: Annotation,
    classes: Sequence[str],
    image: DataSetImage,
    *,
    tolerance: float = 0.0,
) -> None:
    """Write the features of one image.

    Raises:
        ImageError: The image is a GeoTIFF without a usable georeference.
        MissingExtraError: The image is a GeoTIFF, and rasterio is not installed.
    """
    georeference = Georeference.load(image.path) if image.path is not None else None
    features = []
    for label, instance in annotation.objects():
        polygons = smooth_polygons(instance.polygons(), tolerance)
        coordinates = [_to_coordinates(polygon, georeference) for polygon in polygons]
        is_single = len(coordinates) == 1
        features.append(
            {
                "type": "Feature",
                "geometry": {
                    "type": "Polygon" if is_single else "MultiPolygon",
                    "coordinates": coordinates[0] if is_single else coordinates,
                },
                "properties": {
                    "label": label,
                    "class_id": classes.index(label),
                    "score": instance.score,
                    **describe_quality(instance),
                },
            }
        )
    document: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": features,
        "picture": {
            "file_name": annotation.file_name,
            "size_hw": list(annotation.size_hw),
            "coordinates": "pixel" if georeference is None else "geographic",
        },
    }
    if georeference is not None:
        document["picture"]["georeference"] = georeference.to_dict()
    write_json(directory / f"{annotation.stem}{_SUFFIX}", document)


def read(directory: Path) -> DataSet:
    """Read all files.

    Raises:
        DataError: A file is missing or malformed; the message names it.
        MissingExtraError: A file is geographic, and rasterio is not installed.
    """
    annotations = []
    for path in find_files(directory, f"*{_SUFFIX}"):
        document = read_json(path)
        with reading(str(path), "features of an image"):
            annotations.append(_to_annotation(document, str(path)))
    return DataSet(read_class_map(directory), tuple(annotations))


def _to_coordinates(polygon: Polygon, georeference: Georeference | None) -> list[list[list[float]]]:
    """List the rings as RFC 7946 requires: closed, the outer one counter-clockwise, holes clockwise."""
    rings = []
    for ring in (polygon.outer, *polygon.holes):
        points: NDArray[np.float64] = ring.astype(np.float64)
        if georeference is not None:
            points = georeference.to_geographic(points)
        # With the y axis pointing up, a counter-clockwise ring has a positive area by the shoelace formula.
        if (ring_area(points) > 0) != (ring is polygon.outer):
            points = points[::-1]
        rings.append([*points.tolist(), points[0].tolist()])
    return rings


def _to_annotation(document: dict[str, Any], where: str) -> Annotation:
    image = document["picture"]
    height, width = image["size_hw"]
    size_hw = check_stated_size(height, width, where=where)
    georeference = Georeference.from_dict(image["georeference"]) if "georeference" in image else None
    objects = []
    for feature in document["features"]:
        geometry = feature["geometry"]
        coordinates = geometry["coordinates"]
        polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
        rings = [np.array(ring[:-1], dtype=np.float64) for polygon in polygons for ring in polygon]
        if georeference is not None:
            rings = [georeference.to_pixels(ring) for ring in rings]
        properties = feature["properties"]
        mask = fill_rings(rings, size_hw)
        instance = Instance.from_mask(mask, properties["score"], mask_quality=properties.get("mask_quality"))
        objects.append((properties["label"], instance))
    return Annotation.from_objects(image["file_name"], size_hw, objects)


def polygon_format(tolerance: float) -> Format:
    """Create the format whose polygons have this tolerance, pixels."""
    return Format(
        name="geojson",
        images=None,
        write_image=partial(write_image, tolerance=tolerance),
        write_index=None,
        read=read,
    )


FORMAT = polygon_format(TOLERANCE)
