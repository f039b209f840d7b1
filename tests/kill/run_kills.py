"""Kill commands at many moments, fill their disk, and check that nothing is lost or half-written.

    make test-kill        or: python tests/kill/run_kills.py [--moments 20] [--only autolabel] [--out report.json]

Each command runs once from the start to the end. Then, for each moment, in a folder of its own: it is killed there (two
processes at once, where the command is made for that), and runs again to the end. What it promises must be the same,
byte by byte, and no other file may be left. After that the same with a limit on the size of files, and, where a file
system can be mounted, with a small one. Exit code 1: something was lost, half-written, or a traceback.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "worlds", HERE.parents[1] / "src"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from forked import UNLIMITED, Child, Ended, Limits, preload, read_files  # noqa: E402
from scenarios import Scenario, list_scenarios, write_inputs  # noqa: E402
from writers import list_writers  # noqa: E402

_OFFLINE = {"PROMPTSEG_OFFLINE": "", "OMP_NUM_THREADS": "1"}

# Results that are named after their process, and compiled graphs, which OpenVINO names after time and place; without
# one, the next run compiles again.
_NAMED_ANEW = re.compile(r"^result-\d+/|\.blob$")

# How much of what a command writes finds room.
SHARES = (0.0, 0.3, 0.9)


@dataclass(frozen=True)
class Trial:
    """One command that was killed, or whose disk was full.

    Attributes:
        scenario: Name of the command.
        moment: When it was killed, or how small the disk was.
        problem: What went wrong; "" nothing.
    """

    scenario: str
    moment: str
    problem: str


def kill_all(scenario: Scenario, folder: Path, *, num_moments: int, seed: int = 0) -> Iterator[Trial]:
    """Kill a command at random moments; after each, run it to its end and compare."""
    whole = folder / "whole"
    ended = _start(scenario, whole).wait()
    assert ended.code == 0, ended.said
    expected = scenario.promised(whole)
    rng = np.random.default_rng(seed)
    for number, limits in enumerate(_moments(scenario, ended, rng, num_moments)):
        out = folder / str(number)
        children = [_start(scenario, out, limits)]
        if scenario.in_pairs:
            children.append(_start(scenario, out))
        first, *others = [child.wait() for child in children]
        problem = next((other.said for other in others if other.code), "")
        yield Trial(scenario.name, _describe(limits, first), problem or _go_on(scenario, out, expected))
        shutil.rmtree(out)


def _start(scenario: Scenario, out: Path, limits: Limits = UNLIMITED) -> Child:
    out.mkdir(parents=True, exist_ok=True)
    return Child(lambda: scenario.run(out), environment=_OFFLINE | scenario.environment(out), limits=limits)


def _moments(scenario: Scenario, whole: Ended, rng: np.random.Generator, num_moments: int) -> Iterator[Limits]:
    for _ in range(num_moments):
        if scenario.by_time:
            yield Limits(seconds=float(rng.uniform(0.05, 1.0)) * whole.seconds)
        else:
            yield Limits(change=int(rng.integers(whole.num_changes)))


def _describe(limits: Limits, ended: Ended) -> str:
    when = f"after {limits.seconds:.2f} s" if limits.seconds is not None else f"before change {limits.change}"
    return when + ("" if ended.code == -9 else " (it had ended)")


def _go_on(scenario: Scenario, out: Path, expected: dict[str, bytes]) -> str:
    """Run a command to its end after it was interrupted; return what is wrong."""
    ended = _start(scenario, out).wait()
    if ended.code:
        return f"the next run ended with {ended.code}: {ended.said[-600:]}"
    found = scenario.promised(out)
    if found != expected:
        differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        return f"other files than those of a run that was not killed: {differ}"
    return ""


def fill_disk(scenario: Scenario, folder: Path, *, shares: Sequence[float]) -> Iterator[Trial]:
    """Let a command run into a full disk: by a limit on the size of files, and on a small file system."""
    whole = folder / "whole"
    ended = _start(scenario, whole).wait()
    assert ended.code == 0, ended.said
    expected, sizes = scenario.promised(whole), [len(content) for content in read_files(whole).values()]
    for number, share in enumerate(shares):
        limit = int(max(sizes) * share)
        out = folder / f"limit-{number}"
        ended = _start(scenario, out, Limits(file_bytes=limit)).wait()
        problem = _half_written(scenario, ended, whole, out) or _go_on(scenario, out, expected)
        yield Trial(scenario.name, f"files of {limit} bytes at most", problem)
        with _small_disk(folder / f"disk-{number}", int(sum(sizes) * share)) as disk:
            if disk is None:
                continue
            ended = _start(scenario, disk / "out").wait()
            yield Trial(
                scenario.name, f"a disk of {share:.0%} of what it writes",
                _half_written(scenario, ended, whole, disk / "out"),
            )  # fmt: skip


def _half_written(scenario: Scenario, ended: Ended, whole: Path, out: Path) -> str:
    """Check that a command without room says so, and that every file there is whole; return what is wrong."""
    if ended.code not in (0, 1, 2) or "Traceback" in ended.said:
        return f"exit code {ended.code}: {ended.said[-600:]}"
    if ended.code and "error: " not in ended.said:
        return f"no error is named: {ended.said[-300:]}"
    complete, found = read_files(whole), read_files(out)
    missing = sorted(name for name in complete.keys() - found.keys() if not _NAMED_ANEW.search(name))
    if ended.code == 0 and missing:
        return f"it ended well, without {missing[:3]}"
    hidden = sorted(name for name in found if Path(name).name.startswith(".") and name not in complete)
    if hidden:
        return f"left behind: {hidden[:3]}"
    broken = [name for name, content in found.items() if not _is_whole(name, content, complete)]
    return f"half-written: {broken[:3]}" if broken else ""


def _is_whole(name: str, content: bytes, complete: dict[str, bytes]) -> bool:
    """Tell whether a file is that of a whole run, a list that is still growing, or of another size for good reasons."""
    if name.endswith(".jsonl") or name not in complete:  # a journal; what it holds is checked by going on
        return True
    if name.endswith(".json"):
        json.loads(content)
        return True
    return len(content) == len(complete[name]) or name.endswith((".txt", ".pt"))


@contextmanager
def _small_disk(place: Path, num_bytes: int) -> Iterator[Path | None]:
    """Mount a file system of a few pages; None: nobody lets us."""
    place.mkdir(parents=True)
    size = f"size={max(num_bytes, 4096)}"
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def _tell(trial: Trial) -> Trial:
    sys.stderr.write(f"{trial.scenario}, {trial.moment}: {trial.problem or 'ok'}\n")
    return trial


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--disks", type=int, default=len(SHARES), help="sizes of the full disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only the commands whose name contains this")
    parser.add_argument("--out", type=Path, help="write the report here, JSON")
    options = parser.parse_args()
    preload()
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        folder = Path(name)
        inputs = write_inputs(folder / "inputs")
        killed = [
            _tell(trial)
            for scenario in list_scenarios(inputs).values()
            if options.only in scenario.name
            for trial in kill_all(scenario, folder / scenario.name, num_moments=options.moments, seed=options.seed)
        ]
        full = [
            _tell(trial)
            for scenario in list_writers(inputs)
            if options.only in scenario.name
            for trial in fill_disk(scenario, folder / f"full-{scenario.name}", shares=SHARES[: options.disks])
        ]
    problems = [asdict(trial) for trial in (*killed, *full) if trial.problem]
    report = {"killed": len(killed), "full_disks": len(full), "problems": problems}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    if options.out is not None:
        trials = [asdict(trial) for trial in (*killed, *full)]
        options.out.write_text(json.dumps(report | {"trials": trials}, indent=2) + "\n", encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
