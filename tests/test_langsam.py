"""The drop-in for lang-segment-anything, whose shapes never change; and LangSAM as a model among others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptseg
from promptseg.errors import CheckpointError, PromptError, UnknownModelError
from promptseg.image_files import bundled_image
from promptseg.langsam import LangSAM, split_phrases
from promptseg.models.grounded_sam.config import GroundedSamConfig

TINY = GroundedSamConfig(detector="promptseg-test-vit", masker="sam-test", masker_side=64)


@pytest.fixture(scope="module")
def model() -> LangSAM:
    return LangSAM("sam-test", detector="promptseg-test-vit", engine="torch", device="cpu")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(bundled_image("chelsea")).resize((90, 60))


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
        embedding = predictor.encode(bundled_image("chelsea"))
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
        assert predictor.engine == "torch"

    def test_there_is_nothing_to_save(self, predictor: promptseg.Predictor, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="langsam-test has nothing of its own to save"):
            predictor.save_pretrained(tmp_path)


class TestCommandLine:
    REQUEST = ("predict", bundled_image("chelsea"), "-t", "cat", "--engine", "torch")

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
        ("U.S. flag, 3.5mm jack. cup", ("U.S. flag", "3.5mm jack", "cup")),
        (" red car ,, dog on the left. red car", ("red car", "dog on the left")),
    ],
)
def test_phrases_are_split(text: str, phrases: tuple[str, ...]) -> None:
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
        (found,) = model.predict([Image.open(bundled_image("coffee"))], ["cup, zebra"])
        assert set(found["labels"]) == {"cup"}
        left, _, right, _ = found["boxes"][0]
        assert (found["masks"][0][120:250, 230:340]).mean() > 0.9 and left < 230 and right > 340

    def test_yolo_world_sees_the_cat(self) -> None:
        model = LangSAM(detector="yolo-world-v2-s", engine="torch", device="cpu")
        (found,) = model.predict([Image.open(bundled_image("chelsea"))], ["cat. kitten. umbrella."])
        assert found["labels"] == ["cat"]
        assert found["scores"][0] > 0.8
        assert found["boxes"][0] == pytest.approx([0, 0, 405, 300], abs=4)
        assert found["masks"][0].mean() > 0.6
