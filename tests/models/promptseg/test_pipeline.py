"""Refined segmenters: every text keeps its answer's place and presence, and its mask where the masker has no say."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from small_maskers import untrained_mobile_sam

import promptseg
from promptseg import Embedding
from promptseg.errors import CheckpointError
from promptseg.images import read_image
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.pipeline import LEAST_PRESENCE, RefinedSegmenter, load_refiner
from promptseg.models.registry import find_record, load_model
from promptseg.photos import find_photo
from promptseg.prompts import Query, to_queries
from promptseg.sam.features import unpack_masker
from promptseg.sam.mobile_sam import MobileSam
from promptseg.segmenter import Features, Prediction, single_texts

CHELSEA = read_image(find_photo("chelsea"))
SIZE_HW = (300, 451)
MAP_HW = (43, 64)  # a quarter of what the masker sees, whose longer side is 256
TEXTS = ["grass", "the cat's left ear", "x", "grass", "a dog"]


@pytest.fixture(scope="module")
def network() -> PromptSeg:
    """The tiny model, tuned to call some of the texts present and others surely absent."""
    network = load_model("promptseg-test-vit")
    scale, shift = network.config.presence_calibration
    prediction = network.segment_texts(network.encode_image(CHELSEA), TEXTS, SIZE_HW)
    logits = (prediction.presence.logit() - shift) / scale
    middle = (logits.min() + logits.max()) / 2
    steep = float(10 / (logits.max() - logits.min()))
    at_middle = float(torch.tensor(LEAST_PRESENCE).logit())
    network.config = replace(network.config, presence_calibration=(steep, at_middle - steep * float(middle)))
    return network


@pytest.fixture(scope="module")
def masker() -> MobileSam:
    return untrained_mobile_sam(256)


@pytest.fixture(scope="module")
def segmenter(network: PromptSeg, masker: MobileSam) -> RefinedSegmenter:
    """Believes whatever the masker says, which is random."""
    segmenter = RefinedSegmenter(network, masker)
    segmenter.settings = replace(segmenter.settings, min_score=-100.0, min_agreement=0.0)
    return segmenter


@pytest.fixture(scope="module")
def features(segmenter: RefinedSegmenter) -> Features:
    return segmenter.encode_image(CHELSEA)


@pytest.fixture(scope="module")
def coarse(network: PromptSeg, features: Features) -> Prediction:
    return network.segment_texts(features, TEXTS, SIZE_HW)


def test_n_texts_give_n_masks_in_order(segmenter: RefinedSegmenter, features: Features, coarse: Prediction) -> None:
    together = segmenter.segment(features, to_queries(TEXTS), SIZE_HW)
    assert together.mask_logits.shape == (len(TEXTS), *MAP_HW)
    torch.testing.assert_close(together.presence, coarse.presence)
    torch.testing.assert_close(together.iou, coarse.iou)
    torch.testing.assert_close(together.mask_logits[0], together.mask_logits[3])
    for index, text in enumerate(TEXTS):
        alone = segmenter.segment(features, to_queries([text]), SIZE_HW)
        torch.testing.assert_close(alone.mask_logits[0], together.mask_logits[index], rtol=1e-3, atol=1e-3)
    assert len(segmenter.segment(features, [], SIZE_HW).mask_logits) == 0


def test_who_is_surely_absent_keeps_its_coarse_map(
    segmenter: RefinedSegmenter, features: Features, coarse: Prediction
) -> None:
    absent = coarse.presence < LEAST_PRESENCE
    assert 0 < absent.sum() < len(TEXTS)
    plain = F.interpolate(coarse.mask_logits[None], MAP_HW, mode="bilinear")[0]
    assert bool((plain > 0).flatten(1).any(1).all()), "each map has something to refine"
    refined = segmenter.segment(features, to_queries(TEXTS), SIZE_HW).mask_logits
    torch.testing.assert_close(refined[absent], plain[absent])
    for one, same in zip(refined[~absent], plain[~absent], strict=True):
        assert not torch.allclose(one, same, atol=0.1)


def test_the_coarse_map_stays_where_the_masker_is_not_believed(
    network: PromptSeg, masker: MobileSam, features: Features, coarse: Prediction
) -> None:
    segmenter = RefinedSegmenter(network, masker)
    segmenter.settings = replace(segmenter.settings, min_score=100.0)
    plain = F.interpolate(coarse.mask_logits[None], MAP_HW, mode="bilinear")[0]
    refined = segmenter.segment(features, to_queries(TEXTS), SIZE_HW).mask_logits
    torch.testing.assert_close(refined, plain, rtol=1e-3, atol=1e-3)


def test_features_survive_a_file(
    segmenter: RefinedSegmenter, masker: MobileSam, features: Features, tmp_path: Path
) -> None:
    path = Embedding("name", "0123", CHELSEA, features).save(tmp_path / "chelsea.safetensors")
    loaded = dict(Embedding.load(path).features)
    assert unpack_masker(loaded).frame == masker.encode(CHELSEA).frame
    again, before = (segmenter.segment(each, to_queries(TEXTS), SIZE_HW) for each in (loaded, features))
    torch.testing.assert_close(again.mask_logits, before.mask_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_images_go_through(segmenter: RefinedSegmenter, size_hw: tuple[int, int]) -> None:
    image_rgb = np.full((*size_hw, 3), 99, dtype=np.uint8)
    prediction = segmenter.segment(segmenter.encode_image(image_rgb), to_queries(TEXTS), size_hw)
    assert len(prediction.mask_logits) == len(TEXTS)
    assert bool(torch.isfinite(prediction.mask_logits).all())


def test_threads_share_a_segmenter(segmenter: RefinedSegmenter, features: Features) -> None:
    expected = segmenter.segment(features, to_queries(TEXTS), SIZE_HW)
    with ThreadPoolExecutor(4) as threads:
        for prediction in threads.map(lambda _: segmenter.segment(features, to_queries(TEXTS), SIZE_HW), range(8)):
            torch.testing.assert_close(prediction.mask_logits, expected.mask_logits)


def test_the_operating_point_is_the_coarse_models_own(network: PromptSeg, masker: MobileSam) -> None:
    network.config, kept = replace(network.config, mask_threshold=0.3, presence_threshold=0.7), network.config
    segmenter = RefinedSegmenter(network, masker)
    assert (segmenter.mask_threshold, segmenter.presence_threshold) == (0.3, 0.7)
    assert segmenter.prompt_kinds == network.prompt_kinds | {"point", "box", "mask"}
    network.config = kept


@pytest.mark.parametrize(("field", "value"), [("refiner", "sam9"), ("mask_threshold", 0.0), ("mask_threshold", 1.0)])
def test_a_config_that_can_not_be_refined_is_refused(field: str, value: object) -> None:
    values = find_record("promptseg-test").config.to_dict()
    assert PromptSegConfig.from_dict(values | {"refiner": "mobile-sam"}).refiner == "mobile-sam"
    with pytest.raises(CheckpointError, match=field):
        PromptSegConfig.from_dict(values | {"refiner": "mobile-sam", field: value})


class DrawnMasks:
    """A coarse segmenter that knows the masks: cells of 12 pixels, unsure edges, half a cell off to the right."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.4
    presence_threshold = 0.5

    def __init__(self, masks: dict[str, NDArray[np.bool_]]) -> None:
        self.masks = masks

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        return {}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        shifted = np.stack([np.roll(self.masks[text], 6, axis=1) for text in single_texts(queries)])
        cells_hw = (size_hw[0] // 12, size_hw[1] // 12)
        cells = F.interpolate(torch.from_numpy(shifted).float()[None], cells_hw, mode="area")[0]
        known = torch.ones(len(queries))
        return Prediction(cells.clamp(0.05, 0.95).logit(), presence=known, iou=known)


def ellipse(size_hw: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box_xyxy
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    inside: NDArray[np.bool_] = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1
    return inside


def iou(prediction: Prediction, mask: NDArray[np.bool_]) -> float:
    full = F.interpolate(prediction.mask_logits[:1, None], mask.shape, mode="bilinear")[0, 0]
    found = full.sigmoid().numpy() > DrawnMasks.mask_threshold
    return float((found & mask).sum() / (found | mask).sum())


@pytest.mark.weights
@pytest.mark.parametrize("compiled", [False, True], ids=["torch", "openvino"])
class TestPublishedRefiner:
    def test_a_clean_disc_stays_and_gets_sharp(self, compiled: bool) -> None:
        mask = ellipse((180, 240), (30, 20, 110, 100))
        texture = np.random.default_rng(0).normal(0, 4, (*mask.shape, 3))
        image_rgb = np.where(mask[..., None], (230, 120, 40), (90, 110, 130)) + texture
        drawn = DrawnMasks({"disc": mask})
        segmenter = RefinedSegmenter(drawn, load_refiner("mobile-sam", compiled=compiled))
        features = segmenter.encode_image(image_rgb.clip(0, 255).astype(np.uint8))
        assert iou(drawn.segment({}, to_queries("disc"), mask.shape), mask) < 0.87
        assert iou(segmenter.segment(features, to_queries("disc"), mask.shape), mask) > 0.95

    def test_the_coffee_of_a_bundled_photo(self, compiled: bool) -> None:
        """Its surface is, but for the part behind the rim, the ellipse that fills its box."""
        mask = ellipse((400, 600), (204, 94, 371, 193))
        drawn = DrawnMasks({"coffee": mask})
        segmenter = RefinedSegmenter(drawn, load_refiner("mobile-sam", compiled=compiled))
        features = segmenter.encode_image(read_image(find_photo("coffee")))
        refined = segmenter.segment(features, to_queries("coffee"), mask.shape)
        # No more than that: the ellipse counts what the rim hides, and a sharp mask leaves it out.
        assert iou(refined, mask) > 0.88


@pytest.mark.weights
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_checkpoint_names_its_refiner(tmp_path: Path, engine: str) -> None:
    model = load_model("promptseg-test")
    model.config = replace(model.config, refiner="mobile-sam")
    save_pretrained(model, tmp_path / "refined")
    predictor = promptseg.load(tmp_path / "refined", engine=engine, threshold=0.0)
    assert predictor.engine == f"{engine} + mobile-sam"
    assert isinstance(predictor.segmenter, RefinedSegmenter)
    result = predictor.segment(predictor.encode(find_photo("chelsea")), TEXTS)
    assert [each.label for each in result] == TEXTS
    assert all(each.mask.shape == SIZE_HW and each.mask_logits.shape == (106, 160) for each in result)
