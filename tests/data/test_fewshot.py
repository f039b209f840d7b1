import doctest
import itertools
import pickle

import numpy as np
import pytest
from data_trees import SIZE_HW, write_image
from PIL import Image

from promptseg.data import fewshot
from promptseg.data.fewshot import coco_20i_classes, pascal_5i_classes, read_coco_20i, read_pascal_5i
from promptseg.data.pascal import UNSEEN_PAIRS, VOC_CLASSES, read_pascal_zeroshot
from promptseg.data.sample import ignore_mask, target_mask, union_mask
from promptseg.errors import DataError
from promptseg.language.class_names import COCO_THINGS, VOC_NAMES


def write_labels(path, boxes, *, palette=False):
    """Write a label map: class numbers in boxes, later ones on top."""
    labels = np.zeros(SIZE_HW, dtype=np.uint8)
    for number, (x0, y0, x1, y1) in boxes:
        labels[y0:y1, x0:x1] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette:
        image.putpalette(list(range(256)) * 3)
    image.save(path)
    return labels


def write_pascal_5i(root, *, per_class=3, missing=()):
    """HSNet's tree: VOC2012 and the lists of all folds; a class has a border around it and another one beside it."""
    for split in ("trn", "val"):
        for fold in range(4):
            lines = []
            for number in range(5 * fold + 1, 5 * fold + 6):
                for index in range(per_class):
                    name = f"20{split == 'trn':d}{number:02}_{index:06}"
                    lines.append(f"{name}__{number:02}")
                    neighbor = number % 20 + 1
                    boxes = [(255, (3, 3, 17, 17)), (number, (4, 4, 16, 16)), (neighbor, (20, 2, 26 + index, 8))]
                    write_labels(root / f"VOC2012/SegmentationClassAug/{name}.png", boxes)
                    if name not in missing:
                        write_image(root / f"VOC2012/JPEGImages/{name}.jpg")
            path = root / f"splits/pascal/{split}/fold{fold}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def pascal_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pascal")
    write_pascal_5i(root)
    return root


@pytest.mark.parametrize("classes_of", [pascal_5i_classes, coco_20i_classes])
def test_folds_divide_the_classes(classes_of):
    tested = [set(classes_of(fold, "val")) for fold in range(4)]
    num_classes = {pascal_5i_classes: 20, coco_20i_classes: 80}[classes_of]
    assert sorted(number for fold in tested for number in fold) == list(range(num_classes))
    for fold in range(4):
        assert set(classes_of(fold, "train")) == set(range(num_classes)) - tested[fold]


