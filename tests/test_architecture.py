"""The shape of the code, read from its source: imports go down only, and some things are never written."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import promptseg

PACKAGE = Path(promptseg.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A part may import parts of lower levels, and itself; nothing sideways.
LEVELS = {
    "errors": 0,
    "_extras": 1, "prompts": 1, "images": 1, "photos": 1, "naming": 1,
    "ops": 2, "weights": 2, "losses": 2, "metrics": 2,
    "layers": 3, "results": 3, "embedding": 3, "graphs": 3,
    "encoders": 4, "exemplars": 4, "formats": 4, "maskers": 4,
    "models": 5,
    "detectors": 6, "engines": 6,
    "segmenters": 7,
    "predict": 8, "data": 8,
    "autolabel": 9, "evaluate": 9, "everything": 9, "langsam": 9,
    "train": 10, "pseudo_masks": 10,
    "cli": 11,
}  # fmt: skip

# Parts that stay below what their level would allow: samples are raw text and pixels, whatever model comes after.
CEILINGS = {"data": 2}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from promptseg import weights` names a part, `from promptseg.weights import x` too.
            if node.module == "promptseg":
                yield from (f"promptseg.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def test_the_modules_were_found() -> None:
    assert len(MODULES) > 40
    parts = {part_of(path) for path in MODULES} - {"__init__"}
    assert parts == set(LEVELS), "a new part gets its level here"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
        package, _, inner = name.partition(".")
        if package != "promptseg" or not inner:
            continue
        target = inner.split(".")[0]
        if target == part:
            continue
        limit = CEILINGS.get(part, LEVELS[part] - 1)
        assert LEVELS.get(target, -1) <= limit, f"{part} (level {LEVELS[part]}) imports {target}"


def test_only_weights_opens_network_connections() -> None:
    network = {"http", "urllib", "socket", "requests", "httpx", "huggingface_hub", "ftplib"}
    users = {
        part_of(path)
        for path in MODULES
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in network
    }
    assert users == {"weights"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_never_written(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "every module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exec", "eval", "input", "breakpoint"}, f"line {node.lineno}"
        assert not isinstance(node, ast.Global | ast.Nonlocal), "module state"
        if isinstance(node, ast.ExceptHandler):
            caught = node.type
            broad = caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})
            assert not broad, f"line {node.lineno} catches everything"
    for word in ("TODO", "FIXME", "XXX"):
        assert word not in source


def test_no_drawer_for_everything() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "misc", "helpers", "common", "tools"}


def test_nothing_that_drags_in_torchvision() -> None:
    for path in MODULES:
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            assert name.split(".")[0] not in {"torchvision", "timm", "open_clip"}, path
