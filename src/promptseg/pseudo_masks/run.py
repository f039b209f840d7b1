"""Pseudo-masks of all records of an index: resumable, in several processes, one line per finished image."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.batch.pool import Pool
from promptseg.data.jsonl import load_lines
from promptseg.errors import DataError, OutputError
from promptseg.pseudo_masks.image import error_record, mask_record
from promptseg.pseudo_masks.proposals import TeacherBox
from promptseg.runtime import Engine, Runtime
from promptseg.sam.load import load_sam


@dataclass(frozen=True)
class SamSettings:
    """Settings from which a worker loads MobileSAM, whose weights are in the cache.

    Attributes:
        input_side: Longer side of the input, pixels; see `sam.load.load_sam`.
        engine: Inference engine.
    """

    input_side: int = 640
    engine: Engine = "openvino-bf16"


@dataclass(frozen=True)
class ImageToMask:
    """One image to process.

    Attributes:
        record: Of the index.
        teacher_boxes: A detector's boxes of the image.
    """

    record: Mapping[str, Any]
    teacher_boxes: tuple[TeacherBox, ...]


@dataclass(frozen=True)
class MaskJob:
    """Makes the pseudo-masks of images, in one process or in those of a pool: a `batch.pool.PoolJob`.

    Attributes:
        settings: Settings of the promptable segmenter.
        data_dir: Directory that image names are relative to.
    """

    settings: SamSettings
    data_dir: Path

    def open(self) -> Callable[[ImageToMask], dict[str, Any]]:
        """Load the promptable segmenter."""
        runtime = Runtime(self.settings.engine, max_threads=1)
        sam = load_sam("mobile-sam", runtime=runtime, input_side=self.settings.input_side, offline=True)
        return lambda image: mask_record(sam, image.record, self.data_dir, image.teacher_boxes)

    def describe_death(self, item: ImageToMask, error: str) -> dict[str, Any]:
        """Describe an image that no process finished."""
        return error_record(item.record, error)


def sets_to_mask(data_dir: Path, teacher_images: Sequence[str] = (), *, exclude: Collection[str] = ()) -> list[str]:
    """List the sets of a data directory that can get masks: those with boxes but no masks, regions, single objects,
    or a detector's boxes; never those in `exclude`, such as sets for evaluation.

    Raises:
        DataError: There is no index in the directory.
    """
    indexes = sorted(data_dir.glob("*.jsonl"))
    if not indexes:
        raise DataError(f"{data_dir}: no index (*.jsonl) in it")
    with_teacher = {image.split("/")[0] for image in teacher_images}
    return [
        index.stem
        for index in indexes
        if index.stem not in exclude
        and (index.stem in with_teacher or any(_has_work(line.record) for line in load_lines(index)))
    ]


def _has_work(record: Mapping[str, Any]) -> bool:
    boxes_only = bool(record.get("boxes")) and not record.get("masks")
    return boxes_only or bool(record.get("regions")) or bool(record.get("single_object"))


def mask_set(
    name: str,
    *,
    data_dir: Path,
    out_dir: Path,
    settings: SamSettings,
    teacher_boxes: Mapping[str, tuple[TeacherBox, ...]],
    limit: int | None = None,
    num_workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """Make the pseudo-masks of a set and append them to `out_dir/name.jsonl`; images that it already has are skipped.

    Args:
        name: Name of the index `data_dir/name.jsonl`.
        data_dir: Directory of indexes and images.
        out_dir: Output directory; it is made if it is missing.
        settings: Settings of the promptable segmenter.
        teacher_boxes: A detector's boxes by image.
        limit: Number of images to process, from the first; None: all.
        num_workers: Number of processes, of one thread each.

    Yields:
        The record of each image as it is written, in the order in which they are done.

    Raises:
        DataError: The index can't be read.
        OutputError: The file can't be written, or is not a file of pseudo-masks.
    """
    path = out_dir / f"{name}.jsonl"
    records = [line.record for line in load_lines(data_dir / f"{name}.jsonl")][:limit]
    done = {record["image"] for record in load_done(path)}
    images = [
        ImageToMask(record, teacher_boxes.get(record["image"], ())) for record in records if record["image"] not in done
    ]
    if not images:
        return
    job = MaskJob(settings, data_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for record in Pool(num_workers).run(job, images) if num_workers > 1 else map(job.open(), images):
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
                file.flush()
                yield record
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error


def load_done(path: Path) -> list[dict[str, Any]]:
    """Load the finished records; an incomplete last line, left by a killed run, is cut off the file.

    Raises:
        OutputError: Another line of the file is not a record.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole, newline, partial = text.rpartition("\n")
    if partial:
        with path.open("r+", encoding="utf-8") as file:
            file.truncate(len((whole + newline).encode()))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise OutputError(f"{path} is not a file of pseudo-masks ({error}); move it away") from error
