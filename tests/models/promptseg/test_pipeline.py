"""The default model put together: every query keeps its place and presence, and its coarse map where SAM has no say."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_coarse import CONFIG, DrawnCoarse
from numpy.typing import NDArray
from small_maskers import untrained_mobile_sam

import promptseg
from promptseg import Embedding
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.models.build import build_seeded
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.promptseg.build import build_coarse
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.encoded_image import PromptSegImage
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.models.promptseg.settings import CleaningSettings
from promptseg.models.registry import LoadOptions, NetworkSource, find_row, segment_with
from promptseg.ops.deferred import Deferred
from promptseg.ops.masks import mask_iou
from promptseg.ops.resize import logit, resize_map, sigmoid
from promptseg.prompts import to_queries
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.load import load_sam
from promptseg.sam.sam import Sam
from promptseg.segmenter import Prediction

CHELSEA = read_image(bundled_image("chelsea"))
MAP_HW = (43, 64)  # a quarter of what SAM sees, whose longer side is 256
TEXTS = ["grass", "the cat's left ear", "x", "grass", "a dog"]


@pytest.fixture(scope="module")
def network() -> PromptSegNetwork:
    """The tiny network, shifted and calibrated so that all maps have objects,
    some of the texts are present and others surely absent, and no crumb is removed."""
    network = build_seeded(find_row("promptseg-test").config).eval()
    assert isinstance(network, PromptSegNetwork)
    plain = segment_with(network)
    found = plain.segment(plain.encode_image(CHELSEA), to_queries(TEXTS))
    with torch.no_grad():  # every map has objects
        network.dense.mask_shift.fill_(-float(np.median(found.mask_logits, axis=(1, 2)).min()))
    presence = found.presence.astype(np.float64)
    logits = np.log(presence / (1 - presence))
    steep = float(10 / (logits.max() - logits.min()))
    middle = float(logits.min() + logits.max()) / 2
    at_middle = logit(network.config.settings.least_presence)
    network.config = replace(
        network.config,
        presence_calibration=(steep, at_middle - steep * middle),
        # the maps of random weights are all crumbs
        settings=replace(network.config.settings, cleaning=CleaningSettings(0.0, 0.0, 0.0)),
    )
    return network


@pytest.fixture(scope="module")
def sam() -> Sam:
    return untrained_mobile_sam(256)


@pytest.fixture(scope="module")
def segmenter(network: PromptSegNetwork, sam: Sam) -> PromptSegPipeline:
    """Takes every mask of SAM, which are random."""
    return compose(network, sam, min_score=-100.0, min_agreement=0.0)


@pytest.fixture(scope="module")
def encoded(segmenter: PromptSegPipeline) -> PromptSegImage:
    return segmenter.encode_image(CHELSEA)


@pytest.fixture(scope="module")
def coarse(network: PromptSegNetwork) -> Prediction:
    plain = segment_with(network)
    return plain.segment(plain.encode_image(CHELSEA), to_queries(TEXTS))


def compose(network: PromptSegNetwork, sam: PromptableSegmenter, **refine: float) -> PromptSegPipeline:
    settings = network.config.settings
    config = replace(network.config, settings=replace(settings, refine=replace(settings.refine, **refine)))
    source = NetworkSource("", Deferred.of(network))
    return PromptSegPipeline(build_coarse(config, source, LoadOptions(Runtime("torch"))), sam)


def test_n_texts_give_n_masks_in_order(
    segmenter: PromptSegPipeline, encoded: PromptSegImage, coarse: Prediction
) -> None:
    together = segmenter.segment(encoded, to_queries(TEXTS))
    assert together.mask_logits.shape == (len(TEXTS), *MAP_HW)
    np.testing.assert_allclose(together.presence, coarse.presence, atol=1e-5)
    np.testing.assert_allclose(together.mask_quality, coarse.mask_quality, atol=1e-5)
    np.testing.assert_array_equal(together.mask_logits[0], together.mask_logits[3])
    for index, text in enumerate(TEXTS):
        alone = segmenter.segment(encoded, to_queries([text]))
        np.testing.assert_allclose(alone.mask_logits[0], together.mask_logits[index], rtol=1e-3, atol=1e-3)
    assert len(segmenter.segment(encoded, []).mask_logits) == 0


def test_what_is_surely_absent_keeps_its_coarse_map(
    segmenter: PromptSegPipeline, encoded: PromptSegImage, coarse: Prediction, network: PromptSegNetwork
) -> None:
    absent = coarse.presence < network.config.settings.least_presence
    assert 0 < absent.sum() < len(TEXTS)
    plain = np.stack([resize_map(one, MAP_HW) for one in coarse.mask_logits])
    refined = segmenter.segment(encoded, to_queries(TEXTS)).mask_logits
    np.testing.assert_allclose(refined[absent], plain[absent], atol=1e-4)
    assert (plain > 0).any(axis=(1, 2)).all(), "there is something to redraw"
    for one, same in zip(refined[~absent], plain[~absent], strict=True):
        assert not np.allclose(one, same, atol=0.1)


def test_the_coarse_map_stays_where_the_masks_of_sam_score_low(
    network: PromptSegNetwork, sam: Sam, coarse: Prediction
) -> None:
    segmenter = compose(network, sam, min_score=100.0)
    plain = np.stack([resize_map(one, MAP_HW) for one in coarse.mask_logits])
    refined = segmenter.segment(segmenter.encode_image(CHELSEA), to_queries(TEXTS)).mask_logits
    np.testing.assert_allclose(refined, plain, rtol=1e-3, atol=1e-3)


def test_an_encoded_image_survives_a_file(
    segmenter: PromptSegPipeline, sam: Sam, encoded: PromptSegImage, tmp_path: Path
) -> None:
    before = segmenter.segment(encoded, to_queries(TEXTS))  # with it, the encoder of SAM has run
    path = Embedding("name", "0123", CHELSEA, encoded).save(tmp_path / "chelsea.safetensors")
    restored = segmenter.restore_image(Embedding.load(path).encoded.to_arrays(), CHELSEA)
    assert restored.sam.is_known
    assert restored.sam.get().frame == sam.frame(CHELSEA.shape[:2])  # type: ignore[arg-type]
    again = segmenter.segment(restored, to_queries(TEXTS))
    np.testing.assert_allclose(again.mask_logits, before.mask_logits, rtol=1e-4, atol=1e-5)


def test_a_file_that_was_saved_before_sam_was_needed_lets_it_run_later(segmenter: PromptSegPipeline) -> None:
    encoded = segmenter.encode_image(CHELSEA)
    arrays = encoded.to_arrays()
    assert arrays.keys() == {"pixel_embedding"}
    restored = segmenter.restore_image(arrays, CHELSEA)
    before, after = (segmenter.segment(each, to_queries(TEXTS)) for each in (encoded, restored))
    np.testing.assert_allclose(after.mask_logits, before.mask_logits, rtol=1e-4, atol=1e-5)


def test_a_view_in_half_precision_hardly_changes(segmenter: PromptSegPipeline, encoded: PromptSegImage) -> None:
    view = segmenter.encode_part(CHELSEA, compact=True)
    compact = segmenter.segment(view, to_queries(TEXTS))
    assert {each.dtype for name, each in view.to_arrays().items() if name != "sam.frame"} == {np.dtype(np.float16)}
    np.testing.assert_allclose(compact.mask_logits, segmenter.segment(encoded, to_queries(TEXTS)).mask_logits, atol=0.2)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_images_go_through(segmenter: PromptSegPipeline, size_hw: tuple[int, int]) -> None:
    image_rgb = np.full((*size_hw, 3), 99, dtype=np.uint8)
    prediction = segmenter.segment(segmenter.encode_image(image_rgb), to_queries(TEXTS))
    assert len(prediction.mask_logits) == len(TEXTS)
    assert np.isfinite(prediction.mask_logits).all()


def test_threads_share_a_segmenter(segmenter: PromptSegPipeline, encoded: PromptSegImage) -> None:
    expected = segmenter.segment(encoded, to_queries(TEXTS))
    with ThreadPoolExecutor(4) as threads:
        for prediction in threads.map(lambda _: segmenter.segment(encoded, to_queries(TEXTS)), range(8)):
            np.testing.assert_allclose(prediction.mask_logits, expected.mask_logits, rtol=1e-4, atol=1e-4)


def test_thresholds_are_those_of_the_config(sam: Sam) -> None:
    config = replace(CONFIG, mask_threshold=0.3, presence_threshold=0.7)
    segmenter = PromptSegPipeline(DrawnCoarse(lambda text: np.zeros((8, 8), bool), config=config), sam)  # type: ignore[arg-type]
    assert (segmenter.mask_threshold, segmenter.presence_threshold) == (0.3, 0.7)
    assert segmenter.prompt_kinds == {"text", "exemplar", "point", "box", "mask"}


def ellipse(size_hw: tuple[int, int], box_xyxy: Sequence[int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box_xyxy
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    inside: NDArray[np.bool_] = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1
    return inside


def coarse_and_refined(
    image_rgb: NDArray[np.uint8], mask: NDArray[np.bool_], engine: str, cell: int
) -> tuple[float, float]:
    """IoU of a mask, drawn in coarse cells and half a cell off, before and after SAM redraws it."""
    runtime = Runtime.choose(engine, "cpu")
    config: PromptSegConfig = replace(CONFIG, mask_threshold=0.4)
    drawn = DrawnCoarse(lambda text: mask, cell=cell, shift=cell // 2, config=config)
    sam = load_sam("mobile-sam", runtime=runtime, input_side=config.settings.sam_input_side)
    segmenter = PromptSegPipeline(drawn, sam)  # type: ignore[arg-type]
    found = segmenter.segment(segmenter.encode_image(image_rgb), to_queries("it")).mask_logits[0]
    maps = (drawn._map("it"), found)
    before, after = (sigmoid(resize_map(one, mask.shape)) > config.mask_threshold for one in maps)  # type: ignore[arg-type]
    return mask_iou(before, mask), mask_iou(after, mask)


@pytest.mark.weights
@pytest.mark.parametrize("engine", ["torch", "openvino"])
class TestPublishedSam:
    def test_a_clean_disc_stays_and_gets_sharp(self, engine: str) -> None:
        mask = ellipse((180, 240), (30, 20, 110, 100))
        texture = np.random.default_rng(0).normal(0, 4, (*mask.shape, 3))
        image_rgb = (np.where(mask[..., None], (230, 120, 40), (90, 110, 130)) + texture).clip(0, 255).astype(np.uint8)
        before, after = coarse_and_refined(image_rgb, mask, engine, cell=12)
        assert before < 0.87
        assert after > 0.95

    def test_the_coffee_of_a_bundled_image(self, engine: str) -> None:
        """Its surface is, but for the part behind the rim, the ellipse that fills its box."""
        mask = ellipse((400, 600), (204, 94, 371, 193))
        _, after = coarse_and_refined(read_image(bundled_image("coffee")), mask, engine, cell=20)
        # No more than that: the ellipse counts what the rim hides, and a sharp mask leaves it out.
        assert after > 0.88


@pytest.mark.weights
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_checkpoint_names_its_refiner(tmp_path: Path, engine: str) -> None:
    network = build_seeded(find_row("promptseg-test").config)
    network.config = replace(network.config, refiner="mobile-sam")  # type: ignore[assignment, arg-type]
    save_pretrained(network, tmp_path / "refined")
    predictor = promptseg.load(tmp_path / "refined", engine=engine, threshold=0.0)
    assert predictor.engine == engine
    assert isinstance(predictor.segmenter, PromptSegPipeline)
    result = predictor.segment(predictor.encode(bundled_image("chelsea")), TEXTS)
    assert [each.label for each in result] == TEXTS
    assert all(each.mask.shape == (300, 451) and each.mask_logits.shape == (106, 160) for each in result)
    assert "point" not in promptseg.load(tmp_path / "refined", engine=engine, refiner=None).prompt_kinds


def test_what_is_deferred_can_be_computed_at_once(segmenter: PromptSegPipeline) -> None:
    encoded = segmenter.encode_image(CHELSEA)
    assert not encoded.sam.is_known
    embedding = Embedding("name", "0123", CHELSEA, encoded)
    assert embedding.complete() is embedding
    assert encoded.sam.is_known and encoded.hsv.is_known
    before = embedding.features.keys()
    segmenter.segment(encoded, to_queries(TEXTS))
    assert embedding.features.keys() == before > {"pixel_embedding"}
