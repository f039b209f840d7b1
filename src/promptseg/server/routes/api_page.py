"""`/docs`: the schema of the API as one page, without scripts and without files of other servers."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h2 { border-top: 1px solid; margin-top: 2.5rem; padding-top: 1rem; }
h3 { font-size: 1rem; margin-bottom: 0; }
code { font-family: ui-monospace, monospace; }
p { margin: 0.25rem 0; }
table { border-collapse: collapse; margin: 0.5rem 0 1rem; width: 100%; }
td { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
td { padding: 0.25rem 0.5rem; vertical-align: top; }
td:first-child { white-space: nowrap; width: 11rem; }
td:nth-child(2) { width: 14rem; }
td:nth-child(3) { width: 5rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {"Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"}

REFERENCE = "#/components/schemas/"
# Every route has these answers, which the page describes once.
OF_ALL_ROUTES = frozenset({"4XX", "5XX"})


def api_page_router(read_schema: Callable[[], dict[str, Any]]) -> APIRouter:
    """Make the router.

    Args:
        read_schema: Gives the OpenAPI document.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(write_page(read_schema()), headers=HEADERS)

    return router


def write_page(schema: dict[str, Any]) -> str:
    """Write the page of an OpenAPI document."""
    title = f"{schema['info']['title']} {schema['info']['version']}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1><p>{escape(schema['info']['description'])}</p>",
        "<p>As a schema for programs: <a href='/openapi.json'>openapi.json</a></p>",
        "<h2>Routes</h2><p>Every answer of 400 or more is an <a href='#ErrorAnswer'>ErrorAnswer</a>.</p>",
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.extend(_write_operation(method, path, operation))
    parts.append("<h2>Types</h2>")
    for name, described in sorted(schema["components"]["schemas"].items()):
        parts.append(f"<h3 id='{escape(name)}'><code>{escape(name)}</code></h3>")
        parts.append(f"<p>{_write_text(described.get('description', ''))}</p>")
        parts.extend(_write_fields(described))
    return "\n".join(parts)


def _write_operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{_write_text(operation.get('description', ''))}</p>"
    rows = [
        (each["name"], each["schema"], each.get("description", ""), each.get("required", False))
        for each in operation.get("parameters", ())
    ]
    if rows:
        yield _write_table(rows)
    if "requestBody" in operation:
        yield f"<p>Body: {_name_contents(operation['requestBody'])}</p>"
    for status, answer in sorted(operation["responses"].items()):
        if status not in OF_ALL_ROUTES:
            yield f"<p>{escape(status)}: {_name_contents(answer) or _write_text(answer.get('description', ''))}</p>"


def _write_text(text: str) -> str:
    """Write a text in which backticks stand around code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _write_fields(described: dict[str, Any]) -> Iterator[str]:
    required = described.get("required", ())
    rows = [
        (name, field, field.get("description", ""), name in required)
        for name, field in described.get("properties", {}).items()
    ]
    if rows:
        yield _write_table(rows)


def _write_table(rows: Iterable[tuple[str, dict[str, Any], str, bool]]) -> str:
    cells = (
        f"<tr><td><code>{escape(name)}</code><td>{_name_type(schema)}<td>{'required' if required else ''}"
        f"<td>{_write_text(description)}"
        for name, schema, description, required in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _name_contents(described: dict[str, Any]) -> str:
    """Name what a body or an answer may be: each media type and its type."""
    return " or ".join(
        f"<code>{escape(media_type)}</code> {_name_type(content.get('schema', {}))}"
        for media_type, content in described.get("content", {}).items()
    )


def _name_type(schema: dict[str, Any]) -> str:
    """Name a type, with links to those that are described."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(REFERENCE))
        return f"<a href='#{name}'>{name}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_name_type(each) for each in schema[several] if each.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        length = f"{schema['minItems']} times " if schema.get("minItems", 0) == schema.get("maxItems") else ""
        return f"list of {length}{_name_type(schema.get('items', {}))}"
    return escape(schema.get("format", schema.get("type", schema.get("title", ""))))
