"""Pseudo-masks: proposals, the masks that are kept, and resumable runs."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from promptseg import weights
from promptseg.cli.app import app
from promptseg.data.jsonl import load_pseudo_masks, read_jsonl
from promptseg.errors import DataError, OutputError
from promptseg.ops.rle import decode_rle, encode_rle
from promptseg.pseudo_masks.image import check_box_mask, mask_record
from promptseg.pseudo_masks.proposals import Proposal, TeacherBox, group_teacher_boxes, load_teacher_boxes, propose
from promptseg.pseudo_masks.report import contact_sheet, statistics
from promptseg.pseudo_masks.run import SamSettings, load_done, mask_set, sets_to_mask
from promptseg.pseudo_masks.single_object import MIN_AGREEING, find_main_object, plain_background_box
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.load import load_sam

HEIGHT, WIDTH = 90, 120
SHEEP_BOX = (20.0, 20.0, 70.0, 70.0)  # over the middle of the image


def record(**fields: Any) -> dict[str, Any]:
    return {"image": "farm/one.png", "width": WIDTH, "height": HEIGHT, **fields}


def teacher(name: str, score: float, box_xyxy: tuple[float, float, float, float] = SHEEP_BOX) -> TeacherBox:
    return TeacherBox(box_xyxy, score, name)


def disc() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.asarray((x - 45) ** 2 + (y - 45) ** 2 < 25**2)


def painted_rgb() -> np.ndarray:
    return np.where(disc()[..., None], (230, 120, 40), (255, 255, 255)).astype(np.uint8)


class TestProposals:
    def test_names_of_one_place_become_one_proposal(self) -> None:
        boxes = [teacher("trash can", 0.70), teacher("garbage", 0.75), teacher("motorcycle", 0.31)]
        (found,) = group_teacher_boxes(boxes)
        assert (found.category, found.names, found.name_scores) == ("garbage", ("garbage", "trash can"), (0.75, 0.70))

    def test_unsure_boxes_are_left_out_and_other_places_stay_apart(self) -> None:
        boxes = [teacher("lamp", 0.29), teacher("vase", 0.5), teacher("vase", 0.4, (80, 0, 110, 40))]
        assert [(found.category, found.name_scores) for found in group_teacher_boxes(boxes)] == [
            ("vase", (0.5,)),
            ("vase", (0.4,)),
        ]

    def test_people_win_over_the_detector(self) -> None:
        shifted = (22.0, 24.0, 74.0, 72.0)
        farm = record(boxes=[{"category": "sheep", "box_xyxy": list(SHEEP_BOX)}])
        boxes = [
            teacher("lamb", 0.9, shifted),  # a kind of sheep, about there
            teacher("statue", 0.9),  # something else, exactly there
            teacher("dog", 0.9, (80, 50, 110, 80)),  # people annotated all dogs, and saw none
            teacher("fence", 0.9, (5, 40, 100, 90)),
        ]
        found = propose(farm, boxes, exhaustive=frozenset({"dog"}))
        assert [(one.category, one.source) for one in found] == [("sheep", "human-box"), ("fence", "teacher-box")]

    def test_masks_of_people_need_no_others(self) -> None:
        masks = [{"category": "sheep", "rle": encode_rle(disc()), "kind": "thing"}]
        farm = record(masks=masks, boxes=[{"category": "sheep", "box_xyxy": list(SHEEP_BOX)}])
        assert propose(farm, [teacher("sheep", 0.9)]) == []

    def test_a_single_object_keeps_its_name(self) -> None:
        lone = record(tags=["boat"], single_object=True)
        boxes = [teacher("hippopotamus", 0.9), teacher("sailboat", 0.5), teacher("gull", 0.4, (90, 5, 110, 20))]
        assert [one.category for one in propose(lone, boxes)] == ["sailboat", "gull"]

    def test_regions_keep_their_phrase_and_boxes_end_at_the_edge(self) -> None:
        farm = record(
            regions=[{"phrase": "the sheep on the left", "box_xyxy": [-5, 20, 70, 95]}],
            boxes=[{"category": "sheep", "box_xyxy": [10, 10, 14, 14]}],  # too small for a shape
        )
        (found,) = propose(farm)
        assert (found.source, found.category, found.box_xyxy) == ("region", "the sheep on the left", (0, 20, 70, 90))

    def test_a_file_of_teacher_boxes_is_read_or_named(self, tmp_path: Path) -> None:
        path = tmp_path / "boxes.jsonl.gz"
        with gzip.open(path, "wt") as file:
            file.write(json.dumps({"image": "farm/one.png", "boxes": [[*SHEEP_BOX, 0.5, "ram"]]}) + "\n")
        assert load_teacher_boxes(path) == {"farm/one.png": (teacher("ram", 0.5),)}
        path.write_bytes(b"no gzip")
        with pytest.raises(DataError, match=r"boxes\.jsonl\.gz, after 0 images: not a file of teacher boxes"):
            load_teacher_boxes(path)


class TestCheckBoxMask:
    PROPOSAL = Proposal(SHEEP_BOX, "sheep", "human-box", ("sheep",))

    def test_a_good_mask_is_kept_without_what_lies_far_from_its_box(self) -> None:
        mask = disc()
        mask[80:, 100:] = True
        checked = check_box_mask(self.PROPOSAL, mask, 0.9)
        assert checked.dropped is None
        assert checked.mask is not None and np.array_equal(checked.mask, disc())
        assert checked.to_json()["names"] == ["sheep"]

    def test_bad_masks_are_dropped_with_their_reason(self) -> None:
        part = disc() & (np.arange(WIDTH) < 35)
        assert check_box_mask(self.PROPOSAL, disc(), 0.6).dropped == "score"
        assert check_box_mask(self.PROPOSAL, part, 0.9).dropped == "box"
        assert check_box_mask(self.PROPOSAL, np.zeros((HEIGHT, WIDTH), dtype=bool), 0.9).dropped == "area"
        assert check_box_mask(self.PROPOSAL, disc(), 0.6).to_json() == {
            "category": "sheep",
            "source": "human-box",
            "score": 0.6,
            "reason": "score",
        }


class TestPlainBackground:
    def test_the_object_on_white_is_boxed(self) -> None:
        assert plain_background_box(painted_rgb()) == pytest.approx((20, 20, 70, 70), abs=2)

    def test_a_busy_border_is_no_background(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        assert plain_background_box(noise) is None

    def test_an_empty_image_has_no_object(self) -> None:
        assert plain_background_box(np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)) is None


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three images: a sheep with a box, a broken file, a single ball; and an index of an evaluation set."""
    data = tmp_path / "data"
    (data / "farm").mkdir(parents=True)
    Image.fromarray(painted_rgb()).save(data / "farm/one.png")
    Image.fromarray(painted_rgb()).save(data / "farm/three.png")
    (data / "farm/two.png").write_bytes(b"no image")
    boxes = [{"category": "sheep", "box_xyxy": list(SHEEP_BOX)}]
    records = [
        record(boxes=boxes),
        record(boxes=boxes) | {"image": "farm/two.png"},
        record(tags=["ball"], single_object=True) | {"image": "farm/three.png"},
    ]
    lines = "".join(json.dumps(one) + "\n" for one in records)
    (data / "farm.jsonl").write_text(lines)
    (data / "coco_dev.jsonl").write_text(lines)
    (data / "masked.jsonl").write_text(json.dumps(record(masks=[])) + "\n")
    return data


