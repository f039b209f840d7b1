from data_trees import box_rle

from promptseg.data.positions import position_phrases, position_targets
from promptseg.data.sample import Sample, Target

IMAGE_HW = (240, 320)
LEFT, MIDDLE, RIGHT = (10, 90, 60, 150), (130, 90, 180, 150), (250, 90, 300, 150)


def meant(name, boxes, areas=None, size_hw=IMAGE_HW):
    areas = areas or [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    return {phrase.phrase: phrase.instances for phrase in position_phrases(name, boxes, areas, size_hw)}


def test_two_of_the_same_size_are_told_apart_by_side_only():
    assert meant("dog", [RIGHT, LEFT]) == {
        "the leftmost dog": (1,),
        "left dog": (1,),
        "dog on the left": (1,),
        "the rightmost dog": (0,),
        "right dog": (0,),
        "dog on the right": (0,),
    }


def test_three_are_counted_and_left_is_said_of_none_of_them():
    phrases = meant("people", [LEFT, MIDDLE, RIGHT])
    assert phrases["second person from the left"] == phrases["the person in the middle"] == (1,)
    assert phrases["the rightmost person"] == (2,)
    assert "left person" not in phrases


def test_the_largest_must_be_clearly_larger():
    assert meant("cup", [LEFT, RIGHT], [3000, 4500]).keys() == meant("cup", [LEFT, RIGHT]).keys()
    phrases = meant("cup", [LEFT, RIGHT], [3000, 5000])
    assert (phrases["the largest cup"], phrases["the smaller cup"]) == ((1,), (0,))
    three = meant("cup", [LEFT, MIDDLE, RIGHT], [3000, 3100, 5200])
    assert three["the biggest cup"] == (2,)
    assert not {"the larger cup", "the smallest cup"} & three.keys()


def test_above_and_below():
    phrases = meant("clock", [(100, 10, 150, 60), (100, 160, 150, 210)])
    assert (phrases["top clock"], phrases["clock at the bottom"], phrases["the highest clock"]) == ((0,), (1,), (0,))
    assert "left clock" not in phrases


def test_groups_in_either_half():
    boxes = [(5, 90, 45, 150), (60, 90, 100, 150), (250, 90, 300, 150)]
    phrases = meant("sheep", boxes)
    assert phrases["sheep on the left"] == (0, 1)
    assert "sheep on the right" not in phrases  # one alone: "the rightmost sheep" says it


def test_nothing_is_said_of_the_doubtful():
    overlapping = [(100, 90, 160, 150), (110, 90, 170, 150)]
    assert meant("dog", overlapping) == {}
    beside_a_large_one = [(0, 0, 300, 240), (200, 200, 240, 230)]
    assert meant("dog", beside_a_large_one).keys() == {
        f"the {word} dog" for word in ("largest", "biggest", "larger", "bigger", "smallest", "smaller")
    }
    assert meant("dog", [LEFT]) == {}
    assert meant("dog", [LEFT, (250, 90, 255, 95)]) == {}  # too small to ask for
    crowd = [(10 + 30 * index, 90, 35 + 30 * index, 150) for index in range(10)]
    assert meant("dog", crowd) == {}


def sample_with(*targets, exhaustive=("dog",)):
    return Sample("a", b"", IMAGE_HW, targets, exhaustive=frozenset(exhaustive))


def test_position_targets_pick_the_masks_of_complete_names_only():
    rles = tuple(box_rle(*box, IMAGE_HW) for box in (LEFT, RIGHT))
    dogs, boxed = Target("dogs", masks=rles), Target("cat", boxes_xyxy=(LEFT, RIGHT))
    targets = {target.phrase: target for target in position_targets(sample_with(dogs, boxed))}
    assert targets["left dog"].masks == rles[:1]
    assert targets["left dog"].kind == "phrase"
    assert not any("cat" in phrase for phrase in targets)
    both = {target.phrase: target for target in position_targets(sample_with(boxed, exhaustive=("cat",)))}
    assert both["cat on the right"].boxes_xyxy == (RIGHT,)
    crowded = Target("dog", masks=rles, void=rles[:1])
    assert position_targets(sample_with(crowded)) == ()
