"""True maps from annotated images: things one by one, stuff joined, crowds apart."""

import numpy as np

from promptseg.data.sample import Sample, Target
from promptseg.data.true_segments import build_true_segments, choose_mapped, list_classes
from promptseg.language.class_list import parse_class_list
from promptseg.ops.rle import Rle, encode_rle

SIZE_HW = (10, 20)


def box(left: int, top: int, right: int, bottom: int) -> Rle:
    mask = np.zeros(SIZE_HW, bool)
    mask[top:bottom, left:right] = True
    return encode_rle(mask)


def sample(*targets: Target, exhaustive: frozenset[str] = frozenset()) -> Sample:
    return Sample("a.png", b"", SIZE_HW, targets, exhaustive=exhaustive)


SKY = Target("sky", "stuff", (box(0, 0, 20, 3), box(0, 3, 5, 5)))
CATS = Target("cat", "thing", (box(1, 2, 4, 8), box(10, 2, 14, 9)), void=(box(15, 0, 20, 9),))
CLASSES = parse_class_list(["cat [thing]", "sky, heaven [stuff]", "dog"])


def test_things_lie_on_stuff_and_crowds_where_nothing_is() -> None:
    truth = build_true_segments(sample(CATS, SKY), CLASSES)
    classes = list(truth.class_of_id.values())
    assert sorted(classes) == [0, 0, 0, 1] and len(truth.crowd_ids) == 1
    (crowd,) = truth.crowd_ids
    assert truth.class_of_id[crowd] == 0 and (truth.ids == crowd).sum() == 5 * 6, "not over the sky"
    (sky,) = (number for number, one in truth.class_of_id.items() if one == 1)
    assert (truth.ids == sky).sum() == 60 + 10 - 3 * 3 - 4 * 1, "without the cats"
    np.testing.assert_array_equal(truth.mask(1), truth.ids == sky)
    assert not truth.mask(2).any() and truth.ids[9, 9] == 0


def test_a_class_is_found_by_its_synonyms_and_others_have_no_truth() -> None:
    truth = build_true_segments(sample(Target("heaven", "stuff", SKY.masks), CATS), parse_class_list(["sky, heaven"]))
    assert truth.class_of_id == {1: 0} and (truth.ids > 0).sum() == 70


def test_classes_are_listed_with_their_kinds() -> None:
    listed = list_classes([sample(CATS, SKY, exhaustive=frozenset({"cat", "zebra"}))])
    assert [(one.label, one.is_thing) for one in listed] == [("cat", True), ("zebra", True), ("sky", False)]


def test_images_without_stuff_are_left_out_where_stuff_is_asked_for() -> None:
    both, things = sample(CATS, SKY), sample(CATS)
    assert choose_mapped([both, things], CLASSES) == (both,)
    assert choose_mapped([both, things], parse_class_list(["cat"])) == (both, things)
