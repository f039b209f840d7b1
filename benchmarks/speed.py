"""Speed of promptseg compared with transformers' CLIPSeg: same image, same phrases, same threads, one run.

Command:    python benchmarks/speed.py --threads 2 --rounds 15
Contenders: promptseg with each engine; CLIPSeg (rd64-refined, 352 px, eager PyTorch; random weights, which take the
            same time) as its documentation shows it, with the image repeated for each phrase; and CLIPSeg that encodes
            the image once. A task starts with an RGB array and ends with boolean masks of the image's size.
Command line: the row "warm predict" is a new process `promptseg predict IMAGE --text cat --offline`, from its start to
            its end, when weights and compiled graphs are in the cache; medians of three.
Output:     the CPU's model, and whether it has avx512_bf16; then one JSON line for each contender and task.
            `times_floor` compares with the time that the contender's arithmetic takes at the best rate of a float32
            matrix product measured here, `clipseg_over_this` with CLIPSeg in the same run. On a machine that others
            use, only `cpu` of it means something, the ratio of CPU seconds, and only with --threads 1: threads that
            wait for each other count as busy.

Each contender has a process of its own, for the memory; the contenders take turns, so that all have the same noise.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

# Every import of something heavy is in the function that needs it, so that --help answers at once, and that the number
# of threads is set before PyTorch and OpenVINO are imported.

PHRASES = ("cat", "the cat's left ear", "grass", "a dog", "whiskers", "a red ball", "the sky", "the eye on the right")
TASKS = {"first answer, 1 phrase": (True, 1), "first answer, 8 phrases": (True, 8)}
TASKS |= {"again, 1 phrase": (False, 1), "again, 8 phrases": (False, 8)}
CLIPSEG_SIZE = 352
PREDICT_ROUNDS = 3


class Contender(Protocol):
    """Encodes an image, then segments it by phrases; `encode` may do nothing where the two are one step."""

    def encode(self, image_rgb: Any) -> Any: ...

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]: ...


class Promptseg:
    """promptseg with one engine.

    Args:
        model: A name or directory.
        engine: As `promptseg.load` takes it.
    """

    def __init__(self, model: str, engine: str) -> None:
        import promptseg

        self.predictor = promptseg.load(model, engine=engine, device="cpu")

    def encode(self, image_rgb: Any) -> Any:
        return self.predictor.encode(image_rgb)

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]:
        return [answer.mask for answer in self.predictor.segment(encoded, phrases, threshold=0.0)]


class ClipSeg:
    """CLIPSeg that encodes the image again for each phrase: `encode` only resizes it."""

    def __init__(self) -> None:
        from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

        config = CLIPSegConfig(
            vision_config={"image_size": CLIPSEG_SIZE, "patch_size": 16},
            reduce_dim=64,
            use_complex_transposed_convolution=True,
        )
        self.model = CLIPSegForImageSegmentation(config).eval()

    def encode(self, image_rgb: Any) -> Any:
        import numpy as np
        import torch
        from PIL import Image

        resized = Image.fromarray(image_rgb).resize((CLIPSEG_SIZE, CLIPSEG_SIZE), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()[None] / 127.5 - 1
        return pixels, image_rgb.shape[:2]

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]:
        import torch

        pixels, size_hw = encoded
        token_ids = _token_ids(phrases)
        with torch.inference_mode():
            repeated = pixels.expand(len(token_ids), -1, -1, -1)
            return _to_masks(self.model(input_ids=token_ids, pixel_values=repeated).logits, size_hw)


class ClipSegEncodedOnce:
    """CLIPSeg that encodes the image once for all phrases."""

    def __init__(self) -> None:
        self.clipseg = ClipSeg()

    def encode(self, image_rgb: Any) -> Any:
        import torch

        pixels, size_hw = self.clipseg.encode(image_rgb)
        model = self.clipseg.model
        with torch.inference_mode():
            states = model.clip.vision_model(pixels, output_hidden_states=True).hidden_states
        # the layers that the decoder reads, counted from the embedding
        return [states[layer + 1] for layer in model.extract_layers], size_hw

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]:
        import torch

        states, size_hw = encoded
        model, token_ids = self.clipseg.model, _token_ids(phrases)
        with torch.inference_mode():
            conditions = model.get_conditional_embeddings(batch_size=len(token_ids), input_ids=token_ids)
            activations = [state.expand(len(token_ids), -1, -1) for state in states]
            return _to_masks(model.decoder(activations, conditions).logits, size_hw)


def _to_masks(logits: Any, size_hw: tuple[int, int]) -> list[Any]:
    """Give boolean masks of the image's size from CLIPSeg's logits of N phrases."""
    import torch.nn.functional as F

    maps = logits.view(-1, 1, CLIPSEG_SIZE, CLIPSEG_SIZE)
    return list((F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)[:, 0] > 0).numpy())


def _token_ids(phrases: tuple[str, ...]) -> Any:
    """Give a start token, a token for each word, an end token, and CLIP's padding; which words does not matter here."""
    import torch

    longest = max(len(phrase.split()) for phrase in phrases) + 2
    rows = [[49406, *range(320, 320 + len(phrase.split())), 49407] for phrase in phrases]
    return torch.tensor([row + [49407] * (longest - len(row)) for row in rows])