class TestRun:
    def test_excluded_sets_are_not_listed(self, data_dir: Path) -> None:
        assert sets_to_mask(data_dir) == ["coco_dev", "farm"]
        assert sets_to_mask(data_dir, ["masked/a.webp"], exclude={"coco_dev"}) == ["farm", "masked"]

    def test_a_half_written_last_line_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "farm.jsonl"
        path.write_text('{"image": "a"}\n{"image": "b"}\n{"ima')
        assert [made["image"] for made in load_done(path)] == ["a", "b"]
        assert path.read_text() == '{"image": "a"}\n{"image": "b"}\n'

    def test_another_file_is_not_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "farm.jsonl"
        path.write_text("a diary\nof a shepherd\n")
        with pytest.raises(OutputError, match=r"farm\.jsonl is not a file of pseudo-masks"):
            load_done(path)

    @pytest.mark.weights
    def test_a_stopped_run_goes_on_and_ends_the_same(self, data_dir: Path, tmp_path: Path) -> None:
        weights.resolve("mobile-sam")
        settings = SamSettings(input_side=256, engine="torch")
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        arguments = {"data_dir": data_dir, "settings": settings, "teacher_boxes": {}}
        made = [*mask_set("farm", out_dir=whole, **arguments)]
        assert [one["image"] for one in made] == ["farm/one.png", "farm/two.png", "farm/three.png"]
        run = mask_set("farm", out_dir=parts, **arguments)
        next(run)
        run.close()
        with (parts / "farm.jsonl").open("a") as file:
            file.write('{"image": "farm/tw')
        assert [one["image"] for one in mask_set("farm", out_dir=parts, **arguments)] == [
            "farm/two.png",
            "farm/three.png",
        ]
        assert (parts / "farm.jsonl").read_text() == (whole / "farm.jsonl").read_text()
        assert [*mask_set("farm", out_dir=parts, **arguments)] == []
        shared = mask_set("farm", out_dir=tmp_path / "shared", num_workers=2, **arguments)
        assert sorted(shared, key=lambda one: one["image"]) == sorted(made, key=lambda one: one["image"])

        sheep, broken, ball = made
        assert "two.png" in broken["error"]
        assert broken["masks"] == []
        for one, source in ((sheep, "human-box"), (ball, "single-object")):
            (mask,) = one["masks"]
            assert (mask["source"], mask["kind"]) == (source, "thing")
            found = decode_rle(mask["rle"])
            assert (found & disc()).sum() / (found | disc()).sum() > 0.9

        counted = statistics(made)
        assert counted["num_images"] == 3
        assert [failure["image"] for failure in counted["failures"]] == ["farm/two.png"]
        assert counted["sources"]["human-box"]["num_kept"] == 1
        assert sum(counted["sources"]["human-box"]["score_histogram"]) == 1
        assert contact_sheet(made, data_dir).size[0] > 0

        (data_dir / "farm/two.png").unlink()
        samples = read_jsonl(data_dir / "farm.jsonl", pseudo_masks=load_pseudo_masks([whole / "farm.jsonl"]))
        assert [sample.targets[0].evidence for sample in samples] == ["mask", "mask"]
        assert samples[0].targets[0].source == "human-box"


