import json

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, box_rle, write_index

from promptseg.data.jsonl import load_pseudo_masks, read_jsonl
from promptseg.data.sample import ignore_mask, target_mask
from promptseg.errors import DataError


def mask_of(name, *box, **more):
    return {"category": name, "rle": box_rle(*box), "kind": "thing", **more}


def box_of(name, *corners):
    return {"category": name, "box_xyxy": list(corners)}


def made(image, *masks, source="box", score=0.9):
    return {"image": image, "masks": [{"source": source, "score": score, **mask} for mask in masks]}


def write_made(tmp_path, *records):
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return load_pseudo_masks([path])


def only_sample(index, **options):
    samples = read_jsonl(index, **options)
    assert len(samples) == 1
    return samples[0]


def by_phrase(sample):
    return {target.phrase: target for target in sample.targets}


def test_every_field_of_a_record_is_read(tmp_path):
    index = write_index(
        tmp_path,
        "coco_train",
        [
            {
                "masks": [
                    mask_of("dog", 0, 0, 4, 4),
                    mask_of("dog", 10, 0, 14, 4),
                    mask_of("wall_wood", 0, 20, 32, 24) | {"kind": "stuff"},
                ],
                "boxes": [box_of("cat", 2, 3, 40, 9)],
                "regions": [{"phrase": "The cat asleep.", "box_xyxy": [2, 3, 30, 9]}],
                "captions": ["A dog and a cat."],
                "coco_id": 42,
                "sequence": "clip",
                "license": "CC0",
            }
        ],
    )
    sample = only_sample(index)
    targets = by_phrase(sample)
    assert list(targets) == ["dog", "wall wood", "cat", "the cat asleep"]
    assert [target.kind for target in sample.targets] == ["thing", "stuff", "thing", "phrase"]
    assert [target.evidence for target in sample.targets] == ["mask", "mask", "box", "box"]
    assert len(targets["dog"].masks) == 2
    assert targets["cat"].boxes_xyxy == ((2, 3, 32, 9),)  # clipped to the image
    assert (sample.coco_id, sample.sequence, sample.license) == (42, "clip", "CC0")
    assert (sample.size_hw, sample.captions, sample.dataset) == (SIZE_HW, ("A dog and a cat.",), "coco_train")
    assert "dog" in sample.exhaustive and len(sample.exhaustive) == 80
    assert sample.image.is_file()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("20 VOC classes", 20),
        ("80 COCO things", 80),
        ("person, car", {"person", "car"}),
        (["Person", "car"], {"person", "car"}),
        (None, set()),
    ],
)
def test_exhaustive_is_a_list_or_the_name_of_one(tmp_path, listed, expected):
    record = {"tags": ["dog"]} | ({"exhaustive": listed} if listed else {})
    names = only_sample(write_index(tmp_path, "some", [record])).exhaustive
    assert len(names) == expected if isinstance(expected, int) else names == expected


def test_names_for_the_same_thing_become_one_target(tmp_path):
    index = write_index(
        tmp_path, "some", [{"masks": [mask_of("cell phone", 0, 0, 4, 4), mask_of("mobile phone", 8, 0, 12, 4)]}]
    )
    (target,) = only_sample(index).targets
    assert (target.phrase, target.alternatives, len(target.masks)) == ("cell phone", ("mobile phone",), 2)


def test_a_crowd_and_a_trimap_border_are_void(tmp_path):
    index = write_index(
        tmp_path,
        "some",
        [
            {
                "masks": [
                    mask_of("person", 0, 0, 4, 4),
                    mask_of("person", 10, 0, 20, 4, iscrowd=1),
                    mask_of("cat", 8, 8, 16, 16) | {"void": box_rle(6, 6, 18, 18)},
                    mask_of("sheep", 0, 20, 9, 24, iscrowd=1),
                ]
            }
        ],
    )
    targets = by_phrase(only_sample(index))
    assert np.array_equal(target_mask(targets["person"], SIZE_HW), box_mask(0, 0, 4, 4))
    assert np.array_equal(ignore_mask(targets["person"], SIZE_HW), box_mask(10, 0, 20, 4))
    assert np.array_equal(ignore_mask(targets["cat"], SIZE_HW), box_mask(6, 6, 18, 18) & ~box_mask(8, 8, 16, 16))
    assert targets["sheep"].evidence == "tag"  # there, but not one instance is told apart


