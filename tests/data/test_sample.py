import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, box_rle

from promptseg.data.sample import (
    Problem,
    Sample,
    SampleSet,
    Target,
    decode_masks,
    encode_box,
    ignore_mask,
    instance_areas,
    instance_boxes,
    instance_masks,
    target_mask,
    union_mask,
    union_rle,
)
from promptseg.errors import DataError
from promptseg.ops.rle import Rle, encode_rle

TWO = Target("dog", masks=(box_rle(0, 0, 4, 4), box_rle(10, 8, 20, 12)), void=(box_rle(2, 2, 6, 6),))


def test_target_mask_is_the_union_of_the_instances():
    assert np.array_equal(target_mask(TWO, SIZE_HW), box_mask(0, 0, 4, 4) | box_mask(10, 8, 20, 12))
    assert [int(mask.sum()) for mask in instance_masks(TWO, SIZE_HW)] == [16, 40]
    assert instance_areas(TWO) == (16, 40)
    assert instance_boxes(TWO) == ((0, 0, 4, 4), (10, 8, 20, 12))


def test_codes_are_joined_as_masks_are():
    rles = (*TWO.masks, box_rle(2, 2, 12, 10))
    assert np.array_equal(union_mask((union_rle(rles),), SIZE_HW), union_mask(rles, SIZE_HW))
    assert union_rle(rles[:1]) == rles[0]
    assert union_rle(rles) == encode_rle(union_mask(rles, SIZE_HW))
    whole = encode_rle(np.ones(SIZE_HW, dtype=bool))
    short = Rle(size=list(SIZE_HW), counts=encode_rle(np.ones((3, 4), dtype=bool))["counts"])
    for code in (short, Rle(size=[3, 4], counts=short["counts"]), Rle(size=list(SIZE_HW), counts="")):
        with pytest.raises(DataError, match="masks can't be joined"):
            union_rle((code, whole))


def test_ignore_mask_never_overlaps_the_target():
    assert np.array_equal(ignore_mask(TWO, SIZE_HW), box_mask(2, 2, 6, 6) & ~box_mask(0, 0, 4, 4))


def test_boxes_stand_for_masks_where_there_are_none():
    boxed = Target("dog", boxes_xyxy=((1.2, 2.0, 5.9, 7.0),))
    assert boxed.evidence == "box"
    assert np.array_equal(target_mask(boxed, SIZE_HW), box_mask(1, 2, 6, 7))
    assert instance_areas(boxed) == pytest.approx((4.7 * 5,))
    assert encode_box((1, 2, 6, 7), SIZE_HW) == box_rle(1, 2, 6, 7)


def test_a_tag_has_no_mask():
    tagged = Target("dog")
    assert tagged.evidence == "tag"
    with pytest.raises(DataError, match="'dog' is only known to be in the image, not where"):
        target_mask(tagged, SIZE_HW)


def test_masks_of_another_size_and_broken_codes_are_errors():
    with pytest.raises(DataError, match=r"mask 0 is of size \(10, 10\) \(height, width\), expected \(24, 32\)"):
        decode_masks([box_rle(0, 0, 4, 4, (10, 10))], SIZE_HW)
    with pytest.raises(DataError, match="malformed run-length code"):
        decode_masks([{"size": list(SIZE_HW), "counts": box_rle(0, 0, 90, 90, (99, 99))["counts"]}], SIZE_HW)


def test_a_sample_set_is_a_sequence_that_keeps_its_problems():
    samples = tuple(Sample(name, b"", SIZE_HW, (TWO,)) for name in "ab")
    one = SampleSet(samples, (Problem("index:3", "no image"),))
    assert (len(one), one[0], list(one), one[1:]) == (2, samples[0], list(samples), samples[1:])
    assert [str(problem) for problem in one.problems] == ["index:3: no image"]
    assert one[0].with_evidence("mask") == (TWO,)
    assert one[0].with_evidence("box") == ()
