"""The examples in the docstrings of promptseg.language."""

import doctest
import importlib
import pkgutil

import pytest

import promptseg.language

MODULES = [f"promptseg.language.{module.name}" for module in pkgutil.iter_modules(promptseg.language.__path__)]
WITH_EXAMPLES = {
    "class_list", "entities", "foreign", "hypernyms", "imagenet", "known_name",
    "negation", "lists", "person_kinds", "phrases",
    "reading", "referring_parser", "things_and_stuff",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert bool(results.attempted) == (name.rpartition(".")[2] in WITH_EXAMPLES)
