"""From the server's answer to its masks on the screen, in a real Chromium, on a photo of 12 megapixels.

Command:  promptseg serve &
          python benchmarks/page.py --address http://127.0.0.1:8000/ --rounds 10
Needs:    pip install -e '.[dev]' and a Chromium (apt-get install chromium, or PROMPTSEG_CHROMIUM with the path of one).
Tasks:    a click and five phrases on the bundled photo of the astronaut, enlarged to 4000 x 3000 pixels, by the default
          model; each round asks another question.
Output:   one JSON line for each task: median and largest time from the last byte of the answer until the frame with all
          masks was drawn (decoding, tracing and drawing included), and the bytes of the answer, compressed.

The browser's own clock is read: the arrival of an answer from its list of resources, the drawing from the frame after
the one in which the page says that nothing is left to do.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import sys
from typing import TYPE_CHECKING, Any

# Every import of something heavy is in the function that needs it, so that --help answers at once.
if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZE_WH = (4000, 3000)
PHRASES = "person, face, hair, flag, helmet"
# Resolves with the time of the frame that shows the newest answer.
WAIT = """() => new Promise((done) => {
  const stage = document.getElementById("stage");
  let wasBusy = false;
  const look = () => {
    wasBusy ||= stage.ariaBusy === "true";
    if (!wasBusy || stage.ariaBusy === "true") return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  };
  const observer = new MutationObserver(look);
  observer.observe(stage, { attributes: true, attributeFilter: ["aria-busy"] });
})"""
LAST_ANSWER = """() => {
  const answers = performance.getEntriesByType("resource").filter((each) => each.name.endsWith("/v1/segment"));
  return [answers.at(-1).responseEnd, answers.at(-1).encodedBodySize];
}"""


def measure(page: "Page", act: Any) -> tuple[float, int]:
    """Do something that asks once, and give milliseconds from the answer to the screen, and the answer's bytes."""
    drawn = page.evaluate_handle(f"() => ({{ promise: ({WAIT})() }})")
    act()
    shown = page.evaluate("(holder) => holder.promise", drawn)
    arrived, num_bytes = page.evaluate(LAST_ANSWER)
    return shown - arrived, int(num_bytes)


def report(task: str, figures: list[tuple[float, int]]) -> None:
    """Print one line."""
    times = [milliseconds for milliseconds, _ in figures]
    line = {
        "task": task,
        "rounds": len(times),
        "median_ms": round(statistics.median(times), 1),
        "largest_ms": round(max(times), 1),
        "answer_bytes": round(statistics.median(num_bytes for _, num_bytes in figures)),
    }
    sys.stdout.write(json.dumps(line) + "\n")


def main() -> None:
    """Run the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of each task")
    parser.add_argument("--address", default="http://127.0.0.1:8000/", help="of a running `promptseg serve`")
    options = parser.parse_args()

    from PIL import Image
    from playwright.sync_api import sync_playwright

    from promptseg.image_files import bundled_image

    chromium = os.environ.get("PROMPTSEG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    photo = io.BytesIO()
    with Image.open(bundled_image("astronaut")) as file:
        file.resize(SIZE_WH).save(photo, format="JPEG", quality=90)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        page.goto(options.address)
        page.wait_for_selector("#server[data-phase=ready]")
        picture = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": photo.getvalue()}
        page.locator("#file").set_input_files(picture)
        page.wait_for_function("() => document.title.startsWith('large.jpg')")
        page.wait_for_selector("#stage[aria-busy=false]")
        stage = page.locator("#stage").bounding_box()
        assert stage is not None
        middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2

        def click(shift: int) -> None:
            page.mouse.click(middle[0] + 7 * shift, middle[1] + 5 * shift)

        report("click", [measure(page, lambda i=i: click(i)) for i in range(options.rounds)])
        page.locator("#clear").click()
        page.wait_for_selector("#stage[aria-busy=false]")
        figures = []
        for index in range(options.rounds):
            page.locator("#clear").dispatch_event("click")
            page.locator("#phrase").fill(f"{PHRASES}, object {index}")  # another question each time
            figures.append(measure(page, lambda: page.locator("#phrase").press("Enter")))
        report("five phrases", figures)
        browser.close()


if __name__ == "__main__":
    main()