@pytest.fixture(scope="module")
def sam() -> PromptableSegmenter:
    return load_sam("mobile-sam", runtime=Runtime("torch"), input_side=256)


@pytest.mark.weights
class TestImage:
    def test_the_detectors_names_go_along(self, sam: PromptableSegmenter, data_dir: Path) -> None:
        made = mask_record(sam, record(), data_dir, [teacher("ram", 0.6), teacher("goat", 0.5)])
        (mask,) = made["masks"]
        assert (mask["category"], mask["source"]) == ("ram", "teacher-box")
        assert (mask["names"], mask["name_scores"]) == (["ram", "goat"], [0.6, 0.5])

    def test_a_record_of_another_size_is_an_error_of_that_image(self, sam: PromptableSegmenter, data_dir: Path) -> None:
        made = mask_record(sam, record(tags=["ball"], single_object=True) | {"width": 99}, data_dir)
        assert made["error"] == "the image is 120x90 pixels, its record says 99x90"

    def test_an_image_without_a_main_object_gives_none(self, sam: PromptableSegmenter) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        found = find_main_object(sam, sam.encode(noise), noise)
        assert found is None or found.num_agreeing < MIN_AGREEING


@pytest.mark.weights
@pytest.mark.slow
def test_the_command_names_what_failed_and_counts_the_rest(data_dir: Path, tmp_path: Path) -> None:
    arguments = ["pseudo-masks", "--data", str(data_dir), "--out", str(tmp_path / "made"), "--input-side", "256"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "farm/two.png" in result.stderr
    counted = json.loads(result.stdout)
    assert counted["farm"]["num_images"] == 3
    assert json.loads((tmp_path / "made/statistics/farm.json").read_text()) == counted["farm"]
    with Image.open(tmp_path / "made/sheets/farm.jpg") as sheet:
        assert sheet.width > 0
