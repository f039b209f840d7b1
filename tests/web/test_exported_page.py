"""The example page of integrations/browser: an exported model in Chromium, by the published onnxruntime-web."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported_world import run_exported
from playwright.sync_api import Browser, expect

from promptseg.export import export_model
from promptseg.images import read_image

pytestmark = pytest.mark.export

PAGE = Path(__file__).parents[2] / "integrations/browser"
ONNXRUNTIME_WEB = "onnxruntime-web@1.30.0"
# onnxruntime-web computes with one thread here.
TIMEOUT_MS = 300_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that docs/export.md describes, without a model."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", "--json", ONNXRUNTIME_WEB], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / json.loads(packed.stdout)[0]["filename"]) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package/dist").rename(folder / "ort")
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("model", "phrase"), [("promptseg-test", "grass"), ("promptseg", "the cat")])
def test_the_page_says_and_draws_what_the_script_does(
    model: str, phrase: str, site: Path, address: str, browser: Browser, photo: Path, tmp_path: Path
) -> None:
    export_model(site / model, model)
    answered = run_exported(site / model, read_image(photo), phrase, tmp_path)
    tab = browser.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    elsewhere: list[str] = []
    tab.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(address) else None)
    tab.goto(f"{address}/index.html?model={model}")
    tab.get_by_label("Photo").set_input_files(photo)
    tab.get_by_label("Phrase").fill(phrase)
    tab.get_by_role("button", name="Segment").click()
    status = tab.get_by_role("status")
    expect(status).to_contain_text(re.compile("of the photo|Failed"), timeout=TIMEOUT_MS)
    said = status.inner_text()
    found = re.search(r"presence ([\d.]+), (\w+); ([\d.]+) % of", said)
    assert found is not None, said
    # Chromium's JPEG decoder is another one, so a few pixels differ by a few of 255 levels
    assert float(found[1]) == pytest.approx(answered.presence, abs=0.02)
    assert found[2] in answered.said
    mask = answered.masks.get("refined", answered.masks["coarse"])
    assert float(found[3]) == pytest.approx(100 * mask.mean(), abs=1.0)
    assert not problems
    assert not [url for url in elsewhere if not url.startswith(("blob:", "data:"))]
    tab.close()
