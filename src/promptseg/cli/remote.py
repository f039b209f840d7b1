"""`--server`: ask a running `promptseg serve` instead of loading a model."""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from promptseg.client import RemotePredictor

Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Ask a running `promptseg serve` at this address, such as http://127.0.0.1:8000, instead of loading a "
        "model. --model is then a name that it serves; default: its first.",
    ),
]
Token: TypeAlias = Annotated[
    str | None, typer.Option(envvar="PROMPTSEG_TOKEN", help="What the --server asks for; without one it is not used.")
]


def connect_predictor(
    server: str, *, token: str | None, model: str | None, threshold: float | None, local: dict[str, Any]
) -> "RemotePredictor":
    """Connect to a server.

    Args:
        server: Its address.
        token: What it asks for.
        model: As `promptseg.client.connect`.
        threshold: As `promptseg.client.connect`.
        local: Options that only a model of this process has, by name, and None where they were not given.

    Raises:
        BadParameter: One of these was given.
        ServerError: The server does not answer, or refuses.
        UnknownModelError: It does not serve this model.
    """
    for name, value in local.items():
        if value is not None:
            raise typer.BadParameter(
                "a server can't be asked for this: leave it out, or leave out --server", param_hint=name
            )
    from promptseg.client import connect

    return connect(server, token=token, model=model, threshold=threshold)
