"""A server that loads, is busy, goes away, comes back, or asks for a token: the page says so, and keeps the work."""

import json
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_server import LiveServer
from page_driver import PageDriver
from playwright.sync_api import expect

from promptseg import Predictor
from promptseg.server import ModelSource, ServerSettings, create_app

pytestmark = pytest.mark.browser


class Held:
    """A segmenter that answers only while it is not held."""

    def __init__(self, segmenter: Any) -> None:
        self._segmenter = segmenter
        self.free = threading.Event()
        self.entered = threading.Event()
        self.free.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    def segment(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.free.wait(60)
        return self._segmenter.segment(*arguments)


def ask(server: LiveServer, picture: str) -> threading.Thread:
    """Ask from elsewhere, in a thread that ends with the answer."""
    body = json.dumps({"image": picture, "queries": ["cat"]}).encode()
    request = urllib.request.Request(f"{server.url}v1/segment", body, {"Content-Type": "application/json"})

    def send() -> None:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_busy_server_is_asked_again(
    predictor: Predictor, serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    held = Held(predictor.segmenter)
    server = serve(replace(predictor, segmenter=held), max_waiting=0)
    tab = tabs(server).start()
    tab.drop(photo)
    tab.find("cat")
    held.free.clear()
    held.entered.clear()
    other = ask(server, tab.requests[-1]["image"])
    assert held.entered.wait(30)
    tab.page.locator("#phrase").fill("table")
    tab.page.locator("#phrase").press("Enter")
    expect(tab.page.locator("#hint")).to_contain_text("Busy, trying again in 1 s (1 of 5)")
    held.free.set()
    other.join()
    expect(tab.row("table")).to_have_attribute("data-verdict", "present")
    assert tab.statuses[503] >= 1
    expect(tab.page.locator("#hint")).not_to_contain_text("Busy")


def test_a_server_that_goes_away_and_comes_back(
    predictor: Predictor, serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    server = serve()
    tab = tabs(server).start()
    tab.drop(photo)
    tab.find("cat")
    tab.click(220, 150)
    before = tab.masks()
    server.stop()
    tab.page.mouse.click(*tab.place(60, 60), button="right")
    expect(tab.page.locator("#notice-text")).to_contain_text("The server does not answer. Your work is kept.")
    expect(tab.page.locator("#server")).to_have_attribute("data-phase", "gone")
    assert tab.labels() == ["cat", "object 1"]
    assert np.array_equal(tab.layer("mask"), before)  # the last answers stay
    # another process: it knows neither the picture nor its id
    server.start(create_app(predictor, ServerSettings()))
    tab.page.locator("#notice-action").click()
    tab.wait_ready()
    tab.wait_idle()
    expect(tab.page.locator("#notice")).to_be_hidden()
    assert len(tab.sent_points()) == 2
    tab.press("Control+z")
    assert np.array_equal(tab.masks(), before)


def test_a_picture_waits_while_the_model_loads(
    predictor: Predictor, serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    loaded = threading.Event()

    def load(*, progress: Callable[[str, int, int], None], **_: Any) -> Predictor:
        progress("mobile-sam", 12_000_000, 40_000_000)
        assert loaded.wait(60)
        return predictor

    tab = tabs(serve(ModelSource("tiny", load)))
    tab.page.goto(tab.url)
    expect(tab.page.locator("#server")).to_contain_text("12 of 40 MB")
    tab.page.locator("#file").set_input_files(photo)
    expect(tab.page.locator("#hint")).to_have_text("The model is loading; your picture waits.")
    tab.page.locator("#phrase").fill("cat")
    tab.page.locator("#phrase").press("Enter")
    loaded.set()
    tab.wait_ready()
    expect(tab.row("cat")).to_have_attribute("data-verdict", "present")


def test_a_token_is_asked_for_and_stays_out_of_the_address(
    serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    server = serve(token="a-long-secret")
    tab = tabs(server)
    tab.page.goto(tab.url)
    dialog = tab.page.locator("#token-dialog")
    expect(dialog).to_be_visible()
    tab.page.locator("#token").fill("a wrong one")
    tab.page.locator("#token").press("Enter")
    expect(tab.page.locator("#token-wrong")).to_be_visible()
    tab.page.locator("#token").fill("a-long-secret")
    tab.page.locator("#token").press("Enter")
    expect(dialog).to_be_hidden()
    tab.wait_ready()
    tab.drop(photo)
    tab.find("cat")
    expect(tab.row("cat")).to_have_attribute("data-verdict", "present")

    from_link = tabs(server).start("#token=a-long-secret")
    assert from_link.page.url == server.url
    expect(from_link.page.locator("#gallery .example")).to_have_count(4)


def test_a_refused_request_says_why_and_can_be_undone(cat: PageDriver) -> None:
    cat.find("cat")
    before = cat.masks()
    cat.find("???")
    expect(cat.page.locator("#notice-text")).to_contain_text("???")
    assert np.array_equal(cat.masks(), before)
    cat.page.locator("#notice-action").click()
    cat.wait_idle()
    assert cat.labels() == ["cat"]
