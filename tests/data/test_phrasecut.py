import json

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, write_image
from PIL import Image, ImageDraw

from promptseg.data.crops import object_crop
from promptseg.data.phrasecut import SKIPPED_IMAGE_IDS, read_phrasecut
from promptseg.data.phrasecut_plus import PROMPT_TEMPLATES, phrasecut_episodes, phrasecut_plus
from promptseg.data.sample import decode_masks, target_mask, union_mask
from promptseg.errors import DataError

SKIPPED = min(SKIPPED_IMAGE_IDS)


def box_polygon(x0, y0, x1, y1):
    """The corners of a box whose outline is inside the mask, as the data set draws it."""
    return [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]


def task(image_id, phrase, *instances, noun=None):
    """One task with a polygon per instance."""
    return {
        "task_id": f"{image_id}__{phrase}",
        "image_id": image_id,
        "ann_ids": [1],
        "instance_boxes": [[0, 0, 1, 1]],
        "Polygons": [[polygon] for polygon in instances],
        "phrase": phrase,
        "phrase_structure": {
            "name": noun or phrase.split()[-1],
            "attributes": [],
            "relation_ids": [],
            "relation_descriptions": [],
            "type": "name",
        },
    }


def write_phrasecut(root, tasks, *, split="test", size_hw=SIZE_HW):
    """Write VGPhraseCut_v0 with these tasks, and an image for each of their ids."""
    directory = root / "VGPhraseCut_v0"
    ids = sorted({one["image_id"] for one in tasks})
    for image_id in ids:
        write_image(directory / "images" / f"{image_id}.jpg", size_hw)
    (directory / f"refer_{split}.json").write_text(json.dumps(tasks))
    images = [
        {
            "image_id": one,
            "coco_id": one + 5,
            "flickr_id": None,
            "height": size_hw[0],
            "width": size_hw[1],
            "split": split,
        }
        for one in ids
    ]
    (directory / "image_data_split.json").write_text(json.dumps(images))
    return directory


def test_every_task_is_a_target_with_a_mask_per_instance(tmp_path):
    tasks = [
        task(7, "Black dog", box_polygon(2, 3, 9, 8), box_polygon(20, 3, 25, 10)),
        task(3, "grass", box_polygon(0, 12, 32, 24)),
        task(7, "grass", box_polygon(0, 12, 32, 24)),
        task(7, "grass", box_polygon(0, 20, 32, 24)),  # the same phrase twice is asked twice
    ]
    write_phrasecut(tmp_path, tasks)
    samples = read_phrasecut(tmp_path, "test")
    assert samples.problems == ()
    assert [(sample.sample_id, sample.coco_id) for sample in samples] == [("phrasecut/7", 12), ("phrasecut/3", 8)]
    assert [(target.phrase, target.category) for target in samples[0].targets] == [
        ("black dog", "dog"),
        ("grass", "grass"),
        ("grass", "grass"),
    ]
    masks = decode_masks(samples[0].targets[0].masks, SIZE_HW)
    assert np.array_equal(masks, np.stack([box_mask(2, 3, 9, 8), box_mask(20, 3, 25, 10)]))
    assert len(read_phrasecut(tmp_path / "VGPhraseCut_v0", "test")) == 2  # the folder itself will do


def test_polygons_are_filled_as_the_authors_fill_them(tmp_path):
    rng = np.random.default_rng(0)
    polygons = [rng.uniform(-4, 36, (rng.integers(3, 9), 2)).tolist() for _ in range(40)]
    write_phrasecut(tmp_path, [task(index, "thing", *polygons[index : index + 2]) for index in range(39)])
    compared = 0
    for sample in read_phrasecut(tmp_path, "test"):
        summed = np.zeros(SIZE_HW)  # polygons_to_mask of utils/data_transfer.py: a layer for each, summed
        index = int(sample.sample_id.split("/")[1])
        for polygon in polygons[index : index + 2]:
            layer = Image.new("L", SIZE_HW[::-1], 0)
            ImageDraw.Draw(layer).polygon([(int(x), int(y)) for x, y in polygon], outline=1, fill=1)
            summed += np.array(layer)
        assert np.array_equal(target_mask(sample.targets[0], SIZE_HW), summed > 0)
        compared += 1
    assert compared > 30


