"""Benchmarks from the files on disk to the numbers, against slow versions of the published scoring."""

import json
import zlib
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from benchmark_trees import (
    SIZE_HW,
    write_coco_20i,
    write_grefcoco,
    write_pascal_5i,
    write_phrasecut,
    write_refcoco,
    write_voc,
)
from PIL import Image
from published_scores import PublishedScores, hsnet_scores, joem_scores, rela_scores

import promptseg
from promptseg.data.fewshot import read_coco_20i, read_pascal_5i
from promptseg.data.pascal import VOC_CLASSES, read_pascal_zeroshot
from promptseg.data.phrasecut import read_phrasecut
from promptseg.data.refcoco import read_grefcoco, read_refcoco
from promptseg.data.sample import ignore_mask, target_mask
from promptseg.errors import DataError, UnsupportedPromptError
from promptseg.evaluate.benchmarks.benchmark_table import BENCHMARKS, find_benchmark
from promptseg.evaluate.benchmarks.comparison import comparison_table
from promptseg.evaluate.benchmarks.one_shot import exemplar_prompt
from promptseg.evaluate.benchmarks.published_results import PUBLISHED
from promptseg.evaluate.benchmarks.run_benchmark import load_benchmark, run_benchmark
from promptseg.evaluate.evaluate_set import Outputs
from promptseg.evaluate.report import EvaluationRun, write_reports
from promptseg.images import read_image
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt
from promptseg.results import QueryResult

# Two libraries that enlarge a map differ in its last bits: of 352 x 352 pixels, a few change sides of a threshold.
ENLARGED = 1e-4

RUN = EvaluationRun("noise", "0", "numpy", "cpu", 0.4, 0.5, "test", "0", None, num_resamples=20)


@dataclass
class NoiseSegmenter:
    """Predictions that depend on the image and the query alone: smooth noise and random presence."""

    queries: list = field(default_factory=list)

    def encode(self, image):
        return read_image(image)

    def segment(self, embedding, queries):
        return [self.prediction(embedding, query) for query in queries]

    def prediction(self, image_rgb, query):
        self.queries.append(query)
        key = query
        if isinstance(query, Query):
            (prompt,) = query.prompts
            key = prompt.text if isinstance(prompt, TextPrompt) else f"{prompt.mask.sum()} {prompt.image_rgb.mean()}"
        rng = np.random.default_rng([zlib.crc32(image_rgb.tobytes()), zlib.crc32(key.encode())])
        return QueryResult(
            label=key if isinstance(query, str) else query.label,
            presence=float(rng.random()),
            mask_logits=rng.normal(0, 2, (6, 8)).astype(np.float32),
            size_hw=image_rgb.shape[:2],
            presence_threshold=0.5,
            mask_threshold=0.4,
        )


def measure(name, root, *, model=None, outputs=None, **options):
    benchmark = find_benchmark(name)
    selection = benchmark.select(root, **options)
    loaded = load_benchmark(benchmark, selection)
    return run_benchmark(model or NoiseSegmenter(), selection, loaded, run=RUN, outputs=outputs or Outputs())


def check(report, expected, *, within=1e-9):
    for name, value in expected.items():
        assert report.numbers[name].value == pytest.approx(value, abs=within), name


def ungated(prediction):
    return prediction.probability >= np.float32(0.4)


def at_352(array, *, nearest):
    stack = torch.from_numpy(np.asarray(array, dtype=np.float32))[None, None]
    how = {"mode": "nearest"} if nearest else {"mode": "bilinear", "align_corners": False}
    return torch.nn.functional.interpolate(stack, (352, 352), **how)[0, 0].numpy()


def paper_numbers(scores):
    value = scores.scores()
    expected = {"ap_paper": value["ap"]}
    for name, key in (("miou_paper", "miou"), ("iou_fg_paper", "fgiou"), ("iou_bin_paper", "biniou")):
        for threshold, column in ((0.1, 4), (0.2, 9), (0.3, 14), (0.5, 24)):
            expected[f"{name}@{threshold}"] = value[key][column]
        expected[f"{name}@best"] = max(value[key])
        expected[f"{name}@best_threshold"] = scores.thresholds[np.argmax(value[key])]
    return expected


def add_at_352(scores, prediction, truth, class_id):
    logits = at_352(prediction.mask_logits, nearest=False)
    probability = torch.sigmoid(torch.from_numpy(logits)).numpy()
    scores.add(probability, at_352(truth, nearest=True) > 0.5, np.ones((352, 352), bool), class_id)


