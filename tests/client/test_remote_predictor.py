"""A model of a running server answers what the same model answers here."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from live_server import LiveServer
from opened_files import opened_files
from served_world import PHRASES, tiny_predictor

from promptseg import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Predictor, Query, TextPrompt
from promptseg.client import RemotePredictor, connect
from promptseg.errors import (
    ImageError,
    ImageTooLargeError,
    OutsideImageError,
    PromptError,
    ServerError,
    UnknownModelError,
    UnsupportedPromptError,
)
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.server import ServerSettings, create_app

CAT, COFFEE = bundled_image("chelsea"), bundled_image("coffee")
DRAWN = np.zeros((300, 451), dtype=np.bool_)
DRAWN[100:200, 150:300] = True
CUP = np.zeros((400, 600), dtype=np.bool_)
CUP[40:280, 180:400] = True
QUERIES = [
    *PHRASES,
    "background",
    Query("weighed", (TextPrompt("table"), TextPrompt("cat", -1.0))),
    Query("clicked", (PointPrompt(((220, 150), (20, 20)), (True, False)),)),
    Query("both", (TextPrompt("table"), BoxPrompt((100, 50, 300, 250)))),
    Query("drawn", (MaskPrompt(DRAWN),)),
    Query("like", (ExemplarPrompt(read_image(COFFEE), CUP), ExemplarPrompt(read_image(COFFEE), None, (5, 5, 90, 90)))),
]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return replace(tiny_predictor(), unsure_threshold=0.3)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a server; give its address."""
    running: list[LiveServer] = []

    def start(app: Any) -> str:
        running.append(LiveServer(app))
        return running[-1].url

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def remote(serve: Callable[..., str], predictor: Predictor) -> RemotePredictor:
    return connect(serve(create_app(predictor)))


def assert_same(predictor: Predictor, remote: RemotePredictor, image: Any, queries: Any, **options: Any) -> None:
    expected, found = predictor.segment(image, queries, **options), remote.segment(image, queries, **options)
    assert found.to_dict() == expected.to_dict()
    assert found.source == expected.source and np.array_equal(found.image_rgb, expected.image_rgb)
    for ours, theirs in zip(expected, found, strict=True):
        assert theirs.presence == ours.presence, "not rounded"
        assert [each.score for each in theirs.instances] == [each.score for each in ours.instances]
        assert theirs.inverted().to_dict() == ours.inverted().to_dict()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0.0},
        {"threshold": 1.0, "mask_threshold": 0.7},
    ],
    ids=str,
)
def test_every_kind_of_prompt_gets_the_answer_of_the_local_model(
    predictor: Predictor, remote: RemotePredictor, options: dict[str, float]
) -> None:
    assert_same(predictor, remote, CAT, QUERIES, **options)
    assert remote.origin == predictor.origin and remote.prompt_kinds == predictor.prompt_kinds


@pytest.mark.parametrize("within", [(100.5, 40, 320, 260), BoxPrompt((90, 90, 310, 220)), DRAWN], ids=["box", "p", "m"])
def test_a_region_is_looked_in_there(predictor: Predictor, remote: RemotePredictor, within: Any) -> None:
    asked = [*PHRASES, Query("clicked", (PointPrompt(((220, 150),)),))]
    assert_same(predictor, remote, CAT, asked, within=within, threshold=0.0)
    assert predictor.segment(CAT, asked, within=within, threshold=0.0)["clicked"].area, "something is found"


def test_images_of_every_source_are_taken(predictor: Predictor, remote: RemotePredictor) -> None:
    for image in (str(CAT), CAT.read_bytes(), read_image(CAT)):
        assert_same(predictor, remote, image, PHRASES)
    with CAT.open("rb") as opened:
        assert remote.segment(opened, PHRASES).to_dict() == predictor.segment(CAT, PHRASES).to_dict()


def test_an_encoded_image_is_sent_once_and_again_when_it_was_forgotten(
    predictor: Predictor, serve: Callable[..., str]
) -> None:
    app = create_app(predictor)
    remote = connect(serve(app))
    image = remote.encode(CAT)
    expected = predictor.segment(CAT, QUERIES).to_dict()
    images = app.state.service.images
    assert remote.segment(image, QUERIES).to_dict() == expected
    assert remote.segment(image, QUERIES).to_dict() == expected
    assert images.counts().num_images == 2, "the cat and the example, which two prompts share"
    for image_id in list(images._entries):
        images.drop(image_id)
    assert remote.segment(image, QUERIES).to_dict() == expected


