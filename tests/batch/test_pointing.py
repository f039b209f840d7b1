"""Points and boxes of single images, read from JSON lines and CSV; what is wrong in a file is named."""

from pathlib import Path

import pytest

from promptseg.batch.pointing import Pointing, point_at, read_pointing
from promptseg.batch.sources import BatchImage
from promptseg.errors import PromptError
from promptseg.prompts import BoxPrompt, PointPrompt, Query


def test_lines_are_objects(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text(
        '\ufeff{"image": "a.png", "label": "cup", "points": [[12, 30], [20, 31, 0]]}\n\n'
        '{"image": "a.png", "label": "cup", "boxes": [[1, 2, 30, 40]], "points": [[3, 4, true]]}\r\n'
        '{"image": "b.png", "points": [[5.5, 6]]}\n'
    )
    assert read_pointing(path).queries == {
        "a.png": (
            Query("cup", (PointPrompt(((12, 30), (20, 31)), (True, False)),)),
            Query("cup", (PointPrompt(((3, 4),)), BoxPrompt((1, 2, 30, 40)))),
        ),
        "b.png": (Query("object", (PointPrompt(((5.5, 6),)),)),),
    }


def test_rows_are_points_and_boxes(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(
        "image,label,x,y,on_object,x0,y0,x1,y1,object\n"
        "a.png,cup,12,30,1,,,,,\na.png,cup,20,31,0,,,,,\na.png,cup,50,60,,,,,,second\na.png,dog,,,,1,2,30,40,\n"
    )
    assert read_pointing(path).queries == {
        "a.png": (
            Query("dog", (BoxPrompt((1, 2, 30, 40)),)),
            Query("cup", (PointPrompt(((12, 30), (20, 31)), (True, False)),)),
            Query("cup", (PointPrompt(((50, 60),)),)),
        )
    }
    path.write_text("image,x,y\na.png,12,30\n")
    assert read_pointing(path).queries == {"a.png": (Query("object", (PointPrompt(((12, 30),)),)),)}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "", "no point and no box"),
        ("a.jsonl", "\n[1]\n", "line 2"),
        ("a.jsonl", '{"image": "a.png"}', "line 1: no point and no box"),
        ("a.jsonl", '{"points": [[1, 2]]}', "'image' is missing"),
        ("a.jsonl", '{"image": 3, "points": [[1, 2]]}', "are text"),
        ("a.jsonl", '{"image": "a", "points": [[1]]}', "line 1"),
        ("a.jsonl", '{"image": "a", "points": [["x", 2]]}', "line 1"),
        ("a.jsonl", '{"image": "a", "points": [[1, 2, 3]]}', "on the object"),
        ("a.jsonl", '{"image": "a", "points": {"x": 1}}', "line 1"),
        ("a.jsonl", '{"image": "a", "boxes": [[9, 2, 3, 4]]}', "left < right"),
        ("a.csv", "image,x,y\na.png,1,zwei\n", "line 2"),
        ("a.csv", "image,x,y\na.png,1,2\na.png,,\n", "line 3: no point and no box"),
        ("a.csv", "image,x,y\na.png,1,2,3\n", "line 2: more values than columns"),
        ("a.csv", "picture,x,y\na.png,1,2\n", "the column 'picture' is unknown"),
        ("a.csv", "x,y\n1,2\n", "'image' is missing"),
        ("a.csv", "image,x0,y0,x1\na.png,1,2,3\n", "'y1' is missing"),
        ("a.csv", "image,x,y,on_object\na.png,1,2,maybe\n", "line 2"),
        ("a.csv", "", "no point and no box"),
        ("a.txt", "a.png 1 2", ".jsonl or .csv"),
    ],
)
def test_what_is_wrong_is_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PromptError) as error:
        read_pointing(path)
    assert said in str(error.value) and str(path) in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no such file"):
        read_pointing(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="UTF-8"):
        read_pointing(tmp_path / "bytes.csv")


def test_images_get_their_points_and_strangers_are_named(tmp_path: Path) -> None:
    images = [BatchImage("a.png", Path("a.png")), BatchImage("b.png", Path("b.png"))]
    query = Query("cup", (PointPrompt(((1, 2),)),))
    first, second = point_at(images, Pointing("points.csv", {"a.png": (query,)}))
    assert (first.pointing, second.pointing) == ((query,), ())
    with pytest.raises(PromptError, match=r"points\.csv: there is no image 'c\.png'"):
        point_at(images, Pointing("points.csv", {"c.png": (query,)}))
