"""labelme's files as people draw and mend them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import DataError
from promptseg.formats.base import DataSet
from promptseg.formats.dataset import read

SQUARE = [[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]]


def draw(folder: Path, shapes: list[dict[str, Any]], **stated: object) -> DataSet:
    """Read a file as labelme writes it, without what a data set of ours has beside it."""
    Image.new("RGB", (96, 64)).save(folder / "a.jpg")
    (folder / "a.json").write_text(json.dumps({"shapes": shapes, **stated}))
    return read(folder, format="labelme")


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ({"points": SQUARE}, 100),
        ({"points": SQUARE, "shape_type": "polygon"}, 100),
        ({"points": SQUARE, "shape_type": "rotation"}, 100),
        ({"points": [[2.0, 2.0], [12.0, 12.0]], "shape_type": "rectangle"}, 100),
        ({"points": [[12.0, 2.0], [2.0, 12.0]], "shape_type": "rectangle"}, 100),
        ({"points": SQUARE, "shape_type": "rectangle"}, 100),
        ({"points": [[-5.0, 2.0], [5.0, 12.0]], "shape_type": "rectangle"}, 50),
        ({"points": [[40.0, 30.0], [40.0, 40.0]], "shape_type": "circle"}, 316),
    ],
)
def test_shapes_are_areas(shape: dict[str, Any], area: int, tmp_path: Path) -> None:
    found = draw(tmp_path, [{"label": "cup", **shape}])
    (annotation,) = found.annotations
    assert (annotation.file_name, annotation.size_hw, found.classes) == ("a.jpg", (64, 96), ("cup",))
    ((label, instance),) = annotation.objects()
    assert (label, instance.area, instance.score) == ("cup", area, 1.0)
    assert found.left_out == ()


def test_shapes_that_enclose_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    kinds = {"line": 2, "linestrip": 3, "point": 1, "points": 2, "polygon": 2, "rectangle": 1, "cuboid": 4}
    shapes = [
        {"label": "cup", "points": SQUARE[:number], "shape_type": kind, "group_id": None}
        for kind, number in kinds.items()
    ]
    outside = {"label": "cup", "points": [[200.0, 2.0], [220.0, 12.0]], "shape_type": "rectangle"}
    found = draw(tmp_path, [*shapes, outside, {"label": "mug", "points": SQUARE}])
    assert [label for label, _ in found.annotations[0].objects()] == ["mug"]
    assert [each.what.split("'")[3] for each in found.left_out] == [*kinds, "rectangle"]
    assert found.left_out[0].where == f"{tmp_path / 'a.json'}, shapes[0]"


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    far = (np.array(SQUARE) + 30).tolist()
    found = draw(tmp_path, [{"label": "cup", "points": points, "group_id": 1} for points in (SQUARE, far)])
    assert [instance.area for _, instance in found.annotations[0].objects()] == [200]


def test_paths_of_windows_are_paths(tmp_path: Path) -> None:
    found = draw(tmp_path, [], imagePath="..\\photos\\a.jpg", imageHeight=64, imageWidth=96)
    assert found.annotations[0].file_name == "../photos/a.jpg"


@pytest.mark.parametrize(
    "shape",
    [
        {"points": SQUARE},
        {"label": None, "points": SQUARE},
        {"label": "cup"},
        {"label": "cup", "points": [[1.0, float("nan")]] * 3},
        {"label": "cup", "points": [[1.0, 2.0]], "shape_type": "circle"},
    ],
)
def test_malformed_shapes_are_named(shape: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: not labelme's JSON"):
        draw(tmp_path, [shape])


def test_a_folder_without_files_of_labelme_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no JSON file of labelme"):
        read(tmp_path, format="labelme")