def test_the_tags_of_a_single_object_are_all_its_names(tmp_path):
    record = {"tags": ["oatly oat milk", "oat milk"], "alt_names": ["milk carton"], "single_object": True}
    sample = only_sample(write_index(tmp_path, "some", [record]))
    (target,) = sample.targets
    assert (target.phrase, target.alternatives, target.evidence) == (
        "oatly oat milk",
        ("oat milk", "milk carton"),
        "tag",
    )
    assert sample.single_object


def test_pseudo_masks_take_the_place_of_boxes_and_unmasked_boxes_become_void(tmp_path):
    index = write_index(tmp_path, "some", [{"boxes": [box_of("dog", 0, 0, 8, 8), box_of("dog", 16, 0, 24, 8)]}])
    masks = write_made(tmp_path, made("some/image_0.webp", mask_of("dog", 1, 1, 8, 8, names=["hound"]), score=0.75))
    (target,) = only_sample(index, pseudo_masks=masks).targets
    assert (target.source, target.score, target.alternatives) == ("box", 0.75, ("hound",))
    assert np.array_equal(target_mask(target, SIZE_HW), box_mask(1, 1, 8, 8))
    assert np.array_equal(ignore_mask(target, SIZE_HW), box_mask(16, 0, 24, 8))


def test_people_win_over_pseudo_masks(tmp_path):
    record = {
        "exhaustive": "dog, cat, bird",
        "masks": [mask_of("dog", 0, 0, 8, 8)],
        "boxes": [box_of("cat", 16, 0, 24, 8)],
    }
    index = write_index(tmp_path, "some", [record])
    image = "some/image_0.webp"
    masks = write_made(
        tmp_path,
        made(image, mask_of("dog", 16, 16, 24, 24), source="teacher"),  # people drew the dogs
        made(image, mask_of("cat", 0, 16, 8, 24), source="teacher"),  # no person's box there
        made(image, mask_of("bird", 0, 16, 8, 24), source="teacher"),  # people say there is none
        made(image, mask_of("duck", 0, 16, 8, 24), source="teacher"),  # nor, then, a kind of it
        made(image, mask_of("lamp", 0, 16, 8, 24), source="teacher", score=0.5),
    )
    targets = by_phrase(only_sample(index, pseudo_masks=masks))
    assert list(targets) == ["dog", "cat", "lamp"]
    assert (targets["dog"].source, len(targets["dog"].masks)) == ("human", 1)
    assert targets["cat"].evidence == "box"
    assert (targets["lamp"].source, targets["lamp"].score) == ("teacher", 0.5)


def test_a_pseudo_mask_finds_its_tag_by_any_of_its_names(tmp_path):
    index = write_index(tmp_path, "some", [{"tags": ["tench"], "alt_names": ["river fish"], "single_object": True}])
    masks = write_made(tmp_path, made("some/image_0.webp", mask_of("river fish", 0, 0, 8, 8), source="tag"))
    (target,) = only_sample(index, pseudo_masks=masks).targets
    assert (target.phrase, target.evidence, target.source) == ("tench", "mask", "tag")


def test_two_processes_that_mask_the_same_object_make_one_instance(tmp_path):
    index = write_index(tmp_path, "some", [{"tags": ["mug"], "single_object": True}])
    image = "some/image_0.webp"
    masks = write_made(
        tmp_path,
        made(image, mask_of("mug", 0, 0, 8, 8), source="teacher-box", score=0.8),
        made(image, mask_of("mug", 16, 0, 24, 8), source="teacher-box", score=0.7),
        made(image, mask_of("mug", 0, 0, 8, 9), source="single-object", score=0.9),
    )
    (target,) = only_sample(index, pseudo_masks=masks).targets
    assert len(target.masks) == 2
    assert (target.source, target.score) == ("single-object", pytest.approx(0.8))


def test_another_made_name_counts_only_where_every_instance_has_it(tmp_path):
    index = write_index(tmp_path, "some", [{}])
    image = "some/image_0.webp"
    masks = write_made(
        tmp_path,
        made(image, mask_of("bin", 0, 0, 8, 8, names=["bin", "trash can", "bucket"])),
        made(image, mask_of("bin", 16, 0, 24, 8, names=["bin", "trash can"])),
    )
    (target,) = only_sample(index, pseudo_masks=masks).targets
    assert (target.phrase, target.alternatives, len(target.masks)) == ("bin", ("trash can",), 2)


