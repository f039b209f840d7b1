"""Pictures of all sizes, and clicks that land where they are seen: upright, zoomed, on fine screens, by finger."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer
from numpy.typing import NDArray
from page_driver import PageDriver
from PIL import Image
from playwright.sync_api import expect

from promptseg.image_files import bundled_image

pytestmark = pytest.mark.browser

RED = (255, 0, 0)
# The middle of the red square in `marked_picture`.
MARK_XY = (452.0, 132.0)


def marked_picture() -> NDArray[np.uint8]:
    """A gray picture, 400 x 600, with a red square of 8 pixels."""
    image = np.full((400, 600, 3), 128, dtype=np.uint8)
    image[128:136, 448:456] = RED
    return image


def encode(image: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def find_mark(tab: PageDriver) -> tuple[float, float]:
    """Look for the red square on the screen, as an eye does: the page's own arithmetic has no part in it."""
    screen = np.asarray(Image.open(io.BytesIO(tab.page.locator("#stage").screenshot())).convert("RGB")).astype(int)
    rows, columns = np.nonzero((screen[..., 0] > 230) & (screen[..., 1] < 25) & (screen[..., 2] < 25))
    box = tab.page.locator("#stage").bounding_box()
    assert len(rows) and box is not None
    ratio = screen.shape[1] / box["width"]
    return box["x"] + (columns.mean() + 0.5) / ratio, box["y"] + (rows.mean() + 0.5) / ratio


def test_a_photo_of_12_megapixels_and_13_megabytes(tab: PageDriver, photo: Path) -> None:
    with Image.open(photo) as file:
        large = encode(np.asarray(file.resize((4000, 3000))), "JPEG", quality=80)
    # after the end of the picture: readers ignore it
    tab.drop(large + bytes(13_000_000 - len(large)), "large.jpg")
    assert tab.picture_size() == (4000, 3000)
    tab.find("cat")
    assert tab.requests[-1]["mask_long_side"] == 1600
    expect(tab.row("cat")).to_have_attribute("data-verdict", "present")
    assert tab.masks()[..., 3].any()
    tab.click(3000, 1500)
    assert np.abs(np.array(tab.sent_points()) - [3000, 1500]).max() < 8  # a CSS pixel is seven of the picture


def test_a_picture_above_the_limit_is_made_smaller_and_it_is_said(
    serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver]
) -> None:
    small = tabs(serve(max_pixels=60_000)).start()
    small.drop(encode(marked_picture()))
    expect(small.page.locator("#notice-text")).to_contain_text("made smaller")
    width, height = small.picture_size()
    assert 55_000 < width * height <= 60_000
    small.page.mouse.click(*find_mark(small))
    small.wait_idle()
    scale = width / 600
    assert np.abs(np.array(small.sent_points()) / scale - MARK_XY).max() < 1.5


def test_a_file_that_is_no_picture_changes_nothing(cat: PageDriver) -> None:
    cat.find("cat")
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    cat.page.locator("#file").set_input_files(text)
    expect(cat.page.locator("#notice-text")).to_contain_text("notes.txt is no picture")
    assert cat.labels() == ["cat"] and "chelsea" in cat.page.title()


def test_a_click_lands_right_on_a_photo_that_lies_on_its_side(tab: PageDriver) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the left: the viewer turns it back
    tab.drop(encode(np.rot90(marked_picture()), "JPEG", quality=95, exif=exif), "turned.jpg")
    assert tab.picture_size() == (600, 400)
    tab.page.mouse.click(*find_mark(tab))
    tab.wait_idle()
    assert np.abs(np.array(tab.sent_points()) - MARK_XY).max() < 1


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_click_lands_right_at_every_zoom(
    tabs: Callable[..., PageDriver], tiny_server: LiveServer, ratio: int
) -> None:
    tab = tabs(tiny_server, device_scale_factor=ratio).start()
    tab.drop(encode(marked_picture()))
    canvas_width, stage_width = (tab.page.evaluate(f"() => document.querySelector('#{name}').{side}")
                                 for name, side in (("mask-layer", "width"), ("stage", "clientWidth")))  # fmt: skip
    assert canvas_width == ratio * stage_width
    tab.page.mouse.click(*find_mark(tab))
    tab.wait_idle()
    for steps in (-600, -900, 500):
        tab.press("Control+z")
        tab.wait_idle()
        tab.page.mouse.move(*find_mark(tab))
        tab.page.mouse.wheel(0, steps)
        tab.wait_idle()
        tab.page.mouse.click(*find_mark(tab))
        tab.wait_idle()
        assert np.abs(np.array(tab.sent_points()) - MARK_XY).max() < 1, steps


def test_a_tap_lands_right_and_two_fingers_zoom(tabs: Callable[..., PageDriver], tiny_server: LiveServer) -> None:
    phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2, "viewport": {"width": 412, "height": 800}}
    tab = tabs(tiny_server, **phone)
    tab.start()
    tab.drop(encode(marked_picture()))
    tab.page.touchscreen.tap(*find_mark(tab))
    tab.wait_idle()
    assert np.abs(np.array(tab.sent_points()) - MARK_XY).max() < 1.5
    tab.page.evaluate("() => document.activeElement.blur()")
    tab.press("Control+z")
    tab.wait_idle()
    before = tab.page.locator("#zoom").inner_text()
    x, y = find_mark(tab)
    fingers = tab.page.context.new_cdp_session(tab.page)

    def touch(kind: str, *spread: float) -> None:
        points = [{"x": x + side * half, "y": y, "id": index} for half in spread for index, side in enumerate((-1, 1))]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for half in (25, 30, 35, 40):
        touch("touchMove", half)
    touch("touchEnd")
    expect(tab.page.locator("#zoom")).not_to_have_text(before)
    assert tab.labels() == []  # a pinch draws nothing
    tab.wait_idle()
    tab.page.touchscreen.tap(*find_mark(tab))
    tab.wait_idle()
    assert np.abs(np.array(tab.sent_points()) - MARK_XY).max() < 1


def test_a_picture_that_the_server_forgot_is_sent_again(
    serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    server = serve(cache_bytes=0)  # only the newest picture stays
    first, second = tabs(server).start(), tabs(server).start()
    first.drop(photo)
    first.find("cat")
    second.drop(Path(bundled_image("coffee")))
    first.find("table")
    assert first.labels() == ["cat", "table"]
    expect(first.row("table")).to_have_attribute("data-verdict", "present")
    assert first.statuses[404] == 1
    expect(first.page.locator("#notice")).to_be_hidden()


def test_two_tabs_with_two_pictures_do_not_mix(
    tabs: Callable[..., PageDriver], tiny_server: LiveServer, photo: Path
) -> None:
    alone = tabs(tiny_server).start()
    alone.drop(photo)
    alone.find("cat, table")
    expected = alone.masks()
    first, second = tabs(tiny_server).start(), tabs(tiny_server).start()
    first.drop(photo)
    second.drop(Path(bundled_image("coffee")))
    for tab in (first, second):
        tab.page.locator("#phrase").fill("cat, table")
    for tab in (first, second):
        tab.page.locator("#phrase").press("Enter")
    assert np.array_equal(first.masks(), expected)
    assert not np.array_equal(second.masks(), expected)
