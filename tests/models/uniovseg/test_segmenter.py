"""Uni-OVSeg as a person meets it: clicks, boxes, names and every mask of an image; arrays in, arrays out."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import promptseg
from promptseg.errors import (
    CheckpointError,
    DataError,
    OutsideImageError,
    PromptError,
    UnknownModelError,
    UnsupportedPromptError,
)
from promptseg.language.class_list import parse_class_list
from promptseg.models.build import build_seeded
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.registry import LoadOptions, find_row, load_promptable, segment_with
from promptseg.models.uniovseg.config import RegionSettings, UniOvSegConfig
from promptseg.models.uniovseg.masker import UniOvSegMasker
from promptseg.models.uniovseg.naming import class_logits, semantic_scores, softmax
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.models.uniovseg.regions import suppress_masks
from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter
from promptseg.ops.resize import sigmoid
from promptseg.ops.windows import Tiles, point_grid
from promptseg.prompts import BoxPrompt, MaskPrompt, PointPrompt, Query, TextPrompt, to_queries
from promptseg.runtime import Runtime
from promptseg.sam.automatic import AutomaticSettings, generate_masks

TINY = find_row("uniovseg-test").config
assert isinstance(TINY, UniOvSegConfig)
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
POINTS = np.array([[[10.0, 20.0]], [[50.0, 70.0]], [[30.0, 45.0]]])
ONES = np.ones((3, 1), dtype=np.int64)


def network(config: UniOvSegConfig = TINY) -> UniOvSeg:
    """A network whose masks are neither empty nor full."""
    built = build_seeded(config).eval()
    assert isinstance(built, UniOvSeg)
    with torch.no_grad():
        for heads in (built.mask_decoder.mask_heads, built.mask_decoder.score_heads):
            for head in heads:
                head.proj_out.weight.mul_(4.0)
    return built


@pytest.fixture(scope="module")
def segmenter() -> UniOvSegSegmenter:
    built = segment_with(network())
    assert isinstance(built, UniOvSegSegmenter)
    return built


def test_one_point_has_every_granularity_and_other_prompts_one_mask(segmenter: UniOvSegSegmenter) -> None:
    sam, embedding = segmenter.sam, segmenter.sam.encode(IMAGE)
    levels = sam.segment(embedding, points_xy=POINTS, point_labels=ONES, choice="levels")
    assert levels.mask_logits.shape == (3, 4, 16, 16) and levels.scores.shape == (3, 4)
    assert ((levels.scores > 0) & (levels.scores < 1)).all()
    assert levels.image_logits().shape == (3, 4, 90, 60)
    best = sam.segment(embedding, points_xy=POINTS, point_labels=ONES)
    np.testing.assert_array_equal(best.scores[:, 0], levels.scores.max(axis=1))
    boxes = sam.segment(embedding, boxes_xyxy=np.array([[5.0, 5, 40, 60]]), choice="levels")
    assert boxes.mask_logits.shape == (1, 1, 16, 16)
    beside = sam.segment(embedding, points_xy=POINTS, point_labels=np.zeros_like(ONES), choice="levels")
    assert beside.mask_logits.shape == (3, 1, 16, 16)


def test_many_prompts_get_the_masks_of_few(segmenter: UniOvSegSegmenter) -> None:
    sam, embedding = segmenter.sam, segmenter.sam.encode(IMAGE)
    points_xy = point_grid(5, (90, 60))[:, None]
    many = sam.segment(embedding, points_xy=points_xy, point_labels=np.ones((25, 1)), choice="levels")
    few = sam.segment(embedding, points_xy=points_xy[11:13], point_labels=np.ones((2, 1)), choice="levels")
    np.testing.assert_allclose(few.mask_logits, many.mask_logits[11:13], atol=1e-4)
    np.testing.assert_allclose(few.scores, many.scores[11:13], atol=1e-5)


def test_points_that_only_fill_up_count_for_nothing(segmenter: UniOvSegSegmenter) -> None:
    sam, embedding = segmenter.sam, segmenter.sam.encode(IMAGE)
    points_xy = np.array([[[10.0, 20.0], [30.0, 40.0]], [[50.0, 70.0], [0.0, 0.0]]])
    padded = sam.segment(embedding, points_xy=points_xy, point_labels=np.array([[1, 0], [1, -1]]))
    alone = sam.segment(embedding, points_xy=points_xy[:1], point_labels=np.array([[1, 0]]))
    np.testing.assert_allclose(alone.mask_logits[0], padded.mask_logits[0], atol=1e-5)
    # a point beside the object is not one on it
    other = sam.segment(embedding, points_xy=points_xy[:1], point_labels=np.array([[1, 1]]))
    assert not np.allclose(other.mask_logits, alone.mask_logits, atol=1e-3)


def test_no_prompts_have_no_masks(segmenter: UniOvSegSegmenter) -> None:
    output = segmenter.sam.segment(segmenter.sam.encode(IMAGE), boxes_xyxy=np.zeros((0, 4)))
    assert output.mask_logits.shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ({"points_xy": POINTS, "point_labels": ONES, "boxes_xyxy": np.ones((3, 4))}, UnsupportedPromptError,
         "takes points or a box for an object, not both"),
        ({"boxes_xyxy": np.array([[1.0, 1, 9, 9]]), "mask_logits": np.zeros((1, 16, 16))}, UnsupportedPromptError,
         "takes no coarse masks: give points or a box"),
        ({"points_xy": POINTS * 9, "point_labels": ONES}, OutsideImageError, "outside the image, 60x90 pixels"),
        ({"boxes_xyxy": np.array([[5.0, 5, 5, 9]])}, PromptError, "has no area"),
        ({}, PromptError, "needs points or a box"),
    ],
)  # fmt: skip
def test_prompts_that_mean_nothing_are_refused(
    segmenter: UniOvSegSegmenter, prompts: dict[str, NDArray], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        segmenter.sam.segment(segmenter.sam.encode(IMAGE), **prompts)


def test_names_points_and_boxes_of_one_request_come_in_order(segmenter: UniOvSegSegmenter) -> None:
    image = segmenter.encode_image(IMAGE)
    point, box = PointPrompt(((20, 20),)), BoxPrompt((5, 5, 40, 60))
    together = segmenter.segment(image, to_queries(["cat", point, "sky", box]))
    assert len(together.mask_logits) == len(together.presence) == len(together.mask_quality) == 4
    for index, query in enumerate(["cat", point, "sky", box]):
        alone = segmenter.segment(image, to_queries([query]))
        np.testing.assert_allclose(alone.mask_logits[0], together.mask_logits[index], atol=1e-4)
        np.testing.assert_allclose(alone.presence[0], together.presence[index], atol=1e-5)
    assert together.presence[1] == together.presence[3] == 1.0
    assert len(segmenter.segment(image, []).mask_logits) == 0


@pytest.mark.parametrize(
    "prompts",
    [(TextPrompt("cat"), PointPrompt(((5, 5),))), (MaskPrompt(np.ones((90, 60), dtype=np.bool_)),)],
    ids=["name and point", "mask"],
)
def test_other_queries_are_refused(segmenter: UniOvSegSegmenter, prompts: Sequence[object]) -> None:
    with pytest.raises(UnsupportedPromptError, match="one name, or points or boxes, but query 'it' has"):
        segmenter.segment(segmenter.encode_image(IMAGE), [Query("it", tuple(prompts))])  # type: ignore[arg-type]


def test_a_person_chooses_among_the_granularities() -> None:
    predictor = promptseg.load("uniovseg-test", engine="torch")
    candidates = predictor.propose(IMAGE, PointPrompt(((20, 20),)))
    qualities = [each.instances[0].mask_quality for each in candidates]
    assert len(candidates) == 4 and qualities == sorted(qualities, reverse=True)
    assert len(predictor.propose(IMAGE, BoxPrompt((5, 5, 40, 60)))) == 1


def test_a_model_without_names_takes_points_and_boxes_alone(tmp_path: Path) -> None:
    nameless = replace(TINY, image_tower="conv-test", text_tower=None)
    save_pretrained(network(nameless), tmp_path)
    predictor = promptseg.load(tmp_path, engine="torch")
    assert predictor.prompt_kinds == {"point", "box"}
    image = predictor.encode(IMAGE)
    found = predictor.segment(image, [PointPrompt(((10, 20),)), BoxPrompt((5, 5, 40, 60))])
    assert [each.mask.shape for each in found] == [(90, 60)] * 2
    assert len(predictor.propose(image, PointPrompt(((10, 20),)))) == 4
    with pytest.raises(UnsupportedPromptError, match="point"):
        predictor.segment(image, ["cat"])
    with pytest.raises(UnsupportedPromptError):
        predictor.panoptic(image, ["cat"])
    again = promptseg.load("uniovseg-test", engine="torch").prompt_kinds
    assert again == {"text", "point", "box"}
    grid = AutomaticSettings(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    assert predictor.segment_everything(IMAGE, settings=grid)["unnamed"].instances


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_model_without_names_is_compiled_too(engine: str, tmp_path: Path) -> None:
    save_pretrained(network(replace(TINY, image_tower="conv-test", text_tower=None, placed_features=True)), tmp_path)
    masker = load_promptable(tmp_path, LoadOptions(Runtime(engine), offline=True))  # type: ignore[arg-type]
    expected = load_promptable(tmp_path, LoadOptions(Runtime("torch"), offline=True))
    one, other = (
        each.segment(each.encode(IMAGE), points_xy=POINTS, point_labels=ONES, choice="levels")
        for each in (masker, expected)
    )
    np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=2e-3)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


def test_every_mask_of_an_image_comes_from_the_models_own_points() -> None:
    predictor = promptseg.load("uniovseg-test", engine="torch")
    loose = AutomaticSettings(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, mask_nms_thresh=1.0,
        crop_nms_thresh=1.0,
    )  # fmt: skip
    assert predictor.automatic_sam.get() is predictor.segmenter.sam
    found = predictor.segment_everything(IMAGE, settings=loose)
    assert found["unnamed"].instances
    reports: list[tuple[int, int]] = []
    masks = generate_masks(
        predictor.segmenter.sam, IMAGE, loose, tiles=Tiles(64, 16),
        report=lambda *done: reports.append(done),
    )  # fmt: skip
    assert masks and reports[-1][0] == reports[-1][1] > 1


def test_the_mask_side_is_loaded_where_a_sam_is(tmp_path: Path) -> None:
    loading = LoadOptions(Runtime("torch"), offline=True)
    save_pretrained(build_seeded(TINY), tmp_path / "checkpoint")
    for name in ("uniovseg-test", tmp_path / "checkpoint"):
        assert isinstance(load_promptable(name, loading), UniOvSegMasker)
    assert not isinstance(load_promptable("sam-test", loading), UniOvSegMasker)
    with pytest.raises(CheckpointError, match="promptseg-test is no promptable segmenter: give a SAM or a Uni-OVSeg"):
        load_promptable("promptseg-test", loading)
    with pytest.raises(UnknownModelError, match="no SAM is named 'sam9'"):
        load_promptable("sam9", loading)
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match=r"other: can't read its config\.json"):
        load_promptable(tmp_path / "other", loading)


def test_the_image_is_not_moved_on_its_canvas(segmenter: UniOvSegSegmenter) -> None:
    """What lies in one corner changes the maps most in that corner, at any ratio of the sides."""
    for height, width in ((40, 120), (120, 40)):
        image_rgb = np.full((height, width, 3), 90, dtype=np.uint8)
        before = segmenter.sam.encode(image_rgb)
        image_rgb[-height // 4 :, -width // 4 :] = 255
        after = segmenter.sam.encode(image_rgb)
        # the map of stride 4 of CLIP, as the adapter reads it
        change = np.abs(after.features[5] - before.features[5]).sum(axis=(0, 1))
        rows, columns = before.frame.map_hw
        assert change[rows // 2 : rows, columns // 2 : columns].mean() > 0
        assert change[: rows // 2, : columns // 2].max() == 0


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_images_go_through(segmenter: UniOvSegSegmenter, size_hw: tuple[int, int]) -> None:
    image = segmenter.encode_image(np.full((*size_hw, 3), 99, dtype=np.uint8))
    assert image.size_hw == size_hw
    found = segmenter.segment(image, to_queries(["cat", PointPrompt(((0, 0),))]))
    assert np.isfinite(found.mask_logits).all()


def test_an_image_comes_back_from_its_arrays(segmenter: UniOvSegSegmenter) -> None:
    image = segmenter.encode_image(IMAGE)
    arrays: dict[str, NDArray] = pickle.loads(pickle.dumps(image.to_arrays()))
    queries = to_queries(["cat", PointPrompt(((20, 20),))])
    before = segmenter.segment(image, queries)
    after = segmenter.segment(segmenter.restore_image(arrays, IMAGE), queries)
    np.testing.assert_array_equal(after.mask_logits, before.mask_logits)
    del arrays["sam.3"]
    with pytest.raises(DataError, match=r"sam\.3 is missing"):
        segmenter.restore_image(arrays, IMAGE)


def test_a_compact_part_takes_half_the_memory_and_hardly_changes(segmenter: UniOvSegSegmenter) -> None:
    plain, compact = (segmenter.encode_part(IMAGE, compact=compact).embedding for compact in (False, True))
    sizes = [sum(each.nbytes for each in part.features) for part in (plain, compact)]
    assert sizes[1] == sizes[0] / 2
    before, after = (segmenter.sam.segment(each, points_xy=POINTS, point_labels=ONES) for each in (plain, compact))
    np.testing.assert_allclose(after.scores, before.scores, atol=0.05)


def test_threads_share_a_segmenter(segmenter: UniOvSegSegmenter) -> None:
    image = segmenter.encode_image(IMAGE)
    queries = to_queries(["cat", "sky", PointPrompt(((20, 20),))])
    expected = segmenter.segment(segmenter.encode_image(IMAGE), queries)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: segmenter.segment(image, queries), range(8)):
            np.testing.assert_allclose(found.mask_logits, expected.mask_logits, atol=1e-4)


def test_regions_are_found_once_and_are_good_and_different(segmenter: UniOvSegSegmenter) -> None:
    image = segmenter.encode_image(IMAGE)
    assert not image.regions.is_known, "a click needs no regions"
    regions = image.regions.get()
    assert len(regions) > 1 and (regions.scores >= TINY.settings.min_score).all()
    assert (np.diff(regions.scores) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(regions.vectors, axis=1), 1.0, rtol=1e-5)
    masks = regions.mask_logits >= 0
    assert masks.any(axis=(1, 2)).all()
    rows, columns = regions.frame.map_hw
    assert not masks[:, rows:].any() and not masks[:, :, columns:].any(), "nothing lies in the padding"
    assert regions.image_logits.shape == (len(regions), rows, columns)


def test_an_image_without_regions_has_no_names() -> None:
    strict = replace(TINY, settings=replace(TINY.settings, min_score=1.0))
    segmenter = segment_with(network(strict))
    found = segmenter.segment(segmenter.encode_image(IMAGE), to_queries(["cat"]))
    assert found.presence.tolist() == found.mask_quality.tolist() == [0.0]
    assert found.instances == ((),) and (found.mask_logits < -10).all()


def suppress_literally(
    masks: NDArray[np.bool_], scores: NDArray[np.float32], *, max_iou: float, max_inside_share: float
) -> list[int]:
    """The published rule, word by word, on pairs of masks."""
    waiting = sorted(range(len(masks)), key=lambda index: -scores[index])
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        remaining = []
        for other in waiting:
            shared = (masks[best] & masks[other]).sum()
            iou = shared / (masks[best] | masks[other]).sum()
            if iou < max_iou and shared / masks[other].sum() < max_inside_share:
                remaining.append(other)
        waiting = remaining
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_suppressed_by_the_published_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = np.zeros((40, 16, 16), dtype=np.bool_)
    for mask in masks:
        x, y, width, height = rng.integers(0, 10), rng.integers(0, 10), *rng.integers(2, 9, size=2)
        mask[y : y + height, x : x + width] = True
    scores = rng.permutation(40).astype(np.float32)
    kept = suppress_masks(masks, scores, max_iou=0.5, max_inside_share=0.7)
    assert kept.tolist() == suppress_literally(masks, scores, max_iou=0.5, max_inside_share=0.7)
    assert 1 < len(kept) < 40
    assert len(suppress_masks(masks[:0], scores[:0], max_iou=0.5, max_inside_share=0.7)) == 0


class Letters:
    """Embeds a name as its letters, and counts what is asked."""

    def embed(self, names: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.array([[name.count(letter) for letter in "abc"] for name in names], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_class_is_as_near_as_its_nearest_synonym() -> None:
    regions = np.eye(3, dtype=np.float32)
    logits = class_logits(regions, Letters(), [("a",), ("b", "c"), ("abc",)], scale=10.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(logits, 10 * np.array([[1, 0, 3**-0.5], [0, 1, 3**-0.5], [0, 1, 3**-0.5]]), atol=1e-5)
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(-1).numpy(), atol=1e-6)


def test_a_semantic_map_is_the_sum_over_masks() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=6).astype(np.float32)
    masks = rng.normal(size=(6, 5, 7)).astype(np.float32)
    scores = semantic_scores(probabilities, masks)
    for y, x, c in ((0, 0, 0), (4, 6, 3), (2, 3, 1)):
        assert scores[c, y, x] == pytest.approx(sum(probabilities[r, c] * sigmoid(masks[r, y, x]) for r in range(6)))


def test_a_closed_list_is_compared_as_a_whole(segmenter: UniOvSegSegmenter) -> None:
    image = segmenter.encode_image(IMAGE)
    classes = [("cat", "kitten"), ("dog",), ("sky",)]
    probabilities = segmenter.classify(image, classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    swapped = segmenter.classify(image, classes[::-1])
    np.testing.assert_allclose(swapped[:, ::-1], probabilities, atol=1e-6)
    assert segmenter.semantic_map(image, classes).shape == (3, *image.embedding.frame.map_hw)


def test_templates_are_averaged_as_unit_vectors(segmenter: UniOvSegSegmenter) -> None:
    built = network()
    texts = [template.format("cat") for template in TINY.settings.templates]
    mean = built.embed_texts(texts).mean(dim=0)
    expected = (mean / mean.norm()).numpy()
    np.testing.assert_allclose(segmenter._embedder.embed(["cat"])[0], expected, atol=1e-6)


def test_a_name_competes_with_others_but_not_with_its_synonyms() -> None:
    alone = replace(TINY, settings=replace(TINY.settings, other_names=("couch",)))
    segmenter = segment_with(network(alone))
    image = segmenter.encode_image(IMAGE)
    found = segmenter.segment(image, to_queries(["sofa", "cat"]))
    assert found.presence[0] == 1.0, "a couch is a sofa: nothing is left to compete"
    assert found.presence[1] < 1.0


def test_a_panoptic_map_is_made_of_the_models_own_regions() -> None:
    settings = replace(TINY.settings, other_names=(), merge=replace(TINY.settings.merge, min_score=0.0))
    predictor = promptseg.load("uniovseg-test", engine="torch", settings=settings)
    embedding = predictor.encode(IMAGE)
    found = predictor.panoptic(embedding, ["cat [thing]", "sky, clouds [stuff]", "dog [thing]"], min_score=0.0)
    regions = embedding.encoded.regions.get()
    presence = predictor.segmenter.classify(embedding.encoded, [("cat",), ("sky", "clouds"), ("dog",)]).max(axis=0)
    np.testing.assert_allclose(found.presence, presence, atol=1e-6)
    for segment in found.segments:
        assert presence[["cat", "sky", "dog"].index(segment.label)] >= predictor.presence_threshold
    assert sum(segment.label == "sky" for segment in found.segments) <= 1, "stuff is one segment"
    covered = (regions.frame.maps_to_image(regions.mask_logits) >= 0).any(axis=0)
    assert not (np.asarray(found.segment_ids)[~covered] > 0).any(), "what no region shows has no segment"
    filled = predictor.panoptic(embedding, ["cat [thing]", "sky [stuff]"], unlabelled="fill", min_score=0.0)
    assert (np.asarray(filled.segment_ids) > 0).all() or not filled.segments


def test_a_region_may_be_one_class_only_and_no_class_is_forced_on_it() -> None:
    predictor = promptseg.load("uniovseg-test", engine="torch")
    segmenter, image = predictor.segmenter, predictor.encode(IMAGE).encoded
    classes = parse_class_list(["cat [thing]", "sky [stuff]"])
    proposals = segmenter.propose_segments(image, classes, presence_threshold=0.0)
    assert len(proposals.candidates) == len(image.regions.get())
    assert proposals.class_logits.shape == (2, *image.embedding.frame.map_hw)
    # among a hundred other names, those of random vectors are improbable
    assert (proposals.presence < 0.5).all()
    assert not segmenter.propose_segments(image, classes, presence_threshold=0.5).candidates
    for candidate in proposals.candidates:
        assert candidate.is_thing == classes[candidate.class_index].is_thing


def test_openvino_gives_the_numbers_of_pytorch() -> None:
    built = network()
    queries = to_queries(["cat", PointPrompt(((20, 20), (30, 40)), (True, False)), BoxPrompt((5, 5, 40, 60))])
    answers = []
    for engine in ("torch", "openvino"):
        segmenter = segment_with(built, Runtime(engine))  # type: ignore[arg-type]
        answers.append(segmenter.segment(segmenter.encode_image(IMAGE), queries))
    np.testing.assert_allclose(answers[1].mask_logits, answers[0].mask_logits, atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(answers[1].presence, answers[0].presence, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_per_side": 3}, "uniovseg-test has no option 'points_per_side'; it has settings"),
        ({"settings": 3}, "settings must be RegionSettings, got 3"),
    ],
)
def test_options_are_settings_alone(options: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        promptseg.load("uniovseg-test", engine="torch", **options)
    coarse = promptseg.load("uniovseg-test", engine="torch", settings=RegionSettings(points_per_side=1, min_score=0.0))
    assert len(coarse.segmenter.encode_image(IMAGE).regions.get()) <= 4
