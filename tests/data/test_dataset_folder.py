"""What `promptseg.write` and `autolabel` write is read as samples, in every format."""

import json
from pathlib import Path

import numpy as np
import pytest
from formats_world import SIZE_HW, disc, make_segmentation
from PIL import Image

from promptseg.data.folder import read_folder
from promptseg.data.sample import target_mask
from promptseg.errors import DataError
from promptseg.evaluate.data_source import read_samples
from promptseg.formats.dataset import write
from promptseg.formats.table import FORMATS

CAT = disc(20, 30, 8)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / f"{name}.png" for name in ("a", "b")]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(make_segmentation({"cat": []}).image_rgb).save(path)
    return paths


def write_both(images: list[Path], out: Path, format: str) -> Path:
    first, second = make_segmentation({"cat": [CAT], "dog": []}), make_segmentation({"cat": [], "dog": []})
    return write({images[0]: first, images[1]: second}, out, format=format, tolerance=0)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_with_what_is_absent(name: str, images: list[Path], tmp_path: Path) -> None:
    samples = read_samples(write_both(images, tmp_path / "out", name))
    assert samples.problems == ()
    assert [sorted(sample.absent) for sample in samples] == [["dog"], ["cat", "dog"]]
    (target,) = samples[0].targets
    assert target.phrase == "cat" and samples[0].size_hw == SIZE_HW
    np.testing.assert_array_equal(target_mask(target, SIZE_HW), CAT)
    assert all(isinstance(sample.image, Path) and sample.image.is_file() for sample in samples)


def test_what_a_person_mended_counts_and_what_is_no_area_is_named(images: list[Path], tmp_path: Path) -> None:
    out = write_both(images, tmp_path / "out", "labelme")
    path = out / "pictures" / "b.json"
    document = json.loads(path.read_text())
    document["shapes"] = [
        {"label": "dog", "points": [[2, 2], [12, 8]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[2, 2], [12, 8]], "shape_type": "line"},
    ]
    path.write_text(json.dumps(document))
    samples = read_folder(out)
    assert samples[1].absent == (), "who drew a line along the cat says that it is there"
    assert np.count_nonzero(target_mask(samples[1].targets[0], SIZE_HW)) == 60
    assert [str(problem) for problem in samples.problems] == [
        f"{path}, shapes[1]: 'cat', a shape of the type 'line', is no area in the image"
    ]


def test_images_that_are_gone_changed_or_new_are_named(images: list[Path], tmp_path: Path) -> None:
    out = write_both(images, tmp_path / "coco", "coco")
    Image.new("RGB", (5, 5)).save(out / "images" / "b.png")
    Image.new("RGB", (5, 5)).save(out / "images" / "new.png")
    samples = read_folder(out)
    assert [sample.sample_id for sample in samples] == ["images/a.png"]
    assert [problem.what for problem in samples.problems] == [
        f"the image is (5, 5) (height, width), its annotation {SIZE_HW}",
        "no annotation",
    ]
    loose = write_both(images, tmp_path / "npz", "npz")
    images[0].unlink()
    assert [str(problem) for problem in read_folder(loose).problems] == [f"{images[0]}: no such file"]
    images[1].unlink()
    with pytest.raises(DataError, match=r"a data set without an image that can be read; for example, .*no such file"):
        read_folder(loose)
    (loose / "images").mkdir()
    Image.fromarray(make_segmentation({"cat": []}).image_rgb).save(loose / "images" / "a.png")
    assert [sample.sample_id for sample in read_folder(loose)] == ["images/a.png"]
