"""Draw the screenshots of docs/page.md: the real page on a real server, in the Chromium of this machine.

python scripts/make_screenshots.py

It needs `pip install -e '.[dev]'` and a Chromium (apt-get install chromium; fonts-inter makes the pictures look as they
do here), or PROMPTSEG_CHROMIUM with the path of one.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import promptseg

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PHOTOS = Path(promptseg.__file__).parent / "photos"
DESKTOP = {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 1.5, "locale": "en-US"}
PHONE = {"viewport": {"width": 400, "height": 880}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
QUALITY = 82
# The model's first use on a machine compiles it.
TIMEOUT_MS = 300_000


def main() -> None:
    """Write the five images."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    chromium = os.environ.get("PROMPTSEG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is here: apt-get install chromium, or set PROMPTSEG_CHROMIUM to the path of one")
    with serve() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, draw in (("empty", empty), ("words", words), ("clicks", clicks), ("example", example)):
            scheme = "dark" if name == "clicks" else "light"
            save(draw(open_page(browser, address, {**DESKTOP, "color_scheme": scheme})), name)
        save(words(open_page(browser, address, {**PHONE, "color_scheme": "light", "locale": "de-DE"})), "phone")
        browser.close()


@contextmanager
def serve() -> Iterator[str]:
    """Run `promptseg serve` on a free port and give its address."""
    command = [sys.executable, "-m", "promptseg", "serve", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if "http://" in line:
                yield line[line.index("http://") :].split()[0].rstrip(".")
                return
        sys.exit("promptseg serve ended without saying its address")
    finally:
        server.terminate()
        server.wait(30)


def open_page(browser: Browser, address: str, settings: dict[str, object]) -> Page:
    """Open the page and wait for the model."""
    page = browser.new_context(**settings).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address)
    page.wait_for_selector("#server[data-phase=ready]")
    page.wait_for_selector("#gallery .example >> nth=3")
    return page


def empty(page: Page) -> Page:
    """Before a picture is opened."""
    return page


def words(page: Page) -> Page:
    """Phrases, one of which is not there."""
    show(page, "astronaut.jpg", "person, face, dog")
    page.evaluate("() => document.activeElement.blur()")
    return page


def clicks(page: Page) -> Page:
    """A phrase, an object made by clicks of both kinds and named, and its candidates."""
    show(page, "coffee.jpg", "mug")
    click(page, 0.27, 0.62)
    click(page, 0.45, 0.40, button="right")
    page.locator("#rows .row-main").last.dblclick()
    page.locator(".rename").fill("saucer")
    page.keyboard.press("Enter")
    wait_idle(page)
    return page


def example(page: Page) -> Page:
    """The dialog of an example."""
    show(page, "coffee.jpg", "wooden table")
    page.locator("#exemplar").click()
    page.locator("#exemplar-file").set_input_files(PHOTOS / "chelsea.jpg")
    page.locator("#exemplar-name").fill("cat")
    box = page.locator("#exemplar-stage").bounding_box()
    assert box is not None
    left, top = box["x"] + box["width"] * 0.14, box["y"] + box["height"] * 0.06
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + box["width"] * 0.58, top + box["height"] * 0.86, steps=4)
    page.mouse.up()
    return page


def show(page: Page, photo: str, phrases: str) -> None:
    """Open a bundled photo and ask for phrases."""
    page.locator("#file").set_input_files(PHOTOS / photo)
    page.wait_for_function(f"() => document.title.startsWith('{photo}')")
    page.locator("#phrase").fill(phrases)
    page.locator("#phrase").press("Enter")
    wait_idle(page)


def click(page: Page, x: float, y: float, button: str = "left") -> None:
    """Click at shares of the picture's width and height."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    view = page.evaluate(
        """async ([width, height]) => {
          const { fitView } = await import("./js/geometry.js");
          const [pictureWidth, pictureHeight] = document.getElementById("stage").dataset.picture.split(" ").map(Number);
          const { scale, x, y } = fitView({ width: pictureWidth, height: pictureHeight }, { width, height });
          return [x, y, pictureWidth * scale, pictureHeight * scale];
        }""",
        [box["width"], box["height"]],
    )
    left, top, width, height = view
    page.mouse.click(box["x"] + left + x * width, box["y"] + top + y * height, button=button)  # type: ignore[arg-type]
    wait_idle(page)


def wait_idle(page: Page) -> None:
    """Wait until everything is answered and drawn."""
    page.wait_for_selector("#stage[aria-busy=false]")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def save(page: Page, name: str) -> None:
    """Write a screenshot as docs/images/page-NAME.webp."""
    page.evaluate("() => Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)))")
    with Image.open(io.BytesIO(page.screenshot())) as drawn:
        drawn.convert("RGB").save(IMAGES / f"page-{name}.webp", quality=QUALITY, method=6)
    page.context.close()


if __name__ == "__main__":
    main()