def test_what_is_left_out_is_said(tmp_path):
    tasks = [
        task(1, "cup", box_polygon(2, 2, 8, 8), box_polygon(90, 90, 95, 95)),
        task(1, "lid", [[3, 3]]),
        task(SKIPPED, "cup", box_polygon(2, 2, 8, 8)),
        task(2, "cup", box_polygon(2, 2, 8, 8)),
        task(4, "cup", box_polygon(2, 2, 8, 8)),
        task(5, "cup", box_polygon(2, 2, 8, 8)),
    ]
    directory = write_phrasecut(tmp_path, tasks)
    (directory / "images/2.jpg").unlink()
    write_image(directory / "images/4.jpg", (10, 12))
    (directory / "images/5.jpg").write_bytes(b"no image")
    samples = read_phrasecut(tmp_path, "test")
    assert [[target.phrase for target in sample.targets] for sample in samples] == [["cup"]]
    said = "\n".join(map(str, samples.problems))
    assert len(samples.problems) == 6
    assert "record 1: 1 of 2 instances enclose nothing" in said
    assert "record 2: 1 of 1 instances enclose nothing" in said
    assert f"{SKIPPED}.jpg: its 1 phrases are of another size; CLIPSeg leaves it out too" in said
    assert "2.jpg: no such image" in said
    assert "4.jpg: the image is (10, 12) (height, width), its annotation (24, 32)" in said
    assert "5.jpg: can't be read" in said


def test_a_image_that_lies_on_its_side_is_measured_upright(tmp_path):
    directory = write_phrasecut(tmp_path, [task(1, "cup", box_polygon(2, 2, 8, 8))])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE_HW).save(directory / "images/1.jpg", exif=exif)  # stored 24 wide, 32 high
    assert read_phrasecut(tmp_path, "test").problems == ()


def test_the_image_list_may_have_the_name_of_the_readme(tmp_path):
    directory = write_phrasecut(tmp_path, [task(1, "cup", box_polygon(2, 2, 8, 8))])
    (directory / "image_data_split.json").rename(directory / "image_data_split3000.json")
    assert len(read_phrasecut(tmp_path, "test")) == 1


@pytest.mark.parametrize("missing", ["refer_test.json", "image_data_split.json", "images"])
def test_a_missing_file_is_named_with_its_place_and_source(tmp_path, missing):
    directory = write_phrasecut(tmp_path, [task(1, "cup", box_polygon(2, 2, 8, 8))])
    (directory / missing).rename(directory / "elsewhere")
    with pytest.raises(DataError) as caught:
        read_phrasecut(tmp_path, "test")
    message = str(caught.value)
    assert f"expected {directory / missing}" in message
    assert "Get it from https://github.com/ChenyunWu/PhraseCutDataset" in message


def test_malformed_files_are_errors_that_name_the_place(tmp_path):
    directory = write_phrasecut(tmp_path, [task(1, "cup", box_polygon(2, 2, 8, 8))])
    with pytest.raises(DataError, match="no split 'dev'; there are train, val, test, miniv"):
        read_phrasecut(tmp_path, "dev")
    refer = directory / "refer_test.json"
    for content, message in (
        ("[{", "not valid JSON"),
        ("{}", "expected a list, got dict"),
        ("[3]", "record 1: expected an object, got int"),
        ('[{"image_id": "1"}]', "record 1: field 'image_id' must be int, got '1'"),
        (json.dumps([{**task(1, "cup"), "Polygons": [[3]]}]), r"Polygons must be \[instance\]\[polygon\]\[x, y\]"),
        (json.dumps([task(9, "cup")]), "not one phrase with its image; for one, .* has no image 9"),
    ):
        refer.write_text(content)
        with pytest.raises(DataError, match=message):
            read_phrasecut(tmp_path, "test")


def crowd(root, num_images=60, size_hw=SIZE_HW):
    """Images of two phrases each: one of six that many share, and one of their own."""
    rng = np.random.default_rng(1)
    tasks = []
    for image_id in range(1, num_images + 1):
        x0, y0 = rng.integers(0, size_hw[1] - 3), rng.integers(0, size_hw[0] - 3)
        polygon = box_polygon(int(x0), int(y0), int(x0) + 3, int(y0) + 3)
        tasks += [task(image_id, f"kind {image_id % 6}", polygon), task(image_id, f"only {image_id}", polygon)]
    write_phrasecut(root, tasks, split="train", size_hw=size_hw)
    return read_phrasecut(root, "train")


def test_plus_one_in_five_is_a_foreign_phrase_with_an_empty_mask(tmp_path):
    samples = crowd(tmp_path)
    by_id = {sample.sample_id: {target.phrase for target in sample.targets} for sample in samples}
    num_negative = num_examples = 0
    for epoch in range(4):
        for example in phrasecut_plus(samples, epoch=epoch):
            query, phrase = example.episode.query, example.episode.phrase
            assert len(query.targets) + len(query.absent) == 1
            assert bool(query.absent) == (phrase not in by_id[query.sample_id])
            assert example.text in {template.replace("{}", phrase) for template in PROMPT_TEMPLATES}
            num_negative += bool(query.absent)
            num_examples += 1
    assert num_examples == 480
    # Binomial(480, 0.2): 96, standard deviation 9.
    assert abs(num_negative - 96) < 36
    assert not any(example.episode.query.absent for example in phrasecut_plus(samples, negative_share=0))
    assert all(example.episode.query.absent for example in phrasecut_plus(samples, negative_share=1))


