import doctest

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, box_rle, write_index

from lab import held_out
from lab.held_out import is_held_out_region_image, names_held_out, to_training_sample, training_name
from lab.sets import (
    EVAL_SETS,
    EVALUATION_INDEXES,
    excluded_images,
    is_derived_phrase,
    load_eval_set,
    load_training_set,
    read_image_list,
)
from promptseg.data.jsonl import load_lines, load_pseudo_masks
from promptseg.data.negatives import absent_names
from promptseg.data.sample import Sample, Target, target_mask
from promptseg.errors import DataError
from promptseg.language.class_names import CAMVID_NAMES


def test_names_of_listed_images_may_have_spaces(tmp_path):
    (tmp_path / "images.txt").write_text("coco_train/red fox 1.jpg\n\ncoco_train/2.jpg\n")
    assert read_image_list(tmp_path / "images.txt") == {"coco_train/red fox 1.jpg", "coco_train/2.jpg"}


HUMAN, DERIVED = "the person wearing jeans", "the person touching the broccoli"


def mask_of(name, *box, kind="thing"):
    return {"category": name, "rle": box_rle(*box), "kind": kind}


def region_records(count=30):
    return [
        {
            "coco_id": number,
            "exhaustive": "80 COCO things",
            "boxes": [{"category": "person", "box_xyxy": [1, 1, 9, 9]}],
            "regions": [
                {"phrase": HUMAN, "box_xyxy": [1, 1, 9, 9]},
                {"phrase": DERIVED, "box_xyxy": [1, 1, 9, 9]},
            ],
        }
        for number in range(count)
    ] + [{"coco_id": 1000 + number, "tags": ["dog"]} for number in range(5)]


def test_coco_dev_asks_as_many_absent_things_as_there_are_present_names(tmp_path):
    records = [
        {
            "masks": [
                mask_of("fork", 0, 0, 4, 4),
                mask_of("knife", 8, 0, 12, 4),
                mask_of("sky", 0, 8, 32, 12, kind="stuff"),
            ]
        }
        for _ in range(20)
    ] + [{"masks": [mask_of("fork", 0, 0, 4, 4)]}] * 10
    records = [{**record, "image": f"coco_dev/{number}.webp"} for number, record in enumerate(records)]
    write_index(tmp_path, "coco_dev", records)
    samples = load_eval_set("coco_dev", tmp_path)
    assert [len(sample.absent) for sample in samples] == [3] * 20 + [1] * 10
    for sample in samples:
        assert set(sample.absent) <= set(absent_names(sample, sample.exhaustive))
        assert len(set(sample.absent)) == len(sample.absent)
    # The hard half: a knife goes with a fork.
    assert sum("knife" in sample.absent for sample in samples[20:]) >= 5
    again = load_eval_set("coco_dev", tmp_path)
    assert [sample.absent for sample in again] == [sample.absent for sample in samples]
    other = load_eval_set("coco_dev", tmp_path, seed=1)
    assert [sample.absent for sample in other] != [sample.absent for sample in samples]


def test_what_is_asked_of_a_image_does_not_hang_on_the_others(tmp_path):
    records = [{"image": f"coco_dev/{name}.webp", "masks": [mask_of("dog", 0, 0, 4, 4)]} for name in "abc"]
    write_index(tmp_path, "coco_dev", records)
    whole = {sample.sample_id: sample.absent for sample in load_eval_set("coco_dev", tmp_path)}
    write_index(tmp_path, "coco_dev", records[::-1])
    assert {sample.sample_id: sample.absent for sample in load_eval_set("coco_dev", tmp_path)} == whole


@pytest.mark.parametrize("name", sorted(set(EVAL_SETS) - {"coco_dev", "regions"}))
def test_the_other_sets_ask_for_what_is_annotated(tmp_path, name):
    write_index(tmp_path, name, [{"masks": [mask_of("car", 0, 0, 4, 4)]}])
    (sample,) = load_eval_set(name, tmp_path)
    assert [target.phrase for target in sample.targets] == ["car"]
    assert sample.absent == ()
    assert EVAL_SETS[name].class_names == (CAMVID_NAMES if name == "camvid_val" else ())
    assert EVAL_SETS[name].summary


def test_regions_ask_for_the_human_phrases_of_the_held_out_third(tmp_path):
    write_index(tmp_path, "coco_boxes", region_records())
    samples = load_eval_set("regions", tmp_path)
    assert 5 <= len(samples) <= 15
    for sample in samples:
        (target,) = sample.targets
        assert (target.phrase, target.source, target.evidence) == (HUMAN, "box", "mask")
        assert np.array_equal(target_mask(target, SIZE_HW), box_mask(1, 1, 9, 9))


