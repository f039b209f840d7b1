"""The process of the command line, from its first moment to its end; `app` has the commands.

What the commands import takes half a second. An interrupt (Ctrl-C) is looked after before that, so this module and the
packages that it is in import next to nothing, not even `typing`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

from promptseg.cli.exit_codes import INTERRUPTED, READER_GONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: The arguments after the program's name; None: those of this process.
    """
    if arguments is not None:
        from promptseg.cli.app import run

        sys.exit(run(arguments))
    _on_interrupt(_end_at_once)
    from promptseg.cli.app import run
    from promptseg.cli.output import escape_unencodable, open_missing_streams

    open_missing_streams()
    escape_unencodable()
    code = _run(run)
    _on_interrupt(_end_at_once)
    _exit_without_cleanup(code)


class _Interrupts:
    """A handler of interrupts that notes them: libraries make other errors of them, while they are imported, say."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, *_: object) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt


def _on_interrupt(handler: Callable[..., Any]) -> None:
    """Handle interrupts, unless who started this process wants them ignored, as a shell does in the background."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _end_at_once(*_: object) -> NoReturn:
    _tell_interrupted()
    os._exit(INTERRUPTED)


def _tell_interrupted() -> None:
    try:
        os.write(2, b"interrupted\n")  # and not print: an interrupt may come while something is printed
    except OSError:
        pass  # nobody reads it


def _run(run: Callable[[Sequence[str]], int]) -> int:
    """Run the command of this process; return its exit code."""
    interrupts = _Interrupts()
    try:
        _on_interrupt(interrupts)
        code = run(sys.argv[1:])
    except BaseException:
        if not interrupts.came:
            raise
        code = INTERRUPTED
    if code == 0 or not interrupts.came:  # a server ends by an interrupt, as it should
        return code
    _tell_interrupted()
    return INTERRUPTED


def _exit_without_cleanup(code: int) -> NoReturn:
    """End the process without freeing its modules one by one, which takes seconds once PyTorch is loaded.

    Files are closed by their commands; exit handlers, such as those of temporary folders and of worker processes, run.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or READER_GONE
        except OSError:  # the disk is full
            code = code or 2
    os._exit(code)
