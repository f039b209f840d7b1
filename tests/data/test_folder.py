import json
from pathlib import Path

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, write_image, write_mask
from PIL import Image

from promptseg.data.folder import read_folder
from promptseg.data.sample import target_mask
from promptseg.errors import DataError, PromptError
from promptseg.evaluate.data_source import read_samples


def write_phrases(directory, content):
    (directory / "phrases.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_one_mask_a_image_with_phrases(tmp_path):
    for name in ("one", "two.final"):
        write_image(tmp_path / "images" / f"{name}.jpg")
        write_mask(tmp_path / "masks" / f"{name}.png", box_mask(0, 0, 4, 4))
    write_phrases(tmp_path, {"one.jpg": ["The red mug", "mug"], "two.final": "grass"})
    samples = read_folder(tmp_path)
    assert [(target.phrase, target.alternatives) for sample in samples for target in sample.targets] == [
        ("the red mug", ("mug",)),
        ("grass", ()),
    ]
    assert [sample.sample_id for sample in samples] == ["images/one.jpg", "images/two.final.jpg"]
    assert samples.problems == ()
    assert np.array_equal(target_mask(samples[0].targets[0], SIZE_HW), box_mask(0, 0, 4, 4))


def test_a_folder_of_masks_per_phrase(tmp_path):
    write_image(tmp_path / "images/one.jpg")
    write_image(tmp_path / "images/two.png")
    for phrase, name in (("the left dog", "one"), ("grass", "one"), ("grass", "two")):
        write_mask(tmp_path / "masks" / phrase / f"{name}.png", box_mask(0, 0, 4, 4))
    write_mask(tmp_path / "masks/the left dog/two.png", box_mask(0, 0, 0, 0))
    one, two = read_folder(tmp_path)
    assert [target.phrase for target in one.targets] == ["grass", "the left dog"]
    assert ([target.phrase for target in two.targets], two.absent) == (["grass"], ("the left dog",))


def test_few_shot_folders_by_category(tmp_path):
    for category in ("apple_pie", "cup"):
        write_image(tmp_path / "images" / category / "1.jpg")  # the same file name in both
        write_mask(tmp_path / "masks" / category / "1.png", box_mask(0, 0, 4, 4))
    samples = read_folder(tmp_path)
    assert [sample.targets[0].phrase for sample in samples] == ["apple pie", "cup"]
    assert [sample.sample_id for sample in samples] == ["images/apple_pie/1.jpg", "images/cup/1.jpg"]


@pytest.mark.parametrize(
    ("mode", "inside"), [("L", 255), ("L", 1), ("P", 3), ("1", 1), ("RGB", (255, 255, 255)), ("L", 200)]
)
def test_every_usual_kind_of_mask_file(tmp_path, mode, inside):
    write_image(tmp_path / "images/one.jpg")
    image = Image.new(mode, SIZE_HW[::-1], 0)
    image.paste(inside, (2, 3, 10, 9))
    if mode == "P":
        image.putpalette([0, 0, 0] * 4)
    (tmp_path / "masks/cup").mkdir(parents=True)
    image.save(tmp_path / "masks/cup/one.png")
    (sample,) = read_folder(tmp_path)
    assert np.array_equal(target_mask(sample.targets[0], SIZE_HW), box_mask(2, 3, 10, 9))


def test_class_numbers_are_an_object_or_named_never_an_absence(tmp_path):
    for name in ("one", "two"):
        write_image(tmp_path / f"images/{name}.jpg")
    (tmp_path / "masks/mug").mkdir(parents=True)
    numbers = box_mask(2, 3, 10, 9).astype(np.uint8) * 2
    Image.fromarray(numbers).save(tmp_path / "masks/mug/one.png")
    numbers[12:20] = 5
    Image.fromarray(numbers).save(tmp_path / "masks/mug/two.png")
    samples = read_folder(tmp_path)
    assert [(sample.sample_id, len(sample.targets), sample.absent) for sample in samples] == [("images/one.jpg", 1, ())]
    (problem,) = samples.problems
    assert problem.where.endswith("masks/mug/two.png") and "the values 0, 2, 5" in problem.what
    told = read_folder(tmp_path, mask_value=2)
    assert [np.count_nonzero(target_mask(sample.targets[0], SIZE_HW)) for sample in told] == [48, 48]


def test_two_images_of_one_name_are_not_told_apart_in_silence(tmp_path):
    for name in ("one.jpg", "one.png"):
        write_image(tmp_path / "images" / name)
    write_mask(tmp_path / "masks/cup/one.png", box_mask(0, 0, 4, 4))
    samples = read_folder(tmp_path)
    assert [sample.sample_id for sample in samples] == ["images/one.jpg"]
    assert [problem.what for problem in samples.problems] == [
        "has the name of one.jpg, whose masks can't be told from its own"
    ]


def test_a_photo_that_lies_on_its_side_is_stood_up(tmp_path):
    path = tmp_path / "images/one.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE_HW).save(path, exif=exif)  # stored 24 wide, 32 high
    write_mask(tmp_path / "masks/cup/one.png", box_mask(0, 0, 4, 4))
    assert read_folder(tmp_path)[0].size_hw == SIZE_HW


def test_what_does_not_fit_is_named_and_counted(tmp_path):
    for name in ("good", "small", "bare"):
        write_image(tmp_path / f"images/{name}.jpg")
    (tmp_path / "images/notes.txt").write_text("hello")
    (tmp_path / "images/broken.jpg").write_bytes(b"no image")
    masks = tmp_path / "masks/cup"
    write_mask(masks / "good.png", box_mask(0, 0, 4, 4))
    write_mask(masks / "broken.png", box_mask(0, 0, 4, 4))
    write_mask(masks / "small.png", box_mask(0, 0, 4, 4, (10, 12)))
    write_mask(masks / "lonely.png", box_mask(0, 0, 4, 4))
    (tmp_path / "masks/lid").mkdir()
    (tmp_path / "masks/lid/good.png").write_bytes(b"no image")
    samples = read_folder(tmp_path)
    assert [[target.phrase for target in sample.targets] for sample in samples] == [["cup"]]
    problems = {problem.where.removeprefix(f"{tmp_path}/"): problem.what for problem in samples.problems}
    assert len(samples.problems) == 6
    assert problems.pop("images/broken.jpg").endswith("save it as JPEG or PNG")
    assert problems.pop("masks/lid/good.png").startswith("not an image, or of a kind that can't be read")
    assert problems == {
        "images/notes.txt": "not an image",
        "images/bare.jpg": "no mask",
        "masks/cup/small.png": "the mask is (10, 12) (height, width), its image small.jpg (24, 32)",
        "masks/cup/lonely.png": "no image images/lonely.*",
    }


def test_a_mask_without_a_phrase_is_named(tmp_path):
    for name in ("one", "two"):
        write_image(tmp_path / f"images/{name}.jpg")
        write_mask(tmp_path / f"masks/{name}.png", box_mask(0, 0, 4, 4))
    write_phrases(tmp_path, {"one": "cup"})
    samples = read_folder(tmp_path)
    assert len(samples) == 1
    assert "phrases.json has no phrase for two" in " ".join(map(str, samples.problems))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "phrases.json: not valid JSON"),
        ([1], 'expected {"NAME": "phrase"}, got list'),
        ({"one": []}, r"'one' must be a phrase or a list of phrases, got \[\]"),
        ({"one": "  "}, "'one' must be a phrase"),
        ({"one": 3}, "'one' must be a phrase or a list of phrases, got 3"),
    ],
)
def test_malformed_phrases_are_an_error(tmp_path, content, message):
    write_image(tmp_path / "images/one.jpg")
    write_mask(tmp_path / "masks/one.png", box_mask(0, 0, 4, 4))
    write_phrases(tmp_path, content)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_missing_parts_are_an_error_that_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"no folder 'images'; expected images/ and masks/"):
        read_folder(tmp_path)
    write_image(tmp_path / "images/one.jpg")
    with pytest.raises(DataError, match="no folder 'masks'"):
        read_folder(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"no image with a mask; for example, .*one.jpg: no mask"):
        read_folder(tmp_path)
    write_mask(tmp_path / "masks/one.png", box_mask(0, 0, 4, 4))
    with pytest.raises(DataError, match=r"phrases.json: missing; .* Or sort the masks: masks/PHRASE/NAME.png"):
        read_folder(tmp_path)


