"""The scripts in benchmarks/ and scripts/: --help does nothing but answer; they use names that the package has."""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
MAKERS = sorted((FOLDER.parent / "scripts").glob("*.py"))  # of generated pages and images

# Runs a script as the main program and tells what it imported; sys.argv is the script and its options.
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    heavy = {"torch", "transformers", "openvino"} & sys.modules.keys()
    sys.stderr.write(" ".join(["imported:", *sorted(heavy)]))
    raise
"""


def run_script(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def imported_names(script: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every import from promptseg, also of those inside functions."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "promptseg":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("script", [*SCRIPTS, *MAKERS], ids=lambda script: script.stem)
def test_help_answers_without_loading_a_library_of_networks(script: Path) -> None:
    ended = run_script(script, "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage:")
    assert f"python {script.parent.name}/{script.name}" in ended.stdout, "the command is in the help"
    assert ended.stderr == "imported:"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_imported_name_is_in_the_package(script: Path) -> None:
    for module, name in imported_names(script):
        assert hasattr(importlib.import_module(module), name), f"{script.name} imports {name} from {module}"


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("instances", ["--index", "none.jsonl"]),
        ("exemplar_alignment", ["--clip", "none", "--index", "none.jsonl"]),
        ("oracle_prompts", ["--data", ".", "--sets", "none"]),
        ("everything", ["--data", ".", "--set", "none"]),
        ("confident_pairs", ["--data", ".", "--sets", "none"]),
    ],
)
def test_missing_data_is_one_line_that_names_the_file(script: str, options: list[str]) -> None:
    command = [sys.executable, str(FOLDER / f"{script}.py"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "none.jsonl: can't be read" in line


def test_the_readme_lists_every_script() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in listed] == []
