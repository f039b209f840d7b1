"""Hostile input, by the hundred: write the corpus, read all of it in processes of their own, and report.

    make test-hostile        or: python tests/hostile/run_hostile.py [--every 10] [--out report.json]

Exit code 1: an input made a reader crash or hang, or was answered in silence. Every input is a function of the seed.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
for folder in (HERE, HERE.parent / "worlds", REPOSITORY / "src"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from annotation_sets import write_annotation_cases  # noqa: E402
from checkpoints import write_checkpoint_cases  # noqa: E402
from hostile_case import Case  # noqa: E402
from image_files import write_image_cases  # noqa: E402

# Address space: PyTorch's libraries alone take 3 GB of it.
MEMORY_LIMIT_BYTES = 6_000_000_000
# Nothing here takes more than seconds of computing. A busy machine may take minutes for it, so a process hangs if it
# computed for so long, or not at all during so long.
TIME_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Verdict:
    """What happened to a case.

    Attributes:
        case: The case.
        reader: What read it: that of the case, or a command.
        outcome: "refused", "same", "other", "crashed", "hung", or "unnamed": refused without naming the input.
        message: Of the error.
        peak_bytes: Peak of the resident set.
        seconds: CPU time.
    """

    case: Case
    reader: str
    outcome: str
    message: str
    peak_bytes: int
    seconds: float

    @property
    def is_right(self) -> bool:
        return self.outcome in self.case.allowed


class Prober:
    """A process that reads inputs; it is started again when one of them ended it. Use it in a `with` block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()

    def read(self, reader: str, path: str) -> dict[str, Any]:
        """Read one input of the corpus; see `probe.py`."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([reader, str(self._root / path)]).encode() + b"\n")
        process.stdin.flush()
        ready = self._wait(process)
        line = process.stdout.readline() if ready else b""
        if line:
            return dict(json.loads(line))
        self._end()
        outcome = "crashed" if ready else "hung"
        return {
            "outcome": outcome, "digest": "", "num_left_out": 0, "message": f"exit code {process.returncode}",
            "peak_bytes": 0, "seconds": TIME_LIMIT_SECONDS,
        }  # fmt: skip

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for an answer; return whether there is one, or the process ended."""
        start = before = _cpu_seconds(process.pid)
        while True:
            ready, _, _ = select.select([process.stdout], [], [], TIME_LIMIT_SECONDS)
            now = _cpu_seconds(process.pid)
            if ready or now - before < 0.05 or now - start > TIME_LIMIT_SECONDS:
                return bool(ready)
            before = now

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "probe.py"), str(MEMORY_LIMIT_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd=self._root,
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


def _cpu_seconds(process_id: int) -> float:
    """Read how long a process has computed; 0 where the system does not tell."""
    path = Path(f"/proc/{process_id}/stat")
    if not path.exists():
        return 0.0
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_corpus(root: Path, *, seed: int = 0) -> list[Case]:
    """Write images, annotation sets and checkpoints below `root`."""
    return [
        *write_image_cases(root, seed=seed),
        *write_annotation_cases(root, seed=seed),
        *write_checkpoint_cases(root, seed=seed),
    ]


def judge(root: Path, cases: Iterable[Case]) -> Iterator[Verdict]:
    """Read every case by its reader, and by the command that reads such inputs."""
    originals: dict[tuple[str, str], dict[str, Any]] = {}
    with Prober(root) as prober:
        for case in cases:
            for reader in (case.reader, *case.commands):
                if case.original and (reader, case.original) not in originals:
                    originals[reader, case.original] = prober.read(reader, case.original)
                answer = prober.read(reader, case.path)
                outcome = _outcome(case, answer, originals.get((reader, case.original)))
                yield Verdict(case, reader, outcome, answer["message"], answer["peak_bytes"], answer["seconds"])


def _outcome(case: Case, answer: dict[str, Any], original: dict[str, Any] | None) -> str:
    if answer["outcome"] == "refused":
        return "refused" if Path(case.path).name[:80] in answer["message"] else "unnamed"
    if answer["outcome"] != "answered":
        return str(answer["outcome"])
    if original is None:
        return "other"
    assert original["outcome"] == "answered", original
    if answer["digest"] == original["digest"]:
        return "same"
    return "refused" if answer["num_left_out"] > original["num_left_out"] else "other"


def summarize(verdicts: list[Verdict]) -> dict[str, Any]:
    """Count the outcomes; list what went wrong."""
    return {
        "cases": len({(verdict.case.path, verdict.case.reader) for verdict in verdicts}),
        "readings": len(verdicts),
        "outcomes": dict(Counter(verdict.outcome for verdict in verdicts).most_common()),
        "peak_mb": round(max(verdict.peak_bytes for verdict in verdicts) / 1e6),
        "slowest_seconds": max(verdict.seconds for verdict in verdicts),
        "wrong": [asdict(verdict) for verdict in verdicts if not verdict.is_right],
    }


def predict_folder(root: Path) -> dict[str, Any]:
    """Run `promptseg predict` on the folder of all images; check that every image got its line.

    Returns:
        Counts of images, of those that failed, and of what was passed over; and what is wrong.
    """
    words = [
        "predict",
        str(root / "images"),
        "--text",
        "cat",
        "--json",
        "--model",
        "promptseg-test",
        "--engine",
        "torch",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "promptseg", *words], capture_output=True, env=_environment(), cwd=root, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    files = [path for path in (root / "images").iterdir() if path.is_file() and not path.name.startswith(".")]
    named = Counter(str(line["image"]) for line in lines)
    said = done.stderr.decode("utf-8", "surrogateescape")
    wrong = [f"{path!s:.120} has {named[str(path)]} lines" for path in files if named[str(path)] != 1]
    wrong += [f"exit code {done.returncode}"] if done.returncode != 1 else []
    wrong += [said[said.index("Traceback") :]] if "Traceback" in said else []
    failed = sum("error" in line for line in lines)
    return {"images": len(lines), "failed": failed, "passed_over": said.count("passed over: "), "wrong": wrong}


def _environment() -> dict[str, str]:
    paths = [str(REPOSITORY / "src"), str(HERE.parent / "worlds"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="read only one case of so many")
    parser.add_argument("--only", default="", help="read only the cases whose path contains this")
    parser.add_argument("--out", type=Path, help="write the report here, JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        root = Path(folder)
        cases = [case for case in write_corpus(root, seed=options.seed)[:: options.every] if options.only in case.path]
        verdicts = []
        for verdict in judge(root, cases):
            verdicts.append(verdict)
            if not verdict.is_right:
                sys.stdout.write(f"{verdict}\n")
        report = summarize(verdicts)
        report["folder"] = predict_folder(root)
        assert not (root / "hacked").exists(), "a file of the corpus ran a program"
    for kind in sorted({verdict.case.path.split("/")[0] for verdict in verdicts}):
        report[kind] = summarize([one for one in verdicts if one.case.path.startswith(f"{kind}/")])
        del report[kind]["wrong"]
    sys.stdout.write(json.dumps({key: value for key, value in report.items() if key != "wrong"}, indent=2) + "\n")
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if report["wrong"] or report["folder"]["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
