"""A list of classes, one a line: what it says, and what is refused with which message."""

from pathlib import Path

import pytest

from promptseg.errors import PromptError
from promptseg.language.class_list import NamedClass, parse_class_list, read_class_list
from promptseg.language.things_and_stuff import COCO_STUFF, decide_kind


def test_a_line_is_a_name_with_synonyms_and_a_mark() -> None:
    person, couch, wall, door = parse_class_list(["person", " couch ,sofa, settee", "wall [Thing]", "[stuff] door"])
    assert person == NamedClass("person", (), True, "table")
    assert couch.phrases == ("couch", "sofa", "settee") and couch.label == "couch"
    assert (wall.is_thing, wall.decided_by) == (True, "mark")
    assert (door.label, door.is_thing, door.decided_by) == ("door", False, "mark")
    assert parse_class_list([str(one) for one in (person, couch, wall, door)])[1].phrases == couch.phrases


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no name was given: a map needs one class at least"),
        ([f"name {number}" for number in range(5000)], "5,000 classes; a map has 1,000 at most"),
        ([",".join(f"name {n} {k}" for k in range(9)) for n in range(500)], "4,500 names with all synonyms"),
        (["cat", "dog", "Cat"], "class 3: the class 'Cat' is in class 1 already"),
        (["couch, sofa", "armchair, sofa"], "class 2: 'sofa' is a name of 'armchair' and, in class 1, of 'couch'"),
        (["wall [thing] [stuff]"], r"class 1: 'wall \[thing\] \[stuff\]' is marked \[thing\] and \[stuff\]"),
        (["wall [thing]", "wall [stuff]"], r"'wall' is marked \[stuff\], in class 1 \[thing\]: a class is one of"),
        (["cat", ""], "class 2: '' has no name; write a class as 'couch, sofa'"),
        (["[stuff]"], r"class 1: '\[stuff\]' has no name"),
        (["wall [thnig]"], r"class 1: the mark \[thnig\] is unknown"),
        (["cat", 3], "class 2: a class is text, not int"),
        ("cat, dog", "a list of lines, such as"),
    ],
)
def test_a_list_that_is_refused_says_why_and_where(lines: list[str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        parse_class_list(lines)


def test_stuff_is_said_by_name_or_synonym() -> None:
    wall, couch = parse_class_list(["wall", "couch, sofa"], stuff=["Sofa"])
    assert (wall.is_thing, couch.is_thing, couch.decided_by) == (False, False, "mark")
    with pytest.raises(PromptError, match="'sky' is said to be stuff, but no class has that name"):
        parse_class_list(["wall"], stuff=["sky"])
    with pytest.raises(PromptError, match=r"class 1: 'car' is marked \[thing\], but 'cars' is said to be stuff"):
        parse_class_list(["car, cars [thing]"], stuff=["cars"])


def test_a_file_names_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeff# streets\ncar, automobile\r\n\nroad [stuff]\n\n", encoding="utf-8")
    skipped: list[str] = []
    assert [one.label for one in read_class_list(path, skipped=skipped)] == ["car", "road"]
    assert skipped == [f"{path}, line 3"], "an empty line between classes is told, those at the end are none"
    path.write_text("car\ncar\n", encoding="utf-8")
    with pytest.raises(PromptError, match=r"names.txt, line 2: the class 'car' is in .*names.txt, line 1 already"):
        read_class_list(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no name; write one class a line"),
        (b"\n # nothing \n", "no name; write one class a line"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "can't be read as UTF-8 text"),
        (b"cat\0\0\0dog", "can't be read as UTF-8 text: it holds zero bytes"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(PromptError, match=message):
        read_class_list(tmp_path / "names.txt")
    with pytest.raises(PromptError, match=r"none.txt: can't be read"):
        read_class_list(tmp_path / "none.txt")


def test_tables_and_wordnet_tell_things_from_stuff() -> None:
    assert not any(decide_kind([name])[0] for name in COCO_STUFF)
    assert [decide_kind([name]) for name in ("taxi", "a red lamp", "the old oak tree", "pillar")] == [
        (True, "table"), (True, "table"), (False, "table"), (True, "table")
    ]  # fmt: skip
    by_wordnet = {name: decide_kind([name]) for name in ("meadow", "smoke", "mud", "statue", "shoehorn")}
    assert {name: is_thing for name, (is_thing, _) in by_wordnet.items()} == {
        "meadow": False, "smoke": False, "mud": False, "statue": True, "shoehorn": True
    }  # fmt: skip
    assert {by for _, by in by_wordnet.values()} == {"wordnet"}
    assert decide_kind(["qwertz"]) == (True, "default")