def write_classes(path: Path, *values: int) -> None:
    """A mask of class numbers, a column each, beside black."""
    painted = np.zeros((24, 32), dtype=np.uint8)
    for number, value in enumerate(values):
        painted[:, 8 * number : 8 * number + 8] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(painted).save(path)


def test_a_value_that_no_mask_has_is_an_error_that_lists_the_values(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"images/{name}.jpg")
        write_classes(tmp_path / f"masks/cup/{name}.png", 2, 3)
    with pytest.raises(
        DataError, match=r"no mask shows anything; .*a\.png: the mask has the values 0, 2, 3, none is 7"
    ):
        read_folder(tmp_path, mask_value=7)
    with pytest.raises(DataError, match=r"none is \(1, 2, 3\)"):
        read_folder(tmp_path, mask_value=(1, 2, 3))
    assert [len(sample.targets) for sample in read_folder(tmp_path, mask_value=2)] == [1, 1]


def test_a_mask_of_other_classes_says_absent_only_where_the_phrase_is_shown_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"images/{name}.jpg")
    for path, *values in (("cup/a", 2), ("cup/b", 3), ("lid/a", 5), ("lid/b", 5), ("pot/c",)):
        write_classes(tmp_path / f"masks/{path}.png", *values)
    samples = read_folder(tmp_path, mask_value=2)
    assert [sample.absent for sample in samples] == [(), ("cup",), ("pot",)], "nothing is known of the lid"
    (problem,) = samples.problems
    assert str(problem).endswith("lid/a.png: the mask has the values 0, 5, none is 2 (--mask-value)")
    assert problem.is_failure


def test_a_mask_value_is_refused_where_nothing_reads_it(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg")
    write_classes(tmp_path / "masks/cup/a.png", 2)
    for wrong in (7.5, True, -1, "7", (1, 2), (1, 2, 3.5), [0, 0, "a"]):
        with pytest.raises(PromptError, match="mask_value is a gray value or palette index such as 7"):
            read_folder(tmp_path, mask_value=wrong)  # type: ignore[arg-type]
    (sample,) = read_folder(tmp_path, mask_value=np.uint8(2))  # type: ignore[arg-type]
    assert sample.targets
    index = tmp_path / "set.jsonl"
    index.touch()
    with pytest.raises(DataError, match="an index says itself what is inside its masks: leave mask_value"):
        read_samples(index, mask_value=2)
