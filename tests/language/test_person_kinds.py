"""Names of people say woman or man, child or not; names of anything else say nothing of the kind."""

import pytest

from promptseg.language.class_names import COCO_THINGS
from promptseg.language.person_kinds import find_person_kind
from promptseg.language.reading import PhraseReader

READER = PhraseReader(COCO_THINGS, frozenset({"person"}), knows_imagenet=True)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("The Women", "woman"),
        ("old lady", "woman"),
        ("woman holding a cup", "woman"),
        ("man in a suit", "man"),
        ("a man wearing a tie", "man"),
        ("policemen", "man"),
        ("two boys", "boy"),
        ("female person", "woman"),
        ("male child", "boy"),
        ("toddlers", "child"),
    ],
)
def test_a_kind_of_person(phrase: str, name: str) -> None:
    kind = find_person_kind(phrase)
    assert kind is not None and kind.name == name


@pytest.mark.parametrize(
    "phrase",
    ["person", "people", "snow man", "woman's hat", "baby carriage", "girl band poster", "male lion", "dog", ""],
)
def test_no_kind_of_person(phrase: str) -> None:
    assert find_person_kind(phrase) is None


@pytest.mark.parametrize(
    ("phrase", "read_as"), [("woman", None), ("guys", None), ("waitress", "woman"), ("police officer", "person")]
)
def test_what_a_person_is_taken_as(phrase: str, read_as: str | None) -> None:
    assert READER.read(phrase).read_as == read_as


def test_a_reader_without_classifier_tells_no_people_apart() -> None:
    assert PhraseReader(COCO_THINGS, frozenset({"person"})).read("woman").person_kind is None


def test_a_name_that_was_trained_is_found_by_its_map() -> None:
    reader = PhraseReader(COCO_THINGS, frozenset({"person", "woman"}), knows_imagenet=True)
    assert reader.read("women").person_kind is None and reader.read("man").person_kind is not None


@pytest.mark.parametrize(
    ("phrase", "classes"),
    [
        ("car", ("car",)),
        ("red car", ("car",)),
        ("taxi", ("car",)),
        ("waitress", ("person",)),
        ("vehicle", ()),  # not every vehicle is one of the detector's
        ("car door", ()),
    ],
)
def test_classes_that_all_objects_of_a_phrase_belong_to(phrase: str, classes: tuple[str, ...]) -> None:
    assert tuple(COCO_THINGS[index] for index in READER.read(phrase).kind_classes) == classes
