"""Run the server of `promptseg serve`: bind the port, say where it is, end it when a model can't be loaded."""

import asyncio
import logging
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence

import anyio
import anyio.abc
import typer
import uvicorn
from anyio.streams.stapled import MultiListener

from promptseg.server import ModelSource, ServerSettings, create_app
from promptseg.server.core.served_models import ServedModels

# How long requests may take to end after Ctrl+C, seconds.
SHUTDOWN_S = 5
WATCH_S = 0.1


def choose_token(token: str | None, *, is_local: bool) -> str | None:
    """Give the token of a server: the operator's, or a new one where others can reach the server."""
    return token if token is not None or is_local else secrets.token_urlsafe(24)


def run_server(
    sources: Sequence[ModelSource],
    settings: ServerSettings,
    *,
    host: str,
    port: int,
    open_page: bool,
    show_token: bool,
) -> None:
    """Serve until Ctrl+C.

    Args:
        sources: The models.
        settings: Of the server.
        host: Address to listen on.
        port: Port to listen on; 0: any free one.
        open_page: Open the page in the web browser.
        show_token: Print the token: it was made here, and nobody knows it yet.

    Raises:
        BadParameter: The address can't be listened on.
        PromptsegError: A model can't be loaded.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    # its lines would say again what is said here
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app = create_app(sources, settings)
    models: ServedModels = app.state.service.models
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=SHUTDOWN_S
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        listener = await _listen(host, port)
        sockets = [each.extra(anyio.abc.SocketAttribute.raw_socket) for each in listener.listeners]
        for each in sockets:  # asyncio does it for sockets of its own; without it, each answer waits 40 ms
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = _address(host, sockets[0].getsockname()[1])
        fragment = f"/#token={settings.token}" if settings.token else "/"
        typer.echo(f"promptseg serves on {url}{fragment if show_token else '/'} (Ctrl+C ends it)", err=True)
        if open_page:
            await asyncio.to_thread(webbrowser.open, url + fragment)
        watching = asyncio.create_task(_end_on_failure(models, server))
        await server.serve(sockets=sockets)
        watching.cancel()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:  # uvicorn repeats the signal once it has ended
        typer.echo("ended", err=True)
    for model in models:
        if model.error is not None:
            raise model.error


async def _listen(host: str, port: int) -> MultiListener[anyio.abc.SocketStream]:
    try:
        return await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as error:
        raise typer.BadParameter(
            f"can't listen on {host}, port {port}: {error.strerror or error}; --port 0 takes any free port",
            param_hint="--port",
        ) from error


def _address(host: str, port: int) -> str:
    """Give the address for the browser: one that listens on all addresses is reached as localhost too."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


async def _end_on_failure(models: ServedModels, server: uvicorn.Server) -> None:
    while models.state == "loading":
        await asyncio.sleep(WATCH_S)
    if models.state == "failed":
        server.should_exit = True
