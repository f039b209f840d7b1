import doctest
from collections import Counter

import pytest

from lab import held_out
from promptseg.data import refcoco_m
from promptseg.language.class_names import CAMVID_NAMES, COCO_THINGS, VOC_NAMES
from promptseg.language.phrases import (
    PLURAL_TEMPLATES,
    STUFF_TEMPLATES,
    THING_TEMPLATES,
    broader,
    canonical,
    fill,
    may_name_same,
    mentions,
    normalize_phrase,
    plural,
    related,
    singular,
    synonyms,
    with_article,
    wordings,
)
from promptseg.language.synonyms import SPELLINGS, SYNONYMS
from promptseg.language.taxonomy import INTERCHANGEABLE, NARROWER, PARTS


@pytest.mark.parametrize("module", [held_out, refcoco_m])
def test_the_examples_in_the_documentation_hold(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_closed_lists_are_whole_and_in_one_spelling():
    assert (len(set(COCO_THINGS)), len(set(VOC_NAMES)), len(set(CAMVID_NAMES))) == (80, 20, 11)
    assert set(VOC_NAMES) < set(COCO_THINGS)
    assert {name: canonical(name) for name in COCO_THINGS} == {name: name for name in COCO_THINGS}


def test_no_name_stands_in_two_groups_of_synonyms():
    counts = Counter(name for group in SYNONYMS for name in group)
    assert len(counts) >= 150
    assert [name for name, count in counts.items() if count > 1] == []
    assert all(len(group) > 1 and group == tuple(map(normalize_phrase, group)) for group in SYNONYMS)
    assert [name for name in counts if canonical(name) != canonical(SYNONYMS[0][0]) and not synonyms(name)] == []
    assert not set(SPELLINGS) & set(counts)


def test_the_hierarchy_has_no_circle():
    names = {name for broad, narrow in NARROWER.items() for name in (broad, *narrow)}
    assert [name for name in names if canonical(name) in broader(name)] == []
    assert all(len(set(group)) == len(group) > 1 for group in INTERCHANGEABLE)
    assert all(parts for parts in PARTS.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cell_Phone", "cell phone"),
        ("  the   LEFT dog. ", "the left dog"),
        ("t-shirt", "t-shirt"),
        ('"grass"', "grass"),
        ("St. Bernard", "st. bernard"),
        ("the cat\u2019s ear", "the cat's ear"),
        ("\uff23\uff35\uff30", "cup"),
        ("cafe\u0301", "caf\u00e9"),
        ("dining\u00a0table", "dining table"),
        ("cup\u200b\ufeff", "cup"),
        ("T\u2011shirt", "t-shirt"),
    ],
)
def test_normalize(name, expected):
    assert normalize_phrase(name) == expected
    assert normalize_phrase(expected) == expected


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("knife", "knives"),
        ("person", "people"),
        ("cherry", "cherries"),
        ("toothbrush", "toothbrushes"),
        ("tomato", "tomatoes"),
        ("wine glass", "wine glasses"),
        ("scissors", "scissors"),
        ("sheep", "sheep"),
        ("vase", "vases"),
    ],
)
def test_singular_and_plural(one, many):
    assert (plural(one), singular(many), singular(one)) == (many, one, one)


def test_eyeglasses_are_not_the_plural_of_glass():
    assert canonical("glasses") == canonical("spectacles") == "glasses"
    assert not may_name_same("glasses", "wine glass")


def test_wordings_have_plurals_only_where_there_are_several():
    assert wordings("couch") == ("couch", "sofa", "settee")
    assert wordings("couch", num_instances=2) == ("couch", "sofa", "settee", "couches", "sofas", "settees")
    assert wordings("wall wood")[1] == "wooden wall"
    assert wordings("gerenuk") == ("gerenuk",)


@pytest.mark.parametrize("template", [*THING_TEMPLATES, *STUFF_TEMPLATES, *PLURAL_TEMPLATES])
def test_templates_leave_no_brace(template):
    filled = fill(template, "orange")
    assert "orange" in filled
    assert "{" not in filled


def test_articles():
    assert [with_article(name) for name in ("umbrella", "unicycle", "oven", "grapes", "bus")] == [
        "an umbrella",
        "a unicycle",
        "an oven",
        "grapes",
        "a bus",
    ]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("car", "cab"),
        ("car", "vehicle"),
        ("taxi", "automobile"),
        ("person", "woman"),
        ("people", "man"),
        ("food", "pizza"),
        ("cup", "mug"),
        ("wall wood", "wall"),
        ("dining table", "table"),
        ("front left door", "door"),
        ("plate of food", "food"),
        ("horse and rider", "horse"),
        ("tv", "computer monitor"),
    ],
)
def test_what_may_name_the_same_is_related_both_ways(a, b):
    assert may_name_same(a, b) and may_name_same(b, a)
    assert related(a, b) and related(b, a)


@pytest.mark.parametrize(("part", "whole"), [("hood", "taxi"), ("hair", "woman"), ("nose", "face"), ("pillow", "bed")])
def test_parts_are_related_but_name_something_else(part, whole):
    assert related(part, whole) and related(whole, part)
    assert not may_name_same(part, whole)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("cat", "dog"),
        ("hot dog", "dog"),
        ("teddy bear", "bear"),
        ("bus", "car"),
        ("wall wood", "wall brick"),
        ("front left door", "front right door"),
        ("wine glass", "cup"),
        ("person", "backpack"),
    ],
)
def test_hard_negatives_stay_unrelated(a, b):
    assert not related(a, b)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Two men on motorbikes.", "motorcycle", True),
        ("A sofa, and a lamp", "couch", True),
        ("People standing in line", "person", True),
        ("A carpet on the floor", "car", False),
        ("A carpet on the floor", "rug", True),
    ],
)
def test_mentions_knows_synonyms_and_plurals_but_no_parts_of_words(text, name, expected):
    assert mentions(text, name) is expected