def iou_of(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_phrasecut_is_scored_as_published_and_plainly(tmp_path):
    report = measure("phrasecut", write_phrasecut(tmp_path))
    scores, ious, common, either, model = PublishedScores(), [], 0, 0, NoiseSegmenter()
    for sample in read_phrasecut(tmp_path, "test"):
        for target in sample.targets:
            truth = target_mask(target, SIZE_HW)
            prediction = model.prediction(read_image(sample.image), target.phrase)
            add_at_352(scores, prediction, truth, len(ious))  # each phrase is a class of its own
            mask = ungated(prediction)
            ious.append(iou_of(mask, truth))
            common, either = common + (mask & truth).sum(), either + (mask | truth).sum()
    check(report, paper_numbers(scores), within=ENLARGED)
    check(report, {"miou": np.mean(ious), "ciou": common / either, "pr@0.5": np.mean(np.array(ious) > 0.5)})
    assert report.num_present == 8
    assert report.numbers["miou_paper@0.3"].low < report.numbers["miou_paper@0.3"].high


def test_phrasecut_is_asked_with_exemplars_of_other_images(tmp_path):
    model = NoiseSegmenter()
    report = measure("phrasecut", write_phrasecut(tmp_path), model=model, prompt="exemplar")
    assert report.num_present == 4, "only one phrase is in more than one image"
    assert all(query.label == "red chair" for query in model.queries)
    assert all(isinstance(query.prompts[0], ExemplarPrompt) for query in model.queries)
    assert {row.prompt for row in report.published} == {"exemplar"}


@pytest.mark.parametrize(
    ("name", "split_by", "split"),
    [("refcoco", "unc", "unc/val"), ("refcocog", "umd", "umd/val"), ("refcoco", "google", "google/val")],
)
def test_refcoco_asks_every_sentence(tmp_path, name, split_by, split):
    report = measure(name, write_refcoco(tmp_path, name, split_by), split=split)
    ious, dices, common, either, model = [], [], 0, 0, NoiseSegmenter()
    for sample in read_refcoco(tmp_path, name, split_by, "val"):
        for target in sample.targets:
            truth = target_mask(target, SIZE_HW)
            mask = ungated(model.prediction(read_image(sample.image), target.phrase))
            ious.append(iou_of(mask, truth))
            dices.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
            common, either = common + (mask & truth).sum(), either + (mask | truth).sum()
    assert len(ious) == report.num_present == 12
    check(report, {"oiou": common / either, "miou": np.mean(ious), "dice": np.mean(dices)})
    check(report, {f"pr@{level}": np.mean(np.array(ious) >= level) for level in (0.5, 0.6, 0.7, 0.8, 0.9)})


def test_grefcoco_is_scored_as_published(tmp_path):
    report = measure("grefcoco", write_grefcoco(tmp_path))
    predictions, model = [], NoiseSegmenter()
    for sample in read_grefcoco(tmp_path, "val"):
        image_rgb = read_image(sample.image)
        truths = [(target.phrase, target_mask(target, SIZE_HW)) for target in sample.targets]
        truths += [(phrase, np.zeros(SIZE_HW, bool)) for phrase in sample.absent]
        for phrase, truth in truths:
            prediction = model.prediction(image_rgb, phrase)
            predictions.append((ungated(prediction), not prediction.is_present, truth))
    assert (report.num_present, report.num_absent) == (6, 6)
    expected = rela_scores(predictions)
    check(report, {"ciou_paper": expected.pop("ciou")} | {f"{name}_gated": value for name, value in expected.items()})
    gated = [(painted & (not silent), truth) for painted, silent, truth in predictions]
    union = sum((mask | truth).sum() for mask, truth in gated)
    check(report, {"ciou_gated": sum((mask & truth).sum() for mask, truth in gated) / union})
    assert 0 < expected["n_acc"] < 1 > expected["t_acc"] > 0, "the noise must say both"


@pytest.mark.parametrize(("prompt", "folds"), [("exemplar", (0, 1, 2, 3)), ("text", (2,))])
def test_pascal_5i_is_scored_as_published_and_as_hsnet_does(tmp_path, prompt, folds):
    fold = folds[0] if len(folds) == 1 else None
    report = measure("pascal-5i", write_pascal_5i(tmp_path), prompt=prompt, fold=fold, limit=30)
    paper, hsnet, model = [], [], NoiseSegmenter()
    for each in folds:
        scores, judged = PublishedScores(), []
        for episode in read_pascal_5i(tmp_path, each, num_episodes=30):
            (target,) = episode.query.targets
            said = TextPrompt(f"a photo of a {target.category}.")
            shown = exemplar_prompt(episode.support[0])
            query = Query(target.category, (shown if prompt == "exemplar" else said,))
            prediction = model.prediction(read_image(episode.query.image), query)
            truth, ignored = target_mask(target, SIZE_HW), ignore_mask(target, SIZE_HW)
            assert ignored.any()
            scores.add(prediction.probability, truth, ~ignored, episode.class_id)
            judged.append((ungated(prediction), truth, ignored, episode.class_id))
        paper.append(paper_numbers(scores))
        hsnet.append(hsnet_scores(judged))
        check(report, {f"{name}/fold{each}": value for name, value in hsnet[-1].items()})
    exact = [name for name in paper[0] if "best" not in name]
    check(report, {name: np.mean([numbers[name] for numbers in paper]) for name in exact})
    check(report, {name: np.mean([numbers[name] for numbers in hsnet]) for name in ("miou", "fb_iou")})
    assert report.num_present == 30 * len(folds)
    assert report.num_images == 10 * len(folds), "an image is encoded once for all its episodes"


def test_coco_20i_is_counted_at_352_pixels(tmp_path):
    report = measure("coco-20i", write_coco_20i(tmp_path), fold=0, limit=12)
    scores, judged, model = PublishedScores(), [], NoiseSegmenter()
    for episode in read_coco_20i(tmp_path, 0, num_episodes=12):
        (target,) = episode.query.targets
        truth = target_mask(target, SIZE_HW)
        query = Query(target.phrase, (exemplar_prompt(episode.support[0]),))
        prediction = model.prediction(read_image(episode.query.image), query)
        add_at_352(scores, prediction, truth, episode.class_id)
        judged.append((ungated(prediction), truth, np.zeros(SIZE_HW, bool), episode.class_id))
    assert set(scores.classes) == {0, 4}
    check(report, paper_numbers(scores), within=ENLARGED)
    check(report, hsnet_scores(judged))


def test_pascal_zero_shot_names_every_pixel_as_published_and_by_masks(tmp_path):
    write_voc(tmp_path, "SegmentationClass", [(1, 10), (14, 15), (18, 3), (10, 2), (7, 1)])
    report = measure("pascal-zs", tmp_path, split="unseen-4")
    model, labels, guesses, small_labels, small_guesses = NoiseSegmenter(), [], [], [], []
    spoken = dict(zip(VOC_CLASSES, promptseg.language.class_names.VOC_NAMES, strict=True))
    for sample in read_pascal_zeroshot(tmp_path, 4).samples:
        image_rgb = read_image(sample.image)
        label = np.zeros(SIZE_HW, int)
        for target in sample.targets:
            label[target_mask(target, SIZE_HW)] = 1 + VOC_CLASSES.index(target.category)
            label[ignore_mask(target, SIZE_HW)] = 255
        words = ["background", "airplane", *VOC_CLASSES[1:]]
        maps = [at_352(model.prediction(image_rgb, word).mask_logits, nearest=False) for word in words]
        maps = [torch.sigmoid(torch.from_numpy(each)).numpy() for each in maps]
        guesses.append(np.stack([maps[0] * 3, *maps[1:]]).argmax(axis=0))
        labels.append(at_352(label, nearest=True).astype(int))
        predictions = [model.prediction(image_rgb, spoken[name]) for name in VOC_CLASSES]
        masked = np.stack([np.where(prediction.mask, prediction.probability, 0) for prediction in predictions])
        small_guesses.append(np.where(masked.any(axis=0), masked.argmax(axis=0) + 1, 0))
        small_labels.append(label)
    unseen = [1 + VOC_CLASSES.index(name) for name in ("cow", "motorbike", "aeroplane", "sofa")]
    expected = joem_scores(labels, guesses, unseen)
    check(report, {f"{name}_paper": value for name, value in expected.items()}, within=ENLARGED)
    check(report, joem_scores(small_labels, small_guesses, unseen, missing=np.nan))
    assert "iou/name/cow" in report.numbers


def test_records_are_kept_and_resumed(tmp_path):
    root, outputs = write_phrasecut(tmp_path), Outputs(records=tmp_path / "out.jsonl", resume=True)
    first = measure("phrasecut", root, outputs=outputs)
    lines = outputs.records.read_text().splitlines()
    outputs.records.write_text("".join(f"{line}\n" for line in lines[:2]))
    model = NoiseSegmenter()
    again = measure("phrasecut", root, outputs=outputs, model=model)
    assert len(model.queries) == 4, "two of four images were done"
    assert {name: each.value for name, each in again.numbers.items()} == pytest.approx(
        {name: each.value for name, each in first.numbers.items()}
    )
    path = tmp_path / "report.json"
    write_reports([again], path)
    stored = json.loads(path.read_text())["reports"][0]
    assert stored["data_set"] == "phrasecut test, text prompts"
    assert stored["published"][0]["values"] == {"miou_paper": 43.4, "iou_fg_paper": 54.7, "ap_paper": 76.7}


def test_another_exemplar_is_another_query(tmp_path):
    root, outputs = write_coco_20i(tmp_path), Outputs(records=tmp_path / "out.jsonl", resume=True)
    measure("coco-20i", root, fold=0, limit=1, outputs=outputs)
    model = NoiseSegmenter()
    measure("coco-20i", root, fold=0, limit=1, outputs=outputs, model=model)
    assert not model.queries, "the same images and masks"
    query_image = json.loads(outputs.records.read_text())["sample_id"].removeprefix("fold0/coco/")
    others = set((root / "COCO2014/val2014").glob("*.jpg")) - {root / "COCO2014" / query_image}
    assert len(others) == 3
    for path in others:
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    measure("coco-20i", root, fold=0, limit=1, outputs=outputs, model=model)
    assert model.queries, "other images show the class"


def test_a_broken_image_is_recorded_and_skipped(tmp_path):
    root = write_phrasecut(tmp_path)
    victim = root / "VGPhraseCut_v0/images/102.jpg"
    victim.write_bytes(victim.read_bytes()[:-300])  # the header is whole, so that the reader takes it
    report = measure("phrasecut", root)
    assert report.num_images == 3
    assert list(report.failures) == ["phrasecut/102"]
    assert "102.jpg" in report.failures["phrasecut/102"]


def test_the_number_of_images_can_be_limited(tmp_path):
    report = measure("phrasecut", write_phrasecut(tmp_path), limit=2)
    assert report.num_images == 2
    assert "first 2 images" in report.data_set


def test_a_model_that_takes_no_exemplars_is_told_so(tmp_path):
    root = write_coco_20i(tmp_path)
    model = promptseg.load("promptseg-s1-test", device="cpu", engine="torch")
    with pytest.raises(UnsupportedPromptError, match="no exemplar prompts"):
        measure("coco-20i", root, fold=0, model=model)
    assert measure("coco-20i", root, fold=0, limit=1, prompt="text", model=model).num_images == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("phrasecut", {"split": "testA"}, "phrasecut has no split 'testA'; it has test, val, miniv"),
        ("refcoco", {"prompt": "exemplar"}, "refcoco has no 'exemplar' prompts; it has text"),
        ("pascal-5i", {"fold": 4}, "pascal-5i has no fold 4; it has folds 0 to 3"),
        ("phrasecut", {"fold": 0}, "phrasecut has no fold 0; it has no folds"),
        ("pascal-zs", {"split": "unseen-3"}, "pascal-zs has no split 'unseen-3'; it has unseen-10"),
    ],
)
def test_a_wrong_choice_is_answered_with_the_right_ones(tmp_path, name, options, message):
    with pytest.raises(DataError, match=message):
        find_benchmark(name).select(tmp_path, **options)


