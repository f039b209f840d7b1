"""README and docs: their Python blocks run, their commands exist, and every public name is documented.

A page's blocks run in order, in one namespace, in a folder that holds the files they name. A comment in the line before
a block changes that:

<!-- skip: REASON -->    the block only has to compile
<!-- tiny -->            tiny random models take the place of the default model and of SAM, from here to the page's end
"""

import ast
import importlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import promptseg
from promptseg.cli.app import app
from scripts.make_reference import PAGES, iterate_commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / name for name in PAGES}
WRITTEN = [ROOT / "README.md", *sorted(set(DOCS.glob("*.md")) - GENERATED)]
# The changelog also names what is gone: its commands and paths are not checked.
ALL_PAGES = [
    *WRITTEN,
    *sorted(GENERATED),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "THIRD_PARTY.md",
    *sorted((ROOT / "lab").glob("*.md")),
    ROOT / "benchmarks/README.md",
    ROOT / "src/promptseg/checkpoints/promptseg/README.md",
]
PHOTOS = Path(promptseg.__file__).parent / "photos"

FENCE = re.compile(r"(?:^<!-- (?P<marker>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A Python block of a page: its first line's number, its code, and the marker before it or ""."""

    line: int
    code: str
    marker: str


def python_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(text[: found.start("code")].count("\n") + 1, found["code"], found["marker"] or "")
        for found in FENCE.finditer(text)
        if found["language"] == "python"
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


PAGES_WITH_PYTHON = [page for page in WRITTEN if python_blocks(page)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the files that the blocks name, as the working directory."""
    for name in ("kitchen", "coffee", "cats", "mug", "vase", "second", "street", "one", "two"):
        shutil.copy(PHOTOS / "coffee.jpg", tmp_path / f"{name}.jpg")
    shutil.copy(PHOTOS / "astronaut.jpg", tmp_path / "photo.jpg")
    Image.open(PHOTOS / "coffee.jpg").save(tmp_path / "large.tif")
    mask = np.zeros((400, 600), dtype=np.uint8)
    mask[40:280, 180:400] = 255
    Image.fromarray(mask).save(tmp_path / "mug-mask.png")
    for data in ("DIR", "data"):
        (tmp_path / data / "images").mkdir(parents=True)
        for phrase in ("mug", "cat"):
            (tmp_path / data / "masks" / phrase).mkdir(parents=True)
        shutil.copy(PHOTOS / "coffee.jpg", tmp_path / data / "images" / "desk-1.jpg")
        Image.fromarray(mask).save(tmp_path / data / "masks" / "mug" / "desk-1.png")
        Image.fromarray(mask * 0).save(tmp_path / data / "masks" / "cat" / "desk-1.png")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture(scope="module")
def loader() -> Callable[..., promptseg.Predictor]:
    """`promptseg.load` that loads each model once."""
    loaded: dict[str, promptseg.Predictor] = {}

    def load(model: Any = None, **options: Any) -> promptseg.Predictor:
        key = repr((model, sorted(options.items())))
        if key not in loaded:
            loaded[key] = original(model, **options)
        return loaded[key]

    original = promptseg.load
    return load


USERS_OF_LOAD_SAM = [
    "promptseg._deprecated",
    "promptseg.models.grounded_sam.build",
    "promptseg.models.interactive.build",
    "promptseg.models.promptseg.build",
    "promptseg.pseudo_masks.run",
]


def use_tiny_models(monkeypatch: pytest.MonkeyPatch, load: Callable[..., promptseg.Predictor]) -> None:
    def load_tiny(model: Any = None, **_: Any) -> promptseg.Predictor:
        is_langsam = model is not None and "langsam" in str(model).lower().replace("_", "")
        return load("langsam-test" if is_langsam else "promptseg-test", engine="torch")

    # Modules that are imported while the function is replaced would keep the replacement.
    for user in USERS_OF_LOAD_SAM:
        importlib.import_module(user)
    load_sam = importlib.import_module("promptseg.sam.load").load_sam
    monkeypatch.setattr(
        "promptseg.sam.load.load_sam", lambda name, *, runtime, **_: load_sam("sam-test", runtime=runtime)
    )
    monkeypatch.setattr(promptseg, "load", load_tiny, raising=False)
    monkeypatch.setattr("promptseg.langsam.load", lambda *_, **__: load("langsam-test", engine="torch"))


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=name_of)
def test_python_blocks_run(
    page: Path, folder: Path, loader: Callable[..., promptseg.Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promptseg, "load", loader, raising=False)
    namespace: dict[str, Any] = {"__name__": "documented"}
    for block in python_blocks(page):
        code = compile(block.code, f"{page.name}:{block.line}", "exec")
        if block.marker == "tiny":
            use_tiny_models(monkeypatch, loader)
        if not block.marker.startswith("skip: "):
            exec(code, namespace)


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=name_of)
def test_markers_are_known(page: Path) -> None:
    for block in python_blocks(page):
        assert block.marker in {"", "tiny"} or block.marker.startswith("skip: "), f"{page.name}:{block.line}"


# Commands ------------------------------------------------------------------------------------------------------------

COMMANDS = {name: command for name, command in iterate_commands(typer.main.get_command(app))}


def shell_lines(page: Path) -> Iterator[str]:
    """Give each `promptseg`, `python -m` and `python FILE` line of a page's code, fenced, indented or inline."""
    text = page.read_text(encoding="utf-8")
    fenced = "\n".join(found["code"] for found in FENCE.finditer(text) if found["language"] in {"", "sh", "bash"})
    outside = FENCE.sub("", text)
    indented = "\n".join(line[4:] for line in outside.splitlines() if line.startswith("    "))
    inline = re.findall(r"`((?:promptseg|python) [^`]+)`", outside)
    for line in [*f"{fenced}\n{indented}".replace("\\\n", " ").splitlines(), *inline]:
        command = re.sub(r"\s#\s.*", "", line).strip()
        if re.match(r"promptseg |python (-m lab|(benchmarks|lab|recipes|scripts)/)", command):
            yield command


def find_command(words: list[str]) -> tuple[str, list[str]]:
    """Split the words of a line into the name of the longest command that they begin with, and its arguments."""
    for length in (3, 2):
        if " ".join(words[:length]) in COMMANDS:
            return " ".join(words[:length]), words[length:]
    return words[0], words[1:]


def check_arguments(command: Any, arguments: list[str]) -> None:
    """Check that the options exist and have values, and that there are not more arguments than the command takes."""
    takes_value = {
        option: not (getattr(parameter, "is_flag", False) or parameter.param_type_name == "argument")
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    } | {"--help": False, "-h": False}
    positional = []
    waiting = ""
    for word in arguments:
        if waiting:
            waiting = ""
        elif word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            assert option in takes_value, f"{option}: no such option"
            waiting = option if takes_value[option] and "=" not in word else ""
        else:
            positional.append(word)
    places = [parameter.nargs for parameter in command.params if parameter.param_type_name == "argument"]
    assert -1 in places or len(positional) <= sum(places), f"too many arguments: {positional}"


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_shell_lines_name_what_exists(page: Path) -> None:
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] == "promptseg":
            name, arguments = find_command([word for word in words if word != "..."])
            if name == "promptseg" and arguments and not arguments[0].startswith("-"):
                assert arguments[0].isupper(), f"{page.name}: {line}: no such command"
                continue
            try:
                check_arguments(COMMANDS[name], arguments)
            except AssertionError as error:
                raise AssertionError(f"{page.name}: {line}: {error}") from None
            continue
        script = ROOT / (f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1])
        if words[2:3] == ["lab.NAME"]:
            continue
        assert script.exists(), f"{page.name}: {line}"
        source = script.read_text(encoding="utf-8") + "".join(
            path.read_text(encoding="utf-8") for path in (ROOT / "src/promptseg/cli").glob("*.py")
        )
        for word in words[2:]:
            if word.startswith("--"):
                option = word.partition("=")[0]
                assert option in source or option[2:].replace("-", "_") in source, f"{page.name}: {line}: {option}"


