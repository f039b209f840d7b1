"""How fast promptseg answers beside transformers' CLIPSeg: same photo, same phrases, same threads, one run.

Command:   python benchmarks/speed.py --threads 2 --rounds 15
Contenders: promptseg by each engine; CLIPSeg (rd64-refined, 352 px, eager PyTorch; random weights, which take the same
           time) as its documentation shows it, with the image repeated for each phrase; and by a careful caller, who
           encodes the image once.
Output:    one JSON line for each contender and task; `times_floor` compares with the time that its arithmetic takes at
           the best rate of a float32 matrix product measured here, `clipseg_over_this` with CLIPSeg in the same run.

Each contender has a process of its own, for the memory; tasks go round the contenders, so that all have the same noise.
A task starts with an RGB array and ends with boolean masks of the photo's size.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

PHRASES = ("cat", "the cat's left ear", "grass", "a dog", "whiskers", "a red ball", "the sky", "the eye on the right")
TASKS = {"first answer, 1 phrase": (True, 1), "first answer, 8 phrases": (True, 8)}
TASKS |= {"again, 1 phrase": (False, 1), "again, 8 phrases": (False, 8)}
CLIPSEG_SIZE = 352


class Contender(Protocol):
    """Encodes a photo, then answers for phrases; `encode` may do nothing where the two can't be told apart."""

    def encode(self, image_rgb: Any) -> Any: ...

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]: ...


class Promptseg:
    def __init__(self, model: str, engine: str) -> None:
        import promptseg

        self.predictor = promptseg.load(model, engine=engine, device="cpu")

    def encode(self, image_rgb: Any) -> Any:
        return self.predictor.encode(image_rgb)

    def masks(self, encoded: Any, phrases: tuple[str, ...]) -> list[Any]:
        return [answer.mask for answer in self.predictor.segment(encoded, phrases, threshold=0.0)]


class ClipSeg:
    """The image is encoded again for each phrase: `encode` only resizes it."""

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
        import torch.nn.functional as F

        pixels, size_hw = encoded
        with torch.inference_mode():
            logits = self.logits(pixels, _token_ids(phrases)).view(len(phrases), 1, CLIPSEG_SIZE, CLIPSEG_SIZE)
            maps = F.interpolate(logits, size=size_hw, mode="bilinear", align_corners=False)
        return list((maps[:, 0] > 0).numpy())

    def logits(self, pixels: Any, token_ids: Any) -> Any:
        repeated = pixels.expand(len(token_ids), -1, -1, -1)
        return self.model(input_ids=token_ids, pixel_values=repeated).logits


class ClipSegEncodedOnce(ClipSeg):
    def encode(self, image_rgb: Any) -> Any:
        import torch

        pixels, size_hw = super().encode(image_rgb)
        with torch.inference_mode():
            states = self.model.clip.vision_model(pixels, output_hidden_states=True).hidden_states
        # the layers that the decoder reads, counted from the embedding
        return [states[layer + 1] for layer in self.model.extract_layers], size_hw

    def logits(self, pixels: Any, token_ids: Any) -> Any:
        conditions = self.model.get_conditional_embeddings(batch_size=len(token_ids), input_ids=token_ids)
        activations = [state.expand(len(token_ids), -1, -1) for state in pixels]
        return self.model.decoder(activations, conditions).logits


def _token_ids(phrases: tuple[str, ...]) -> Any:
    """Start token, a token a word, end token, padding as CLIP pads: which words they are does not matter here."""
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

    def ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()


def serve(pipe: Connection, name: str, model: str, num_threads: int) -> None:
    """Answer the parent's questions about one contender, until it says stop."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from promptseg.images import read_image
    from promptseg.photos import find_photo

    torch.set_num_threads(num_threads)
    builders: dict[str, Callable[[], Contender]] = {"clipseg": ClipSeg, "clipseg encoded once": ClipSegEncodedOnce}
    contender = builders[name]() if name in builders else Promptseg(model, name.removeprefix("promptseg "))
    image_rgb = read_image(find_photo("chelsea"))
    encoded = contender.encode(image_rgb)

    def do(task: str) -> None:
        encodes, num_phrases = TASKS[task]
        contender.masks(contender.encode(image_rgb) if encodes else encoded, PHRASES[:num_phrases])

    flop = {}
    for task in TASKS:
        do(task)  # warm up; what an engine compiles now could not be traced while operations are counted
        with FlopCounterMode(display=False) as counter:
            do(task)
        flop[task] = counter.get_total_flops()
    pipe.send("ready")
    while (question := pipe.recv()) != "stop":
        if question == "peak_rss_mb":
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        elif question == "flop":
            pipe.send(flop)
        else:
            start = time.perf_counter()
            do(question)
            pipe.send(time.perf_counter() - start)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="promptseg", help="a model's name or directory")
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino", "openvino-bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    # before PyTorch or OpenVINO is imported, here or in a child
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    context = multiprocessing.get_context("spawn")
    processes = []
    for name in ("clipseg", "clipseg encoded once", *(f"promptseg {engine}" for engine in options.engines)):
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, options.model, options.threads), daemon=True).start()
        theirs.close()  # so that a child that dies ends the wait
        processes.append(Process(name, ours))
        ours.recv()
    for _ in range(options.rounds):
        for task in TASKS:
            for process in processes:
                process.seconds.setdefault(task, []).append(process.ask(task))
    report(processes, best_matmul_rate(options.threads), options.threads)


def report(processes: list[Process], flop_rate: float, num_threads: int) -> None:
    """Write a line for each contender and task."""
    reference = processes[0]
    # an engine does the arithmetic of the network that it runs, where it can't be counted: PyTorch's contender tells
    counted = {"promptseg openvino": "promptseg torch", "promptseg openvino-bf16": "promptseg torch"}
    by_name = {process.name: process for process in processes}
    for process in processes:
        counter = by_name.get(counted.get(process.name, process.name))
        counts = counter.ask("flop") if counter is not None else {}
        peak_rss_mb = process.ask("peak_rss_mb")
        for task, seconds in process.seconds.items():
            flop = counts.get(task)
            best, median = min(seconds), statistics.median(seconds)
            line = {
                "contender": process.name,
                "task": task,
                "median_ms": round(1e3 * median, 1),
                "best_ms": round(1e3 * best, 1),
                "clipseg_over_this": {
                    "median": round(statistics.median(reference.seconds[task]) / median, 2),
                    "best": round(min(reference.seconds[task]) / best, 2),
                },
                "gflop": round(flop / 1e9, 2) if flop else None,
                "floor_ms": round(1e3 * flop / flop_rate, 1) if flop else None,
                "times_floor": round(best * flop_rate / flop, 1) if flop else None,
                "peak_rss_mb": round(peak_rss_mb),
                "matmul_gflops": round(flop_rate / 1e9),
                "threads": num_threads,
                "rounds": len(seconds),
            }
            sys.stdout.write(json.dumps(line) + "\n")
    for process in processes:
        process.pipe.send("stop")


if __name__ == "__main__":
    main()
