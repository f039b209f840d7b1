"""CPU time of each step of a model on each engine, and its distance from the CPU's measured peak.

Command:  python benchmarks/steps.py --rounds 10
Output:   one JSON line for the peak of each engine: the rate of a matrix product of 1,536 x 1,536 in its precision.
          Then one JSON line for each task, engine and step: calls, CPU milliseconds, GFLOP as PyTorch counts them, and
          `share_of_peak`: the time that they take at the peak, as a share of the time that they took. The step "rest"
          is everything outside compiled graphs: pixels, prompts, drafts, cleaning, masks.

Everything is computed by one thread and timed in CPU seconds, so that other programs disturb little. The least of all
rounds counts.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

# Every import of something heavy is in the function that needs it, so that --help answers at once, and that the number
# of threads is set before PyTorch and OpenVINO are imported.

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16", "openvino-int8": "int8"}
PEAK_SIDE = 1536


@dataclass
class Spent:
    """What the steps of one task took.

    Attributes:
        calls: By the name of the step.
        amount: CPU seconds, or FLOP, by the name of the step.
    """

    calls: dict[str, int] = field(default_factory=partial(defaultdict, int))
    amount: dict[str, float] = field(default_factory=partial(defaultdict, float))

    def measure(
        self, step: str, measure: Callable[[Callable[[], Any]], tuple[Any, float]], do: Callable[[], Any]
    ) -> Any:
        """Do a step, and add what it took."""
        answer, amount = measure(do)
        self.calls[step] += 1
        self.amount[step] += amount
        return answer


class Steps:
    """A model whose graphs are measured one by one.

    Args:
        model: A name or directory.
        engine: As `promptseg.load` takes it.
        measure: Does a step, and says what it took.
    """

    def __init__(self, model: str, engine: str, measure: Callable[[Callable[[], Any]], tuple[Any, float]]) -> None:
        import promptseg
        from promptseg.image_files import bundled_image
        from promptseg.images import read_image
        from promptseg.runtime import Runtime

        self._measure = measure
        self._spent = Spent()
        open_graph = Runtime.graph

        def open_measured(runtime: Runtime, source: Any) -> Any:
            graph = open_graph(runtime, source)
            return lambda **inputs: self._spent.measure(source.name, measure, lambda: graph(**inputs))

        Runtime.graph = open_measured  # type: ignore[method-assign,assignment]  # the only place that sees all graphs
        self._image_rgb = read_image(bundled_image("chelsea"))
        self._predictor = promptseg.load(model, engine=engine, device="cpu")
        self._embedding = self._predictor.encode(self._image_rgb)

    def run(self, task: str) -> Spent:
        """Do a task of `speed.TASKS`."""
        self._spent = Spent()
        from speed import PHRASES, TASKS  # the benchmark beside this one

        encodes, num_phrases = TASKS[task]

        def do() -> list[Any]:
            embedding = self._predictor.encode(self._image_rgb) if encodes else self._embedding
            found = self._predictor.segment(embedding, PHRASES[:num_phrases], threshold=0.0)
            return [result.mask for result in found]

        _, total = self._measure(do)
        self._spent.amount["rest"] = total - sum(self._spent.amount.values())
        self._spent.calls["rest"] = 1
        return self._spent


def cpu_seconds(do: Callable[[], Any]) -> tuple[Any, float]:
    """Do something, and give the CPU seconds that it took."""
    start = time.process_time()
    answer = do()
    return answer, time.process_time() - start


def count_flop(do: Callable[[], Any]) -> tuple[Any, float]:
    """Do something, and give the operations that PyTorch did."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        answer = do()
    return answer, float(counter.get_total_flops())


def peak_rate(precision: str) -> float:
    """Measure the rate of a matrix product of OpenVINO, FLOP per CPU second."""
    import numpy as np
    from openvino import opset13

    from promptseg.runtime.silent_openvino import openvino

    values = np.random.default_rng(0).random((PEAK_SIDE, PEAK_SIDE), dtype=np.float32)
    given = opset13.parameter([PEAK_SIDE, PEAK_SIDE], np.float32, name="given")
    left, right = given, opset13.constant(values)
    if precision == "int8":
        ends = [opset13.constant(np.float32(end)) for end in (0, 1, 0, 1)]
        left, integers = opset13.fake_quantize(given, *ends, 256), opset13.constant((127 * values).astype(np.int8))
        right = opset13.multiply(opset13.convert(integers, np.float32), opset13.constant(np.float32(1 / 127)))
    product = opset13.matmul(left, right, transpose_a=False, transpose_b=True)
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "INFERENCE_NUM_THREADS": 1}
    request = openvino.Core().compile_model(openvino.Model([product], [given]), "CPU", settings).create_infer_request()
    return 2 * PEAK_SIDE**3 / min(cpu_seconds(lambda: request.infer([values]))[1] for _ in range(10))


def main() -> None:
    """Count operations in PyTorch, then time the steps of each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="promptseg", help="a model's name or directory")
    parser.add_argument("--engines", nargs="+", choices=list(PRECISIONS), default=["openvino", "openvino-bf16"])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    # before PyTorch or OpenVINO is imported
    os.environ["OMP_NUM_THREADS"] = "1"
    from speed import TASKS, describe_cpu, write_line  # the benchmark beside this one

    write_line(describe_cpu())
    import promptseg  # noqa: F401  # before OpenVINO, which it imports without reports to the vendor

    peaks = {engine: peak_rate(PRECISIONS[engine]) for engine in options.engines}
    for engine, rate in peaks.items():
        write_line({"engine": engine, "peak_gflops": round(rate / 1e9)})
    # each engine in a process of its own: the graphs of one are not to be measured for another
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        flop = processes.submit(run_tasks, options.model, "torch", 1).result()
        for engine in options.engines:
            spent = processes.submit(run_tasks, options.model, engine, options.rounds).result()
            for task in TASKS:
                report(task, engine, spent[task], flop[task][0].amount, peaks[engine])


def run_tasks(model: str, engine: str, num_rounds: int) -> dict[str, list[Spent]]:
    """Do all tasks in some rounds; "torch" counts operations, other engines take CPU seconds."""
    from speed import TASKS  # the benchmark beside this one

    steps = Steps(model, engine, count_flop if engine == "torch" else cpu_seconds)
    for task in TASKS:
        steps.run(task)  # warm up
    return {task: [steps.run(task) for _ in range(num_rounds)] for task in TASKS}


def report(task: str, engine: str, rounds: list[Spent], flop: dict[str, float], peak: float) -> None:
    """Write a line for each step of a task."""
    from speed import write_line  # the benchmark beside this one

    for step, calls in rounds[0].calls.items():
        seconds = min(one.amount[step] for one in rounds)
        operations = flop.get(step, 0.0)
        line = {"task": task, "engine": engine, "step": step, "calls": calls, "cpu_ms": round(1e3 * seconds, 2)}
        line |= {"gflop": round(operations / 1e9, 2), "share_of_peak": round(operations / peak / seconds, 2)}
        write_line(line)


if __name__ == "__main__":
    main()