def test_plus_never_calls_foreign_what_the_image_implies(tmp_path):
    polygon = box_polygon(2, 2, 8, 8)
    write_phrasecut(tmp_path, [task(1, "black dog", polygon), task(2, "dog", polygon), task(3, "black cat", polygon)])
    samples = read_phrasecut(tmp_path, "test")
    asked = {}
    for seed in range(30):
        for example in phrasecut_plus(samples, seed=seed, negative_share=1):
            asked.setdefault(example.episode.query.sample_id, set()).add(example.episode.phrase)
    assert asked == {
        "phrasecut/1": {"black cat"},
        "phrasecut/2": {"black dog", "black cat"},
        "phrasecut/3": {"black dog", "dog"},
    }
    with pytest.raises(DataError, match="phrasecut/1 has all 1 phrases there are"):
        list(phrasecut_plus(samples[:1], negative_share=1))


def test_plus_exemplars_show_the_phrase_in_another_image(tmp_path):
    samples = crowd(tmp_path)
    by_id = {sample.sample_id: sample for sample in samples}
    num_shown = 0
    for example in phrasecut_plus(samples):
        query, phrase = example.episode.query, example.episode.phrase
        if not example.episode.support:
            assert phrase.startswith("only")
            assert example.support_crop_xyxy is None
            continue
        (exemplar,) = example.episode.support
        assert exemplar.sample_id != query.sample_id
        (shown,) = (target for target in by_id[exemplar.sample_id].targets if target.phrase == phrase)
        assert np.array_equal(union_mask((exemplar.mask,), SIZE_HW), target_mask(shown, SIZE_HW))
        x0, y0, x1, y1 = example.support_crop_xyxy
        assert target_mask(shown, SIZE_HW)[y0:y1, x0:x1].any()
        num_shown += 1
    assert num_shown > 50


def test_plus_follows_from_seed_and_epoch(tmp_path):
    samples = crowd(tmp_path, 20)
    first = list(phrasecut_plus(samples, seed=3, epoch=1))
    assert first == list(phrasecut_plus(samples, seed=3, epoch=1))
    assert first != list(phrasecut_plus(samples, seed=3, epoch=2))
    assert first != list(phrasecut_plus(samples, seed=4, epoch=1))
    asked = sorted(example.episode.query.sample_id for example in first)
    assert asked == sorted(2 * [sample.sample_id for sample in samples])


def test_episodes_leave_out_what_no_other_image_has(tmp_path):
    samples = crowd(tmp_path, 20)
    episodes = phrasecut_episodes(samples, seed=1)
    assert len(episodes) == 20
    assert all(episode.phrase.startswith("kind") for episode in episodes)
    assert "20 of 40 phrases are in no other image" in str(episodes.problems[0])
    assert episodes == phrasecut_episodes(samples, seed=1)
    assert episodes != phrasecut_episodes(samples, seed=2)


@pytest.mark.parametrize("size_hw", [(24, 32), (40, 16), (30, 30), (8, 90)])
def test_crops_keep_the_object_in_sight(size_hw):
    rng = np.random.default_rng(0)
    height, width = size_hw
    side = min(size_hw)
    for _ in range(200):
        mask = np.zeros(size_hw, dtype=bool)
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(height), rng.integers(width)
            mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
        x0, y0, x1, y1 = object_crop(mask, rng)
        assert (x1 - x0, y1 - y0) == (side, side)
        assert 0 <= x0 <= x1 <= width
        assert 0 <= y0 <= y1 <= height
        most = max(
            mask[y : y + side, x : x + side].sum() for y in range(height - side + 1) for x in range(width - side + 1)
        )
        assert mask[y0:y1, x0:x1].sum() >= min(most, 0.05 * mask.size)
        assert mask[y0:y1, x0:x1].any()


def test_crops_reach_every_place_that_shows_enough():
    mask = box_mask(10, 0, 14, 20, (20, 40))
    places = {object_crop(mask, np.random.default_rng(seed))[0] for seed in range(300)}
    # Of 80 object pixels, more than 40 (5 % of the image) are to be seen: at least three of four columns.
    assert places == set(range(0, 12))
    assert len({object_crop(np.zeros((20, 40), bool), np.random.default_rng(seed)) for seed in range(300)}) == 21


def test_seventeen_images_are_skipped():
    assert len(SKIPPED_IMAGE_IDS) == 17
