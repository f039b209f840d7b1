"""LangSAM as a segmenter: N phrases, N answers with their objects; and its config."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from painted_world import Painted

from promptseg.detectors.base import Thresholds
from promptseg.detectors.segmenter_detector import SegmenterDetector
from promptseg.errors import CheckpointError, DataError, PromptError, UnknownModelError, UnsupportedPromptError
from promptseg.models.grounded_sam.build import build
from promptseg.models.grounded_sam.config import GroundedSamConfig
from promptseg.models.grounded_sam.segmenter import GroundedSegmenter
from promptseg.prompts import PointPrompt, Query, TextPrompt
from promptseg.runtime import Runtime
from promptseg.sam.sam_vit import build_tiny_sam

SIZE_HW = (100, 400)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
TORCH = Runtime("torch")
TINY = GroundedSamConfig(detector="painted", masker="sam-test", masker_side=64)


def ask(*phrases: str) -> list[Query]:
    return [Query(phrase, (TextPrompt(phrase),)) for phrase in phrases]


@dataclass(frozen=True)
class Options:
    """Load options whose only model of this package is `Painted`, or another one."""

    painted: type[Painted] = Painted
    runtime: Runtime = TORCH
    offline: bool = True
    progress: None = None

    def load_segmenter(self, name: str) -> Painted:
        if name != "painted":
            raise UnknownModelError(f"no model is named {name!r}")
        return self.painted()


@pytest.fixture(scope="module")
def grounded() -> GroundedSegmenter:
    return GroundedSegmenter(SegmenterDetector(Painted()), build_tiny_sam(runtime=TORCH), Thresholds(0.1))


class TestSegment:
    def test_every_query_has_its_answer_and_its_objects(self, grounded: GroundedSegmenter) -> None:
        prediction = grounded.segment(grounded.encode_image(IMAGE), ask("nothing", "squares", "square"))
        assert prediction.mask_logits.shape == (3, 4, 16)
        np.testing.assert_allclose(prediction.presence, [0.1, 0.9, 0.8], rtol=1e-6)
        assert prediction.instances is not None
        nothing, squares, square = (objects or () for objects in prediction.instances)
        assert [len(objects) for objects in (nothing, squares, square)] == [0, 2, 1]
        scores = [one.score for one in squares]
        assert scores == sorted(scores, reverse=True)
        assert all(one.size_hw == SIZE_HW for one in squares)
        assert max(one.mask_quality or 0.0 for one in squares) == pytest.approx(float(prediction.mask_quality[1]))
        assert (prediction.mask_logits[0] < 0).all() and prediction.mask_quality[0] == 0

    def test_masks_are_those_that_sam_draws_in_the_boxes(self, grounded: GroundedSegmenter) -> None:
        encoded = grounded.encode_image(IMAGE)
        grounding = grounded.ground(encoded, ["squares"])
        output = grounded.sam.segment(
            grounded.sam.encode(IMAGE), boxes_xyxy=np.array([[240.0, 60, 360, 90], [40, 10, 120, 40]])
        )
        expected = output.image_logits()[:, 0] > 0
        assert np.array_equal(np.stack(list(grounding.masks())), expected)
        ((first, _),) = grounded.segment(encoded, ask("squares")).instances or ()
        assert np.array_equal(first.mask, expected[0])

    def test_the_map_of_a_phrase_joins_its_objects(self, grounded: GroundedSegmenter) -> None:
        encoded = grounded.encode_image(IMAGE)
        output = grounded.ground(encoded, ["squares"]).output
        assert output is not None
        maps = output.frame.maps_to_image(output.mask_logits[:, 0], output.frame.map_hw)
        prediction = grounded.segment(encoded, ask("nothing", "squares"))
        np.testing.assert_array_equal(prediction.mask_logits[1], maps.max(axis=0).clip(min=-10))

    def test_a_phrase_that_comes_twice_is_answered_twice(self, grounded: GroundedSegmenter) -> None:
        prediction = grounded.segment(grounded.encode_image(IMAGE), ask("squares", "square", "squares"))
        assert prediction.instances is not None
        assert prediction.instances[0] == prediction.instances[2]
        np.testing.assert_array_equal(prediction.mask_logits[0], prediction.mask_logits[2])

    def test_nothing_found_is_an_answer_and_sam_is_not_asked(self, grounded: GroundedSegmenter) -> None:
        encoded = grounded.encode_image(IMAGE)
        prediction = grounded.segment(encoded, ask("nothing"))
        assert (prediction.mask_logits < 0).all() and prediction.instances == ((),)
        assert not encoded.sam.is_known
        empty = grounded.segment(encoded, [])
        assert len(empty.mask_logits) == len(empty.presence) == len(empty.mask_quality) == 0

    def test_thresholds_are_the_users_or_the_detectors(self, grounded: GroundedSegmenter) -> None:
        assert grounded.presence_threshold == 0.1
        assert GroundedSegmenter(grounded.detector, grounded.sam).presence_threshold == Painted.presence_threshold

    def test_other_prompts_are_refused(self, grounded: GroundedSegmenter) -> None:
        with pytest.raises(UnsupportedPromptError, match="query 'it' has point"):
            grounded.segment(grounded.encode_image(IMAGE), [Query("it", (PointPrompt([(1, 1)]),))])

    def test_arrays_make_the_image_again(self, grounded: GroundedSegmenter) -> None:
        encoded = grounded.encode_image(IMAGE)
        again = grounded.restore_image(encoded.to_arrays(), IMAGE)
        assert again.size_hw == SIZE_HW
        found, expected = (grounded.segment(each, ask("squares", "square")) for each in (again, encoded))
        np.testing.assert_array_equal(found.mask_logits, expected.mask_logits)
        with pytest.raises(DataError, match="encode the image again"):
            grounded.restore_image({"image": IMAGE[None]}, IMAGE)

    def test_a_compact_part_gives_nearly_the_same(self, grounded: GroundedSegmenter) -> None:
        part = grounded.encode_part(IMAGE, compact=True)
        assert part.sam.get().features[0].dtype == np.float16
        found, expected = (grounded.segment(each, ask("squares")) for each in (part, grounded.encode_image(IMAGE)))
        np.testing.assert_allclose(found.mask_quality, expected.mask_quality, atol=1e-2)


class TestConfig:
    def test_there_and_back(self) -> None:
        config = replace(TINY, box_threshold=0.4)
        assert GroundedSamConfig.from_dict(config.to_dict()) == config
        with pytest.raises(CheckpointError, match="not a config of this version"):
            GroundedSamConfig.from_dict({"detectors": "x"})
        with pytest.raises(CheckpointError, match=r"box_threshold is a number in \[0, 1\], not 2"):
            GroundedSamConfig.from_dict({"box_threshold": 2})
        with pytest.raises(PromptError, match=r"box_threshold is a number in \[0, 1\], not 2"):
            GroundedSamConfig(box_threshold=2)

    def test_values_of_another_type_are_refused(self) -> None:
        for field, value, said in (
            ("box_threshold", "x", "box_threshold is a number"),
            ("box_threshold", True, "box_threshold is a number"),
            ("text_threshold", float("nan"), "text_threshold is a number"),
            ("detector", None, "detector is a name or a path as text, not None"),
            ("masker", 7, "masker is a name or a path as text, not 7"),
            ("masker_side", 0, "masker_side is a whole number of pixels"),
            ("masker_side", "big", "masker_side is a whole number of pixels"),
        ):
            with pytest.raises(PromptError, match=said):
                GroundedSamConfig(**{field: value})
        assert GroundedSamConfig(box_threshold=np.float32(0.5)).to_dict()["box_threshold"] == 0.5  # type: ignore[arg-type]


class TestBuild:
    def test_a_text_model_is_a_detector(self) -> None:
        segmenter = build(replace(TINY, box_threshold=0.2), None, Options())
        assert segmenter.presence_threshold == 0.2
        ((first, _),) = segmenter.segment(segmenter.encode_image(IMAGE), ask("squares")).instances or ()
        assert first.score == pytest.approx(0.9 / (1 + np.exp(-4)))

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (replace(TINY, detector="dino9"), "there is no detector 'dino9'; use one of .*or a path"),
            (replace(TINY, masker="sam9"), "no SAM is named 'sam9'"),
        ],
    )
    def test_parts_that_do_not_exist_are_named(self, config: GroundedSamConfig, message: str) -> None:
        with pytest.raises(UnknownModelError, match=message):
            build(config, None, Options())

    def test_a_path_is_a_detector(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"can't read its config\.json"):
            build(replace(TINY, detector=str(tmp_path)), None, Options())

    def test_a_model_without_texts_is_no_detector(self) -> None:
        class Clicked(Painted):
            prompt_kinds = frozenset({"point"})

        with pytest.raises(UnknownModelError, match="'painted' takes no text"):
            build(TINY, None, Options(painted=Clicked))
