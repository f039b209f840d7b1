"""All records of an index: resumable, in several processes, one line an image as soon as it is done."""

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from promptseg.data.jsonl import load_lines
from promptseg.data.sets import EVAL_SETS
from promptseg.errors import DataError, OutputError
from promptseg.pseudo_masks.image import mask_record
from promptseg.pseudo_masks.proposals import TeacherBox
from promptseg.runtime.graph_runner import GraphRunner, MaskerEngine, Precision
from promptseg.sam.mobile_sam import MobileSam, load_mobile_sam

# Judging a model on masks of its own making would be no judgment; of these only coco_boxes holds training images.
_EVALUATION_ONLY = frozenset(definition.index for definition in EVAL_SETS.values()) - {"coco_boxes"}


@dataclass(frozen=True)
class MaskerSettings:
    """What a worker needs to build its masker.

    Attributes:
        weights: MobileSAM's weights.
        input_side: Pixels, see `MobileSam`.
    """

    weights: Path
    input_side: int = 640
    engine: MaskerEngine = "openvino"
    precision: Precision = "bf16"


@dataclass(frozen=True)
class Job:
    """One image to do."""

    settings: MaskerSettings
    data_dir: Path
    record: Mapping[str, Any]
    teacher_boxes: tuple[TeacherBox, ...]


def sets_to_mask(data_dir: Path, teacher_images: Sequence[str] = ()) -> list[str]:
    """List the sets of a data directory that can get masks: those with boxes but no masks, regions, single objects,
    or a detector's boxes; never those that models are judged on.

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
        if index.stem not in _EVALUATION_ONLY
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
    settings: MaskerSettings,
    teacher_boxes: Mapping[str, tuple[TeacherBox, ...]],
    limit: int | None = None,
    num_workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """Make the masks of a set, and append them to `out_dir/name.jsonl`; images that are in it already are skipped.

    Args:
        name: The index `data_dir/name.jsonl`.
        data_dir: Indexes and images.
        out_dir: Made where it is missing.
        settings: The masker.
        teacher_boxes: By image.
        limit: Only the first so many images.
        num_workers: Processes of one thread each.

    Yields:
        The record of each image as it is written.

    Raises:
        DataError: The index can't be read, or models are judged on it.
        OutputError: The file can't be written, or is not one of these.
    """
    if name in _EVALUATION_ONLY:
        raise DataError(f"{name} is for judging models; it gets no made masks")
    path = out_dir / f"{name}.jsonl"
    records = [line.record for line in load_lines(data_dir / f"{name}.jsonl")][:limit]
    done = {record["image"] for record in load_done(path)}
    jobs = [
        Job(settings, data_dir, record, teacher_boxes.get(record["image"], ()))
        for record in records
        if record["image"] not in done
    ]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for made in _do_all(jobs, num_workers):
                file.write(json.dumps(made, separators=(",", ":")) + "\n")
                file.flush()
                yield made
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error


def load_done(path: Path) -> list[dict[str, Any]]:
    """Load what is done; a last line that a killed run left half-written is cut off the file.

    Raises:
        OutputError: The file has other lines that are no records.
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
        raise OutputError(f"{path} is not a file of made masks ({error}); move it away") from error


def _do_all(jobs: Sequence[Job], num_workers: int) -> Iterator[dict[str, Any]]:
    if num_workers <= 1:
        yield from map(do_job, jobs)
        return
    # Forked processes would inherit the thread pools of torch and OpenVINO in a state that hangs.
    executor: Executor
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield from executor.map(do_job, jobs, chunksize=4)


def do_job(job: Job) -> dict[str, Any]:
    """Do one image, with the masker of this process."""
    return mask_record(_masker(job.settings), job.record, job.data_dir, job.teacher_boxes)


@cache
def _masker(settings: MaskerSettings) -> MobileSam:
    torch.set_num_threads(1)
    runner = GraphRunner(settings.engine, precision=settings.precision, num_threads=1)
    return load_mobile_sam(settings.weights, input_side=settings.input_side, runner=runner)