def test_what_does_not_fit_is_named_and_counted(tmp_path):
    wrong = mask_of("dog", 0, 0, 4, 4) | {"rle": box_rle(0, 0, 4, 4, (10, 10))}
    index = write_index(
        tmp_path,
        "some",
        [
            {"masks": [wrong, mask_of("cat", 0, 0, 4, 4)], "boxes": [box_of("cup", 40, 0, 50, 4)]},
            {"image": "some/gone.webp", "tags": ["dog"]},
        ],
    )
    (tmp_path / "some/gone.webp").unlink()
    masks = write_made(tmp_path, made("some/other.webp", mask_of("dog", 0, 0, 4, 4)))
    samples = read_jsonl(index, pseudo_masks=masks)
    assert [target.phrase for target in samples[0].targets] == ["cat"]
    assert [str(problem) for problem in samples.problems] == [
        f"{index}:1: mask 'dog' of some/image_0.webp is (10, 10) (height, width), the image (24, 32)",
        f"{index}:1: box [40, 0, 50, 4] of 'cup' has no area inside some/image_0.webp",
        f"{index}:2: no image some/gone.webp",
        f"{tmp_path / 'made.jsonl'}:1: pseudo-masks for some/other.webp, which some.jsonl does not have",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad.jsonl:2: not valid JSON \(Expecting property name"),
        ("[1]", r"bad.jsonl:2: expected a JSON object, got list"),
        ('{"width": 3}', r"bad.jsonl:2: field 'image' must be str, got None"),
        ('{"image": "bad/image_0.webp"}', r"bad.jsonl:2: image bad/image_0.webp has a second record"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(tmp_path, line, message):
    index = write_index(tmp_path, "bad", [{"tags": ["dog"]}])
    index.write_text(index.read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        read_jsonl(index)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"masks": [{"category": "dog"}]}, "field 'rle' must be dict"),
        ({"masks": [mask_of("dog", 0, 0, 4, 4) | {"kind": "blob"}]}, "kind must be one of thing, stuff, part, phrase"),
        (
            {"masks": [{"category": "dog", "rle": mask_of("dog", 0, 0, 4, 4)["rle"] | {"counts": "0"}}]},
            r"bad\.jsonl:1: mask 'dog': a run-length code of 0 pixels, expected",
        ),
        ({"boxes": [box_of("dog", 1, 2, 3)]}, "box_xyxy of 'dog' has 3 numbers, expected 4"),
        ({"boxes": [{"box_xyxy": [1, 2, 3, 4]}]}, "field 'category' must be str"),
        ({"masks": [7.5]}, r"bad\.jsonl:1: field 'masks' must be a list of objects, got \[7\.5\]"),
        ({"masks": "dog"}, "field 'masks' must be a list of objects, got 'dog'"),
        ({"boxes": [[1, 2, 3, 4]]}, "field 'boxes' must be a list of objects"),
        ({"boxes": [box_of("dog", 1, "2", 3, 4)]}, "box_xyxy of 'dog' has corners that are not numbers"),
        ({"boxes": [box_of("dog", 1, float("nan"), 3, 4)]}, "box_xyxy of 'dog' has corners that are not numbers"),
        ({"regions": {"phrase": "dog"}}, "field 'regions' must be a list of objects"),
        ({"tags": ["dog", 3]}, r"field 'tags' must be a list of texts, got \['dog', 3\]"),
        ({"tags": "dog"}, "field 'tags' must be a list of texts, got 'dog'"),
        ({"captions": 3}, "field 'captions' must be a list of texts, got 3"),
        ({"exhaustive": 3}, "field 'exhaustive' must be a list of texts, got 3"),
        ({"height": "high"}, r"bad\.jsonl:1: height and width are whole numbers from 1 on, not 'high' and"),
        (
            {"height": 10**9},
            r"bad\.jsonl:1: says that its image has 1000000000x\d+ pixels .* the limit is 178,956,970",
        ),
    ],
)
def test_a_malformed_field_is_named(tmp_path, record, message):
    with pytest.raises(DataError, match=message):
        read_jsonl(write_index(tmp_path, "bad", [record]))


def test_an_index_that_is_missing_or_has_no_image_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: can't be read"):
        read_jsonl(tmp_path / "none.jsonl")
    index = write_index(tmp_path, "some", [{"tags": ["dog"]}])
    (tmp_path / "some/image_0.webp").unlink()
    with pytest.raises(DataError, match="no record has its image"):
        read_jsonl(index)
