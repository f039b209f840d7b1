"""The public names: sorted, complete, real, documented, and cheap to import."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import promptseg
import promptseg.errors

SOURCE = Path(promptseg.__file__)
# What was public in version 0.1.
OLD_NAMES = (Path(__file__).parent / "golden" / "public_names.txt").read_text(encoding="utf-8").split()
MODULES_WITH_EXAMPLES = ["images", "ops.rle", "prompts"]


def test_public_names_are_sorted_and_unique() -> None:
    assert promptseg.__all__ == sorted(set(promptseg.__all__))
    assert dir(promptseg) == sorted([*promptseg.__all__, "__version__", "errors"])
    assert len(promptseg.__all__) <= 26


@pytest.mark.parametrize("name", promptseg.__all__)
@pytest.mark.filterwarnings("error::DeprecationWarning:promptseg")
def test_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(promptseg, name)
    assert value.__name__ == name
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_public_functions_stay_functions_when_modules_are_imported() -> None:
    for module in ("labeling", "formats.dataset", "cli.main", "predictor", "segmenter"):
        importlib.import_module(f"promptseg.{module}")
    for name in ("autolabel", "read", "write", "load"):
        assert inspect.isfunction(getattr(promptseg, name))


def test_public_names_are_those_that_type_checkers_see() -> None:
    (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    seen = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == sorted([*promptseg.__all__, "errors"])


@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_names_still_resolve(name: str) -> None:
    if name in promptseg.__all__:
        return
    with pytest.warns(DeprecationWarning, match=rf"promptseg\.{name} is deprecated; use promptseg\.") as warned:
        value = getattr(promptseg, name)
    assert warned[0].filename == __file__, "the warning points at the caller"
    place = str(warned[0].message).rpartition(" ")[2]
    found = promptseg
    for part in place.split(".")[1:]:
        found = getattr(found, part)
    # A bound class method is a new object each time.
    assert value == found


def test_every_error_is_documented_and_in_the_tree() -> None:
    errors = [value for value in vars(promptseg.errors).values() if isinstance(value, type)]
    assert len(errors) > 10
    for error in errors:
        assert issubclass(error, promptseg.PromptsegError | promptseg.errors.PromptsegWarning)
        assert error.__doc__
        assert error.__name__ in (promptseg.errors.__doc__ or "")
        new = {"ImageTooLargeError", "OutsideImageError", "ServerError", "UnknownLabelError"}
        is_named = error.__name__ in {*OLD_NAMES, *new}
        assert is_named or issubclass(error, promptseg.errors.PromptsegWarning)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmentation'"):
        promptseg.segmentation  # noqa: B018
    assert promptseg.__version__


@pytest.mark.parametrize("name", MODULES_WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"promptseg.{name}"))
    assert done.attempted and not done.failed


def test_import_brings_in_nothing_heavy_and_does_nothing(tmp_path: Path) -> None:
    program = """
import os, sys, threading
import promptseg
heavy = {"torch", "numpy", "PIL", "transformers", "openvino", "scipy", "rich", "typer", "huggingface_hub"}
promptseg.errors.PromptError
print(sorted(heavy & set(sys.modules)), threading.active_count(), os.listdir("."))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[] 1 []\n", "")


def test_records_and_formats_need_numpy_and_pillow_only() -> None:
    program = """
import sys
import promptseg
for name in ("Query", "read_image", "Segmentation", "read", "write", "autolabel"):
    getattr(promptseg, name)
print(sorted({"torch", "transformers", "openvino", "scipy", "pycocotools", "rasterio"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
