"""Write docs/reference.md from the docstrings of the public names, and docs/commands.md from the commands' help.

python scripts/make_reference.py            # write both pages
python scripts/make_reference.py --check    # exit code 1 if a page is out of date
"""

import argparse
import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

import promptseg
from promptseg.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 120
NOTE = "<!-- Made by `python scripts/make_reference.py`: do not edit. -->"

SECTIONS: dict[str, tuple[str, ...]] = {
    "Loading and segmenting": ("segment", "load", "list_models", "Predictor", "Embedding"),
    "Prompts": ("Query", "TextPrompt", "ExemplarPrompt", "PointPrompt", "BoxPrompt", "MaskPrompt"),
    "Results": ("Segmentation", "QueryResult", "Instance"),
    "Images": ("read_image", "read_mask", "ImageLimits"),
    "Data sets": ("write", "read", "autolabel"),
    "lang-segment-anything": ("LangSAM",),
    "Errors": ("PromptsegError", "PromptError", "ImageError", "WeightsError", "OutputError"),
}
# Headings of Google style whose lines are `name: description`.
FIELD_HEADINGS = ("Args", "Attributes", "Raises")


def make_reference() -> str:
    """Describe every public name."""
    listed = {name for names in SECTIONS.values() for name in names}
    if missing := set(promptseg.__all__) - listed:
        raise SystemExit(f"scripts/make_reference.py: add to SECTIONS: {', '.join(sorted(missing))}")
    parts = [
        NOTE,
        "# API reference",
        _fill(
            "All names are attributes of `promptseg`. Coordinates are pixels of the image, origin top left, x to the "
            "right, y down; `H` and `W` are its height and width. Arrays of results are read-only."
        ),
    ]
    for heading, names in SECTIONS.items():
        parts.append(f"## {heading}")
        for name in names:
            parts.extend(_describe(name))
    parts.append("All errors are in `promptseg.errors`:")
    parts.append(_fence(_error_tree()))
    return "\n\n".join(parts) + "\n"


