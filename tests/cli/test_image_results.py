"""Folders of images: each has a name of its own."""

from pathlib import Path

import numpy as np
import pytest

from promptseg.cli.image_results import describe, find_images, name_folders
from promptseg.errors import ImageError
from promptseg.results import QueryResult, Segmentation


def test_folder_names_are_unique() -> None:
    paths = [Path(name) for name in ("a/cat.jpg", "b/cat.jpg", "cat.png", "dog.png")]
    names = name_folders(paths)
    assert list(names.values()) == ["a-cat", "b-cat", "cat-png", "dog"]
    names = name_folders([Path("a/Cat.jpg"), Path("b/cat.jpg")])
    assert list(names.values()) == ["a-Cat", "b-cat"], "one folder on Windows and macOS"


def test_the_results_of_another_image_are_left_alone(tmp_path: Path) -> None:
    image_rgb = np.zeros((4, 5, 3), np.uint8)
    logits = np.full((4, 5), 3.0, np.float32)
    result = (QueryResult("cat", 0.9, logits, (4, 5), 0.5, 0.5),)
    folders = []
    for source in ("a/rgb.png", "b/rgb.png", "b/rgb.png", "a/rgb.png"):
        folders.append(name_folders([Path(source)], tmp_path)[Path(source)])
        Segmentation(image_rgb, result, "promptseg-test", 0.5, 0.5, source=source).save(tmp_path / folders[-1])
    assert folders == ["rgb", "b-rgb", "b-rgb", "rgb"], "each in a run of its own, and again"
    (tmp_path / "rgb" / "result.json").write_text("[]")
    assert name_folders([Path("c/rgb.png")], tmp_path) == {Path("c/rgb.png"): "rgb"}, "it says nothing of an image"


def test_an_address_and_a_folder_of_folders_are_answered_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"https://example.org/cat.jpg: is an address, and images are files"):
        find_images(["https://example.org/cat.jpg"])
    (tmp_path / "scene").mkdir()
    with pytest.raises(ImageError, match=r"subfolders are not searched, '.*/scene/\*\*/\*' finds the images in it"):
        find_images([str(tmp_path)])


def test_what_a_folder_holds_besides_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.psd", "notes.txt", ".DS_Store"):
        (tmp_path / name).touch()
    assert find_images([str(tmp_path)]) == [tmp_path / "a.jpg"]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in said[:2]] == [
        f"passed over: {tmp_path / name}" for name in ("b.psd", "notes.txt")
    ]
    assert said[2:] == ["passed over: 1 hidden"]


def test_a_line_says_what_is_unsure_and_what_a_phrase_was_taken_as() -> None:
    logits = np.full((4, 5), 3.0, np.float32)
    values = ((0.9, "cat", None), (0.4, "soapbox cart", "cart"), (0.1, "dog", None))
    results = tuple(
        QueryResult(label, presence, logits, (40, 50), 0.5, 0.5, unsure_threshold=0.3, read_as=read_as)
        for presence, label, read_as in values
    )
    found = Segmentation(np.zeros((40, 50, 3), np.uint8), results, "promptseg-test", 0.5, 0.5, unsure_threshold=0.3)
    assert describe(Path("a.jpg"), found).splitlines() == [
        "a.jpg",
        "  0.90  cat                          1 object, 100.0% of the image",
        "  0.40  soapbox cart: taken as cart  unsure: 1 object, 100.0% of the image",
        "  0.10  dog                          absent",
    ]


def test_a_line_says_where_something_is_present_without_a_mask() -> None:
    face = QueryResult("face", 0.99, np.zeros((1, 1), np.float32), (40, 50), 0.5, 0.5, model_instances=())
    found = Segmentation(np.zeros((40, 50, 3), np.uint8), (face,), "everything + promptseg-test", 0.5, 0.5)
    assert describe(Path("a.jpg"), found).splitlines()[1] == "  0.99  face  present, but no mask of it was found"