def test_folds_have_the_classes_of_the_papers():
    assert [VOC_CLASSES[number] for number in pascal_5i_classes(0, "val")] == [
        "aeroplane", "bicycle", "bird", "boat", "bottle",
    ]  # fmt: skip
    assert [VOC_CLASSES[number] for number in pascal_5i_classes(3, "val")] == [
        "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ]  # fmt: skip
    assert [COCO_THINGS[number] for number in coco_20i_classes(0, "val")][:5] == [
        "person", "airplane", "boat", "parking meter", "dog",
    ]  # fmt: skip


@pytest.mark.parametrize("fold", range(4))
def test_pascal_episodes_cycle_the_list_and_keep_to_their_classes(pascal_root, fold):
    episodes = read_pascal_5i(pascal_root, fold, num_episodes=40)
    assert episodes.problems == ()
    assert len(episodes) == 40
    assert list(episodes.class_names) == list(pascal_5i_classes(fold, "val"))
    listed = (pascal_root / f"splits/pascal/val/fold{fold}.txt").read_text().split()
    for index, episode in enumerate(episodes):
        name, number = listed[index % len(listed)].split("__")
        assert episode.query.sample_id == f"pascal/{name}"
        assert episode.class_id == int(number) - 1
        (target,) = episode.query.targets
        assert (target.category, episode.phrase) == (VOC_CLASSES[episode.class_id], VOC_NAMES[episode.class_id])
        (exemplar,) = episode.support
        assert exemplar.sample_id != episode.query.sample_id
        assert exemplar.sample_id.startswith(f"pascal/200{number}_")
        assert union_mask((exemplar.mask,), SIZE_HW).any()


def test_pascal_training_has_the_other_folds(pascal_root):
    episodes = read_pascal_5i(pascal_root, 1, "train", num_episodes=None)
    assert len(episodes) == 45
    tested = set(pascal_5i_classes(1, "val"))
    assert {episode.class_id for episode in episodes} == set(range(20)) - tested
    names = {exemplar.sample_id for episode in episodes for exemplar in episode.support}
    assert all(name.startswith("pascal/201") for name in names)  # images of the training lists only


def test_pascal_masks_are_the_class_and_borders_are_void(pascal_root):
    (episode,) = read_pascal_5i(pascal_root, 0, num_episodes=1)
    (target,) = episode.query.targets
    mask, void = target_mask(target, SIZE_HW), ignore_mask(target, SIZE_HW)
    assert mask[4:16, 4:16].all()
    assert mask.sum() == 144
    assert void.sum() == 14 * 14 - 144
    assert not (mask & void).any()


@pytest.mark.parametrize("num_shots", [1, 2])
def test_episodes_follow_from_the_seed_and_shots_are_distinct(pascal_root, num_shots):
    def read(seed):
        return read_pascal_5i(pascal_root, 2, num_shots=num_shots, num_episodes=20, seed=seed)

    episodes = read(0)
    for episode in episodes:
        shown = [exemplar.sample_id for exemplar in episode.support]
        assert len({*shown, episode.query.sample_id}) == num_shots + 1
    assert episodes == read(0)
    # More episodes do not change the first ones.
    assert read_pascal_5i(pascal_root, 2, num_shots=num_shots, num_episodes=30).episodes[:20] == episodes.episodes
    orders = {tuple(exemplar.sample_id for episode in read(seed) for exemplar in episode.support) for seed in range(3)}
    assert len(orders) == 3


def test_pascal_says_what_is_left_out(tmp_path):
    write_pascal_5i(tmp_path, per_class=2, missing=("20001_000000",))
    episodes = read_pascal_5i(tmp_path, 0, num_episodes=10)
    said = "\n".join(map(str, episodes.problems))
    assert "20001_000000.jpg: no such image" in said
    assert "pascal/20001_000001: 0 other images of aeroplane, 1 are needed" in said
    assert {episode.class_id for episode in episodes} == {1, 2, 3, 4}
    (tmp_path / "VOC2012/SegmentationClassAug/20002_000000.png").unlink()
    write_labels(tmp_path / "VOC2012/SegmentationClassAug/20003_000000.png", [(7, (0, 0, 4, 4))])
    said = "\n".join(map(str, read_pascal_5i(tmp_path, 0, num_episodes=10).problems))
    assert "20002_000000.png: no such label map" in said
    assert "20003_000000.png: the list names the class bird, but no pixel has it" in said
    with pytest.raises(
        DataError, match=r"pascal in .*: not one episode; for one, pascal/20006_000000: 1 other images of bus"
    ):
        read_pascal_5i(tmp_path, 1, num_shots=2)


@pytest.mark.parametrize(
    ("missing", "expected", "source"),
    [
        ("splits/pascal/val/fold1.txt", "splits/pascal/val/fold1.txt", "hsnet (the folder data/splits)"),
        ("VOC2012/JPEGImages", "VOC2012/JPEGImages", "VOCtrainval_11-May-2012.tar"),
        ("VOC2012/SegmentationClassAug", "VOC2012/SegmentationClassAug", "its README links to the masks"),
    ],
)
def test_a_missing_part_of_pascal_is_named_with_its_place_and_source(tmp_path, missing, expected, source):
    write_pascal_5i(tmp_path, per_class=1)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        read_pascal_5i(tmp_path, 1)
    assert f"expected {tmp_path / expected}" in str(caught.value)
    assert source in str(caught.value)


def test_lists_that_do_not_fit_are_errors(pascal_root, tmp_path):
    write_pascal_5i(tmp_path, per_class=1)
    path = tmp_path / "splits/pascal/val/fold0.txt"
    for content, message in (
        ("2007_000033\n", "expected NAME__CLASS, got '2007_000033'"),
        ("2007_000033__06\n", r"has classes \[5\] \(from 0\), which are not in this fold and split"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            read_pascal_5i(tmp_path, 0)
    with pytest.raises(DataError, match="folds 0 to 3"):
        read_pascal_5i(pascal_root, 4)
    with pytest.raises(DataError, match="at least one shot"):
        read_pascal_5i(pascal_root, 0, num_shots=0)


def write_coco_20i(root, fold=1, *, per_class=3):
    """HSNet's tree of one fold, both splits; its first class stands on many more images than the others."""
    for split, folder in (("trn", "train2014"), ("val", "val2014")):
        by_class = {number: [] for number in range(80)}
        for number in coco_20i_classes(fold, "val" if split == "val" else "train"):
            for index in range(per_class * (5 if number < 4 else 1)):
                name = f"{folder}/COCO_{folder}_{1000 * number + index:012}.jpg"
                by_class[number].append(name)
                write_labels(root / f"COCO2014/annotations/{name[:-4]}.png", [(number + 1, (2, 2, 9 + index % 9, 9))])
                write_image(root / "COCO2014" / name)
        path = root / f"splits/coco/{split}/fold{fold}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(by_class, protocol=3))


@pytest.fixture(scope="module")
def coco_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    write_coco_20i(root)
    return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_episodes_draw_classes_evenly(coco_root, split):
    episodes = read_coco_20i(coco_root, 1, split, num_shots=2, num_episodes=300)
    assert episodes.problems == ()
    class_ids = coco_20i_classes(1, split)
    assert list(episodes.class_names.items()) == [(number, COCO_THINGS[number]) for number in class_ids]
    counts = np.bincount([episode.class_id for episode in episodes], minlength=80)
    assert set(np.flatnonzero(counts)) <= set(class_ids)
    assert counts.max() < 4 * 300 / len(class_ids)  # although some classes have five times the images
    for episode in episodes:
        shown = {exemplar.sample_id for exemplar in episode.support}
        assert len(shown | {episode.query.sample_id}) == 3
        assert {int(name[-16:-4]) // 1000 for name in shown} == {episode.class_id}
        assert all(name.startswith(f"coco/{split}2014/") for name in shown)
    assert episodes == read_coco_20i(coco_root, 1, split, num_shots=2, num_episodes=300)
    assert episodes != read_coco_20i(coco_root, 1, split, num_shots=2, num_episodes=300, seed=1)


def test_coco_lists_may_ask_for_no_class_of_python(tmp_path):
    write_coco_20i(tmp_path, per_class=1)
    path = tmp_path / "splits/coco/val/fold1.pkl"
    path.write_bytes(pickle.dumps({1: [np.str_("val2014/a.jpg")]}))
    with pytest.raises(DataError, match=r"fold1.pkl: asks for numpy"):
        read_coco_20i(tmp_path, 1)
    for content in (["val2014/a.jpg"], {"1": ["val2014/a.jpg"]}, {1: "val2014/a.jpg"}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r"expected \{class: \[image, ...\]\}"):
            read_coco_20i(tmp_path, 1)
    with pytest.raises(DataError, match=r"no file fold2.pkl; expected .*splits/coco/val/fold2.pkl .*hsnet"):
        read_coco_20i(tmp_path, 2)


def write_voc(root):
    """VOC's own tree: palette label maps; image n shows class n, every third also class n + 1."""
    directory = root / "VOCdevkit/VOC2012"
    for split, offset in (("train", 100), ("val", 0)):
        names = []
        for number in range(1, 21):
            name = f"2007_{offset + number:06}"
            boxes = [(255, (3, 3, 17, 17)), (number, (4, 4, 16, 16))]
            boxes += [(number + 1, (20, 2, 26, 8))] if number % 3 == 0 and number < 20 else []
            write_labels(directory / f"SegmentationClass/{name}.png", boxes, palette=True)
            write_image(directory / f"JPEGImages/{name}.jpg")
            names.append(name)
        path = directory / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    return directory


def test_zero_shot_classes_are_those_of_the_paper(tmp_path):
    write_voc(tmp_path)
    unseen = [set(read_pascal_zeroshot(tmp_path, number).unseen) for number in (2, 4, 6, 8, 10)]
    assert unseen[0] == {"cow", "motorbike"}
    assert unseen[1] == unseen[0] | {"aeroplane", "sofa"}
    assert unseen[4] == {name for pair in UNSEEN_PAIRS for name in pair}
    assert [len(names) for names in unseen] == [2, 4, 6, 8, 10]
    assert all(small < large for small, large in itertools.pairwise(unseen))
    # cvlab-yonsei/JoEm, get_unseen_idx(10): class numbers, 0 is the background.
    assert {VOC_CLASSES.index(name) + 1 for name in unseen[4]} == {10, 14, 1, 18, 8, 20, 19, 5, 9, 16}
    seen = read_pascal_zeroshot(tmp_path, 4).seen
    assert sorted({*seen, *unseen[1]}) == sorted(VOC_CLASSES)
    assert len(seen) == 16
    with pytest.raises(DataError, match="2, 4, 6, 8 or 10 unseen classes, not 5"):
        read_pascal_zeroshot(tmp_path, 5)


def test_zero_shot_images_have_all_their_classes(tmp_path):
    directory = write_voc(tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit", directory):
        assert len(read_pascal_zeroshot(root, 2).samples) == 20
    samples = read_pascal_zeroshot(tmp_path, 2).samples
    assert [target.category for target in samples[2].targets] == ["bird", "boat"]
    assert [target.phrase for target in samples[17].targets] == ["couch", "train"]
    assert samples[0].exhaustive == frozenset(VOC_NAMES)
    for target in samples[2].targets:
        assert ignore_mask(target, SIZE_HW).sum() == 14 * 14 - 144
    assert target_mask(samples[2].targets[1], SIZE_HW).sum() == 36


def test_zero_shot_training_never_shows_an_unseen_class(tmp_path):
    write_voc(tmp_path)
    zero_shot = read_pascal_zeroshot(tmp_path, 4, "train")
    shown = {target.category for sample in zero_shot.samples for target in sample.targets}
    assert shown
    assert not shown & set(zero_shot.unseen)
    said = "\n".join(map(str, zero_shot.samples.problems))
    assert "2007_000110.jpg: shows unseen classes: cow" in said
    assert len(zero_shot.samples) + len(zero_shot.samples.problems) == 20


def test_voc_problems_and_missing_parts(tmp_path):
    directory = write_voc(tmp_path)
    (directory / "SegmentationClass/2007_000001.png").unlink()
    write_image(directory / "JPEGImages/2007_000002.jpg", (5, 5))
    said = "\n".join(map(str, read_pascal_zeroshot(tmp_path, 2).samples.problems))
    assert "2007_000001.png: no such label map" in said
    assert "2007_000002.jpg: the image is (5, 5)" in said
    write_labels(directory / "SegmentationClass/2007_000003.png", [(77, (0, 0, 3, 3))])
    with pytest.raises(DataError, match=r"2007_000003.png: \[77\] are not class numbers; valid are 0-20 and 255"):
        read_pascal_zeroshot(tmp_path, 2)
    Image.new("RGB", SIZE_HW[::-1]).save(directory / "SegmentationClass/2007_000003.png")
    with pytest.raises(DataError, match="class numbers is gray or has a palette, this one is RGB"):
        read_pascal_zeroshot(tmp_path, 2)
    (directory / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataError, match=r"no file val.txt; expected .*Segmentation/val.txt. Get it from http://host"):
        read_pascal_zeroshot(tmp_path, 2)


def test_the_examples_in_the_docstrings_hold():
    results = doctest.testmod(fewshot)
    assert results.attempted and not results.failed
