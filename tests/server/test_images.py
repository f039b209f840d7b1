"""`/v1/images`: an image is sent once, and its id follows from its content."""

import base64
import io
import re
from collections.abc import Callable

from fastapi.testclient import TestClient
from PIL import Image

from promptseg import Predictor


def test_a_image_is_stored_once_and_encoded(client: TestClient, photo: bytes) -> None:
    first = client.put("/v1/images", content=photo)
    assert first.status_code == 201
    answer = first.json()
    assert answer["size_hw"] == [300, 451] and answer["is_encoded"] and answer["expires_in_s"] == 1800
    assert re.fullmatch("[0-9a-f]{32}", answer["id"])
    assert answer["seconds"].keys() == {"wait", "decode", "encode"}
    again = client.post("/v1/images", content=photo)
    assert again.status_code == 200 and again.json()["id"] == answer["id"]
    assert "decode" not in again.json()["seconds"], "it is known already"
    assert client.get("/v1/status").json()["images"]["num_images"] == 1


def test_nobody_can_compute_an_id(serve: Callable[..., TestClient], photo: bytes) -> None:
    one, other = (serve().put("/v1/images", content=photo).json()["id"] for _ in range(2))
    assert one != other, "each server has a key of its own"


def test_a_image_for_an_exemplar_is_only_stored(client: TestClient, photo: bytes) -> None:
    answer = client.put("/v1/images?encode=false", content=photo).json()
    assert not answer["is_encoded"] and "encode" not in answer["seconds"]
    assert client.put("/v1/images", content=photo).json()["is_encoded"]


def test_everything_is_encoded_at_once_so_that_the_first_click_is_fast(client: TestClient, photo: bytes) -> None:
    image_id = client.put("/v1/images", content=photo).json()["id"]
    before = client.get("/v1/status").json()["images"]["bytes"]
    point = {"label": "x", "prompts": [{"kind": "point", "points_xy": [[120, 80]]}]}
    assert client.post("/v1/segment", json={"image": image_id, "queries": ["cat", point]}).status_code == 200
    assert client.get("/v1/status").json()["images"]["bytes"] == before, "SAM's embedding was there already"


def test_exif_orientation_is_applied(client: TestClient, photo: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(turned, format="JPEG", exif=exif)
    assert client.put("/v1/images", content=turned.getvalue()).json()["size_hw"] == [451, 300]


def test_a_image_can_be_looked_up_and_forgotten(client: TestClient, image_id: str) -> None:
    assert client.get(f"/v1/images/{image_id}").json()["size_hw"] == [300, 451]
    assert client.delete(f"/v1/images/{image_id}").status_code == 204
    for answer in (
        client.get(f"/v1/images/{image_id}"),
        client.delete(f"/v1/images/{image_id}"),
        client.post("/v1/segment", json={"image": image_id, "queries": ["cat"]}),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "code": "image_not_found",
            "message": f"no image is stored under the id '{image_id}'",
            "way_out": "send the image again: PUT /v1/images",
        }


def test_two_models_share_a_image_and_have_an_embedding_each(
    serve: Callable[..., TestClient], predictor: Predictor, photo: bytes
) -> None:
    import promptseg

    other = promptseg.load("promptseg-test", engine="torch")
    client = serve([predictor, other])
    image_id = client.put("/v1/images", content=photo).json()["id"]
    one = client.get("/v1/status").json()["images"]
    assert client.put(f"/v1/images?model={other.name}", content=photo).json()["id"] == image_id
    both = client.get("/v1/status").json()["images"]
    assert one["num_images"] == both["num_images"] == 1
    assert one["bytes"] < both["bytes"] < 2 * one["bytes"], "the pixels are stored once"
    for model in (None, predictor.name, other.name):
        answer = client.post("/v1/segment", json={"image": image_id, "queries": ["cat"], "model": model}).json()
        assert answer["model"] == (model or predictor.name)
        assert "encode" not in answer["seconds"]


def test_base64_is_taken_as_programs_write_it(client: TestClient, photo: bytes) -> None:
    plain = base64.b64encode(photo).decode()
    forms = (
        plain,
        f"data:image/jpeg;base64,{plain}",
        base64.encodebytes(photo).decode(),  # lines, as `base64 photo.jpg` writes them
        base64.urlsafe_b64encode(photo).decode(),
        plain.rstrip("="),
    )
    ids = set()
    for form in forms:
        answer = client.post("/v1/segment", json={"image": {"base64": form}, "queries": ["cat"], "masks": "none"})
        assert answer.status_code == 200, answer.text
        ids.add(answer.json()["image"])
    assert len(ids) == 1


def test_monitors_may_ask_for_the_header_alone(client: TestClient) -> None:
    for url in ("/healthz", "/readyz"):
        answer = client.head(url)
        assert (answer.status_code, answer.content) == (200, b"")
