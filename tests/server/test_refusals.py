"""Bad requests: each is refused by a status, a code and a message that names what is wrong, and costs nothing else."""

import base64
import gzip
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from served_world import read_refusal

import promptseg

Refused = Callable[..., tuple[int, str, str]]


def png_that_claims(width: int, height: int) -> bytes:
    """A file of a few bytes whose header promises a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("file", "status", "code", "message"),
    [
        (b"", 422, "unreadable_image", "an empty file"),
        (b"hello", 422, "unreadable_image", "not an image, or of a kind that can't be read"),
        (b"%PDF-1.7 ...", 422, "unreadable_image", "not an image"),
        (b'{"a": 1}', 422, "unreadable_image", "not an image"),
        (b"\x80\x04\x95", 422, "unreadable_image", "not an image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", 422, "unreadable_image", "damaged or cut short"),
        (png_that_claims(40_000, 40_000), 413, "image_too_large", "1,600,000,000 pixels; the limit is 89,478,485"),
        (png_that_claims(9_000, 10_000), 413, "image_too_large", "10000x9000 = 90,000,000 pixels; the limit is"),
    ],
)
def test_files_that_are_no_images(refused: Refused, file: bytes, status: int, code: str, message: str) -> None:
    for method in ("PUT", "POST"):
        got = refused(method, "/v1/images", content=file)
        assert got[:2] == (status, code) and message in got[2], got
    inline = {"image": {"base64": base64.b64encode(file).decode()}, "queries": ["cat"]}
    got = refused("POST", "/v1/segment", json=inline)
    assert got[:2] == (status, code) and message in got[2], got


def test_bodies_of_other_kinds(refused: Refused, client: TestClient, photo: bytes) -> None:
    for body, headers, message in (
        ({"content": gzip.compress(photo)}, {"Content-Encoding": "gzip"}, "the body is compressed (gzip)"),
        ({"files": {"file": ("a.jpg", photo)}}, {}, "the bytes of an image as the body, not multipart/form-data"),
        ({"json": {"base64": ""}}, {}, "the bytes of an image as the body, not application/json"),
    ):
        got = refused("PUT", "/v1/images", headers=headers, **body)
        assert got[:2] == (415, "unsupported_media_type") and message in got[2]
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl states unless it is told otherwise
    assert client.put("/v1/images", content=photo, headers=form).status_code == 201


def text(label: str) -> dict[str, Any]:
    return {"label": "x", "prompts": [{"kind": "text", "text": label}]}


def prompted(**prompt: Any) -> list[dict[str, Any]]:
    return [{"label": "thing", "prompts": [prompt]}]


BAD_QUERIES: list[tuple[Any, int, str, str]] = [
    ([], 422, "invalid_prompt", "nothing was asked for"),
    (["word " * 10_000], 422, "invalid_prompt", "characters; the limit is 512"),
    (["cat"] * 2_000, 413, "too_many_queries", "2,000 queries in one request; the limit is 1,000"),
    (["  "], 422, "invalid_prompt", "the phrase is blank"),
    (["..."], 422, "invalid_prompt", "no letter or digit"),
    (["cat\u0007"], 422, "invalid_prompt", "control character U+0007"),
    (["cup, table"], 422, "invalid_prompt", "lists 2 names"),
    (["background"], 422, "invalid_prompt", "means everything but the objects of the other phrases"),
    ([{"label": "x", "prompts": []}], 422, "invalid_prompt", "the query 'x' has no prompt"),
    ([text("cat") | {"colour": 1}], 422, "invalid_request", "queries.0.query.colour: Extra inputs are not permitted"),
    ([3], 422, "invalid_request", "queries.0.query: Input should be a valid dictionary"),
    ("cat", 422, "invalid_request", "queries: Input should be a valid list"),
    (prompted(kind="word", text="x"), 422, "invalid_request", "'word' found using 'kind' does not match"),
    (prompted(kind="text", text="x", weight=0), 422, "invalid_prompt", "a weight of 0 says nothing"),
    (prompted(kind="text", text="x", weight=-1), 422, "invalid_prompt", "says only what is not meant"),
    (prompted(kind="point", points_xy=[]), 422, "invalid_prompt", "one or more (x, y) pairs"),
    (prompted(kind="point", points_xy=[[1, 2, 3]]), 422, "invalid_request", "points_xy.0"),
    (prompted(kind="point", points_xy=[[0.2, 0.4]]), 422, "invalid_prompt", "looks like shares of the image size"),
    (prompted(kind="point", points_xy=[[460, 80]]), 422, "outside_image", "outside"),
    (prompted(kind="point", points_xy=[[9, 9]] * 1_001), 422, "invalid_prompt", "1,001 points in one prompt"),
    (prompted(kind="point", points_xy=[[9, 9]], on_object=[]), 422, "invalid_prompt", "1 points but 0 flags"),
    (prompted(kind="box", box_xyxy=[0.1, 0.1, 0.5, 0.5]), 422, "invalid_prompt", "looks like shares"),
    (prompted(kind="box", box_xyxy=[50, 50, 20, 90]), 422, "invalid_prompt", "left < right and top < bottom"),
    (prompted(kind="box", box_xyxy=[500, 20, 900, 90]), 422, "outside_image", "outside"),
    (prompted(kind="box", box_xyxy=[1, 2, 3]), 422, "invalid_request", "box_xyxy"),
    (prompted(kind="mask", mask={"size": [300, 451], "counts": "x"}), 422, "invalid_prompt", "the mask can't be read"),
    (prompted(kind="mask", mask={"size": [2, 3], "counts": [6]}), 422, "invalid_prompt", "not one pixel is set"),
    (prompted(kind="mask", mask={"size": [20, 20], "counts": [0, 400]}), 422, "outside_image", "in the same shape"),
    (prompted(kind="mask", mask={"size": [10**6, 10**6], "counts": [10**12]}), 422, "invalid_prompt", "the limit is"),
    (prompted(kind="mask", mask={"png": "!!"}), 400, "malformed_request", "the mask is no base64"),
    (prompted(kind="mask", mask={"png": "aGVsbG8="}), 422, "unreadable_image", "not an image"),
    (prompted(kind="exemplar", image="0" * 32), 404, "image_not_found", "no image is stored"),
    (prompted(kind="exemplar", image={"base64": "?"}), 400, "malformed_request", "the image is no base64"),
    (prompted(kind="exemplar", image={"url": "http://localhost/"}), 422, "invalid_request", "image.inline.base64"),
]


@pytest.mark.parametrize(("queries", "status", "code", "message"), BAD_QUERIES)
def test_bad_queries(refused: Refused, image_id: str, queries: Any, status: int, code: str, message: str) -> None:
    got = refused("POST", "/v1/segment", json={"image": image_id, "queries": queries})
    assert got[:2] == (status, code) and message in got[2], got
    assert len(got[2]) < 600, "an error does not repeat a long request"


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"image": "f" * 32}, 404, "image_not_found", "'ffffffff"),
        ({"image": "x" * 10_000}, 422, "invalid_request", "x…' is no id of a stored image"),
        ({"image": "https://example.com/a.jpg"}, 422, "invalid_request", "is no id of a stored image"),
        ({"image": "data:image/png;base64,iVBORw0K"}, 422, "invalid_request", "is no id of a stored image"),
        ({"image": None}, 422, "invalid_request", "image"),
        ({"image": {"base64": "a"}}, 400, "malformed_request", "the image is no base64"),
        ({"model": "sam9"}, 404, "unknown_model", "no model named 'sam9' is served here; there are tiny"),
        ({"threshold": 1.5}, 422, "invalid_request", "threshold: Input should be less than or equal to 1"),
        ({"masks": "bitmap"}, 422, "invalid_request", "masks: Input should be 'rle', 'polygons', 'png' or 'none'"),
        ({"mask_long_side": 0}, 422, "invalid_request", "mask_long_side: Input should be greater than or equal to 1"),
        ({"url": "http://example.com/a.jpg"}, 422, "invalid_request", "url: Extra inputs are not permitted"),
    ],
)
def test_bad_requests(
    refused: Refused, image_id: str, change: dict[str, Any], status: int, code: str, message: str
) -> None:
    got = refused("POST", "/v1/segment", json={"image": image_id, "queries": ["cat"]} | change)
    assert got[:2] == (status, code) and message in got[2], got


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(client: TestClient, image_id: str, number: str) -> None:
    request = json.dumps({"image": image_id, "queries": prompted(kind="point", points_xy=[[1, 2]])})
    body = request.replace("[1, 2]", f"[{number}, 2]")
    got = read_refusal(client.post("/v1/segment", content=body, headers={"Content-Type": "application/json"}))
    assert got[:2] == (422, "invalid_request") and "points_xy.0.0: Input should be a finite number" in got[2]


def test_bodies_that_are_no_json(refused: Refused) -> None:
    json_type = {"Content-Type": "application/json"}
    assert refused("POST", "/v1/segment", content=b"{", headers=json_type)[:2] == (400, "malformed_request")
    assert refused("POST", "/v1/segment", content=b"\xff\xfe", headers=json_type)[:2] == (400, "malformed_request")
    assert refused("POST", "/v1/segment", content=b"[" * 100_000, headers=json_type)[:2] == (400, "malformed_request")
    plain = refused("POST", "/v1/segment", content=b'{"image": 1}', headers={"Content-Type": "text/plain"})
    assert plain == (415, "unsupported_media_type", "this route takes JSON")
    assert refused("POST", "/v1/segment", content=b"", headers=json_type)[:2] == (422, "invalid_request")


def test_kinds_that_the_model_lacks(serve: Callable[..., TestClient], photo: bytes) -> None:
    for model, queries, lacks in (
        ("promptseg-s1-test", prompted(kind="point", points_xy=[[9, 9]]), "no point prompts"),
        ("promptseg-test", prompted(kind="box", box_xyxy=[9, 9, 50, 50]), "no box prompts"),
        ("sam-test", ["cat"], "no text prompts"),
    ):
        client = serve(promptseg.load(model, engine="torch"))
        image_id = client.put("/v1/images", content=photo).json()["id"]
        got = read_refusal(client.post("/v1/segment", json={"image": image_id, "queries": queries}))
        assert got[:2] == (422, "unsupported_prompt") and lacks in got[2] and "models that do: promptseg" in got[2]
    query = {"label": "x", "prompts": [{"kind": "text", "text": "cat"}]}
    got = read_refusal(client.post("/v1/propose", json={"image": image_id, "query": query}))
    assert got[:2] == (422, "unsupported_prompt")


def test_words_have_no_candidates(refused: Refused, image_id: str) -> None:
    got = refused("POST", "/v1/propose", json={"image": image_id, "query": text("cat")})
    assert got[:2] == (422, "unsupported_prompt") and "has no candidates for text" in got[2]


def test_addresses_and_methods_that_do_not_exist(refused: Refused) -> None:
    assert refused("GET", "/v1/nothing")[:2] == (404, "no_such_route")
    assert refused("GET", "/../../etc/passwd")[:2] == (404, "no_such_route")
    assert refused("GET", "/photos/%2e%2e/errors.py")[:2] == (404, "no_such_route")
    assert refused("DELETE", "/v1/segment")[:2] == (405, "method_not_allowed")


def test_a_body_that_is_too_large(serve: Callable[..., TestClient], photo: bytes) -> None:
    client = serve(max_body_bytes=20_000, max_bodies_bytes=20_000)
    got = read_refusal(client.put("/v1/images", content=photo))
    assert got == (413, "body_too_large", f"the body has {len(photo):,} bytes; the limit is 20,000 bytes")
    streamed = read_refusal(client.put("/v1/images", content=iter([photo[:15_000], photo[15_000:]])))
    assert streamed[:2] == (413, "body_too_large") and "more bytes; the limit is 20,000" in streamed[2]
    small = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize((90, 60)).save(small, format="JPEG")
    assert client.put("/v1/images", content=small.getvalue()).status_code == 201, "all memory was given back"


def test_a_image_with_too_many_pixels_for_this_server(serve: Callable[..., TestClient], photo: bytes) -> None:
    got = read_refusal(serve(max_pixels=100_000).put("/v1/images", content=photo))
    assert got[:2] == (413, "image_too_large") and "300x451 = 135,300 pixels; the limit is 100,000" in got[2]


def test_a_bug_tells_nothing_of_the_inside(
    serve: Callable[..., TestClient],
    predictor: promptseg.Predictor,
    photo: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    client = serve()

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(predictor), "segment", fail)
    got = client.post("/v1/segment", json={"image": {"base64": base64.b64encode(photo).decode()}, "queries": ["cat"]})
    assert read_refusal(got)[:2] == (500, "internal_error") and "secret" not in got.text
    assert "default-src 'self'" in got.headers["content-security-policy"]
    assert "POST /v1/segment 500" in caplog.text
    assert client.get("/v1/status").json()["gates"] == [
        {"device": "cpu", "running": 0, "waiting": 0, "max_waiting": 8}
    ], "its place is free again"


def test_every_code_is_documented() -> None:
    root = Path(__file__).parents[2]
    source = "".join(path.read_text(encoding="utf-8") for path in (root / "src/promptseg/server").rglob("*.py"))
    codes = set(re.findall(r'\b([45]\d\d)(?:,|: \()\s*"([a-z_]+)"', source))
    documented = set(
        re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (root / "docs/serve.md").read_text(encoding="utf-8"), re.M)
    )
    assert len(codes) > 20
    assert codes == documented