@dataclass
class Process:
    """A contender in a process of its own."""

    name: str
    pipe: Connection
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)

    def ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()


def serve(pipe: Connection, name: str, model: str, num_threads: int) -> None:
    """Answer the parent's questions about one contender, until it sends "stop"."""
    import torch

    from promptseg.errors import PromptsegError
    from promptseg.image_files import bundled_image
    from promptseg.images import read_image

    torch.set_num_threads(num_threads)
    builders: dict[str, Callable[[], Contender]] = {"clipseg": ClipSeg, "clipseg encoded once": ClipSegEncodedOnce}
    try:
        contender = builders[name]() if name in builders else Promptseg(model, name.removeprefix("promptseg "))
    except PromptsegError as error:
        pipe.send(f"{name}: {error}")
        return
    image_rgb = read_image(bundled_image("chelsea"))
    encoded = contender.encode(image_rgb)

    def do(task: str) -> None:
        encodes, num_phrases = TASKS[task]
        contender.masks(contender.encode(image_rgb) if encodes else encoded, PHRASES[:num_phrases])

    flop = {task: _count_flop(do, task) for task in TASKS}
    pipe.send("ready")
    while (question := pipe.recv()) != "stop":
        if question == "peak_rss_mb":
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        elif question == "flop":
            pipe.send(flop)
        else:
            start, cpu_start = time.perf_counter(), time.process_time()
            do(question)
            pipe.send((time.perf_counter() - start, time.process_time() - cpu_start))


def _count_flop(do: Callable[[str], None], task: str) -> int:
    """Count the operations of a task that PyTorch does."""
    from torch.utils.flop_counter import FlopCounterMode

    do(task)  # warm up; what an engine compiles now could not be traced while operations are counted
    with FlopCounterMode(display=False) as counter:
        do(task)
    return int(counter.get_total_flops())


