"""Everything in an image: every mask has one place in the result, and the name that fits it."""

from dataclasses import replace

import numpy as np
import pytest
from color_world import COLORS, ColorMasker, ColorSegmenter, image

import promptseg
from promptseg import Predictor
from promptseg.errors import ImageError, PromptError
from promptseg.everything import _union_map, draw_everything, segment_everything
from promptseg.image_files import bundled_image
from promptseg.images import ImageLimits, read_image
from promptseg.ops.windows import Tiles
from promptseg.results import Segmentation
from promptseg.runtime import Runtime
from promptseg.sam.automatic import AutomaticSettings
from promptseg.sam.load import load_sam

SETTINGS = AutomaticSettings(points_per_side=8, pred_iou_thresh=0.9, stability_score_thresh=0.0)
SHAPES = [((20, 20, 80, 60), "red"), ((100, 20, 180, 100), "red"), ((20, 120, 180, 150), "blue")]
IMAGE = image(*SHAPES, size_hw=(160, 200))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Knows the three colors."""
    return replace(
        promptseg.load("promptseg-test-dense", device="cpu", engine="torch"),
        segmenter=ColorSegmenter(),
        presence_threshold=0.5,
    )


def boxes(found: Segmentation) -> dict[str, list[tuple[int, int, int, int]]]:
    return {result.label: sorted(instance.box_xyxy for instance in result.instances) for result in found}


def test_without_names_all_are_unnamed() -> None:
    found = segment_everything(ColorMasker(), IMAGE, settings=SETTINGS)
    (result,) = found
    assert boxes(found) == {"unnamed": sorted([(0, 0, 200, 160), *(box for box, _ in SHAPES)])}
    assert result.is_present and result.mask.all()
    assert all(instance.mask_quality == pytest.approx(0.95) for instance in result.instances)
    assert all(instance.score == 1.0 for instance in result.instances)
    assert found.model == "everything"


def test_names_go_to_what_they_fit(predictor: Predictor) -> None:
    found = segment_everything(ColorMasker(), IMAGE, names=COLORS, predictor=predictor, settings=SETTINGS)
    assert boxes(found) == {
        "red": [SHAPES[0][0], SHAPES[1][0]],
        "green": [],
        "blue": [SHAPES[2][0]],
        "unnamed": [(0, 0, 200, 160)],
    }
    red, green, blue, _ = found
    assert red.is_present and blue.is_present and not green.is_present
    assert (red.mask == (IMAGE[..., 0] == 255)).all()
    assert all(0.5 < instance.score <= red.presence for instance in red.instances)
    assert all(instance.mask_quality == pytest.approx(0.95) for instance in red.instances)
    assert found.model == "everything + promptseg-test-dense"


def test_a_part_does_not_take_the_name_of_the_whole(predictor: Predictor) -> None:
    image_rgb = IMAGE.copy()
    image_rgb[40:50, 114:124] = (240, 0, 0)  # a hole in the second shape, which cleaning fills
    settings = replace(SETTINGS, points_per_side=16, min_mask_region_area=200)
    found = segment_everything(ColorMasker(), image_rgb, names=["red"], predictor=predictor, settings=settings)
    assert boxes(found)["red"] == [SHAPES[0][0], SHAPES[1][0]]
    assert (114, 40, 124, 50) in boxes(found)["unnamed"]


def test_an_absent_name_names_nothing(predictor: Predictor) -> None:
    doubtful = replace(predictor, presence_threshold=1.0)
    found = segment_everything(ColorMasker(), IMAGE, names=["red"], predictor=doubtful, settings=SETTINGS)
    assert boxes(found)["red"] == [] and len(boxes(found)["unnamed"]) == 4


def test_nothing_found_is_an_answer_too(predictor: Predictor) -> None:
    nothing = replace(SETTINGS, pred_iou_thresh=1.0)
    found = segment_everything(ColorMasker(), IMAGE, names=["red"], predictor=predictor, settings=nothing)
    assert [(result.label, len(result.instances), result.mask.any()) for result in found] == [
        ("red", 0, False),
        ("unnamed", 0, False),
    ]
    assert not found[1].is_present


def test_tiles_find_and_name_across_seams(predictor: Predictor) -> None:
    shapes = [((20, 20, 60, 60), "green"), ((60, 100, 380, 140), "red"), ((300, 180, 400, 290), "blue")]
    large = image(*shapes)
    found = segment_everything(
        ColorMasker(), large, names=COLORS, predictor=predictor, settings=SETTINGS, tiles=Tiles(128, 32)
    )
    assert {label: its for label, its in boxes(found).items() if label != "unnamed"} == {
        color: [box] for box, color in shapes
    }


def test_the_map_of_the_unnamed_lies_where_they_lie() -> None:
    large = image(((150, 50, 350, 130), "red"), size_hw=(150, 500))
    few = replace(SETTINGS, points_per_side=3)
    (result,) = segment_everything(ColorMasker(), large, settings=few)
    assert result.mask_logits.shape == (77, 256) and (result.mask_logits > 0).all()
    red = next(instance for instance in result.instances if instance.box_xyxy == (150, 50, 350, 130))
    small = _union_map([red], (150, 500)) > 0
    y, x = np.argwhere(small).T
    assert (x.min() / 256, y.min() / 77) == (pytest.approx(150 / 500, abs=0.01), pytest.approx(50 / 150, abs=0.02))
    assert small.mean() == pytest.approx(200 * 80 / (150 * 500), abs=0.01)


def test_one_name_is_one_name(predictor: Predictor) -> None:
    found = segment_everything(ColorMasker(), IMAGE, names="red", predictor=predictor, settings=SETTINGS)
    assert [result.label for result in found] == ["red", "unnamed"]


def test_results_are_described_and_drawn(predictor: Predictor) -> None:
    found = segment_everything(ColorMasker(), IMAGE, names=COLORS, predictor=predictor, settings=SETTINGS)
    document = found.to_dict()
    assert [len(result["instances"]) for result in document["results"]] == [2, 0, 1, 1]
    drawn = np.asarray(draw_everything(found)).astype(int)
    assert drawn.shape == IMAGE.shape
    inside = [drawn[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2] for box, _ in SHAPES]
    assert np.abs(inside[0] - inside[1]).sum() > 30  # two of one name have two colors


def test_progress_is_reported() -> None:
    reports: list[tuple[int, int]] = []
    settings = replace(SETTINGS, points_per_batch=16)
    segment_everything(ColorMasker(), IMAGE, settings=settings, report=lambda *counts: reports.append(counts))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_bad_requests_say_why(predictor: Predictor) -> None:
    with pytest.raises(PromptError, match="names need a predictor that takes phrases"):
        segment_everything(ColorMasker(), IMAGE, names=["red"])
    with pytest.raises(PromptError, match="the phrase is empty"):
        segment_everything(ColorMasker(), IMAGE, names=[""], predictor=predictor)
    with pytest.raises(PromptError, match="'mobile-sam' is only a name: give the model"):
        segment_everything("mobile-sam", IMAGE)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match=r"sam is what load_sam of promptseg\.sam\.load gives, not Predictor"):
        segment_everything(predictor, IMAGE)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="the limit is 100"):
        segment_everything(ColorMasker(), IMAGE, limits=ImageLimits(max_pixels=100))


@pytest.mark.weights
def test_the_cat_is_named() -> None:
    found = segment_everything(
        load_sam("mobile-sam", runtime=Runtime("torch"), input_side=512),
        read_image(bundled_image("chelsea")),
        names=["cat", "airplane"],
        predictor=promptseg.load(device="cpu", engine="torch"),
        settings=AutomaticSettings(points_per_side=8, stability_score_thresh=0.9),
    )
    cat, airplane, _ = found
    assert cat.instances and not airplane.instances
    assert cat.mask[150, 250]  # its nose
