"""`promptseg serve` under work: what HTTP adds to a call, equal answers, overload, and memory over many images.

Command:  python benchmarks/serve.py
Tasks:    reprompt: a request about a stored image by HTTP, and the same call in this process, in turns.
          threads: 8 threads on 2 images; each answer is compared with the serial one.
          overload: ten times as many clients as the server has places, for --seconds; each answer is compared.
          command: `promptseg predict` with a warm cache, as it is and with --server, in turns: a new process each time.
          images: --images different images, one after the other, with --cache-mb 64.
Output:   one JSON line for each task. Memory is the resident set of the server's process, from its /proc file (Linux).

Each task starts a server of its own on a free port.
"""

import argparse
import http.client
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PHOTOS = Path(__file__).parents[1] / "src/promptseg/photos"
QUERIES: list[Any] = [
    "cat",
    "the cat's ear",
    {"label": "clicked", "prompts": [{"kind": "point", "points_xy": [[230, 150]]}]},
]
# One request computes and eight wait.
NUM_PLACES = 9
SETTLE_S = 10.0


@dataclass
class Server:
    """A running server: its process and port."""

    process: "subprocess.Popen[str]"
    port: int

    def rss_mb(self) -> float:
        """Read the resident memory of the process, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        return int(kib) / 1024

    def cpu_seconds(self) -> float:
        """Read the CPU seconds of the process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Client:
    """One connection that is kept open."""

    port: int
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Send a request; give status and JSON."""
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def put(self, image: bytes) -> str:
        """Store an image; give its id."""
        status, answer = self.ask("PUT", "/v1/images", image)
        assert status in (200, 201), answer
        return str(answer["id"])


@contextmanager
def running_server(options: argparse.Namespace, *more: str) -> Iterator[Server]:
    """Start a server and wait until its model is loaded."""
    command = [sys.executable, "-m", "promptseg", "serve", "--port", "0", "--model", options.model, *more]
    process = subprocess.Popen([*command, "--engine", options.engine], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            raise SystemExit(line + process.stderr.read())
        # its log is read away, so that the pipe does not fill
        threading.Thread(target=process.stderr.read, daemon=True).start()
        server = Server(process, int(found[1]))
        client = Client(server.port)
        while client.ask("GET", "/readyz")[0] != 200:
            if process.poll() is not None:
                raise SystemExit("the server ended while it loaded its model")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


def request_body(image_id: str, queries: Sequence[Any] = QUERIES) -> bytes:
    """Write a request that answers every query with its mask."""
    return json.dumps({"image": image_id, "queries": queries, "threshold": 0}).encode()


def measure_reprompt(options: argparse.Namespace) -> dict[str, Any]:
    """Compare a request about a stored image with the same call in this process."""
    from promptseg import PointPrompt, Query, load

    predictor = load(options.model, engine=options.engine)
    queries = [*QUERIES[:2], Query("clicked", (PointPrompt(((230, 150),)),))]
    image = (PHOTOS / "chelsea.jpg").read_bytes()
    embedding = predictor.encode(image).complete()
    seconds: dict[str, list[float]] = {"http": [], "python": []}
    with running_server(options) as server:
        client = Client(server.port)
        body = request_body(client.put(image))
        for index in range(options.rounds + 1):
            started = time.perf_counter()
            status, answer = client.ask("POST", "/v1/segment", body)
            between = time.perf_counter()
            found = predictor.segment(embedding, queries, threshold=0).to_dict()
            ended = time.perf_counter()
            assert status == 200 and len(answer["results"]) == len(found["results"])
            if index:  # the first round warms up
                seconds["http"].append(between - started)
                seconds["python"].append(ended - between)
    http_ms, python_ms = (1000 * statistics.median(seconds[name]) for name in ("http", "python"))
    return {"http_ms": round(http_ms, 2), "python_ms": round(python_ms, 2), "added_ms": round(http_ms - python_ms, 2)}


def measure_command(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the command with one that asks a server: wall and CPU seconds, those of the server too."""
    command = [sys.executable, "-m", "promptseg", "predict", str(PHOTOS / "chelsea.jpg"), "--text", "cat"]
    measured: dict[str, list[tuple[float, float, float]]] = {"local": [], "server": []}
    with running_server(options) as server:
        words = {
            "local": ["--model", options.model, "--engine", options.engine, "--offline"],
            "server": ["--server", f"http://127.0.0.1:{server.port}"],
        }
        for index in range(min(options.rounds, 10) + 1):
            for name, more in words.items():
                before, theirs, started = cpu_seconds(), server.cpu_seconds(), time.perf_counter()
                subprocess.run([*command, *more], check=True, capture_output=True)
                if index:  # the first round warms up
                    wall = time.perf_counter() - started
                    measured[name].append((wall, cpu_seconds() - before, server.cpu_seconds() - theirs))
    rows = {name: [statistics.median(each) for each in zip(*rows, strict=True)] for name, rows in measured.items()}
    return {
        "wall_s": {name: round(wall, 2) for name, (wall, _, _) in rows.items()},
        "cpu_s": {name: round(cpu, 2) for name, (_, cpu, _) in rows.items()},
        "cpu_s_of_the_server": round(rows["server"][2], 2),
        "wall_ratio": round(rows["local"][0] / rows["server"][0], 2),
        "cpu_ratio": round(rows["local"][1] / (rows["server"][1] + rows["server"][2]), 2),
    }