def time_predict(model: str) -> dict[str, float]:
    """Give the median wall and CPU seconds of `promptseg predict` in a new process, with a warm cache."""
    from promptseg.image_files import bundled_image

    command = [sys.executable, "-m", "promptseg", "predict", str(bundled_image("chelsea")), "--text", "cat"]
    command += ["--offline", "--model", model]
    times = []
    for _ in range(1 + PREDICT_ROUNDS):  # the first one fills the cache
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        if done.returncode:
            raise SystemExit(f"promptseg predict failed: {done.stderr.strip()}")
        times.append((end - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    wall, cpu = zip(*times[1:], strict=True)
    return {"wall_s": round(statistics.median(wall), 3), "cpu_s": round(statistics.median(cpu), 3)}


def describe_cpu() -> dict[str, str | bool | None]:
    """Give the CPU's model name, and whether it has avx512_bf16; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return {"cpu": platform.processor() or platform.machine(), "avx512_bf16": None}
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    return {"cpu": facts.get("model name", platform.machine()), "avx512_bf16": "avx512_bf16" in flags}


def best_matmul_rate(num_threads: int) -> float:
    """Measure the best rate of a float32 matrix product, FLOP/s."""
    import torch

    torch.set_num_threads(num_threads)
    # lets PyTorch take the faster of its libraries; still float32 here
    torch.set_float32_matmul_precision("medium")
    size = 1536
    left, right = torch.rand(size, size), torch.rand(size, size)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def main() -> None:
    """Time the command line, then all contenders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="promptseg", help="a model's name or directory")
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino", "openvino-bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    # before PyTorch or OpenVINO is imported, here or in a child
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    write_line(describe_cpu())
    # before the contenders start, so that nothing else of this run is in memory
    warm = time_predict(options.model)
    row = {"contender": "promptseg predict", "task": "warm predict", **warm}
    write_line(row | {"threads": options.threads, "rounds": PREDICT_ROUNDS})
    processes = start_contenders(options)
    for _ in range(options.rounds):
        for task in TASKS:
            for process in processes:
                seconds, cpu_seconds = process.ask(task)
                process.seconds.setdefault(task, []).append(seconds)
                process.cpu_seconds.setdefault(task, []).append(cpu_seconds)
    report(processes, best_matmul_rate(options.threads), options.threads)


def start_contenders(options: argparse.Namespace) -> list[Process]:
    """Start every contender in a process of its own, one after the other."""
    context = multiprocessing.get_context("spawn")
    processes = []
    for name in ("clipseg", "clipseg encoded once", *(f"promptseg {engine}" for engine in options.engines)):
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, options.model, options.threads), daemon=True).start()
        theirs.close()  # so that a child that dies ends the wait
        processes.append(Process(name, ours))
        if (answer := ours.recv()) != "ready":
            raise SystemExit(answer)
    return processes


def write_line(line: dict[str, Any]) -> None:
    """Write a line of JSON to the standard output, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def report(processes: list[Process], flop_rate: float, num_threads: int) -> None:
    """Write a line for each contender and task."""
    reference = processes[0]
    # a compiled graph does the same arithmetic, which can be counted in PyTorch only
    counted = {f"promptseg {engine}": "promptseg torch" for engine in ("openvino", "openvino-bf16", "openvino-int8")}
    by_name = {process.name: process for process in processes}
    for process in processes:
        counter = by_name.get(counted.get(process.name, process.name))
        counts = counter.ask("flop") if counter is not None else {}
        peak_rss_mb = process.ask("peak_rss_mb")
        for task, seconds in process.seconds.items():
            flop = counts.get(task)
            best, median, cpu = min(seconds), statistics.median(seconds), statistics.median(process.cpu_seconds[task])
            line = {
                "contender": process.name,
                "task": task,
                "median_ms": round(1e3 * median, 1),
                "best_ms": round(1e3 * best, 1),
                "cpu_ms": round(1e3 * cpu, 1),
                "clipseg_over_this": {
                    "median": round(statistics.median(reference.seconds[task]) / median, 2),
                    "best": round(min(reference.seconds[task]) / best, 2),
                    "cpu": round(statistics.median(reference.cpu_seconds[task]) / cpu, 2),
                },
                "gflop": round(flop / 1e9, 2) if flop else None,
                "floor_ms": round(1e3 * flop / flop_rate, 1) if flop else None,
                "times_floor": round(best * flop_rate / flop, 1) if flop else None,
                "peak_rss_mb": round(peak_rss_mb),
                "matmul_gflops": round(flop_rate / 1e9),
                "threads": num_threads,
                "rounds": len(seconds),
            }
            write_line(line)
    for process in processes:
        process.pipe.send("stop")


if __name__ == "__main__":
    main()
