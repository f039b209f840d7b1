"""The web page as a person uses it, in a real Chromium: everything goes through mouse, keyboard and files."""

import base64
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Download, Locator, Page, Request, expect

ASKING_ROUTES = ("/v1/segment", "/v1/propose", "/v1/panoptic")

# Drops a file as the file manager does: the page gets the same events.
_DROP = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    window.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
_TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class PageDriver:
    """One tab.

    Attributes:
        page: Playwright's page.
        requests: Bodies of the questions that were sent, in order.
        problems: What the console, the page's errors and requests to other origins said.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.statuses: Counter[int] = Counter()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._on_request)
        page.on("requestfinished", self._on_end)
        page.on("requestfailed", self._on_end)
        page.on("response", lambda response: self.statuses.update([response.status]))

    def start(self, fragment: str = "") -> "PageDriver":
        """Open the page and wait until its model is ready."""
        self.page.goto(self.url + fragment)
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until the page says that the server is ready."""
        expect(self.page.locator("#server[data-phase=ready]")).to_be_visible()

    def drop(self, file: Path | bytes, name: str = "picture.png") -> None:
        """Drop a picture on the page, and wait until it is encoded."""
        data, name = (file.read_bytes(), file.name) if isinstance(file, Path) else (file, name)
        kind = "image/jpeg" if name.endswith((".jpg", ".jpeg")) else "image/png"
        self.page.evaluate(_DROP, [name, kind, base64.b64encode(data).decode()])
        expect(self.page).to_have_title(f"{name} · promptseg")
        self.wait_idle()

    def find(self, phrases: str) -> None:
        """Type phrases and ask for them."""
        self.page.locator("#phrase").fill(phrases)
        self.page.locator("#phrase").press("Enter")
        self.wait_idle()

    def row(self, label: str) -> Locator:
        """Find the row of a query."""
        return self.page.locator(f"#rows .row[data-query={json.dumps(label)}]")

    def labels(self) -> list[str]:
        """List the queries."""
        return self.page.locator("#rows .row-label").all_inner_texts()

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            self.page.keyboard.press(key)

    def take(self, tool: str) -> None:
        """Take a tool from the bar."""
        self.page.locator(f"[data-tool={tool}]").click()

    def wait_idle(self) -> None:
        """Wait until everything is answered, traced and drawn."""
        expect(self.page.locator("#stage")).to_have_attribute("aria-busy", "false", timeout=60_000)
        self.page.evaluate(_TWO_FRAMES)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is in the window, while all of the picture is shown."""
        box = self.page.locator("#stage").bounding_box()
        assert box is not None
        size = {"width": box["width"], "height": box["height"]}
        view = self.page.evaluate(
            """async ([[width, height], stage]) => {
              const { fitView } = await import("/js/geometry.js");
              return fitView({ width, height }, stage);
            }""",
            [self.picture_size(), size],
        )
        return box["x"] + view["x"] + x * view["scale"], box["y"] + view["y"] + y * view["scale"]

    def picture_size(self) -> tuple[int, int]:
        """Width and height of the picture, as the page said it."""
        words = self.page.locator("#stage").get_attribute("data-picture")
        assert words is not None
        width, height = words.split()
        return int(width), int(height)

    def click(self, x: float, y: float, *, away: bool = False) -> None:
        """Click on a pixel of the picture; `away`: with the right button."""
        self.page.mouse.click(*self.place(x, y), button="right" if away else "left")
        self.wait_idle()

    def drag(self, *points: tuple[float, float], wait: bool = True) -> None:
        """Drag along pixels of the picture."""
        first, *others = (self.place(x, y) for x, y in points)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in others:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()
        if wait:
            self.wait_idle()

    def layer(self, name: str) -> NDArray[np.uint8]:
        """Read a canvas, "picture", "mask" or "prompt", as RGBA, uint8, shape (H, W, 4)."""
        address = self.page.evaluate(f"() => document.getElementById('{name}-layer').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))

    def masks(self) -> NDArray[np.uint8]:
        """Read the layer of the masks."""
        self.wait_idle()
        return self.layer("mask")

    def slide(self, slider: str, value: float) -> None:
        """Move a slider to a value, with one event for it."""
        self.page.locator(f"#{slider}").fill(str(value))

    def export(self, kind: str) -> Download:
        """Export what the dialog offers, in one format."""
        if not self.page.locator("#export-dialog").is_visible():
            self.page.locator("#export").click()
        with self.page.expect_download() as download:
            self.page.locator(f"[data-format={kind}]").click()
        return download.value

    def sent_queries(self) -> list[dict[str, Any]]:
        """The queries of the newest request."""
        return list(self.requests[-1]["queries"])

    def sent_points(self) -> list[list[float]]:
        """The points of the newest request."""
        prompts = [prompt for query in self.sent_queries() for prompt in query["prompts"]]
        return [point for prompt in prompts if prompt["kind"] == "point" for point in prompt["points_xy"]]

    def _on_console(self, message: Any) -> None:
        # A refusal is written to the console by the browser itself; the tests look at what the page makes of it.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.problems.append(f"request to {request.url}")
        if request.url.endswith(ASKING_ROUTES):
            self.requests.append(json.loads(request.post_data or "{}"))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def _on_end(self, request: Request) -> None:
        if request.url.endswith(ASKING_ROUTES):
            self.in_flight -= 1


def save(download: Download, path: Path) -> Path:
    """Save a file that the page exported."""
    path.parent.mkdir(exist_ok=True)
    download.save_as(path)
    return path


def unpack(download: Download, directory: Path) -> list[str]:
    """Unpack a ZIP that the page exported, and give the names in it."""
    assert download.suggested_filename.endswith(".zip")
    with zipfile.ZipFile(download.path()) as archive:
        assert archive.testzip() is None
        archive.extractall(directory)
        return archive.namelist()
