"""Folders of images: each has a name of its own."""

from pathlib import Path

import pytest

from promptseg.cli.image_results import find_images, name_folders


def test_folder_names_are_unique() -> None:
    paths = [Path(name) for name in ("a/cat.jpg", "b/cat.jpg", "cat.png", "dog.png")]
    names = name_folders(paths)
    assert list(names.values()) == ["a-cat", "b-cat", "cat-png", "dog"]
    names = name_folders([Path("a/Cat.jpg"), Path("b/cat.jpg")])
    assert list(names.values()) == ["a-Cat", "b-cat"], "one folder on Windows and macOS"


def test_what_a_folder_holds_besides_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.heic", "notes.txt", ".DS_Store"):
        (tmp_path / name).touch()
    assert find_images([str(tmp_path)]) == [tmp_path / "a.jpg"]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in said[:2]] == [
        f"passed over: {tmp_path / name}" for name in ("b.heic", "notes.txt")
    ]
    assert said[2:] == ["passed over: 1 hidden"]
