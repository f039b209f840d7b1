"""Names and the classes of ImageNet."""

import pytest

from promptseg.language.imagenet import find_imagenet_classes, load_imagenet_names


def test_table_covers_all_classes() -> None:
    names = load_imagenet_names()
    assert len(names) > 2500
    indexes = {index for classes in names.values() for index in classes}
    assert min(indexes) == 0 and max(indexes) == 999 and len(indexes) > 980
    assert all(list(classes) == sorted(set(classes)) for classes in names.values())


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("tench", (0,)),
        ("black swan", (100,)),
        ("Zebras", (340,)),
        ("cat", tuple(range(281, 288))),
        ("a British shorthair cat", tuple(range(281, 288))),
        ("sofa", (831,)),
        ("cell phone", (487,)),
        ("mobile phones", (487,)),
        ("traffic light", (920,)),
        ("jellyfish", (107,)),
        ("toilet paper", (999,)),
    ],
)
def test_a_name_has_the_classes_that_are_kinds_of_it(name: str, classes: tuple[int, ...]) -> None:
    assert find_imagenet_classes(name) == classes


@pytest.mark.parametrize(
    "name",
    [
        "animal",  # too many classes
        "person",  # three classes of seven thousand kinds
        "ear",  # of corn
        "space suit",  # no suit
        "launch tower",
        "sky",
        "",
    ],
)
def test_what_the_classes_do_not_show_has_none(name: str) -> None:
    assert find_imagenet_classes(name) == ()


def test_a_broad_name_has_many() -> None:
    assert len(find_imagenet_classes("dog")) == 118
    assert set(find_imagenet_classes("fox")) == {277, 278, 279, 280}
