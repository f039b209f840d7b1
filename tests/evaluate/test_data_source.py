"""Annotated images by their path: a folder of images and masks, or an index."""

from pathlib import Path

import pytest
from data_trees import box_mask, write_image, write_index, write_mask

from promptseg.errors import DataError
from promptseg.evaluate.data_source import read_samples, select_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_image(tmp_path / "mugs/images" / f"{name}.png")
        write_mask(tmp_path / "mugs/masks/red mug" / f"{name}.png", box_mask(1, 1, 9, 9))
    return tmp_path / "mugs"


def test_a_folder_and_an_index_are_read(folder: Path, tmp_path: Path) -> None:
    samples = read_samples(folder)
    assert [target.phrase for sample in samples for target in sample.targets] == ["red mug"] * 2
    index = write_index(tmp_path / "data", "cats", [{"tags": ["cat"]}])
    assert [sample.sample_id for sample in read_samples(index)] == ["cats/image_0.webp"]


def test_a_wrong_path_names_the_way_out(folder: Path, tmp_path: Path) -> None:
    index = write_index(tmp_path / "data", "cats", [{"tags": ["cat"]}])
    with pytest.raises(DataError, match="no such folder or index"):
        read_samples(tmp_path / "gone")
    with pytest.raises(DataError, match=r"cats\.jsonl"):
        read_samples(index.parent)
    with pytest.raises(DataError, match="pseudo-masks belong to a JSONL index"):
        read_samples(folder, pseudo_masks={})


def test_some_samples_are_selected(folder: Path, tmp_path: Path) -> None:
    samples = read_samples(folder)
    assert [sample.sample_id for sample in select_samples(samples, "mugs", only=["images/b.png"])] == ["images/b.png"]
    assert len(select_samples(samples, "mugs", limit=1)) == 1
    with pytest.raises(DataError, match="mugs: its 2 images and the list have none in common"):
        select_samples(samples, "mugs", only=["elsewhere.png"])
    tags = read_samples(write_index(tmp_path / "data", "cats", [{"tags": ["cat"]}]))
    with pytest.raises(DataError, match="cats: no image has a phrase with a mask"):
        select_samples(tags, "cats")
