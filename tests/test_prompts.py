"""Prompts check themselves; each message says what is wrong and what would be right."""

import dataclasses
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import ImageError, PromptError
from promptseg.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    Query,
    TextPrompt,
    mixture_weights,
    to_queries,
)

IMAGE_RGB = np.zeros((6, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the phrase is empty"),
        (" \t\n", "the phrase is blank"),
        ("cat " * 10_000, r"has 39,999 characters; the limit is 512"),
        ("🐱", "'🐱' has no letter or digit: say it in words"),
        ("?!", "has no letter or digit"),
        ("a\x00cat", r"control character U\+0000"),
        ("a\ncat", r"control character U\+000A"),
        ("cat \ud800", r"control character U\+D800"),
        (7, "a phrase is text, not int"),
    ],
)
def test_text_prompt_refuses(text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        TextPrompt(text)
    with pytest.raises(PromptError):
        Query(text, (TextPrompt("cat"),))


@pytest.mark.parametrize("text", ["cat", "the cat's ear", "7", "猫", "chien à gauche", "a cat 🐱", "x" * 512])
def test_text_prompt_takes(text: str) -> None:
    assert TextPrompt(f"  {text} ").text == text


def test_what_is_invisible_around_a_phrase_is_removed() -> None:
    assert TextPrompt("\ufeffcat\u200b\u00a0").text == "cat"
    with pytest.raises(PromptError, match="the phrase is blank"):
        TextPrompt("\u200b\ufeff")


def test_to_queries_keeps_order_and_duplicates() -> None:
    box = BoxPrompt((0, 0, 4, 4))
    both = Query("my cat", (TextPrompt("cat"), box))
    queries = to_queries(["cat", TextPrompt("dog"), both, box, "cat"])
    assert [query.label for query in queries] == ["cat", "dog", "my cat", "box", "cat"]
    assert queries[2] is both
    assert queries[0].prompts == (TextPrompt("cat"),)


def test_to_queries_takes_a_lone_item_and_any_iterable() -> None:
    assert [query.label for query in to_queries("cat")] == ["cat"]
    assert [query.label for query in to_queries(TextPrompt("cat"))] == ["cat"]
    assert [query.label for query in to_queries(name for name in ("a", "b"))] == ["a", "b"]


def test_to_queries_refuses_none_too_many_and_strangers() -> None:
    with pytest.raises(PromptError, match="at least one phrase"):
        to_queries([])
    with pytest.raises(PromptError, match=r"1,001 queries in one request; the limit is 1,000"):
        to_queries(["cat"] * 1001)
    with pytest.raises(PromptError, match="not float"):
        to_queries([0.5])  # type: ignore[list-item]
    with pytest.raises(PromptError, match="a query is a phrase, a prompt or a Query, not int"):
        to_queries(5)  # type: ignore[arg-type]


def test_a_list_in_one_text_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        PromptError, match=r"lists 2 names.*\['a cat', 'a remote control'\].*--text 'a cat' --text 'a re"
    ):
        to_queries("a cat. a remote control.")
    with pytest.raises(PromptError, match=r"lists 2 names"):
        to_queries(["person", "cup,table"])
    (query,) = to_queries(TextPrompt("cup, table"))
    assert query.label == "cup, table"


def test_query_refuses_no_prompt_and_strangers() -> None:
    with pytest.raises(PromptError, match="'cat' has no prompt"):
        Query("cat", ())
    with pytest.raises(PromptError, match="holds a int"):
        Query("cat", (3,))  # type: ignore[arg-type]
    assert Query("cat", TextPrompt("cat")).prompts == (TextPrompt("cat"),)  # type: ignore[arg-type]


