"""`promptseg`: the commands and their exit codes.

Exit codes: 0 success, 1 some images failed (each named on stderr), 2 invalid request or input; `exit_codes` has others.
Each command is a function in its own module. Heavy imports stay inside the function, so that `--help` is fast.
"""

import errno
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from promptseg.cli.autolabel import autolabel
from promptseg.cli.batch import batch
from promptseg.cli.calibrate import calibrate
from promptseg.cli.deprecated_spellings import translate
from promptseg.cli.evaluate import evaluate
from promptseg.cli.evaluate_benchmark import evaluate_benchmark
from promptseg.cli.exit_codes import READER_GONE
from promptseg.cli.export import export
from promptseg.cli.finetune import finetune
from promptseg.cli.library_caches import keep_library_caches
from promptseg.cli.models import models
from promptseg.cli.panoptic import panoptic
from promptseg.cli.predict import predict
from promptseg.cli.pseudo_masks import pseudo_masks
from promptseg.cli.segment_everything import segment_everything
from promptseg.cli.serve import serve
from promptseg.cli.train import train
from promptseg.cli.version import print_version, version
from promptseg.cli.weights import weights_app
from promptseg.errors import EngineError, OfflineError, PromptsegError, PromptsegWarning

app = typer.Typer(
    name="promptseg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _promptseg(
    _: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Segment images by text, example images, points and boxes."""


app.command()(predict)
app.command()(panoptic)
app.command()(segment_everything)
app.command()(autolabel)
app.command()(batch)
app.command()(finetune)
app.command()(evaluate)
app.command()(evaluate_benchmark)
app.command()(calibrate)
app.command()(pseudo_masks)
app.command()(train)
app.command()(serve)
app.command()(export)
app.command()(models)
app.add_typer(weights_app, name="weights")
app.command()(version)

_HELP = frozenset({"-h", "--help", "--version"})
# What typer raises for malformed arguments; it has no public name in all versions.
_USAGE_ERROR: Any = typer.BadParameter.__base__

# Errors of a stream that goes to a full disk.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Hints for errors whose message does not name a way out.
_HINTS: dict[type[PromptsegError], str] = {
    OfflineError: "run it once without --offline, or `promptseg weights pull` where there is a network",
    EngineError: "`promptseg version` shows what is installed here",
}


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: Its name, and what is given to it.
    """
    # `read_image` refuses damaged and large images itself, by name and in one line.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    current, notice = translate(arguments)
    if notice is not None:
        typer.echo(notice, err=True)
    if _HELP.isdisjoint(current):
        keep_library_caches()
    try:
        _refuse_empty(current)
        with _warnings_in_one_line():
            # Not in its standalone mode, in which it draws an error as a box of five lines.
            code = app(current, prog_name="promptseg", standalone_mode=False)
    except SystemExit as exit:
        if isinstance(exit.__context__, BrokenPipeError):  # typer and rich make an exit code of it, 1
            return READER_GONE
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except _USAGE_ERROR as error:
        code = _show_usage_error(error)
        for argument in arguments:
            # Path.exists raises for a name that is too long for a file.
            if argument.startswith("-") and argument != "-" and os.path.exists(argument):  # noqa: PTH110
                typer.echo(f"hint: {argument} is a file too; write ./{argument}", err=True)
        return code
    except PromptsegError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        hint = next((text for kind, text in _HINTS.items() if isinstance(error, kind)), None)
        if hint:
            typer.echo(f"hint: {hint}", err=True)
        return 2
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        typer.echo(f"error: the output can't be written: {error.strerror}", err=True)
        return 2
    return code if isinstance(code, int) else 0


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Write warnings of this package to stderr as the errors are written; others as ever."""
    with warnings.catch_warnings():
        show_others = warnings.showwarning
        shown = set()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, PromptsegWarning):
                show_others(message, category, *where, **more)
            elif str(message) not in shown:
                shown.add(str(message))
                typer.echo(f"warning: {message}", err=True)

        warnings.showwarning = show
        warnings.simplefilter("default", PromptsegWarning)
        yield


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would stand for the current folder.

    Raises:
        BadParameter: There is one.
    """
    for index, argument in enumerate(arguments):
        before = arguments[index - 1] if index else ""
        if argument == "" and before not in ("--text", "-t"):  # an empty phrase has a message of its own
            raise typer.BadParameter("an argument is empty", param_hint=before if before.startswith("-") else None)
        if argument.startswith("--") and argument.endswith("="):
            raise typer.BadParameter("the value is empty", param_hint=argument[:-1])


def _show_usage_error(error: Any) -> int:
    """Write an error of the command line in one line; without any argument, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    typer.echo(f"error: {' '.join(error.format_message().split())}", err=True)
    command = "promptseg" if error.ctx is None else error.ctx.command_path
    typer.echo(f"hint: `{command} --help` shows what can be given", err=True)
    return int(error.exit_code)
