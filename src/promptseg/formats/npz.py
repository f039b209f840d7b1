"""numpy archives, one for each image: every mask as an array, with its score.

size_hw (2,), masks (N, H, W) bool, boxes_xyxy (N, 4), scores (N,), mask_qualities (N,) (NaN: unknown) and class_ids
(N,) of the objects; class_masks (K, H, W) bool, class_scores (K,) and class_mask_ids (K,) of the classes in the image;
classes, the names. N or K may be 0.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation, Region
from promptseg.formats.base import DataSet, DataSetImage, Format, find_files, read_class_map
from promptseg.images import check_stated_size
from promptseg.ops.atomic import atomic_file
from promptseg.results import Instance

# What numpy raised on damaged archives.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    MemoryError,  # an array of an enormous stated size
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_image(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write the archive of one image."""
    objects = list(annotation.objects())
    masks = np.zeros((len(objects), *annotation.size_hw), dtype=np.bool_)
    for mask, (_, instance) in zip(masks, objects, strict=True):
        mask[:] = instance.mask
    class_masks = np.zeros((len(annotation.regions), *annotation.size_hw), dtype=np.bool_)
    for mask, region in zip(class_masks, annotation.regions, strict=True):
        mask[:] = region.area.mask
    with atomic_file(directory / f"{annotation.stem}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            file_name=np.array(annotation.file_name),
            classes=np.array(classes),
            size_hw=np.array(annotation.size_hw),
            masks=masks,
            boxes_xyxy=np.array([instance.box_xyxy for _, instance in objects], dtype=np.int64).reshape(-1, 4),
            scores=np.array([instance.score for _, instance in objects], dtype=np.float64),
            mask_qualities=np.array(
                [np.nan if instance.mask_quality is None else instance.mask_quality for _, instance in objects],
                dtype=np.float64,
            ),
            class_ids=np.array([classes.index(label) for label, _ in objects], dtype=np.int64),
            class_masks=class_masks,
            class_scores=np.array([region.score for region in annotation.regions], dtype=np.float64),
            class_mask_ids=np.array([classes.index(region.label) for region in annotation.regions], dtype=np.int64),
        )


def read(directory: Path) -> DataSet:
    """Read all archives; pickled objects in them are refused.

    Raises:
        DataError: A file is missing or damaged.
    """
    annotations = []
    for path in find_files(directory, "*.npz"):
        try:
            # NumPy leaves a file open that it opened itself and found damaged.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                annotations.append(_to_annotation(dict(arrays), str(path)))
        except _DAMAGED as error:
            raise DataError(f"{path}: not an archive of masks: {error}") from error
    return DataSet(read_class_map(directory), tuple(annotations))


def _to_annotation(arrays: dict[str, np.ndarray], where: str) -> Annotation:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is no array")
    classes = arrays["classes"].tolist()
    height, width = arrays["size_hw"].tolist()
    size_hw = check_stated_size(height, width, where=where)
    for name in ("masks", "class_masks"):
        if arrays[name].shape[1:] != size_hw:
            raise ValueError(f"{name} has the shape {arrays[name].shape}, its image is {size_hw} (H, W)")
        if arrays[name].dtype != np.bool_:
            raise ValueError(f"{name} is {arrays[name].dtype}, not bool")
    instances: dict[int, list[Instance]] = {class_id: [] for class_id in arrays["class_mask_ids"].tolist()}
    scores = arrays["scores"]
    qualities = arrays.get("mask_qualities", np.full(scores.shape, np.nan))  # older archives have none
    for class_id, mask, score, quality in zip(arrays["class_ids"], arrays["masks"], scores, qualities, strict=True):
        known_quality = None if np.isnan(quality) else float(quality)
        instances[int(class_id)].append(Instance.from_mask(mask, float(score), mask_quality=known_quality))
    regions = (
        Region(classes[class_id], float(score), Instance.from_mask(mask, float(score)), tuple(instances[class_id]))
        for class_id, mask, score in zip(instances, arrays["class_masks"], arrays["class_scores"], strict=True)
    )
    return Annotation(str(arrays["file_name"]), size_hw, tuple(regions))


FORMAT = Format(
    name="npz",
    images=None,
    write_image=write_image,
    write_index=None,
    read=read,
)
