"""From a click to its mask on an encoded photo, beside the first answer, which encodes it: all in one run.

Command:  python benchmarks/clicks.py --threads 2 --rounds 15
Tasks:    first answer (encode, one click); then on the same embedding: a click, a box, a scribble, a click that
          corrects the last answer, eight clicks as eight queries, three candidates, a phrase, a phrase with a click.
          A task ends with boolean masks of the photo's size.
Output:   one JSON line for each model, photo and task: median and best time, the median of the processor's own time
          (which other programs hardly touch), and what share of the first answer's each is.

Tasks take turns, so that all have the same noise.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

# For each photo: a phrase, and a point on what it names.
PHOTOS = {"chelsea": ("cat", (230.0, 150.0)), "coffee": ("cup", (290.0, 140.0))}


def build_tasks(
    predictor: Any, image_rgb: Any, phrase: str, point_xy: tuple[float, float]
) -> dict[str, Callable[[], Any]]:
    """Name what is timed."""
    import numpy as np

    from promptseg import BoxPrompt, MaskPrompt, PointPrompt, Query, TextPrompt

    height, width, _ = image_rgb.shape
    x, y = point_xy
    click = PointPrompt((point_xy,))
    scribble = np.zeros((height, width), dtype=np.bool_)
    scribble[int(y) : int(y) + 3, int(x) - 30 : int(x) + 30] = True
    embedding = predictor.encode(image_rgb)
    (earlier,) = predictor.segment(embedding, click)
    beside = PointPrompt(((5.0, 5.0),), on_object=(False,))
    grid = [PointPrompt(((width * (i + 0.5) / 4, height * (j + 0.5) / 2),)) for i in range(4) for j in range(2)]

    def ask(*items: Any) -> list[Any]:
        return [answer.mask for answer in predictor.segment(embedding, items)]

    tasks: dict[str, Callable[[], Any]] = {
        "first answer": lambda: [answer.mask for answer in predictor.segment(predictor.encode(image_rgb), click)],
        "click": lambda: ask(click),
        "box": lambda: ask(BoxPrompt((x - 60, y - 40, x + 60, y + 40))),
        "scribble": lambda: ask(MaskPrompt(scribble)),
        "correcting click": lambda: ask(Query("it", (earlier.as_prompt(), click, beside))),
        "8 clicks": lambda: ask(*grid),
        "3 candidates": lambda: [answer.mask for answer in predictor.propose(embedding, click)],
    }
    if "text" in predictor.prompt_kinds:
        tasks["phrase"] = lambda: ask(phrase)
        tasks["phrase and click"] = lambda: ask(Query(phrase, (TextPrompt(phrase), click)))
    return tasks


def summarize(times: list[tuple[float, float]]) -> dict[str, float]:
    """Milliseconds of the clock and of the processor, from (clock, processor) seconds."""
    clock, processor = zip(*times, strict=True)
    return {
        "median_ms": 1e3 * statistics.median(clock),
        "best_ms": 1e3 * min(clock),
        "processor_ms": 1e3 * statistics.median(processor),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["promptseg", "mobile-sam"])
    parser.add_argument("--engine", default="openvino-bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    # before PyTorch or OpenVINO is imported
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    import promptseg
    from promptseg.images import read_image
    from promptseg.photos import find_photo

    torch.set_num_threads(options.threads)
    for name in options.models:
        predictor = promptseg.load(name, engine=options.engine, device="cpu")
        for photo, (phrase, point_xy) in PHOTOS.items():
            tasks = build_tasks(predictor, read_image(find_photo(photo)), phrase, point_xy)
            seconds: dict[str, list[tuple[float, float]]] = {task: [] for task in tasks}
            for index in range(options.rounds + 1):
                for task, run in tasks.items():
                    start, cpu_start = time.perf_counter(), time.process_time()
                    run()
                    if index:  # the first round warms up
                        seconds[task].append((time.perf_counter() - start, time.process_time() - cpu_start))
            first = summarize(seconds["first answer"])
            for task, times in seconds.items():
                summary = summarize(times)
                line = {
                    "model": name,
                    "photo": photo,
                    "task": task,
                    **{unit: round(value, 1) for unit, value in summary.items()},
                    "of_first_answer": {unit: round(value / first[unit], 3) for unit, value in summary.items()},
                    "engine": predictor.engine,
                    "threads": options.threads,
                    "rounds": options.rounds,
                }
                sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
