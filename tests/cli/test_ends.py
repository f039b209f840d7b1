"""How a command ends that is interrupted, and one whose output nobody reads."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from promptseg.image_files import bundled_image

PROMPTSEG = [sys.executable, "-m", "promptseg"]
MODEL = ("--model", "promptseg-test", "--threshold", "0")
# A hook of the interpreter that interrupts the process when it imports a module: no delay has to be guessed.
HOOK = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


def take_interrupts() -> None:
    """A shell that starts tests in the background ignores interrupts, and its children would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("module", ["typer", "promptseg.cli.predict", "numpy", "PIL.Image", "promptseg.predictor"])
def test_an_interrupt_while_modules_are_imported_is_one_line(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    done = subprocess.run(
        [*PROMPTSEG, "predict", str(bundled_image("chelsea")), "-t", "cat", *MODEL],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "INTERRUPT_AT": module, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        preexec_fn=take_interrupts,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


# As a terminal does: the first worker that imports NumPy interrupts all processes of its group.
TERMINAL_HOOK = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy" and "--multiprocessing-fork" in sys.orig_argv:
            sys.meta_path.remove(self)
            try:
                os.close(os.open(os.environ["INTERRUPTED"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.killpg(0, signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


def test_an_interrupt_of_a_whole_terminal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TERMINAL_HOOK)
    images = [str(bundled_image(name)) for name in ("chelsea", "coffee", "rocket")]
    done = subprocess.run(
        [*PROMPTSEG, "batch", *images, "-t", "cat", "--out", str(tmp_path / "rows"), *MODEL, "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "INTERRUPTED": str(tmp_path / "interrupted"),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        },
        start_new_session=True,
        preexec_fn=take_interrupts,
    )
    assert (tmp_path / "interrupted").exists()
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


# Interrupts the command by another of its threads as soon as the first worker process runs, but is not known yet.
INTERRUPTED_START = """
import multiprocessing.popen_spawn_posix, signal, threading, time

launch = multiprocessing.popen_spawn_posix.Popen._launch
thread = threading.Thread(target=time.sleep, args=(1e6,), daemon=True)
thread.start()

def launch_and_interrupt(self, process):
    launch(self, process)
    signal.pthread_kill(thread.ident, signal.SIGINT)
    time.sleep(0.2)

multiprocessing.popen_spawn_posix.Popen._launch = launch_and_interrupt
from promptseg.cli.main import main
main()
"""


def test_an_interrupt_while_a_worker_starts_leaves_nobody_waiting(tmp_path: Path) -> None:
    arguments = [*[str(bundled_image("chelsea"))] * 2, str(bundled_image("coffee")), "-t", "cat", *MODEL]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            INTERRUPTED_START,
            "batch",
            *arguments,
            "--workers",
            "2",
            "--out",
            str(tmp_path / "rows"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=take_interrupts,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["models"],
        ["version"],
        ["predict", *[str(bundled_image("chelsea"))] * 3, "-t", "cat", *MODEL],
        ["predict", str(bundled_image("chelsea")), "-t", "cat", "--json", *MODEL],
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_reader_that_goes_away_ends_a_command_as_sigpipe_would(arguments: list[str]) -> None:
    with subprocess.Popen(
        [*PROMPTSEG, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate()
    assert (process.returncode, err) == (141, "")