# What is documented --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_current(name: str) -> None:
    current = (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()
    assert current, f"docs/{name} is out of date: run `python scripts/make_reference.py`"


def test_every_public_name_is_in_a_written_page_or_an_error() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in WRITTEN)
    missing = [name for name in promptseg.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"name them in README or docs: {missing}"


def test_every_command_is_used_in_a_written_page() -> None:
    used = {find_command(shlex.split(line))[0] for page in WRITTEN for line in shell_lines(page)}
    assert set(COMMANDS) - {"promptseg"} <= used, set(COMMANDS) - used


def test_every_option_has_a_help_text() -> None:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            assert parameter.help or parameter.name == "help", f"{name}: {parameter.opts}"


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\((?!https?://)([^)\s]+)\)", text) + re.findall(r"^\[\w+\]: (?!http)(\S+)", text, re.M)
    for target in targets:
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name}: {target}"


def slug(heading: str) -> str:
    """Give a heading's anchor, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# Paths in backticks; `...` in them stands for anything.
PATH = re.compile(r"`((?:src|docs|lab|recipes|benchmarks|scripts|tests)/[\w./*-]+\.\w+)`")


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_paths_in_the_text_exist(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert list(ROOT.glob(path)), f"{page.name}: {path}"


def test_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 140


def parts_in_architecture() -> list[str]:
    """Give the parts of the package in the order of the architecture page."""
    headings = re.findall(r"^\*\*(`.*`)\.\*\*", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.M)
    return [part.strip("`").removesuffix("/").removesuffix(".py") for line in headings for part in line.split(", ")]


def test_every_part_of_the_package_is_in_the_architecture_page() -> None:
    package = ROOT / "src/promptseg"
    parts = {path.parent.name for path in package.glob("*/__init__.py")} | {"photos"}
    parts |= {path.stem for path in package.glob("*.py") if not path.name.startswith("_")}
    assert {part for part in parts_in_architecture() if not part.startswith("_")} == parts


def test_imports_follow_the_order_of_the_architecture_page() -> None:
    order = parts_in_architecture()
    for path in (ROOT / "src/promptseg").rglob("*.py"):
        part = path.relative_to(ROOT / "src/promptseg").parts[0].removesuffix(".py")
        if part not in order:
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("promptseg."):
                imported = (statement.module or "").split(".")[1]
                known = imported == part or imported not in order or order.index(imported) < order.index(part)
                assert known, f"{path}: {part} comes before {imported} in docs/architecture.md"


def test_skipped_blocks_are_valid_python() -> None:
    for page in PAGES_WITH_PYTHON:
        for block in python_blocks(page):
            ast.parse(block.code)
