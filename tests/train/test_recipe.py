"""Recipe files: which are loaded, and which are refused."""

from pathlib import Path

import pytest

from promptseg.errors import RecipeError
from promptseg.train.recipe import load_recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no function recipe"),
        ("def recipe(): return 3", r"recipe\(\) in .* returned int, not promptseg.train.recipe.Recipe"),
        ("import nothing_of_that_name", "can't be loaded: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def recipe(:", "can't be loaded: SyntaxError"),
    ],
)
def test_the_error_names_what_is_wrong_with_a_recipe(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("name", ["missing.py", "notes.txt"])
def test_other_files_are_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RecipeError, match=r"is not a recipe: give a Python file with a function recipe\(\)"):
        load_recipe(tmp_path / name)


def test_recipes_of_the_repository_load():
    paths = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))
    assert len(paths) >= 2
    for path in paths:
        recipe = load_recipe(path)
        assert recipe.config.batch_size > 0
        assert "promptseg train" in (path.read_text().split('"""')[1]), f"{path.name} does not name its command"
