"""`promptseg`: the commands, and how they end.

Exit codes: 0 all went well, 1 some images failed (each named), 2 the request or its input is wrong, 130 interrupted.
A command is a function in a module of its own; heavy imports stay inside it, so that `--help` answers at once.
"""

import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import typer

from promptseg.cli.autolabel import autolabel
from promptseg.cli.evaluate import evaluate
from promptseg.cli.finetune import finetune
from promptseg.cli.models import models
from promptseg.cli.predict import predict
from promptseg.cli.pseudo_masks import pseudo_masks
from promptseg.cli.segment_everything import segment_everything
from promptseg.cli.train import train
from promptseg.cli.version import version
from promptseg.cli.weights import weights_app
from promptseg.errors import EngineError, OfflineError, PromptsegError, UnknownModelError

app = typer.Typer(
    name="promptseg",
    help="Point at something in a photo with words, and get its mask.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(predict)
app.command()(autolabel)
app.command()(segment_everything)
app.command()(train)
app.command()(finetune)
app.command()(evaluate)
app.command()(pseudo_masks)
app.command()(models)
app.add_typer(weights_app, name="weights")
app.command()(version)

# Errors whose message does not hold the way out already.
_HINTS: dict[type[PromptsegError], str] = {
    UnknownModelError: "`promptseg models` lists them; a checkpoint is given as its directory",
    OfflineError: "run it once without --offline, or `promptseg weights pull` where there is a network",
    EngineError: "`promptseg version` shows what is here",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: What stands after the program's name; None: the process's own arguments.
    """
    # Pillow warns of what `read_image` refuses anyway, by name and in one line.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    try:
        app(arguments, prog_name="promptseg")
    except PromptsegError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        hint = next((text for kind, text in _HINTS.items() if isinstance(error, kind)), None)
        if hint:
            typer.echo(f"hint: {hint}", err=True)
        sys.exit(2)
    sys.exit(0)