def test_a_file_is_read_once(remote: RemotePredictor) -> None:
    with opened_files() as opened:
        found = remote.segment(CAT, "cat")
    assert opened.count(str(CAT)) == 1 and found.source == str(CAT)


def test_errors_are_those_of_the_local_model(predictor: Predictor, remote: RemotePredictor) -> None:
    small = np.zeros((20, 30, 3), dtype=np.uint8)
    outside, masked = Query("it", (PointPrompt(((220, 150),)),)), Query("it", (MaskPrompt(DRAWN),))
    for query in (outside, masked):
        with pytest.raises(OutsideImageError) as here:
            predictor.segment(small, query)
        with pytest.raises(OutsideImageError) as there:
            remote.segment(small, query)
        assert type(there.value) is type(here.value)
    with pytest.raises(OutsideImageError, match=r"within: the box .* lies outside the image, 30x20"):
        remote.segment(small, "cat", within=(100, 100, 200, 200))
    with pytest.raises(ImageError, match="damaged or cut short"):
        remote.segment(CAT.read_bytes()[:5000], "cat")
    for queries, said in ((["background"], "no other"), ("cat, dog", "cat"), ([], "nothing was asked for")):
        with pytest.raises(PromptError, match=said):
            remote.segment(CAT, queries)
    with pytest.raises(PromptError, match="threshold"):
        remote.segment(CAT, "cat", threshold=2)
    with pytest.raises(PromptError, match="within is"):
        remote.segment(CAT, "cat", within=(3, 4))
    corrected = predictor.segment(CAT, outside)[0].as_prompt()
    with pytest.raises(UnsupportedPromptError, match=r"give MaskPrompt\(result.mask\)"):
        remote.segment(CAT, corrected)


def test_limits_of_the_server_are_said(predictor: Predictor, serve: Callable[..., str]) -> None:
    url = serve(create_app(predictor, ServerSettings(max_body_bytes=20_000, max_pixels=100_000)))
    with pytest.raises(ImageTooLargeError, match=r"chelsea.*bytes; the server takes 20,000"):
        connect(url).segment(CAT, "cat")
    with pytest.raises(ImageTooLargeError, match="the limit is 100,000"):
        connect(url).segment(np.zeros((400, 400, 3), dtype=np.uint8), "cat")


def test_a_busy_server_is_asked_again(predictor: Predictor, serve: Callable[..., str]) -> None:
    app, refused = create_app(predictor), []

    async def busy_at_first(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/v1/segment" and len(refused) < 2:
            refused.append(scope["path"])
            body = json.dumps({"error": {"code": "busy", "message": "busy", "way_out": "wait"}}).encode()
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"0")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await app(scope, receive, send)

    remote = connect(serve(busy_at_first))
    assert remote.segment(CAT, PHRASES).to_dict() == predictor.segment(CAT, PHRASES).to_dict()
    assert len(refused) == 2


def test_what_is_no_server_of_promptseg_is_said(serve: Callable[..., str]) -> None:
    for status, body in ((200, b"<html>hello"), (200, b"{}"), (404, b"no"), (302, b""), (200, b"[]")):

        async def other(scope: Any, receive: Any, send: Any, status: int = status, body: bytes = body) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": status, "headers": [(b"location", b"/x")]})
                await send({"type": "http.response.body", "body": body})

        with pytest.raises(ServerError, match="what answers there is no `promptseg serve`"):
            connect(serve(other))


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://localhost", "http://", "http://u:p@localhost", "http://h:x", "http://h/?a=1", ""]
)
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(ServerError, match="is no address of a server"):
        connect(url)


def test_a_token_comes_as_an_argument_or_in_the_address(predictor: Predictor, serve: Callable[..., str]) -> None:
    url = serve(create_app(predictor, ServerSettings(token="secret")))
    for remote in (connect(url, token="secret"), connect(f"{url}#token=secret")):
        assert remote.segment(CAT, "table")[0].label == "table"
        assert "secret" not in repr(remote) + repr(remote.address)
    for token, said in ((None, "none was given"), ("wrong", "this one is wrong")):
        with pytest.raises(ServerError, match=f"the server needs its token, and {said}"):
            connect(url, token=token)
    with pytest.raises(ServerError, match="printable ASCII"):
        connect(url, token="a b")


def test_a_model_is_found_by_its_name(predictor: Predictor, serve: Callable[..., str]) -> None:
    url = serve(create_app([predictor, replace(predictor, name="second")]))
    assert (connect(url).name, connect(url, model="second").name) == ("tiny", "second")
    with pytest.raises(UnknownModelError, match="no model named 'third' is served; there are tiny, second"):
        connect(url, model="third")
