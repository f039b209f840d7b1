"""From a click to its mask on an encoded image, compared with the first answer, which encodes it: all in one run.

Command:  python benchmarks/clicks.py --threads 2 --rounds 15
Tasks:    first answer (encode, one click); then on the same embedding: a click, a box, a scribble, a click that
          corrects the last answer, eight clicks as eight queries, three candidates, a phrase, a phrase with a click.
          A task ends with boolean masks of the image's size.
Output:   one JSON line for each model, image and task: median and best time, the median of the processor's own time
          (which other programs hardly change), and the ratio of each to the first answer's.

Tasks take turns, so that all have the same noise.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# Every import of something heavy is in the function that needs it, so that --help answers at once, and that the number
# of threads is set before PyTorch and OpenVINO are imported.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptseg import Predictor

# For each bundled image: a phrase, and a point on its object.
IMAGES = {"chelsea": ("cat", (230.0, 150.0)), "coffee": ("cup", (290.0, 140.0))}


def build_tasks(
    predictor: "Predictor", image_rgb: "NDArray[np.uint8]", phrase: str, point_xy: tuple[float, float]
) -> dict[str, Callable[[], Any]]:
    """Give what is timed, by name."""
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

    def segment(*queries: Any) -> list[Any]:
        return [answer.mask for answer in predictor.segment(embedding, queries)]

    tasks: dict[str, Callable[[], Any]] = {
        "first answer": lambda: [answer.mask for answer in predictor.segment(predictor.encode(image_rgb), click)],
        "click": lambda: segment(click),
        "box": lambda: segment(BoxPrompt((x - 60, y - 40, x + 60, y + 40))),
        "scribble": lambda: segment(MaskPrompt(scribble)),
        "correcting click": lambda: segment(Query("it", (earlier.as_prompt(), click, beside))),
        "8 clicks": lambda: segment(*grid),
        "3 candidates": lambda: [answer.mask for answer in predictor.propose(embedding, click)],
    }
    if "text" in predictor.prompt_kinds:
        tasks["phrase"] = lambda: segment(phrase)
        tasks["phrase and click"] = lambda: segment(Query(phrase, (TextPrompt(phrase), click)))
    return tasks


def time_tasks(tasks: dict[str, Callable[[], Any]], num_rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Give (clock, processor) seconds of each task and round."""
    seconds: dict[str, list[tuple[float, float]]] = {task: [] for task in tasks}
    for index in range(num_rounds + 1):
        for task, run in tasks.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            run()
            if index:  # the first round warms up
                seconds[task].append((time.perf_counter() - start, time.process_time() - cpu_start))
    return seconds


def summarize(times: list[tuple[float, float]]) -> dict[str, float]:
    """Give milliseconds of the clock and of the processor, from (clock, processor) seconds."""
    clock, processor = zip(*times, strict=True)
    return {
        "median_ms": 1e3 * statistics.median(clock),
        "best_ms": 1e3 * min(clock),
        "processor_ms": 1e3 * statistics.median(processor),
    }


def measure(name: str, options: argparse.Namespace) -> None:
    """Time one model, and write its lines."""
    import promptseg
    from promptseg.image_files import bundled_image

    predictor = promptseg.load(name, engine=options.engine, device="cpu")
    for image, (phrase, point_xy) in IMAGES.items():
        tasks = build_tasks(predictor, promptseg.read_image(bundled_image(image)), phrase, point_xy)
        seconds = time_tasks(tasks, options.rounds)
        first = summarize(seconds["first answer"])
        for task, times in seconds.items():
            summary = summarize(times)
            line = {
                "model": name,
                "photo": image,
                "task": task,
                **{unit: round(value, 1) for unit, value in summary.items()},
                "of_first_answer": {unit: round(value / first[unit], 3) for unit, value in summary.items()},
                "engine": predictor.engine,
                "threads": options.threads,
                "rounds": options.rounds,
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["promptseg", "mobile-sam"])
    parser.add_argument("--engine", default="openvino-bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    # before PyTorch or OpenVINO is imported
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    from promptseg.errors import PromptsegError

    torch.set_num_threads(options.threads)
    try:
        for name in options.models:
            measure(name, options)
    except PromptsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
