"""Without a mouse: every tool, every key of the help."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from live_server import LiveServer
from page_driver import PageDriver
from playwright.sync_api import expect

from promptseg.image_files import bundled_image

pytestmark = pytest.mark.browser


def test_everything_with_the_keyboard_alone(tabs: Callable[..., PageDriver], tiny_server: LiveServer) -> None:
    tab = tabs(tiny_server)
    page = tab.page
    # before the page is there: the browser takes a moment to leave its own dialog closed
    page.on("filechooser", lambda chooser: chooser.set_files(bundled_image("chelsea")))
    tab.start()
    tab.press("o")
    expect(page).to_have_title("chelsea.jpg · promptseg")
    page.keyboard.type("cat, table")  # the phrase field has the focus already
    tab.press("Enter")
    tab.wait_idle()
    assert tab.labels() == ["cat", "table"]

    tab.press("Escape", "p", *["ArrowRight"] * 3, "ArrowUp", "Enter")  # the cross-hair starts in the middle
    tab.wait_idle()
    (click,) = tab.sent_points()
    assert click[0] > 225.5 and click[1] < 150
    tab.press(*["Shift+ArrowLeft"] * 2, *["ArrowLeft"] * 6, "Shift+Enter")
    tab.wait_idle()
    away = tab.sent_queries()[-1]["prompts"][0]
    assert away["on_object"] == [True, False] and away["points_xy"][1][0] < click[0]

    tab.press("2")
    tab.wait_idle()
    assert "query" in tab.requests[-1]
    tab.press("Escape", "Enter")  # put the cross-hair away, and finish the object

    tab.press("b", "ArrowLeft", "Enter", *["ArrowRight"] * 8, *["ArrowDown"] * 8, "Enter")
    tab.wait_idle()
    box = tab.sent_queries()[-1]["prompts"][0]["box_xyxy"]
    assert box[2] - box[0] > 20 and box[3] - box[1] > 20
    tab.press("Escape", "Enter", "s", "ArrowLeft", "Enter", *["ArrowLeft"] * 9, "Enter")
    tab.wait_idle()
    assert tab.sent_queries()[-1]["prompts"][0]["kind"] == "mask"
    assert tab.labels() == ["cat", "table", "object 1", "object 2", "object 3"]

    tab.press("Escape", "Escape", "j")
    expect(tab.row("cat")).to_have_class("row active")
    tab.press("k", "k", "Delete")
    tab.wait_idle()
    assert tab.labels() == ["cat", "table", "object 1", "object 3"]
    tab.press("Control+z")
    tab.wait_idle()
    assert len(tab.labels()) == 5

    with_masks = tab.masks()
    tab.press("h")
    assert not tab.masks().any()
    tab.press("h")
    assert np.array_equal(tab.masks(), with_masks)

    zoom = page.locator("#zoom")
    fitted = zoom.inner_text()
    tab.press("+")
    expect(zoom).not_to_have_text(fitted)
    tab.press("v", "ArrowLeft", "0")
    expect(zoom).to_have_text(fitted)

    tab.press("e")
    expect(page.locator("#export-dialog")).to_be_visible()
    with page.expect_download() as download:
        while page.evaluate("() => document.activeElement.dataset.format") != "masks":
            tab.press("Tab")
        tab.press("Enter")
    assert download.value.suggested_filename == "chelsea-masks.zip"
    tab.press("Escape", "/")
    expect(page.locator("#phrase")).to_be_focused()


def test_the_tab_key_reaches_every_control_and_the_focus_is_seen(cat: PageDriver) -> None:
    cat.find("cat")
    cat.page.evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        cat.press("Tab")
        name, outline = cat.page.evaluate(
            "() => [document.activeElement.id || document.activeElement.className, "
            "getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert name in ("", "BODY") or outline == "solid", name
        reached.add(name)
    ids = {"open", "examples", "language", "theme", "help", "stage", "undo", "clear", "zoom-in", "phrase", "presence",
           "mask-threshold", "opacity", "export"}  # fmt: skip
    assert ids <= reached and "row-main" in reached
    assert any("tool" in name.split() for name in reached)


def test_letters_stay_letters_where_text_is_written(cat: PageDriver) -> None:
    cat.page.locator("#phrase").click()
    cat.page.keyboard.type("box vest?")
    expect(cat.page.locator("#phrase")).to_have_value("box vest?")
    expect(cat.page.locator("[data-tool=point]")).to_have_attribute("aria-pressed", "true")
    expect(cat.page.locator("dialog[open]")).to_have_count(0)


@pytest.mark.parametrize(("language", "undo"), [("en", "Undo"), ("de", "Rückgängig")])
def test_the_help_lists_every_key_in_every_language(tab: PageDriver, language: str, undo: str) -> None:
    tab.page.locator("#language").select_option(language)
    expect(tab.page.locator("html")).to_have_attribute("lang", language)
    tab.page.evaluate("() => document.activeElement.blur()")
    tab.press("?")
    dialog = tab.page.locator("#help-dialog")
    expect(dialog).to_be_visible()
    assert undo in dialog.inner_text()
    assert not re.search(r"key\.\w+|help\.\w+", dialog.inner_text())
    shown = tab.page.evaluate(
        "() => [...document.querySelectorAll('[data-i18n], [aria-label]')].flatMap(e => [e.textContent, e.ariaLabel])"
    )
    # a key that has no text is shown as itself
    assert [text for text in shown if text and re.fullmatch(r"[a-z]+(\.[a-zA-Z]+)+", text.strip())] == []