def test_point_prompt_takes_arrays_and_fills_in_flags() -> None:
    prompt = PointPrompt(np.array([[1, 2], [3.5, 4]]))  # type: ignore[arg-type]
    assert prompt.points_xy == ((1.0, 2.0), (3.5, 4.0))
    assert prompt.on_object == (True, True)
    assert PointPrompt(((1, 2),), (False,)).on_object == (False,)
    assert PointPrompt(((1, 2), (3, 4)), np.array([0, 1])).on_object == (False, True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "flags", "message"),
    [
        ((), None, "one or more"),
        (((1, 2, 3),), None, "one or more"),
        (((1, float("nan")),), None, "not finite"),
        (((1, 2),), (True, False), "1 points but 2 flags"),
        (((1, 2),), True, r"a flag for each point, such as \(True, False\); not True"),
        ("ab", None, "made of numbers"),
        (((10**400, 2),), None, "points_xy holds a number of too many digits"),
        (((1, 2),), ["0"], r"on_object is made of True \(1\) and False \(0\), not '0'"),
        (((1, 2), (3, 4)), [1, -1], r"on_object is made of True \(1\) and False \(0\), not -1"),
        (((1, 2),), [float("nan")], "not nan"),
        (3, 4, r"such as \[\(120, 80\)\], not an array of shape \(\)"),
        (np.zeros((1001, 2)), None, r"1,001 points in one prompt; the limit is 1,000"),
        (((0.5, 0.5),), None, r"in pixels; \[\[0\.5, 0\.5\]\] looks like shares of the image size: multiply x by"),
        (((0, 0), (0.25, 1)), None, "looks like shares"),
    ],
)
def test_point_prompt_refuses(points: object, flags: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        PointPrompt(points, flags)  # type: ignore[arg-type]


def test_coordinates_at_the_corner_are_pixels() -> None:
    assert PointPrompt([(0, 0), (1, 1)]).points_xy == ((0.0, 0.0), (1.0, 1.0))  # type: ignore[arg-type]
    assert PointPrompt([(0.5, 0.5), (1.5, 0.5)]).points_xy[1] == (1.5, 0.5)  # type: ignore[arg-type]
    assert BoxPrompt((0, 0, 1, 1)).box_xyxy == (0.0, 0.0, 1.0, 1.0)
    assert BoxPrompt((0.5, 0.5, 7, 1)).box_xyxy == (0.5, 0.5, 7.0, 1.0)


def test_a_box_is_one_argument() -> None:
    with pytest.raises(PromptError, match=r"a box is one argument: BoxPrompt\(\(1, 2, 3, 4\)\)"):
        BoxPrompt(1, 2, 3, 4)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0.1, 0.2, 0.5, 0.6), "looks like shares of the image size"),
        ((4, 0, 4, 4), "left < right"),
        ((0, 4, 4, 0), "top < bottom"),
        ((0, 0, 4), "left, top, right, bottom"),
        ((0, 0, float("inf"), 4), "not finite"),
    ],
)
def test_box_prompt_refuses(box: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        BoxPrompt(box)  # type: ignore[arg-type]


def test_mask_prompt_refuses_other_arrays_and_empty_ones() -> None:
    with pytest.raises(
        PromptError, match=r"the mask is a bool array of shape \(H, W\), not float64 .*; mask > 0 makes one"
    ):
        MaskPrompt(np.ones((2, 2)))
    with pytest.raises(PromptError, match=r"give one mask of several, such as mask\[0\]"):
        MaskPrompt(np.ones((1, 2, 2), dtype=bool))
    with pytest.raises(PromptError, match="read_mask reads a file"):
        MaskPrompt("mask.png")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="not one pixel"):
        MaskPrompt(np.zeros((2, 2), dtype=bool))


def test_exemplar_prompt_checks_its_parts() -> None:
    mask = np.ones((6, 8), dtype=bool)
    assert ExemplarPrompt(IMAGE_RGB, mask=mask).mask is not None
    with pytest.raises(PromptError, match="a mask or a box, not both"):
        ExemplarPrompt(IMAGE_RGB, mask=mask, box_xyxy=(0, 0, 1, 1))
    with pytest.raises(PromptError, match="read_image"):
        ExemplarPrompt(IMAGE_RGB[..., 0])
    with pytest.raises(PromptError, match=r"mask is \(8, 6\)"):
        ExemplarPrompt(IMAGE_RGB, mask=mask.T)
    with pytest.raises(PromptError, match="the exemplar's mask is empty: not one pixel"):
        ExemplarPrompt(IMAGE_RGB, mask=~mask)
    for outside in [(8, 0, 9, 6), (0, 6, 8, 7), (-3, 0, 0, 6), (0, -3, 8, 0)]:
        with pytest.raises(PromptError, match=r"lies outside its image of 8 x 6 pixels"):
            ExemplarPrompt(IMAGE_RGB, box_xyxy=outside)


def test_exemplar_foreground_is_the_same_however_it_was_said() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:8] = True
    for exemplar in [
        ExemplarPrompt(IMAGE_RGB, mask=mask),
        ExemplarPrompt(IMAGE_RGB, box_xyxy=(2, 1, 8, 4)),
        ExemplarPrompt(IMAGE_RGB, box_xyxy=(2.5, 1.9, 30.0, 3.1)),
    ]:
        np.testing.assert_array_equal(exemplar.foreground, mask)
    assert ExemplarPrompt(IMAGE_RGB).foreground.all()
    assert ExemplarPrompt(IMAGE_RGB, box_xyxy=(2.25, 1.25, 2.5, 1.5)).foreground.sum() == 1


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "1", None, True, 0, 0.0])
def test_weights_are_finite_and_not_zero(weight: object) -> None:
    for make in [lambda: TextPrompt("cat", weight), lambda: ExemplarPrompt(IMAGE_RGB, weight=weight)]:  # type: ignore[arg-type]
        with pytest.raises(PromptError, match="a weight of 0 says nothing" if weight == 0 else "a finite number"):
            make()


