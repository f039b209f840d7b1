"""A phrase is read once: its classes, its hypernym, what it refers to."""

import pickle
import subprocess
import sys

import pytest

from promptseg.language import hypernyms
from promptseg.language.class_names import COCO_THINGS
from promptseg.language.expression import ReferringExpression
from promptseg.language.reading import PhraseReader, PhraseReading

READER = PhraseReader(COCO_THINGS, frozenset({"fruit", "person", "dog"}))
VEHICLES = ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat")


def names(classes: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(COCO_THINGS[index] for index in classes)


@pytest.mark.parametrize(
    ("phrase", "exact", "full", "any_of"),
    [
        ("The people", ("person",), ("person",), ("person",)),
        ("sofas.", ("couch",), ("couch",), ("couch",)),
        ("mobile_phone", ("cell phone",), ("cell phone",), ("cell phone",)),
        ("hot dog", ("hot dog",), ("hot dog",), ("hot dog",)),
        ("vehicle", (), VEHICLES, VEHICLES),  # all of them are vehicles
        ("taxi", (), (), ("car",)),  # not every car is a taxi
        ("old woman", (), (), ("person",)),
        ("red car", (), (), ("car",)),
        ("cup of tea", (), (), ("cup",)),
        ("the dogs of the man", (), (), ("dog",)),
        ("car door", (), (), ()),
        ("grass", (), (), ()),
        ("", (), (), COCO_THINGS),
    ],
)
def test_classes(phrase: str, exact: tuple[str, ...], full: tuple[str, ...], any_of: tuple[str, ...]) -> None:
    reading = READER.read(phrase)
    assert names(reading.exact_classes) == exact
    assert names(reading.full_classes) == full
    assert names(reading.any_classes) == any_of


@pytest.mark.parametrize(
    ("phrase", "text"), [(" Traffic_Light. ", "traffic light"), ("The Dogs", "the dogs"), ("...", "..."), ("", "")]
)
def test_text(phrase: str, text: str) -> None:
    assert READER.read(phrase).text == text


@pytest.mark.parametrize(
    ("phrase", "hypernym"), [("an apple", "fruit"), ("labrador retriever", "dog"), ("red dog", None), ("grass", None)]
)
def test_hypernym(phrase: str, hypernym: str | None) -> None:
    assert READER.read(phrase).hypernym == hypernym


def test_two_classes_of_one_name_are_both_found() -> None:
    reader = PhraseReader(("sofa", "cat", "couch"))
    assert reader.read("settee").exact_classes == (0, 2)
    assert reader.read("furniture").full_classes == (0, 2)


def test_a_plain_name_has_no_expression_and_no_mentions() -> None:
    reading = READER.read("traffic light")
    assert (reading.expression, reading.mentions) == (None, ())


def test_mentions_are_all_names_that_the_expression_speaks_of() -> None:
    reading = READER.read("the woman next to the apple on the old sofa, not behind the woman")
    assert isinstance(reading.expression, ReferringExpression)
    assert [mention.text for mention in reading.mentions] == list(reading.expression.names())
    assert [mention.text for mention in reading.mentions] == ["woman", "apple", "old sofa"]
    assert [names(mention.any_classes) for mention in reading.mentions] == [("person",), ("apple",), ("couch",)]
    assert reading.mentions[1].hypernym == "fruit"
    assert all(mention.expression is None and mention.mentions == () for mention in reading.mentions)


def test_a_subject_without_a_name_is_any_object() -> None:
    subject, other = READER.read("the object under the table").mentions
    assert (subject.text, names(subject.any_classes)) == ("", COCO_THINGS)
    assert names(other.any_classes) == ("dining table",)


def test_without_a_detector_and_trained_names_only_the_text_and_the_expression_are_read() -> None:
    assert PhraseReader().read("the apples") == PhraseReading("the apples")
    assert PhraseReader().read("the leftmost apple").expression is not None


@pytest.mark.parametrize(("trained", "is_read"), [(frozenset({"hazelnut"}), False), (frozenset({"fruit"}), True)])
def test_wordnet_is_read_only_for_names_that_were_not_trained(
    trained: frozenset[str], is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    read = hypernyms.load_nouns
    monkeypatch.setattr(hypernyms, "load_nouns", lambda: calls.append(1) or read())
    PhraseReader(COCO_THINGS, trained).read("hazelnuts")
    PhraseReader(COCO_THINGS).read("hazelnuts")
    assert bool(calls) is is_read


def test_readers_and_readings_can_be_pickled() -> None:
    reading = READER.read("the man near the bus")
    reader = pickle.loads(pickle.dumps(READER))
    assert reader == READER
    assert reader.read("the man near the bus") == pickle.loads(pickle.dumps(reading)) == reading


def test_reading_imports_no_array_library() -> None:
    code = "import sys, promptseg.language.reading; print({'numpy', 'torch', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("coffee-cup", "coffee cup"),
        ("coffee\u2011cup", "coffee cup"),
        ("dark-red coffee-cup", "dark red coffee cup"),
        ("coffee -cup", "coffee cup"),
        ("t-shirt", "t-shirt"),
        ("white t-shirt", "white t-shirt"),
        ("hot air balloon", "hot-air balloon"),
        ("add-on units", "add-on units"),
        ("e-scooter", "e-scooter"),
        ("left-most cup", "left-most cup"),
    ],
)
def test_a_hyphen_stays_only_in_known_names(phrase: str, text: str) -> None:
    reader = PhraseReader(trained_names=frozenset({"t-shirt", "hot-air balloon", "add-on unit", "coffee cup"}))
    assert reader.read(phrase).text == text
    assert reader.read(text).text == text


def test_classes_are_found_however_hyphens_are_written() -> None:
    reader = PhraseReader(("hot dog", "wine glass"))
    assert reader.read("hot-dog").exact_classes == (0,)
    assert reader.read("the wine-glass on the left").mentions[0].exact_classes == (1,)
