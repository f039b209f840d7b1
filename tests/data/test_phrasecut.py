import json

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, write_image
from phrasecut_tree import box_polygon, task, write_phrasecut
from PIL import Image, ImageDraw

from promptseg.data.phrasecut import SKIPPED_IMAGE_IDS, read_phrasecut
from promptseg.data.sample import decode_masks, target_mask
from promptseg.errors import DataError

SKIPPED = min(SKIPPED_IMAGE_IDS)


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
        (json.dumps([{**task(1, "cup"), "Polygons": [[[[1e999, 1], [2, 2]]]]}]), r"Polygons must be .* infinity"),
        (json.dumps([task(9, "cup")]), "not one phrase with its image; for one, .* has no image 9"),
    ):
        refer.write_text(content)
        with pytest.raises(DataError, match=message):
            read_phrasecut(tmp_path, "test")


def test_seventeen_images_are_skipped():
    assert len(SKIPPED_IMAGE_IDS) == 17
