"""The files of the web page, and the photographs that come with promptseg."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

import promptseg

PACKAGE = Path(promptseg.__file__).parent
PAGE = PACKAGE / "web"
PHOTOS = PACKAGE / "photos"

# Written out: the table of the operating system may lack one of them, or say something else.
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


def list_files() -> dict[str, Path]:
    """List the public files by their address; only these are served, so no path of a request reaches the disk."""
    files = {f"/photos/{path.name}": path for path in PHOTOS.glob("*.jpg")}
    for path in sorted(PAGE.rglob("*")):
        if path.is_file() and path.suffix in MEDIA_TYPES:
            files[f"/{path.relative_to(PAGE).as_posix()}"] = path
    if "/index.html" in files:
        files["/"] = files["/index.html"]
    return files


def files_router(files: Mapping[str, Path]) -> APIRouter:
    """Make the router of these files, by address."""
    router = APIRouter(include_in_schema=False)
    for address, path in files.items():
        router.add_api_route(address, _sender(path), methods=["GET", "HEAD"])
    return router


def _sender(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        # browsers ask each time whether the file is still the same, so that a new version of the page is seen at once
        headers = {"Cache-Control": "no-cache"}
        file = FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers, stat_result=path.stat())
        if request.headers.get("if-none-match") == file.headers["etag"]:
            return Response(status_code=304, headers={**headers, "ETag": file.headers["etag"]})
        return file

    return send