def test_pseudo_masks_of_regions_are_the_truth_where_they_are_given(tmp_path):
    write_index(tmp_path, "coco_boxes", region_records())
    image = load_eval_set("regions", tmp_path)[0].sample_id
    region = {**mask_of(HUMAN, 2, 2, 9, 9, kind="phrase"), "source": "region", "score": 0.9}
    person = {**mask_of("person", 1, 1, 9, 8), "source": "box", "score": 0.9}
    write_index(tmp_path, "made", [{"image": image, "masks": [region, person]}])
    samples = load_eval_set("regions", tmp_path, pseudo_masks=load_pseudo_masks([tmp_path / "made.jsonl"]))
    first, second = samples[0].targets[0], samples[1].targets[0]
    assert (first.source, second.source) == ("region", "box")
    assert np.array_equal(target_mask(first, SIZE_HW), box_mask(2, 2, 9, 9))


def test_training_and_regions_share_no_image(tmp_path):
    index = write_index(tmp_path, "coco_boxes", region_records())
    asked = {sample.sample_id for sample in load_eval_set("regions", tmp_path)}
    training = load_training_set("coco_boxes", tmp_path)
    assert asked == excluded_images(index)
    assert len(training) == 35 - len(asked)
    assert asked.isdisjoint(sample.sample_id for sample in training)
    assert sorted(str(problem) for problem in training.problems) == sorted(
        f"{index}: {image} is held out for evaluation" for image in asked
    )


def test_the_held_out_third_is_fixed(tmp_path):
    held_out = [number for number in range(21) if is_held_out_region_image({"coco_id": number, "regions": ["any"]})]
    assert held_out == [3, 5, 7, 10, 11, 20]
    assert not is_held_out_region_image({"coco_id": held_out[0]})


def test_evaluation_sets_are_never_trained_on(tmp_path):
    with pytest.raises(DataError, match="'coco_dev' is an evaluation set; training on it would spoil it"):
        load_training_set("coco_dev", tmp_path)
    index = write_index(tmp_path, "pets_dev", [{"tags": ["cat"]}])
    assert excluded_images(index) == {line.record["image"] for line in load_lines(index)}


def test_images_that_look_like_evaluation_ones_are_left_out(tmp_path):
    images = [f"faces_train/fasseg_conv_V2_Train_RGB_{number}.webp" for number in (1, 2)]
    write_index(tmp_path, "faces_train", [{"image": image, "tags": ["nose"]} for image in images])
    assert [sample.sample_id for sample in load_training_set("faces_train", tmp_path)] == images[1:]


def test_an_unknown_set_names_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="no evaluation set 'coco_val'; there are coco_dev, camvid_val"):
        load_eval_set("coco_val", tmp_path)


@pytest.mark.parametrize(
    ("phrase", "derived"),
    [
        (DERIVED, True),
        ("the potted plant at the right side of the dining table", True),
        ("the car far away from the bus", True),
        (HUMAN, False),
        ("the car in front of the blue car", False),
        ("the person wearing a hat not under the umbrella", False),
    ],
)
def test_derived_phrases_are_told_from_human_ones(phrase, derived):
    assert is_derived_phrase(phrase) is derived


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apple", None),
        ("red apples", None),
        ("Granny_Smith", None),
        ("pineapple", "pineapple"),
        ("british shorthair cat", "cat"),
        ("Labrador Retriever", "dog"),
        ("Pug", "dog"),
        ("dog", "dog"),
        ("hot dog", "hot dog"),
        ("cardigan", "cardigan"),
        ("lion", "lion"),
    ],
)
def test_held_out_names_are_renamed_or_dropped(name, expected):
    assert training_name(name) == expected


def test_a_training_sample_never_says_a_held_out_name():
    sample = Sample(
        "a",
        b"",
        SIZE_HW,
        targets=(
            Target("apple", boxes_xyxy=((0, 0, 4, 4),)),
            Target("beagle", alternatives=("hunting beagle",), boxes_xyxy=((0, 0, 4, 4),)),
            Target("fruit", alternatives=("green apple", "some fruit")),
            Target("the dog beside an apple", kind="phrase"),
            Target("the left dog", kind="phrase"),
        ),
        exhaustive=frozenset(("apple", "dog")),
        captions=("A pug on a couch", "Apples in a bowl", "A dog on a couch"),
    )
    kept = to_training_sample(sample)
    assert [target.phrase for target in kept.targets] == ["dog", "fruit", "the left dog"]
    assert [target.alternatives for target in kept.targets] == [(), ("some fruit",), ()]
    assert kept.exhaustive == {"dog"}
    assert kept.captions == ("A dog on a couch",)
    said = [text for target in kept.targets for text in (target.phrase, *target.alternatives)]
    assert not any(names_held_out(text) for text in (*said, *kept.captions))


def test_a_breed_beside_a_dog_does_not_make_a_second_dog():
    dog, breed = Target("dog", boxes_xyxy=((0, 0, 4, 4),)), Target("beagle")
    assert to_training_sample(Sample("a", b"", SIZE_HW, (dog, breed))).targets == (dog,)


def test_the_examples_of_the_documentation_hold():
    outcome = doctest.testmod(held_out)
    assert (outcome.attempted, outcome.failed) == (1, 0)


def test_pseudo_masks_are_not_made_for_evaluation_images():
    assert {"coco_dev", "davis_dev", "camvid_val"} <= EVALUATION_INDEXES
    assert "coco_boxes" not in EVALUATION_INDEXES, "two thirds of its images with regions are for training"
