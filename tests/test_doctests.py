"""Every example in a docstring holds."""

import doctest
import importlib
from pathlib import Path

import pytest

import promptseg

PACKAGE = Path(promptseg.__file__).parent
MODULES = [
    ".".join(("promptseg", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_there_are_examples() -> None:
    assert len(MODULES) > 5


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted and not results.failed
