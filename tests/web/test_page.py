"""What holds for the whole page: security policy, accessibility, speed under many clicks, examples, and its modules."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from live_server import LiveServer
from page_driver import PageDriver
from playwright.sync_api import expect

import promptseg
from promptseg.formats.brush_rle import encode_brush
from promptseg.ops.polygons import fill_rings, trace_polygons
from promptseg.ops.rle import encode_rle

WEB = Path(promptseg.__file__).parent / "web"
SERIOUS = ("serious", "critical")


@pytest.mark.browser
def test_the_page_keeps_to_its_server_and_its_policy(tab: PageDriver, photo: Path) -> None:
    response = tab.page.request.get(tab.url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    refused = tab.page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
          const script = document.createElement("script");
          script.textContent = "window.wasRun = true";
          document.body.append(script);
        })"""
    )
    assert refused.startswith("script-src") and not tab.page.evaluate("() => window.wasRun")
    # the browser says on the console that it refused: that is what was asked for
    tab.problems = [problem for problem in tab.problems if "Content Security Policy" not in problem]
    tab.drop(photo)
    tab.find("cat, table")
    assert len(tab.requests) == 1  # and no request to elsewhere: `tabs` looks at that after every test


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    tabs: Callable[..., PageDriver], tiny_server: LiveServer, photo: Path, theme: str
) -> None:
    tab = tabs(tiny_server, color_scheme=theme, reduced_motion="reduce").start()
    expect(tab.page.locator("html")).to_have_attribute("data-theme", theme)
    expect(tab.page.locator("#gallery .example")).to_have_count(4)
    check_with_axe(tab, "empty")
    tab.drop(photo)
    tab.find("cat, window, table")
    tab.click(220, 150)
    check_with_axe(tab, "answered")
    tab.page.locator("#view-panoptic").click()
    tab.wait_idle()
    check_with_axe(tab, "everything")
    tab.page.locator("#view-queries").click()
    for opener, dialog in (("export", "export"), ("help", "help"), ("exemplar", "exemplar"), ("examples", "examples")):
        tab.page.locator(f"#{opener}").click()
        expect(tab.page.locator(f"#{dialog}-dialog")).to_be_visible()
        check_with_axe(tab, dialog)
        tab.press("Escape")


def check_with_axe(tab: PageDriver, state: str) -> None:
    found = Axe().run(tab.page).response["violations"]
    serious = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]
    assert serious == [], state


@pytest.mark.browser
def test_of_a_hundred_quick_clicks_the_last_one_wins(cat: PageDriver) -> None:
    places = np.random.default_rng(0).uniform([20, 20], [430, 280], size=(100, 2))
    for x, y in (cat.place(*place) for place in places):
        cat.page.mouse.click(x, y)
    cat.wait_idle()
    assert cat.most_in_flight == 1
    assert len(cat.sent_points()) == 100
    assert np.abs(np.array(cat.sent_points()[-1]) - places[-1]).max() < 1
    expect(cat.row("object 1").locator(".row-detail")).to_contain_text("100 clicks")
    shown = cat.masks()
    # what is shown is the answer to the newest question: one that is asked anew is drawn the same
    cat.press("Control+z")
    cat.wait_idle()
    cat.press("Control+y")
    assert np.array_equal(cat.masks(), shown)


@pytest.mark.browser
def test_an_example_opens_with_its_phrases(tab: PageDriver) -> None:
    tab.page.locator("#gallery .example").first.click()
    expect(tab.page.locator("#rows .row")).not_to_have_count(0)
    tab.wait_idle()
    assert len(tab.requests) == 1
    phrases = [query["label"] for query in tab.sent_queries()]
    assert tab.labels() == phrases
    tab.press("Control+z")  # picture and phrases came as one
    expect(tab.page.locator("#empty")).to_be_visible()


@pytest.mark.browser
def test_codes_and_outlines_are_those_of_the_library(tab: PageDriver) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(size_hw) < share for size_hw in ((1, 1), (7, 5), (40, 61)) for share in (0.2, 0.6)]
    masks += [np.zeros((5, 4), bool), np.ones((5, 4), bool), np.kron(rng.random((9, 7)) < 0.5, np.ones((13, 11))) > 0]
    for mask in masks:
        height, width = mask.shape
        rle = encode_rle(mask)
        encoded, decoded, brush, polygons = tab.page.evaluate(
            """async ([pixels, height, width, rle]) => {
              const { encodeRle, decodeRle } = await import("/js/rle.js");
              const { encodeBrush } = await import("/js/export/brush.js");
              const { groupRings } = await import("/js/outline.js");
              const { traceMask } = await import("/js/trace.js");
              const mask = Uint8Array.from(pixels);
              const polygons = groupRings(traceMask(rle).rings).map(({ outer, holes }) => [outer, ...holes]);
              const plain = polygons.map((rings) => rings.map((ring) => [...ring]));
              return [encodeRle(mask, [height, width]), [...decodeRle(rle)], encodeBrush(mask), plain];
            }""",
            [mask.ravel().astype(int).tolist(), height, width, rle],
        )
        assert encoded == rle
        assert np.array_equal(np.array(decoded, bool).reshape(height, width), mask)
        assert brush == encode_brush(mask)
        # one polygon for each part, and exactly its pixels
        parts = {fill_rings([np.reshape(ring, (-1, 2)) for ring in each], mask.shape).tobytes() for each in polygons}
        assert parts == {fill_rings([each.outer, *each.holes], mask.shape).tobytes() for each in trace_polygons(mask)}


def test_both_languages_have_the_texts_that_the_page_uses() -> None:
    english, german = (json.loads((WEB / f"locales/{tag}.json").read_text(encoding="utf-8")) for tag in ("en", "de"))
    assert english.keys() == german.keys()
    for key in english:
        places = [set(re.findall(r"\{\w+\}", json.dumps(texts[key]))) for texts in (english, german)]
        assert places[0] == places[1], key
    sources = "".join(path.read_text(encoding="utf-8") for path in [*sorted(WEB.rglob("*.js")), WEB / "index.html"])
    used = set(re.findall(r"""\bt\("([^"]+)"|data-i18n(?:-\w+)?="([^"]+)""", sources))
    keys = {first or second for first, second in used}
    assert len(keys) > 60 and keys <= english.keys(), keys - english.keys()
    # and none that it does not: those with a place are put together from a part and a name
    made = re.compile(r"^(key|help|tool|hint|server|task|row|error|export)\.")
    assert [key for key in english if key not in keys and not made.match(key) and f'"{key}"' not in sources] == []


def test_nothing_in_the_page_is_inline_or_from_elsewhere() -> None:
    html = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    for path in WEB.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"https?://(?!www\.w3\.org/)", text), path.name
