"""The page in a real Chromium on a real server: a browser, a server with the tiny model, and a tab."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from page_driver import PageDriver
from playwright.sync_api import Browser, expect, sync_playwright
from served_world import tiny_predictor

from promptseg import Predictor
from promptseg.image_files import bundled_image
from promptseg.server import ServerSettings, create_app

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A loaded machine answers late; a page that hangs never does.
TIMEOUT_MS = 30_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it: playwright would download one of its own."""
    named = os.environ.get("PROMPTSEG_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(
            "the page's tests need Chromium: apt-get install chromium, or set PROMPTSEG_CHROMIUM to its path",
            pytrace=False,
        )
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """The tiny model that takes every kind of prompt."""
    return tiny_predictor()


@pytest.fixture(scope="session")
def photo() -> Path:
    """The bundled cat, 300 x 451 pixels."""
    return Path(bundled_image("chelsea"))


@pytest.fixture
def serve(predictor: Predictor) -> Iterator[Callable[..., LiveServer]]:
    """Start a server with these settings, and with this model instead of the tiny one."""
    running: list[LiveServer] = []

    def start(models: Any = None, **settings: Any) -> LiveServer:
        running.append(LiveServer(create_app(models or predictor, ServerSettings(**settings))))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def tiny_server(predictor: Predictor) -> Iterator[LiveServer]:
    """One server for all tests that only use it."""
    server = LiveServer(create_app(predictor))
    yield server
    server.stop()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Callable[..., PageDriver]]:
    """Open tabs, each with a context of its own. At the end, none may have said anything wrong."""
    opened: list[PageDriver] = []

    def open_tab(server: LiveServer, **context: Any) -> PageDriver:
        settings = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", **context}
        page = browser.new_context(**settings).new_page()
        page.set_default_timeout(TIMEOUT_MS)
        opened.append(PageDriver(page, server.url))
        return opened[-1]

    yield open_tab
    for tab in opened:
        tab.page.context.close()
    assert [tab.problems for tab in opened] == [[] for _ in opened]


@pytest.fixture
def tab(tabs: Callable[..., PageDriver], tiny_server: LiveServer) -> PageDriver:
    """The page, ready, without a picture."""
    return tabs(tiny_server).start()


@pytest.fixture
def cat(tab: PageDriver, photo: Path) -> PageDriver:
    """The page with the bundled cat."""
    tab.drop(photo)
    return tab
