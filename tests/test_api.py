"""The public names: sorted, complete, real, documented, and cheap to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import promptseg
import promptseg.errors

SOURCE = Path(promptseg.__file__)


def test_public_names_are_sorted_and_unique() -> None:
    assert promptseg.__all__ == sorted(set(promptseg.__all__))
    assert dir(promptseg) == sorted([*promptseg.__all__, "__version__"])


@pytest.mark.parametrize("name", promptseg.__all__)
def test_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(promptseg, name)
    assert value.__name__ == name
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_public_names_are_those_that_type_checkers_see() -> None:
    (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    seen = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == promptseg.__all__


def test_every_error_is_public_documented_and_in_the_tree() -> None:
    errors = [value for value in vars(promptseg.errors).values() if isinstance(value, type)]
    assert len(errors) > 10
    for error in errors:
        assert issubclass(error, promptseg.PromptsegError)
        assert error.__doc__
        assert error.__name__ in promptseg.__all__
        assert error.__name__ in (promptseg.errors.__doc__ or "")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        promptseg.segment  # noqa: B018
    assert promptseg.__version__


def test_import_brings_in_nothing_heavy_and_does_nothing(tmp_path: Path) -> None:
    program = """
import os, sys, threading
import promptseg
heavy = {"torch", "numpy", "PIL", "transformers", "openvino", "scipy", "rich", "typer", "huggingface_hub"}
print(sorted(heavy & set(sys.modules)), threading.active_count(), os.listdir("."))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[] 1 []\n", "")


def test_prompts_images_and_results_do_without_torch() -> None:
    program = "import promptseg as p, sys; p.Query, p.read_image, p.Segmentation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