def cpu_seconds() -> float:
    """Give the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_threads(options: argparse.Namespace) -> dict[str, Any]:
    """Count answers of 8 threads on 2 images that differ from the serial ones."""
    with running_server(options, "--max-waiting", "16") as server:
        client = Client(server.port)
        ids = [client.put((PHOTOS / name).read_bytes()) for name in ("chelsea.jpg", "coffee.jpg")]
        bodies = [request_body(image_id, [query]) for image_id in ids for query in QUERIES]
        serial = [client.ask("POST", "/v1/segment", body)[1]["results"] for body in bodies]

        def work(number: int) -> int:
            mine = Client(server.port)
            order = [(number + step) % len(bodies) for step in range(options.rounds)]
            return sum(mine.ask("POST", "/v1/segment", bodies[index])[1]["results"] != serial[index] for index in order)

        with ThreadPoolExecutor(8) as pool:
            num_different = sum(pool.map(work, range(8)))
    return {"threads": 8, "images": 2, "answers": 8 * options.rounds, "different": num_different}


def measure_overload(options: argparse.Namespace) -> dict[str, Any]:
    """Ask by ten times as many clients as the server has places."""
    with running_server(options) as server:
        client = Client(server.port)
        body = request_body(client.put((PHOTOS / "chelsea.jpg").read_bytes()))
        expected = client.ask("POST", "/v1/segment", body)[1]["results"]
        codes: Counter[int] = Counter()
        seconds: dict[int, list[float]] = {200: [], 503: []}
        memory_mb: list[float] = []
        health: list[float] = []
        num_wrong = 0
        lock = threading.Lock()
        end = time.monotonic() + options.seconds

        def work(_: int) -> int:
            mine, wrong = Client(server.port), 0
            while time.monotonic() < end:
                started = time.perf_counter()
                status, answer = mine.ask("POST", "/v1/segment", body)
                spent = time.perf_counter() - started
                wrong += status == 200 and answer["results"] != expected
                with lock:
                    codes[status] += 1
                    seconds.setdefault(status, []).append(spent)
                if status == 503:
                    time.sleep(0.05)
            return wrong

        def watch() -> None:
            probe, started = Client(server.port), time.monotonic()
            while time.monotonic() < end:
                asked = time.perf_counter()
                probe.ask("GET", "/healthz")
                health.append(time.perf_counter() - asked)
                if time.monotonic() - started > min(SETTLE_S, options.seconds / 4):
                    memory_mb.append(server.rss_mb())
                time.sleep(0.25)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(10 * NUM_PLACES) as pool:
            num_wrong = sum(pool.map(work, range(10 * NUM_PLACES)))
        watcher.join()
    return {
        "clients": 10 * NUM_PLACES,
        "seconds": options.seconds,
        "codes": dict(sorted(codes.items())),
        "wrong_answers": num_wrong,
        "refused_ms": spread(seconds[503]),
        "served_ms": spread(seconds[200]),
        "healthz_ms": spread(health),
        "rss_mb": [round(memory_mb[0], 1), round(max(memory_mb), 1), round(memory_mb[-1], 1)],
        "rss_growth": round(max(memory_mb) / memory_mb[0] - 1, 4),
    }


def measure_images(options: argparse.Namespace) -> dict[str, Any]:
    """Store many images in a small store, and read the memory after each."""
    import io

    from PIL import Image

    with Image.open(PHOTOS / "astronaut.jpg") as opened:
        source = opened.convert("RGB")
    memory_mb: list[float] = []
    with running_server(options, "--cache-mb", "64") as server:
        client = Client(server.port)
        for index in range(options.images):
            encoded = io.BytesIO()
            source.crop((index % 97, index // 97, 400 + index % 97, 400 + index // 97)).save(encoded, format="PNG")
            status, answer = client.ask("POST", "/v1/segment", request_body(client.put(encoded.getvalue()), ["person"]))
            assert status == 200, answer
            memory_mb.append(server.rss_mb())
        _, state = client.ask("GET", "/v1/status")
    settled = memory_mb[len(memory_mb) // 5 :]
    return {
        "images": options.images,
        "stored": state["images"]["num_images"],
        "stored_mb": round(state["images"]["bytes"] / 2**20, 1),
        "rss_mb": {"first": round(memory_mb[0], 1), "settled": round(settled[0], 1), "last": round(settled[-1], 1)},
        "rss_growth": round(max(settled) / settled[0] - 1, 4),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Give median and worst, milliseconds."""
    if not seconds:
        return {}
    return {"median": round(1000 * statistics.median(seconds), 1), "worst": round(1000 * max(seconds), 1)}


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "reprompt": measure_reprompt,
    "command": measure_command,
    "threads": measure_threads,
    "overload": measure_overload,
    "images": measure_images,
}


def main() -> None:
    """Print one JSON line for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="promptseg")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="repeat it for more; default: all")
    options = parser.parse_args()
    for task in options.task or TASKS:
        sys.stdout.write(json.dumps({"task": task, "model": options.model, **TASKS[task](options)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
