import json
import pickle
import pickletools
import tracemalloc

import numpy as np
import pytest
from data_trees import SIZE_HW, box_mask, box_rle, write_image
from pycocotools import mask as coco_mask

from promptseg.data.plain_pickle import load_plain_pickle
from promptseg.data.refcoco import SPLITS, read_grefcoco, read_refcoco, without_images_of
from promptseg.data.sample import target_mask
from promptseg.errors import DataError

IMAGES = "images/mscoco/images/train2014"


def box_annotation(annotation_id, image_id, x0, y0, x1, y1, *, category_id=1):
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
    }


def ref(ref_id, image_id, ann_id, split, *sentences):
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": image_id,
        "category_id": 1,
        "file_name": f"COCO_train2014_{image_id:012}_{ann_id}.jpg",  # not the image's: the authors say to ignore it
        "split": split,
        "sent_ids": list(range(len(sentences))),
        "sentences": [
            {"sent": one, "raw": one.title(), "tokens": one.split(), "sent_id": number}
            for number, one in enumerate(sentences)
        ],
    }


ANNOTATIONS = (
    box_annotation(11, 1, 2, 2, 10, 8),
    box_annotation(12, 1, 20, 2, 28, 8),
    box_annotation(21, 2, 4, 4, 12, 20, category_id=18),
)


def write_instances(root, dataset, annotations=ANNOTATIONS):
    directory = root / dataset
    directory.mkdir(parents=True, exist_ok=True)
    images = []
    for image_id in sorted({annotation["image_id"] for annotation in annotations}):
        name = f"COCO_train2014_{image_id:012}.jpg"
        write_image(root / IMAGES / name)
        images.append({"id": image_id, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]})
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    content = {"images": images, "annotations": list(annotations), "categories": categories}
    (directory / "instances.json").write_text(json.dumps(content))
    return directory


def write_refcoco(root, refs, *, dataset="refcoco", split_by="unc", protocol=0, annotations=ANNOTATIONS):
    """Write one data set as its authors do; theirs are pickles of Python 2, protocol 0."""
    directory = write_instances(root, dataset, annotations)
    (directory / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=protocol))
    return directory


REFS = [
    ref(1, 1, 11, "val", "left man", "the man on the left"),
    ref(2, 1, 12, "val", "right man", "left man"),  # people do err: the same words for another man
    ref(3, 2, 21, "testA", "dog"),
]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_sentence_of_the_split_is_asked(tmp_path, protocol):
    write_refcoco(tmp_path, REFS, protocol=protocol)
    samples = read_refcoco(tmp_path, "refcoco", "unc", "val")
    (sample,) = samples
    assert samples.problems == ()
    assert (sample.sample_id, sample.coco_id, sample.size_hw) == ("refcoco/1", 1, SIZE_HW)
    assert [(target.phrase, target.alternatives, target.category) for target in sample.targets] == [
        ("left man", ("the man on the left",), "person"),
        ("the man on the left", ("left man",), "person"),
        ("right man", ("left man",), "person"),
        ("left man", ("right man",), "person"),
    ]
    assert np.array_equal(target_mask(sample.targets[1], SIZE_HW), box_mask(2, 2, 10, 8))
    assert np.array_equal(target_mask(sample.targets[3], SIZE_HW), box_mask(20, 2, 28, 8))
    (dogs,) = read_refcoco(tmp_path, "refcoco", "unc", "testA")
    assert [(target.phrase, target.category) for target in dogs.targets] == [("dog", "dog")]


def test_text_of_python_2_is_read(tmp_path):
    directory = write_refcoco(tmp_path, REFS)
    # What cPickle wrote for [{'split': 'val', ...}]: byte strings, and unicode where the words need it.
    (directory / "refs(unc).p").write_bytes(
        b"(lp1\n(dp2\nS'split'\np3\nS'val'\np4\nsS'image_id'\np5\nI1\nsS'ann_id'\np6\nI11\n"
        b"sS'sentences'\np7\n(lp8\n(dp9\nS'sent'\np10\nVcaf\\u00e9 sign\np11\nsasa."
    )
    (sample,) = read_refcoco(tmp_path, "refcoco", "unc", "val")
    assert [target.phrase for target in sample.targets] == ["café sign"]