def test_an_unknown_benchmark_is_answered_with_all():
    with pytest.raises(DataError, match="no benchmark is named 'ade20k'; there are phrasecut, refcoco"):
        find_benchmark("ade20k")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_data_set_that_is_not_there_says_where_to_get_it(tmp_path, name):
    benchmark = find_benchmark(name)
    with pytest.raises(DataError, match="http"):
        load_benchmark(benchmark, benchmark.select(tmp_path))


def test_published_rows_are_of_benchmarks_that_exist():
    for row in PUBLISHED:
        benchmark = BENCHMARKS[row.benchmark]
        assert row.split in benchmark.splits
        assert row.prompt in benchmark.prompts
        assert all(0 < value < 100 for value in row.values.values())
        assert row.source


def test_published_rows_stand_under_numbers_that_are_measured(tmp_path):
    reports = [
        measure("phrasecut", write_phrasecut(tmp_path / "a")),
        measure("phrasecut", tmp_path / "a", prompt="exemplar"),
        measure("refcoco", write_refcoco(tmp_path / "b")),
        measure("grefcoco", write_grefcoco(tmp_path / "c")),
        measure("coco-20i", write_coco_20i(tmp_path / "d"), fold=0, limit=1),
    ]
    write_voc(tmp_path / "e", "SegmentationClass", [(1, 10)])
    reports.append(measure("pascal-zs", tmp_path / "e"))
    for report in reports:
        assert report.published
        for row in report.published:
            for name in row.values:
                assert f"{name}@{row.threshold}" in report.numbers or name in report.numbers, (report.data_set, name)
        table = comparison_table(report)
        assert table.row_count > len(report.published)