def make_commands() -> str:
    """Describe every command and option."""
    root = typer.main.get_command(app)
    parts = [
        NOTE,
        "# Commands",
        _fill(
            "`promptseg COMMAND --help` prints the same. Results go to stdout, messages to stderr. Exit codes: 0 "
            "success, 1 some images failed (each is named), 2 invalid request or input, 130 interrupted, "
            "141 the reader of stdout has gone."
        ),
    ]
    for name, command in iterate_commands(root):
        parts.append(f"## {name}")
        parts.append(_unwrap(command.help or ""))
        rows = [row for parameter in command.params for row in [_describe_parameter(parameter)] if row]
        if rows:
            parts.append("\n".join(["| argument or option | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def iterate_commands(root: Any) -> Iterator[tuple[str, Any]]:
    """Give every command with its full name, such as "promptseg weights pull"; the program itself comes first."""
    yield "promptseg", root
    pending = [("promptseg", root)]
    while pending:
        prefix, group = pending.pop(0)
        for name, command in getattr(group, "commands", {}).items():
            if getattr(command, "commands", None):
                pending.append((f"{prefix} {name}", command))
            else:
                yield f"{prefix} {name}", command


def _describe_parameter(parameter: Any) -> str | None:
    """Describe an argument or option as a row of a table; None: it is hidden."""
    if parameter.hidden or parameter.name == "help":
        return None
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{option}`" for option in parameter.opts)
    default = getattr(parameter.default, "value", parameter.default)
    stated = f"`{default}`" if isinstance(default, str | int | float) and not isinstance(default, bool) else ""
    # Rich, which prints the help in a terminal, takes a bracket for markup unless it is escaped.
    text = " ".join((parameter.help or "").split()).replace("\\[", "[").replace("|", "\\|")
    return f"| {names} | {'required' if parameter.required else stated} | {text} |"


def _describe(name: str) -> list[str]:
    found = getattr(promptseg, name)
    tree = _find_definition(found)
    if isinstance(tree, ast.FunctionDef):
        return [f"### {name}", _fence(f"promptseg.{name}{_signature(tree)}", "python"), *_format_docstring(tree)]
    if issubclass(found, Exception):
        base = found.__mro__[1].__name__
        return [f"### {name}", f"Base: `{base}`. " + (ast.get_docstring(tree) or "")]
    parts = [f"### {name}"]
    if fields := _dataclass_fields(tree):
        parts.append(_fence(f"promptseg.{name}({fields})", "python"))
    elif constructor := next((each for each in _methods(tree) if each.name == "__init__"), None):
        parts.append(_fence(f"promptseg.{name}{_signature(constructor)}", "python"))
    parts.extend(_format_docstring(tree))
    for method in _methods(tree):
        documented = ast.get_docstring(method)
        decorators = {ast.unparse(each) for each in method.decorator_list}
        if method.name.startswith("_") or "overload" in decorators or not documented:
            continue
        is_property = bool(decorators & {"property", "cached_property"})
        returns = f": {ast.unparse(method.returns)}" if method.returns else ""
        parts.append(f"#### {name}.{method.name}")
        parts.append(_fence(f"{method.name}{returns if is_property else _signature(method)}", "python"))
        parts.extend(_format_docstring(method))
    return parts


def _find_definition(found: object) -> ast.FunctionDef | ast.ClassDef:
    """Parse the source of a function or class: annotations are shown as they are written there, without quotes."""
    module = importlib.import_module(found.__module__)
    tree = _Unquote().visit(ast.parse(inspect.getsource(module)))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == getattr(found, "__name__", ""):
            return node
    raise SystemExit(f"scripts/make_reference.py: no definition of {found!r} in {module.__name__}")


class _Unquote(ast.NodeTransformer):
    """Replaces annotations that are strings by what the string holds."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = _unquote(node.annotation)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = _unquote(node.returns)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = _unquote(node.annotation) or node.annotation
        return node


def _unquote(annotation: ast.expr | None) -> ast.expr | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _methods(tree: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in tree.body if isinstance(each, ast.FunctionDef)]


def _dataclass_fields(tree: ast.ClassDef) -> str:
    if not any("dataclass" in ast.unparse(each) for each in tree.decorator_list):
        return ""
    shown = []
    for each in tree.body:
        if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation):
            default = f" = {ast.unparse(each.value)}" if each.value is not None else ""
            shown.append(f"{ast.unparse(each.target)}: {ast.unparse(each.annotation)}{default}")
    return _lay_out(shown)


def _signature(tree: ast.FunctionDef) -> str:
    arguments = tree.args
    defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
    shown = []
    for argument, default in zip(arguments.args, [*defaults, *arguments.defaults], strict=True):
        if argument.arg not in {"self", "cls"}:
            shown.append(_show_argument(argument, default))
    if arguments.vararg:
        shown.append(f"*{_show_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        shown.append("*")
    for argument, keyword_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        shown.append(_show_argument(argument, keyword_default))
    if arguments.kwarg:
        shown.append(f"**{_show_argument(arguments.kwarg, None)}")
    returns = "" if tree.returns is None else f" -> {ast.unparse(tree.returns)}"
    return f"({_lay_out(shown)}){returns}"


def _lay_out(shown: Sequence[str]) -> str:
    """Put arguments on one line, or one on each line if they are long."""
    line = ", ".join(shown)
    return line if len(line) <= 90 else "\n" + textwrap.indent(",\n".join(shown), "    ") + "\n"


def _show_argument(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(argument.annotation)}" if argument.annotation is not None else ""
    value = f" = {ast.unparse(default)}" if default is not None else ""
    return f"{argument.arg}{annotation}{value}"


def _format_docstring(tree: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """Turn a Google-style docstring into Markdown: sections become lists."""
    parts: list[str] = []
    for block in _split_blocks(ast.get_docstring(tree) or ""):
        heading, _, body = block.partition(":\n")
        if heading in FIELD_HEADINGS:
            parts.append(f"{heading}:\n\n" + "\n".join(_list_fields(textwrap.dedent(body))))
        elif heading == "Returns":
            parts.append(f"Returns: {_unwrap(textwrap.dedent(body))}")
        elif heading == "Example":
            parts.append(_fence(textwrap.dedent(body), "pycon"))
        else:
            parts.append(_unwrap(block) if not block.startswith("    ") else _fence(textwrap.dedent(block)))
    return parts


def _split_blocks(docstring: str) -> Iterator[str]:
    """Split at blank lines; a section keeps the blank lines inside of it."""
    for block in docstring.split("\n\n"):
        if block.strip():
            yield block.rstrip()


def _list_fields(body: str) -> Iterator[str]:
    """Join the lines of each `name: description`."""
    lines: list[str] = []
    for line in body.splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
    for line in lines:
        name, _, description = line.partition(": ")
        yield _fill(f"- `{name}`: {description}").replace("\n", "\n  ")


def _error_tree() -> str:
    documented = inspect.getdoc(promptseg.errors) or ""
    return documented.partition("\n\n")[2].strip()


def _fence(code: str, language: str = "") -> str:
    return f"```{language}\n{code.rstrip()}\n```"


def _unwrap(text: str) -> str:
    """Fill each paragraph anew."""
    return "\n\n".join(_fill(paragraph) for paragraph in text.split("\n\n") if paragraph.strip())


def _fill(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


PAGES = {"reference.md": make_reference, "commands.md": make_commands}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    options = parser.parse_args(arguments)
    outdated = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if not options.check:
                path.write_text(text, encoding="utf-8")
    for name in outdated:
        sys.stderr.write(f"docs/{name} {'is out of date' if options.check else 'written'}\n")
    return int(options.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
