"""`promptseg serve`: the HTTP API and the web page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli.checks import check_device
from promptseg.cli.options import Device, Engine, EngineChoice, Offline, Threshold

if TYPE_CHECKING:
    from promptseg.server import ModelSource

MIB = 2**20
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a model (see `promptseg models`) or directory of a checkpoint; repeat it for more. "
            "Default: promptseg."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all. Any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PROMPTSEG_TOKEN",
            help="Token that requests must show. Default: none on 127.0.0.1; on other addresses a new one is made "
            "and printed.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the web browser.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name by which the server may be asked, such as gpu-box.lan; repeat it.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of other web pages that may ask, such as https://tool.example; repeat it."),
    ] = None,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest body of a request, MiB.")] = 100,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait for a device.")] = 8,
    cache_mb: Annotated[int, typer.Option(min=0, help="Memory for stored images, MiB.")] = 512,
    metrics: Annotated[bool, typer.Option("--metrics", help="Serve /metrics for Prometheus.")] = False,
    label_studio: Annotated[
        str | None,
        typer.Option(
            help="Address of Label Studio, from which pictures of its tasks may be fetched, such as "
            "http://localhost:8080."
        ),
    ] = None,
    label_studio_key: Annotated[
        str | None, typer.Option(envvar="LABEL_STUDIO_API_KEY", help="Access token of a user there.")
    ] = None,
    label_studio_files: Annotated[
        Path | None,
        typer.Option(help="Directory of its local files (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT), which may be read."),
    ] = None,
    threshold: Threshold = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Serve the HTTP API and the web page.

    The server answers at once and loads the model meanwhile. Ctrl+C ends it.
    """
    from promptseg._extras import require

    require("uvicorn", extra="serve")
    # here and not above: FastAPI takes half a second to import
    from promptseg.cli.serve_run import choose_token, run_server
    from promptseg.server import PictureAccess, ServerSettings

    check_device(device)
    chosen = choose_token(token, is_local=host in LOCAL_HOSTS)
    settings = ServerSettings(
        token=chosen,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        allowed_origins=tuple(allow_origin or ()),
        max_body_bytes=max_body_mb * MIB,
        max_bodies_bytes=4 * max_body_mb * MIB,
        max_waiting=max_waiting,
        cache_bytes=cache_mb * MIB,
        metrics=metrics,
        label_studio=PictureAccess(label_studio, label_studio_key, label_studio_files),
    )
    sources = [
        _source(name, device=device, engine=engine.value, offline=offline, threshold=threshold)
        for name in model or ("promptseg",)
    ]
    run_server(sources, settings, host=host, port=port, open_page=open_page, show_token=chosen != token)


def _source(name: str, *, device: str, engine: str, offline: bool, threshold: float | None) -> "ModelSource":
    """Describe how to load a model; a name that does not exist is refused at once."""
    from functools import partial

    from promptseg.loading import load
    from promptseg.models.registry import MODELS, find_row
    from promptseg.server import ModelSource

    path = Path(name).expanduser()
    is_path = name not in MODELS and path.exists()
    served_as = path.resolve().name if is_path else find_row(name).name
    loading = partial(load, name, device=device, engine=engine, offline=offline, threshold=threshold)
    return ModelSource(served_as, loading)