def test_mixture_weights_normalize_what_is_meant_and_keep_what_is_not() -> None:
    concepts = [TextPrompt("cat", 3), ExemplarPrompt(IMAGE_RGB, weight=np.float32(1)), TextPrompt("dog", -0.5)]
    assert mixture_weights(concepts) == (0.75, 0.25, -0.5)
    assert mixture_weights([TextPrompt("cat", 7)]) == (1.0,)
    with pytest.raises(PromptError, match="positive weight"):
        mixture_weights([TextPrompt("dog", -1)])


def test_query_refuses_to_be_only_negative() -> None:
    with pytest.raises(PromptError, match="says only what is not meant"):
        Query("no dog", (TextPrompt("dog", -1), ExemplarPrompt(IMAGE_RGB, weight=-1)))
    assert len(Query("this, not a dog", (BoxPrompt((0, 0, 4, 4)), TextPrompt("dog", -1))).prompts) == 2


def test_exemplars_are_read_from_files(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:8] = True
    Image.fromarray(IMAGE_RGB + np.uint8(9)).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    exemplar = ExemplarPrompt.from_file(tmp_path / "image.png", tmp_path / "mask.png", weight=-0.5)
    assert (exemplar.image_rgb == 9).all() and exemplar.weight == -0.5
    np.testing.assert_array_equal(exemplar.foreground, mask)
    boxed = ExemplarPrompt.from_file(io.BytesIO((tmp_path / "image.png").read_bytes()), box_xyxy=(2, 1, 8, 4))
    np.testing.assert_array_equal(boxed.foreground, mask)
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        ExemplarPrompt.from_file(tmp_path / "image.png", tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (TextPrompt("cat"), "TextPrompt(text='cat', weight=1.0)"),
        (BoxPrompt((0, 0, 4, 4)), "BoxPrompt(box_xyxy=(0.0, 0.0, 4.0, 4.0))"),
        (PointPrompt(((1, 2),)), "PointPrompt(points_xy=((1.0, 2.0),), on_object=(True,))"),
        (MaskPrompt(np.eye(3, dtype=bool)), "<MaskPrompt size_hw=(3, 3) area=3 px, drawn>"),
        (
            MaskPrompt(np.eye(3, dtype=bool), np.ones((2, 2), np.float32)),
            "<MaskPrompt size_hw=(3, 3) area=3 px, from a result>",
        ),
        (ExemplarPrompt(IMAGE_RGB, weight=-0.5), "<ExemplarPrompt size_hw=(6, 8) foreground=48 px weight=-0.5>"),
        (
            Query("a", (MaskPrompt(np.eye(2, dtype=bool)),)),
            "Query(label='a', prompts=(<MaskPrompt size_hw=(2, 2) area=2 px, drawn>,))",
        ),
    ],
)
def test_prompts_show_themselves_in_a_line_and_can_be_pickled(prompt: Query, shown: str) -> None:
    assert repr(prompt) == shown
    assert repr(pickle.loads(pickle.dumps(prompt))) == shown


def test_arrays_stay_read_only_when_they_are_pickled() -> None:
    for prompt in (MaskPrompt(np.eye(3, dtype=bool), np.ones((2, 2), np.float32)), ExemplarPrompt(IMAGE_RGB)):
        again = pickle.loads(pickle.dumps(prompt))
        arrays = [value for value in vars(again).values() if isinstance(value, np.ndarray)]
        assert arrays and not any(array.flags.writeable for array in arrays)
        for name, value in vars(prompt).items():
            np.testing.assert_array_equal(getattr(again, name), value)


def test_prompts_do_not_change_after_they_are_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TextPrompt("cat").text = "dog"  # type: ignore[misc]
    mask = np.ones((2, 2), dtype=bool)
    prompt = MaskPrompt(mask)
    mask[:] = False
    assert prompt.mask.all()
    with pytest.raises(ValueError, match="read-only"):
        prompt.mask[0, 0] = False


def test_an_empty_mask_of_an_exemplar_lists_its_values(tmp_path: Path) -> None:
    Image.fromarray(IMAGE_RGB).save(tmp_path / "mug.png")
    values = np.zeros(IMAGE_RGB.shape[:2], dtype=np.uint8)
    values[2:4], values[4:] = 2, 3
    Image.fromarray(values).save(tmp_path / "mask.png")
    said = r"mask\.png has the values 0, 2, 3, none is 7; say with mask_value \(--mask-value\) which value is inside"
    with pytest.raises(PromptError, match=said):
        ExemplarPrompt.from_file(tmp_path / "mug.png", tmp_path / "mask.png", mask_value=7)
    with (
        (tmp_path / "mask.png").open("rb") as file,
        pytest.raises(PromptError, match=r"mask\.png, none is 7; say with"),
    ):
        ExemplarPrompt.from_file(tmp_path / "mug.png", file, mask_value=7)
    with pytest.raises(PromptError, match="has the values 0, none is above 0"):
        ExemplarPrompt.from_file(tmp_path / "mug.png", np.zeros_like(values))
    assert ExemplarPrompt.from_file(tmp_path / "mug.png", tmp_path / "mask.png", mask_value=3).foreground.sum() > 0
