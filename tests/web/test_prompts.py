"""Asking: words, clicks, boxes, scribbles, examples and candidates, and what undo makes of them."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer
from page_driver import PageDriver
from playwright.sync_api import expect

import promptseg
from promptseg.image_files import bundled_image
from promptseg.ops.rle import decode_rle
from promptseg.server import create_app

pytestmark = pytest.mark.browser

# What each model finds in the picture of the cat besides it.
SECOND_PHRASES = {"tiny": "table", "promptseg": "background"}


@pytest.fixture(params=["tiny", "default"])
def photo_tab(request: pytest.FixtureRequest, tabs: Callable[..., PageDriver], photo: Path) -> PageDriver:
    """The bundled cat, on a server with the tiny model, and on one with the default model."""
    server: LiveServer = request.getfixturevalue(f"{request.param}_server")
    opened = tabs(server).start()
    opened.drop(photo)
    return opened


@pytest.fixture(scope="module")
def default_server() -> Iterator[LiveServer]:
    server = LiveServer(create_app(promptseg.load(offline=True)))
    yield server
    server.stop()


def test_a_dropped_picture_and_two_phrases_give_two_colored_rows(photo_tab: PageDriver, tmp_path: Path) -> None:
    assert not photo_tab.masks().any()
    second = SECOND_PHRASES[photo_tab.page.locator("#model").input_value()]
    photo_tab.find(f"cat, {second}")
    assert photo_tab.labels() == ["cat", second]
    expect(photo_tab.row("cat")).to_have_attribute("data-verdict", "present")
    expect(photo_tab.row("cat").locator(".row-detail")).to_contain_text("object")
    kept = {}
    for shown, hidden in (("cat", second), (second, "cat")):
        photo_tab.row(hidden).locator(f"[aria-label='Hide {hidden}']").click()
        kept[shown] = row_color(photo_tab, shown)
        assert np.abs(mask_color(photo_tab) - kept[shown]).max() <= 3  # of a tint, colors are rounded
        photo_tab.row(hidden).locator(f"[aria-label='Show {hidden}']").click()
    assert not np.array_equal(kept["cat"], kept[second])
    screenshot = Path(os.environ.get("PROMPTSEG_SCREENSHOTS", tmp_path)) / "two-phrases.png"
    photo_tab.page.screenshot(path=screenshot)
    assert screenshot.stat().st_size > 10_000


def test_a_click_on_the_object_then_one_beside_it_change_the_mask(photo_tab: PageDriver) -> None:
    photo_tab.click(220, 150)
    expect(photo_tab.row("object 1")).to_have_class("row active")
    first = photo_tab.masks()
    assert first[..., 3].any()
    photo_tab.click(40, 40, away=True)
    (query,) = photo_tab.sent_queries()
    (prompt,) = query["prompts"]
    assert prompt["on_object"] == [True, False]
    assert np.abs(np.array(prompt["points_xy"]) - [[220, 150], [40, 40]]).max() < 1
    assert not np.array_equal(first, photo_tab.masks())
    expect(photo_tab.row("object 1").locator(".row-detail")).to_contain_text("1 click · 1 excluded")


def test_a_box_gives_an_object(photo_tab: PageDriver) -> None:
    photo_tab.take("box")
    photo_tab.drag((300, 250), (60, 40))  # from any corner
    (query,) = photo_tab.sent_queries()
    (prompt,) = query["prompts"]
    assert prompt["kind"] == "box" and np.abs(np.array(prompt["box_xyxy"]) - [60, 40, 300, 250]).max() < 1
    expect(photo_tab.row("object 1")).to_have_attribute("data-verdict", "present")
    assert photo_tab.masks()[..., 3].any()


def test_a_scribble_comes_back_after_undo_and_redo_with_the_same_pixels(cat: PageDriver) -> None:
    cat.take("scribble")
    cat.drag((120, 100), (180, 140), (260, 130), (320, 190))
    (query,) = cat.sent_queries()
    (prompt,) = query["prompts"]
    drawn = decode_rle(prompt["mask"])
    assert prompt["kind"] == "mask" and drawn.shape == (300, 451)
    assert drawn[140, 180] and drawn[130, 258] and not drawn[40, 40]
    scribbled = cat.masks()
    assert scribbled[..., 3].any()
    num_requests = len(cat.requests)
    cat.press("Control+z")
    assert not cat.masks().any() and cat.labels() == []
    cat.press("Control+Shift+z")
    assert np.array_equal(cat.masks(), scribbled)
    assert len(cat.requests) == num_requests  # the answer was still known


def test_a_scribble_beside_the_object_becomes_points_along_it(cat: PageDriver) -> None:
    cat.click(220, 150)
    cat.take("scribble")
    cat.page.locator("#sign").click()
    cat.drag((40, 30), (40, 270))
    (query,) = cat.sent_queries()
    (prompt,) = query["prompts"]
    away = [xy for xy, on in zip(prompt["points_xy"], prompt["on_object"], strict=True) if not on]
    assert 2 <= len(away) <= 8
    assert np.abs(np.array(away)[:, 0] - 40).max() < 1
    assert np.abs(np.array([away[0][1], away[-1][1]]) - [30, 270]).max() < 3


def test_an_example_in_another_picture(cat: PageDriver) -> None:
    cat.page.locator("#exemplar").click()
    cat.page.locator("#exemplar-file").set_input_files(bundled_image("coffee"))
    expect(cat.page.locator("#exemplar-add")).to_be_enabled()
    stage = cat.page.locator("#exemplar-stage").bounding_box()
    assert stage is not None
    middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    cat.page.mouse.move(middle[0] - 60, middle[1] - 50)
    cat.page.mouse.down()
    cat.page.mouse.move(middle[0] + 60, middle[1] + 50, steps=3)
    cat.page.mouse.up()
    cat.page.locator("#exemplar-name").fill("cup")
    cat.page.locator("#exemplar-add").click()
    cat.wait_idle()
    (query,) = cat.sent_queries()
    (prompt,) = query["prompts"]
    left, top, right, bottom = prompt["box_xyxy"]
    # coffee.jpg is 600 x 400: the box lies around its middle
    assert prompt["kind"] == "exemplar" and query["label"] == "cup"
    assert abs(left + right - 600) < 3 and abs(top + bottom - 400) < 3 and right - left > bottom - top > 50
    assert prompt["image"] != cat.requests[-1]["image"]
    expect(cat.row("cup").locator(".row-detail")).to_contain_text("1 example")


def test_words_and_clicks_join_in_one_query(cat: PageDriver) -> None:
    cat.find("table")
    cat.row("table").locator(".row-main").click()
    cat.click(60, 60)
    (query,) = cat.sent_queries()
    assert [prompt["kind"] for prompt in query["prompts"]] == ["text", "point"]
    cat.press("Enter")  # finish it: the next click makes an object of its own
    cat.click(300, 200)
    assert cat.labels() == ["table", "object 1"]


def test_a_click_has_candidates_to_choose_from(cat: PageDriver) -> None:
    cat.click(220, 150)
    masks = {}
    for key in "123":
        cat.press(key)
        masks[key] = cat.masks()
        chosen = cat.row("object 1").locator(".candidate[aria-pressed=true]")
        expect(chosen).to_have_text(key)
    assert len({mask.tobytes() for mask in masks.values()}) == 3
    cat.press("Control+z")
    assert np.array_equal(cat.masks(), masks["2"])
    cat.click(60, 60)  # says more than the choice did
    assert "query" not in cat.requests[-1]


def test_a_renamed_object_stays_selected(cat: PageDriver) -> None:
    cat.click(220, 150)
    cat.row("object 1").locator(".row-main").dblclick()
    cat.page.locator(".rename").fill("nose")
    cat.press("Enter")
    expect(cat.row("nose")).to_have_class("row active")
    cat.click(60, 60)
    (query,) = cat.sent_queries()
    assert query["label"] == "nose" and len(cat.sent_points()) == 2


def test_undo_and_redo_go_through_everything(cat: PageDriver, photo: Path) -> None:
    cat.find("cat")
    cat.find("table")
    cat.row("cat").locator("[aria-label='Hide cat']").click()
    cat.slide("opacity", 0.9)
    cat.slide("presence", 0.99)
    cat.row("table").locator("[aria-label='Remove table']").click()
    cat.row("cat").locator(".row-main").dblclick()
    cat.page.locator(".rename").fill("kitten")
    cat.press("Enter")
    cat.wait_idle()
    cat.drop(Path(bundled_image("coffee")))
    assert cat.labels() == []
    seen = [describe(cat)]
    while cat.page.locator("#undo").is_enabled():
        cat.press("Control+z")
        cat.wait_idle()
        seen.append(describe(cat))
    assert [labels for labels, *_ in seen] == [
        [], ["kitten"], ["cat"], ["cat", "table"], ["cat", "table"], ["cat", "table"], ["cat", "table"], ["cat"], [], []
    ]  # fmt: skip
    assert seen[-1][-1] == "promptseg"
    for before in reversed(seen[:-1]):
        cat.press("Control+y")
        cat.wait_idle()
        assert describe(cat) == before


def row_color(tab: PageDriver, label: str) -> np.ndarray:
    words = tab.row(label).locator(".swatch").evaluate("each => getComputedStyle(each).backgroundColor")
    return np.array([int(word) for word in re.findall(r"\d+", words)])


def mask_color(tab: PageDriver) -> np.ndarray:
    """The color of the tints that are shown."""
    masks = tab.masks()
    translucent = masks[(masks[..., 3] > 90) & (masks[..., 3] < 120)]
    assert len(translucent) > 100
    return np.median(translucent[:, :3], axis=0)


def describe(tab: PageDriver) -> tuple[object, ...]:
    hidden = tab.page.locator("#rows .row.hidden-mask .row-label").all_inner_texts()
    sliders = [tab.page.locator(f"#{name}").input_value() for name in ("presence", "opacity")]
    return tab.labels(), hidden, sliders, tab.page.title()
