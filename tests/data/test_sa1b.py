"""SA-1B's layout: pairs of files, masks without names, files that are broken or alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from sa1b_tree import SIZE_HW, draw_sa1b

from promptseg.data.sa1b import find_sa1b
from promptseg.data.sample import instance_masks
from promptseg.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_sa1b(tmp_path, 4)


def test_every_annotation_is_a_mask_of_one_nameless_target(root: Path) -> None:
    images = find_sa1b(root)
    assert len(images) == 4 and not images.problems
    sample = images[1]
    assert (sample.sample_id, sample.size_hw, sample.dataset) == ("sa_1", SIZE_HW, "sa1b")
    (target,) = sample.targets
    masks = instance_masks(target, SIZE_HW)
    assert masks.shape == (5, *SIZE_HW) and (masks[0] & masks[2]).sum() == masks[2].sum(), "a part lies in its whole"
    np.testing.assert_array_equal(masks[4], masks[0] | masks[1])
    assert target.score == pytest.approx(0.9)
    assert [each.sample_id for each in images] == ["sa_0", "sa_1", "sa_2", "sa_3"]
    assert [each.sample_id for each in images[1:3]] == ["sa_1", "sa_2"]


def test_a_subset_is_drawn_once_for_all(root: Path) -> None:
    images = find_sa1b(root)
    assert images.subset(0.5).paths == images.subset(0.5).paths
    assert len(images.subset(0.5)) == 2 and len(images.subset(0.01)) == 1 and images.subset(1.0).paths == images.paths
    for share in (0.0, 1.5):
        with pytest.raises(DataError, match=r"a share of SA-1B is in \(0, 1\]"):
            images.subset(share)


def test_files_without_their_pair_are_named(root: Path) -> None:
    (root / "sa_000000" / "sa_0.json").unlink()
    (root / "sa_000000" / "sa_3.jpg").unlink()
    images = find_sa1b(root)
    assert len(images) == 2
    assert [str(problem) for problem in images.problems] == [
        f"{root}/sa_000000/sa_0.jpg: no annotation file beside it",
        f"{root}/sa_000000/sa_3.json: no image beside it",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"sa_0\.json: not valid JSON .*it may be incomplete"),
        ("[]", r"sa_0\.json: expected an object with 'image' and 'annotations'"),
        ('{"annotations": []}', "field 'image' must be dict"),
        ('{"image": {"width": 0, "height": 4}, "annotations": []}', "image"),
        ('{"image": {"width": 4, "height": 4}, "annotations": {}}', "annotations: expected a list, got dict"),
        ('{"image": {"width": 4, "height": 4}, "annotations": [{"predicted_iou": 1}]}', "record 1: segmentation"),
        ('{"image": {"width": 4, "height": 4}, "annotations": [{}]}', "field 'predicted_iou' must be int or float"),
    ],
)
def test_a_broken_annotation_file_is_named(root: Path, content: str, message: str) -> None:
    (root / "sa_000000" / "sa_0.json").write_text(content)
    images = find_sa1b(root)
    with pytest.raises(DataError, match=message):
        images[0]
    assert images[1].targets, "the others are read"


def test_an_image_without_masks_has_no_target(root: Path) -> None:
    record = {"image": {"width": 96, "height": 64}, "annotations": []}
    (root / "sa_000000" / "sa_0.json").write_text(json.dumps(record))
    assert find_sa1b(root)[0].targets == ()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pair of sa_N\.jpg and sa_N\.json\. Get it from https"):
        find_sa1b(tmp_path)
    (tmp_path / "sa_1.jpg").touch()
    with pytest.raises(DataError, match=r"for one, .*sa_1\.jpg: no annotation file beside it"):
        find_sa1b(tmp_path)
