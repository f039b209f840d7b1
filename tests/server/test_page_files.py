"""The files of the page and the example photographs; nothing else of the disk is served."""

from pathlib import Path

from fastapi.testclient import TestClient

import promptseg
from promptseg.server.routes.page_files import PAGE, list_files


def test_the_page_and_its_parts_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text == (PAGE / "index.html").read_text(encoding="utf-8")
    files = list_files()
    assert {path.suffix for path in files.values()} >= {".html", ".css", ".js", ".json", ".jpg"}
    for address, path in files.items():
        assert client.get(address).content == path.read_bytes()
    assert client.head("/").status_code == 200


def test_every_file_of_the_page_is_served() -> None:
    # a kind of file that has no media type would be missing in silence
    shipped = {path for path in PAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert shipped <= set(list_files().values())


def test_the_examples_are_there(client: TestClient) -> None:
    examples = client.get("/v1/examples").json()["examples"]
    photos = {path.stem for path in (Path(promptseg.__file__).parent / "photos").glob("*.jpg")}
    assert {example["name"] for example in examples} == photos
    for example in examples:
        photo = client.get(example["url"])
        assert photo.headers["content-type"] == "image/jpeg"
        assert client.put("/v1/images", content=photo.content).status_code == 201
        assert example["phrases"]


def test_an_unchanged_file_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/photos/coffee.jpg")
    again = client.get("/photos/coffee.jpg", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert first.headers["cache-control"] == "no-cache"