class Intruder:
    """Unpickling it would call a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_asks_for_a_class_is_refused_and_the_class_named(tmp_path, protocol):
    proof = tmp_path / "proof"
    directory = write_refcoco(tmp_path, [*REFS, Intruder(open, str(proof), "w")], protocol=protocol)
    with pytest.raises(DataError, match=r"refs\(unc\).p: asks for (_?io|builtins|__builtin__).open, .* not loaded"):
        read_refcoco(tmp_path, "refcoco", "unc", "val")
    assert not proof.exists()
    (directory / "refs(unc).p").write_bytes(pickle.dumps([np.int64(3)], protocol=protocol))
    with pytest.raises(DataError, match=r"asks for numpy\.\S+, and a pickle that names a class"):
        read_refcoco(tmp_path, "refcoco", "unc", "val")


def test_a_pickle_may_name_nothing_at_all(tmp_path):
    path = tmp_path / "refs.p"
    for content in (b"cos\nsystem\n(S'true'\ntR.", b"\x80\x02csubprocess\nPopen\n.", b"(S'true'\nios\nsystem\n."):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"asks for (os.system|subprocess.Popen)"):
            load_plain_pickle(path)
    for content in (b"", b"hello", pickle.dumps(REFS)[:-20], b"\x80\x04\x8c\x02\xff\xfe."):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a pickle, or damaged"):
            load_plain_pickle(path)
    with pytest.raises(DataError, match="can't be read"):
        load_plain_pickle(tmp_path)


def test_a_pickle_does_not_take_memory_that_its_bytes_are_not_worth(tmp_path):
    path = tmp_path / "refs.p"
    for content in (b"]r\xff\xff\xff\x0f.", b"]p268435455\n.", b"\x80\x02K\x01U\x01r]q\x00r\xff\xff\xff\x7f."):
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DataError, match=r"memo index [\d,]+ at byte"):
            load_plain_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()
    plain = [[index, f"pr{index}\n", "p" * index, -(3**index), float(index), {index: None}] for index in range(700)]
    for protocol in range(6):
        content = pickle.dumps(plain, protocol)
        for one in (content, pickletools.optimize(content)):
            path.write_bytes(one)
            assert load_plain_pickle(path) == plain


def test_the_splits_are_those_of_the_authors(tmp_path):
    for (dataset, split_by), splits in SPLITS.items():
        if dataset == "grefcoco":
            continue
        refs = [ref(index, 1, 11, split, f"asked in {split}") for index, split in enumerate(splits)]
        write_refcoco(tmp_path, refs, dataset=dataset, split_by=split_by)
        for split in splits:
            (sample,) = read_refcoco(tmp_path, dataset, split_by, split)
            assert [target.phrase for target in sample.targets] == [f"asked in {split}".lower()]
    for dataset, split_by, split in (
        ("refcoco", "umd", "val"),
        ("refcoco+", "unc", "test"),
        ("refcocog", "google", "test"),
    ):
        with pytest.raises(DataError, match="there are refcoco by unc: train, val, testA, testB; "):
            read_refcoco(tmp_path, dataset, split_by, split)


@pytest.mark.parametrize(
    ("missing", "source"),
    [
        ("refcoco/refs(unc).p", "https://github.com/lichengunc/refer"),
        ("refcoco/instances.json", "https://github.com/lichengunc/refer"),
        (IMAGES, "http://images.cocodataset.org/zips/train2014.zip"),
    ],
)
def test_a_missing_file_is_named_with_its_place_and_source(tmp_path, missing, source):
    write_refcoco(tmp_path, REFS)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        read_refcoco(tmp_path, "refcoco", "unc", "val")
    assert f"expected {tmp_path / missing}" in str(caught.value)
    assert f"Get it from {source}" in str(caught.value)


def test_what_is_left_out_is_said(tmp_path):
    refs = [*REFS[:1], ref(4, 1, 99, "val", "ghost"), ref(5, 3, 11, "val", "nowhere"), ref(6, 2, 21, "val", "dog")]
    write_refcoco(tmp_path, refs)
    (tmp_path / IMAGES / f"COCO_train2014_{2:012}.jpg").unlink()
    samples = read_refcoco(tmp_path, "refcoco", "unc", "val")
    assert [target.phrase for sample in samples for target in sample.targets] == ["left man", "the man on the left"]
    said = "\n".join(map(str, samples.problems))
    assert len(samples.problems) == 3
    assert "record 2: instances.json has no annotation [99]" in said
    assert "has no image 3" in said
    assert "no such image" in said


def test_malformed_references_are_errors_that_name_the_place(tmp_path):
    for change, message in (
        ({"ann_id": None}, "record 1: field 'ann_id' must be int or list, got None"),
        ({"image_id": "1"}, "record 1: field 'image_id' must be int, got '1'"),
        ({"split": 3}, "record 1: field 'split' must be str, got 3"),
        ({"sentences": "left man"}, "record 1, sentences: expected a list, got str"),
        ({"sentences": [{"raw": "left man"}]}, "sentences, record 1: field 'sent' must be str, got None"),
        ({"sentences": ["left man"]}, "sentences, record 1: expected an object, got str"),
    ):
        write_refcoco(tmp_path, [{**REFS[0], **change}])
        with pytest.raises(DataError, match=message):
            read_refcoco(tmp_path, "refcoco", "unc", "val")


def test_masks_of_every_form_of_coco(tmp_path):
    polygons = [[2.5, 2.0, 12.3, 3.1, 9.9, 9.7], [15, 3, 24, 3, 24, 12.5, 15, 12]]
    runs = {"size": list(SIZE_HW), "counts": [100, 5, SIZE_HW[0] * SIZE_HW[1] - 105]}
    whole = box_rle(1, 2, 3, 4)
    annotations = [
        {**ANNOTATIONS[0], "id": number, "segmentation": segmentation}
        for number, segmentation in enumerate((polygons, runs, dict(whole)), start=1)
    ]
    write_refcoco(tmp_path, [ref(n, 1, n, "val", f"form {n}") for n in (1, 2, 3)], annotations=annotations)
    (sample,) = read_refcoco(tmp_path, "refcoco", "unc", "val")
    layers = coco_mask.decode(coco_mask.frPyObjects(polygons, *SIZE_HW))  # as refer.py: a layer for each, summed
    expected = [layers.sum(axis=2) > 0, np.zeros(SIZE_HW, bool), box_mask(1, 2, 3, 4)]
    expected[1].T.flat[100:105] = True
    for target, mask in zip(sample.targets, expected, strict=True):
        assert np.array_equal(target_mask(target, SIZE_HW), mask)
    neither = "neither polygons nor a run-length code"
    for bad, message in (
        *((form, neither) for form in ("x", [], None, [[1, 2, 3, 4, 5]], [["a"] * 6], {"size": [24, 32]}, [3])),
        ({"size": [3, 3], "counts": [9]}, r"the mask is \(3, 3\)"),
        ({"size": list(SIZE_HW), "counts": [3]}, "a run-length code of 3 pixels"),
    ):
        write_refcoco(tmp_path, REFS[:1], annotations=[{**ANNOTATIONS[0], "segmentation": bad}])
        with pytest.raises(DataError, match=f"annotations, record 1: .*{message}"):
            read_refcoco(tmp_path, "refcoco", "unc", "val")


def write_grefcoco(root, refs):
    directory = write_instances(root, "grefcoco")
    (directory / "grefs(unc).json").write_text(json.dumps(refs))
    return directory


def test_grefcoco_means_one_several_or_none(tmp_path):
    refs = [
        ref(1, 1, [11], "val", "left man"),
        ref(2, 1, [11, 12], "val", "both men", "two people"),
        {**ref(3, 1, [-1], "val", "the zebra", "a purple car"), "no_target": True},
        {**ref(4, 2, [-1], "val", "three cats"), "no_target": True},
    ]
    write_grefcoco(tmp_path, refs)
    first, second = read_grefcoco(tmp_path, "val")
    assert [(target.phrase, len(target.masks)) for target in first.targets] == [
        ("left man", 1),
        ("both men", 2),
        ("two people", 2),
    ]
    both = box_mask(2, 2, 10, 8) | box_mask(20, 2, 28, 8)
    assert np.array_equal(target_mask(first.targets[1], SIZE_HW), both)
    assert first.absent == ("the zebra", "a purple car")
    assert (second.targets, second.absent) == ((), ("three cats",))
    with pytest.raises(DataError, match="no sentence of split testB"):
        read_grefcoco(tmp_path, "testB")


def test_grefcoco_says_where_to_get_it(tmp_path):
    with pytest.raises(
        DataError, match=r"no file grefs\(unc\).json; .* Get it from https://github.com/henghuiding/gRefCOCO"
    ):
        read_grefcoco(tmp_path, "val")


def test_images_that_another_set_tests_on_can_be_left_out(tmp_path):
    write_refcoco(tmp_path, [ref(1, 1, 11, "train", "man"), ref(2, 2, 21, "train", "dog")], dataset="refcoco+")
    write_refcoco(tmp_path, REFS)
    train = read_refcoco(tmp_path, "refcoco+", "unc", "train")
    kept = without_images_of(train, read_refcoco(tmp_path, "refcoco", "unc", "testA"))
    assert [sample.coco_id for sample in kept] == [1]
    assert [str(problem) for problem in kept.problems] == ["refcoco+/2: COCO image 2 is held out"]
