"""LangSAM: N phrases, N answers with their objects; and the drop-in, whose shapes never change."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_world import Painted
from PIL import Image

import promptseg
from promptseg.detectors.base import Thresholds
from promptseg.errors import CheckpointError, PromptError, UnknownModelError, UnsupportedPromptError
from promptseg.langsam import LangSAM, split_phrases
from promptseg.models.grounded_sam.build import load_langsam
from promptseg.models.grounded_sam.config import LangSam, LangSamConfig
from promptseg.models.grounded_sam.segmenter import GroundedSegmenter
from promptseg.models.grounded_sam.segmenter_detector import SegmenterDetector
from promptseg.photos import find_photo
from promptseg.prompts import PointPrompt, Query, TextPrompt
from promptseg.sam.sam import build_tiny_sam

SIZE_HW = (100, 400)
TINY = LangSamConfig(detector="promptseg-test-vit", masker="sam-test")


def image(height: int = 100, width: int = 400) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ask(*phrases: str) -> list[Query]:
    return [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]


@pytest.fixture(scope="module")
def grounded() -> GroundedSegmenter:
    return GroundedSegmenter(SegmenterDetector(Painted()), build_tiny_sam(), Thresholds(0.1))


class TestGroundedSegmenter:
    def test_every_query_has_its_answer_and_its_objects(self, grounded: GroundedSegmenter) -> None:
        features = grounded.encode_image(image())
        prediction = grounded.segment(features, ask("nothing", "squares", "square"), SIZE_HW)
        assert prediction.mask_logits.shape == (3, 4, 16)
        torch.testing.assert_close(prediction.presence, torch.tensor([0.1, 0.9, 0.8]))
        assert prediction.instances is not None
        assert [len(objects) for objects in prediction.instances] == [0, 2, 1]
        scores = [one.score for one in prediction.instances[1]]
        assert scores == sorted(scores, reverse=True) and all(one.size_hw == SIZE_HW for one in prediction.instances[1])
        assert (prediction.mask_logits[0] < 0).all() and prediction.iou[0] == 0

    def test_masks_are_what_the_masker_draws_in_the_boxes(self, grounded: GroundedSegmenter) -> None:
        features = grounded.encode_image(image())
        grounding = grounded.ground(features, ["squares"], SIZE_HW)
        output = grounded.masker.segment(
            grounded.masker.encode(image()), boxes_xyxy=torch.tensor([[240.0, 60, 360, 90], [40, 10, 120, 40]])
        )
        expected = (output.image_logits()[:, 0] > 0).numpy()
        assert np.array_equal(np.stack(list(grounding.masks())), expected)
        instances = grounded.segment(features, ask("squares"), SIZE_HW).instances
        assert instances is not None
        assert np.array_equal(instances[0][0].mask, expected[0])

    def test_a_phrase_asked_twice_is_answered_twice(self, grounded: GroundedSegmenter) -> None:
        features = grounded.encode_image(image())
        prediction = grounded.segment(features, ask("squares", "square", "squares"), SIZE_HW)
        assert prediction.instances is not None
        assert prediction.instances[0] == prediction.instances[2]
        assert torch.equal(prediction.mask_logits[0], prediction.mask_logits[2])

    def test_nothing_found_has_the_same_shapes(self, grounded: GroundedSegmenter) -> None:
        features = grounded.encode_image(image())
        prediction = grounded.segment(features, ask("nothing"), SIZE_HW)
        assert prediction.mask_logits.shape == (1, 4, 16) and prediction.instances == ((),)
        empty = grounded.segment(features, [], SIZE_HW)
        assert len(empty.mask_logits) == len(empty.presence) == len(empty.iou) == 0

    def test_thresholds_are_the_users_or_the_detectors(self, grounded: GroundedSegmenter) -> None:
        assert grounded.presence_threshold == 0.1
        assert GroundedSegmenter(grounded.detector, grounded.masker).presence_threshold == Painted.presence_threshold

    def test_other_prompts_are_refused(self, grounded: GroundedSegmenter) -> None:
        features = grounded.encode_image(image())
        with pytest.raises(UnsupportedPromptError, match="'it' is point"):
            grounded.segment(features, [Query("it", (PointPrompt([(1, 1)]),))], SIZE_HW)


class TestConfig:
    def test_there_and_back(self) -> None:
        config = replace(TINY, box_threshold=0.4)
        assert LangSamConfig.from_dict(config.to_dict()) == config
        with pytest.raises(CheckpointError, match="not a config of this version"):
            LangSamConfig.from_dict({"detectors": "x"})
        with pytest.raises(CheckpointError, match=r"box_threshold is a score in \[0, 1\], not 2"):
            LangSamConfig.from_dict({"box_threshold": 2})
        with pytest.raises(PromptError, match=r"box_threshold is a score in \[0, 1\], not 2"):
            LangSamConfig(box_threshold=2)

    def test_the_model_is_its_config_and_a_place(self) -> None:
        model = LangSam(TINY, torch.device("cpu"))
        assert model.state_dict() == {} and model.trained_names() == set()
        assert model.to(torch.device("meta")).device == torch.device("meta") and model.device == torch.device("cpu")

    def test_parts_that_do_not_exist_are_named(self) -> None:
        for config, message in (
            (replace(TINY, detector="dino9"), "no detector 'dino9'"),
            (replace(TINY, masker="sam9"), "no masker 'sam9'"),
        ):
            with pytest.raises(UnknownModelError, match=message):
                load_langsam(config, device=torch.device("cpu"), engine="torch")


@pytest.fixture(scope="module")
def model() -> LangSAM:
    return LangSAM("sam-test", detector="promptseg-test-vit", engine="torch", device="cpu")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(find_photo("chelsea")).resize((90, 60))


class TestDropIn:
    @pytest.mark.parametrize("how_many", ["none", "one", "all"])
    def test_shapes_depend_on_the_number_alone(self, model: LangSAM, photo: Image.Image, how_many: str) -> None:
        (everything,) = model.predict([photo], ["cat, grass"], box_threshold=0.0)
        scores = everything["scores"].tolist()
        threshold = {"none": 1.0, "one": (scores[0] + scores[1]) / 2, "all": 0.0}[how_many]
        (found,) = model.predict([photo], ["cat, grass"], box_threshold=threshold)
        num_found = {"none": 0, "one": 1, "all": len(scores)}[how_many]
        assert len(scores) > 1
        assert set(found) == {"boxes", "scores", "labels", "masks", "mask_scores"}
        assert found["boxes"].shape == (num_found, 4) and found["boxes"].dtype == np.float32
        assert found["scores"].shape == found["mask_scores"].shape == (num_found,)
        assert found["masks"].shape == (num_found, 60, 90) and found["masks"].dtype == np.bool_
        assert len(found["labels"]) == num_found and set(found["labels"]) <= {"cat", "grass"}

    def test_one_image_gives_the_older_tuple(self, model: LangSAM, photo: Image.Image) -> None:
        masks, boxes, labels, scores = model.predict(photo, "cat. grass.", box_threshold=0.0)
        (found,) = model.predict([photo], ["cat, grass"], box_threshold=0.0)
        assert np.array_equal(masks, found["masks"]) and np.array_equal(boxes, found["boxes"])
        assert labels == found["labels"] and np.array_equal(scores, found["scores"])

    def test_each_image_has_its_own_text(self, model: LangSAM, photo: Image.Image) -> None:
        small = photo.resize((45, 30))
        both = model.predict([photo, small], ["cat", "grass"], box_threshold=0.0)
        assert [found["masks"].shape[1:] for found in both] == [(60, 90), (30, 45)]
        assert [set(found["labels"]) for found in both] == [{"cat"}, {"grass"}]

    def test_requests_that_do_not_fit_are_refused(self, model: LangSAM, photo: Image.Image) -> None:
        with pytest.raises(PromptError, match="2 images but 1 texts"):
            model.predict([photo, photo], ["cat"])
        with pytest.raises(PromptError, match="one image and one text, or a list"):
            model.predict([photo], "cat")  # type: ignore[call-overload]
        with pytest.raises(PromptError, match="box threshold"):
            model.predict(photo, "cat", box_threshold=30)

    @pytest.mark.parametrize("sam_type", ["vit_h", "sam2.1_hiera_small"])
    def test_sizes_without_published_weights_say_what_to_do(self, sam_type: str) -> None:
        with pytest.raises(UnknownModelError, match=f"the weights of {sam_type} are on no package index: give a dir"):
            LangSAM(sam_type)

    def test_it_is_public(self) -> None:
        assert promptseg.LangSAM is LangSAM


class TestPredictor:
    @pytest.fixture
    def predictor(self) -> promptseg.Predictor:
        return promptseg.load("langsam-test", engine="torch", device="cpu")

    def test_it_is_a_model_like_others(self, predictor: promptseg.Predictor, tmp_path: Path) -> None:
        embedding = predictor.encode(find_photo("chelsea"))
        found = predictor.segment(embedding, ["cat", "grass", "cat"])
        assert [result.label for result in found] == ["cat", "grass", "cat"] and found.model == "langsam-test"
        for result in found:
            assert result.mask.shape == found.size_hw
            union = np.zeros(found.size_hw, dtype=np.bool_)
            for instance in result.instances:
                union |= instance.mask
            assert np.array_equal(result.mask, union)
        kept = promptseg.Embedding.load(embedding.save(tmp_path / "photo.safetensors"))
        again = predictor.segment(kept, ["cat", "grass", "cat"])
        assert [len(result.instances) for result in again] == [len(result.instances) for result in found]

    def test_parts_of_ones_own(self) -> None:
        predictor = promptseg.load(replace(TINY, box_threshold=0.7), engine="torch", device="cpu")
        assert (predictor.name, predictor.presence_threshold) == ("langsam", 0.7)
        assert predictor.engine == "torch + sam-test"

    def test_there_is_nothing_to_save(self, predictor: promptseg.Predictor, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="langsam-test has nothing of its own to save"):
            predictor.save_pretrained(tmp_path)


class TestCommandLine:
    REQUEST = ("predict", find_photo("chelsea"), "-t", "cat", "--engine", "torch")

    def test_a_detector_and_a_masker(self, promptseg: Callable[..., tuple[int, str, str]]) -> None:
        parts = ("--detector", "promptseg-test-vit", "--masker", "sam-test")
        code, out, _ = promptseg(*self.REQUEST, *parts, "--json")
        assert code == 0
        assert json.loads(out)["model"] == "langsam" and len(json.loads(out)["results"]) == 1

    def test_a_model_has_its_own_parts(self, promptseg: Callable[..., tuple[int, str, str]]) -> None:
        code, _, err = promptseg(*self.REQUEST, "--detector", "owlv2-base", "--model", "promptseg-test")
        assert code == 2 and "give --model or --detector, not both" in " ".join(err.split())


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("car, wheel", ("car", "wheel")),
        ("a. b.", ("a", "b")),
        ("wheel.", ("wheel",)),
        (" red car ,, dog on the left. red car", ("red car", "dog on the left")),
    ],
)
def test_phrases_are_parted(text: str, phrases: tuple[str, ...]) -> None:
    assert split_phrases(text) == phrases


@pytest.mark.parametrize("text", ["", " ., ", "..."])
def test_a_text_names_something(text: str) -> None:
    with pytest.raises(PromptError, match="names nothing"):
        split_phrases(text)


def test_there_is_a_most() -> None:
    with pytest.raises(PromptError, match="5,000 phrases in one text; the limit is 1,000"):
        split_phrases(",".join(f"thing {index}" for index in range(5000)))


@pytest.mark.weights
class TestPublished:
    def test_a_cup_is_found_with_permissive_weights(self) -> None:
        model = LangSAM(engine="torch", device="cpu")
        (found,) = model.predict([Image.open(find_photo("coffee"))], ["cup, zebra"])
        assert set(found["labels"]) == {"cup"}
        left, _, right, _ = found["boxes"][0]
        assert (found["masks"][0][120:250, 230:340]).mean() > 0.9 and left < 230 and right > 340

    def test_yolo_world_sees_the_cat(self) -> None:
        model = LangSAM(detector="yolo-world-v2-s", engine="torch", device="cpu")
        (found,) = model.predict([Image.open(find_photo("chelsea"))], ["cat. kitten. umbrella."])
        assert found["labels"] == ["cat"]
        assert found["scores"][0] > 0.8
        assert found["boxes"][0] == pytest.approx([0, 0, 405, 300], abs=4)
        assert found["masks"][0].mean() > 0.6
