"""Throughput of `promptseg batch` compared with loops of other pipelines over the same files, in one run.

Command:    python benchmarks/batch.py --images 64
Contenders: promptseg.batch with 1 to N processes of one thread each, N cores; a loop of transformers' CLIPSeg (rd64,
            352 px, eager PyTorch with N threads, random weights, which take the same time), and a loop of a detector
            and SAM as lang-sam does it (promptseg's "langsam", with its default parts, N threads). All ask for the same
            phrases and end with boolean masks or rows.
Scaling:    the same pool with a model that sleeps instead of computing: more processes than cores can be simulated.
Warm-up:    the first 4 images of a loop and the first 8 of each process are not timed: they meet each size of image.
Output:     one JSON line for each contender: images per second without the time to load, CPU hours for a million
            images, and the ratio to the loop of CLIPSeg.
"""

import argparse
import json
import pickle
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHRASES = ("cat", "cup", "person", "sky")
SLEEP_SECONDS = 0.1
NUM_LOOPED = 14
WARM_UP = 8


@dataclass(frozen=True)
class SleepingPredictor:
    """Takes the time of an image without a core."""

    name: str = "sleeping"
    fingerprint: str = ""
    engine: str = "openvino"

    @property
    def limits(self) -> Any:
        """Those of all models."""
        from promptseg.images import DEFAULT_LIMITS

        return DEFAULT_LIMITS

    def segment(self, image: bytes, queries: Any) -> Any:
        """Sleep, and find nothing."""
        import numpy as np

        from promptseg.results import QueryResult, Segmentation

        time.sleep(SLEEP_SECONDS)
        map_ = np.zeros((8, 8), dtype=np.float32)
        results = tuple(QueryResult(query.label, 0.0, map_, (8, 8), 0.5, 0.5) for query in queries)
        return Segmentation(np.zeros((8, 8, 3), dtype=np.uint8), results, self.name, 0.5, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="number of files: copies of the bundled photographs")
    arguments = parser.parse_args()

    import promptseg
    from promptseg.runtime.engine import available_cores

    num_cores = available_cores()
    with tempfile.TemporaryDirectory() as folder:
        paths = _copy_photos(Path(folder), arguments.images)
        clipseg = _time_loop(_clipseg_loop(paths[:NUM_LOOPED], num_cores))
        _print("loop of CLIPSeg", clipseg, clipseg)
        _print("loop of langsam", _time_loop(_langsam_loop(paths[:NUM_LOOPED])), clipseg)
        model = promptseg.load("promptseg", device="cpu")
        for num_workers in range(1, num_cores + 1):
            _print(f"promptseg batch, {num_workers} processes", _time_pool(model, paths, num_workers), clipseg)
        for num_workers in (1, 2, 4, 8):
            rate, _ = _time_pool(SleepingPredictor(), paths, num_workers)
            of_linear = round(rate * SLEEP_SECONDS / num_workers, 3)
            _write({"contender": f"a sleeping model, {num_workers} processes", "of_linear": of_linear})


def _copy_photos(folder: Path, number: int) -> list[Path]:
    from promptseg.image_files import bundled_image

    photos = [bundled_image(name) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    return [Path(shutil.copy(photos[index % len(photos)], folder / f"{index:05d}.jpg")) for index in range(number)]


def _clipseg_loop(paths: list[Path], num_threads: int) -> Iterator[None]:
    import torch

    from promptseg.images import read_image

    torch.set_num_threads(num_threads)
    from speed import ClipSeg  # the benchmark beside this one

    clipseg = ClipSeg()
    for path in paths:
        clipseg.masks(clipseg.encode(read_image(path)), PHRASES)
        yield


def _langsam_loop(paths: list[Path]) -> Iterator[None]:
    import promptseg

    model = promptseg.load("langsam", device="cpu")
    for path in paths:
        model.segment(path, PHRASES)
        yield


def _time_loop(steps: Iterator[None]) -> tuple[float, float]:
    """Give the images per second and the CPU seconds of an image, once each size of photograph has been met."""
    for _ in range(4):
        next(steps)
    start, cpu = time.perf_counter(), time.process_time()
    number = sum(1 for _ in steps)
    return number / (time.perf_counter() - start), (time.process_time() - cpu) / number


def _time_pool(predictor: Any, paths: list[Path], num_workers: int) -> tuple[float, float]:
    """Give the images per second, from the end of the last process's start on, and the CPU seconds of an image."""
    from promptseg.batch import Pool
    from promptseg.batch.requests import ClassesRequest
    from promptseg.batch.rows import RowForm
    from promptseg.batch.sources import BatchImage
    from promptseg.batch.worker import BatchJob

    request, form = ClassesRequest.read(PHRASES), RowForm()
    job = (
        BatchJob("sleeping", "", pickle.dumps(predictor), request, form, 1)
        if isinstance(predictor, SleepingPredictor)
        else BatchJob.of(predictor, request, form, num_threads=1)
    )
    images = [BatchImage(f"{path}#{index}", path) for index, path in enumerate(paths)]
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcomes = Pool(num_workers).run(job, images)
    for _ in range(min(WARM_UP * num_workers, len(images) // 2)):
        next(outcomes)
    start = time.perf_counter()
    number = sum(1 for _ in outcomes)
    rate = number / (time.perf_counter() - start)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return rate, (spent.ru_utime + spent.ru_stime - cpu.ru_utime - cpu.ru_stime) / len(paths)


def _print(name: str, measured: tuple[float, float], clipseg: tuple[float, float]) -> None:
    rate, cpu_seconds = measured
    line: dict[str, object] = {
        "contender": name,
        "images_per_s": round(rate, 2),
        "cpu_hours_per_million": round(cpu_seconds * 1_000_000 / 3600),
        "over_clipseg": round(rate / clipseg[0], 2),
        "phrases": len(PHRASES),
    }
    _write(line)


def _write(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
