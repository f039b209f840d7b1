"""PNG files: an index map, one mask for each class, an overlay, and a cut-out of each object.

index/cat.png             value = class + 1, 0 is background; 8 bits with a palette, 16 bits above 254 classes
binary/cat/003-ear.png    0 and 255, the mask of class 3
overlay/cat.png           the masks over the image, with their names
cutout/cat/003-ear-0.png  the first object of class 3 in its box, on a transparent background
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation, Region
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    find_files,
    paint_indexes,
    read_class_map,
    read_png,
    write_png,
)
from promptseg.ops.index_images import LARGEST_8_BIT, to_index_image
from promptseg.ops.masks import iterate_components
from promptseg.ops.overlay import OverlayLayer, draw_overlay
from promptseg.results import Instance
from promptseg.results.saved import slug
from promptseg.stored_values import find_inside


def write_image(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write all files of one image."""
    stem = annotation.stem
    numbered = [(classes.index(region.label) + 1, region) for region in annotation.regions]
    indexes = paint_indexes(
        annotation.size_hw,
        [(value, region.area) for value, region in numbered],
        what="an index map",
        largest=LARGEST_8_BIT if len(classes) <= LARGEST_8_BIT else 65535,
    )
    layers = [OverlayLayer(region.area.mask, region.label, value - 1) for value, region in numbered]
    for folder in ("binary", "cutout"):
        for stale in find_files(directory / folder / stem, "*.png"):
            stale.unlink()
    image_rgb = image.read_rgb()
    for value, region in numbered:
        name = f"{value - 1:03d}-{slug(region.label)}"
        mask = Image.fromarray(region.area.mask.astype(np.uint8) * 255)
        write_png(directory / "binary" / stem / f"{name}.png", mask)
        for number, instance in enumerate(region.instances):
            write_png(directory / "cutout" / stem / f"{name}-{number}.png", instance.cut_out(image_rgb))
    write_png(directory / "overlay" / f"{stem}.png", draw_overlay(image_rgb, layers))
    write_png(directory / "index" / f"{stem}.png", to_index_image(indexes, num_classes=len(classes)))


def read(directory: Path) -> DataSet:
    """Read the binary masks; objects are their connected parts.

    Raises:
        DataError: A file is missing or damaged.
    """
    classes = read_class_map(directory)
    annotations = []
    for path in find_files(directory / "index", "*.png"):
        height, width = read_png(path).shape
        regions = []
        for mask_path in find_files(directory / "binary" / path.stem, "*.png"):
            number = mask_path.name.partition("-")[0]
            if not number.isdecimal() or int(number) >= len(classes):
                raise DataError(f"{mask_path}: its name begins with no class of the class map")
            try:
                area = find_inside(read_png(mask_path))
            except ValueError as error:
                raise DataError(f"{mask_path}: {error}") from error
            if area.shape != (height, width):
                raise DataError(f"{mask_path}: {area.shape}, its index map {(height, width)} (H, W)")
            instances = tuple(_parts(area))
            regions.append(Region.from_instances(classes[int(number)], instances, area=area))
        annotations.append(Annotation(path.name, (height, width), tuple(regions)))
    return DataSet(classes, tuple(annotations))


def _parts(area: NDArray[np.bool_]) -> Iterator[Instance]:
    for (rows, columns), _ in iterate_components(area, min_share=0.0):
        part = np.zeros_like(area)
        part[rows, columns] = area[rows, columns]
        yield Instance.from_mask(part, 1.0)


FORMAT = Format(
    name="png",
    images=None,
    write_image=write_image,
    write_index=None,
    read=read,
)
