"""Automatic masks: every piece against an independent implementation, and the whole on shapes that are known."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from color_world import ColorMasker
from numpy.typing import NDArray
from scipy import ndimage
from small_maskers import untrained_mobile_sam
from transformers.models.sam import image_processing_pil_sam as published

from promptseg.errors import PromptError
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.ops.boxes import pairwise_box_iou, suppress_boxes
from promptseg.ops.masks import drop_small_islands, fill_small_holes
from promptseg.ops.resize import resize_map, threshold_map
from promptseg.ops.rle import encode_rle, rle_area
from promptseg.ops.windows import Tiles, crop_layers, point_grid
from promptseg.results import Instance
from promptseg.runtime import Runtime
from promptseg.sam.automatic import AutomaticMask, AutomaticSettings, clean_instance, generate_masks
from promptseg.sam.base import Frame, SamOutput
from promptseg.sam.candidates import draw, judge, stability_scores
from promptseg.sam.load import load_sam
from promptseg.sam.overlap import instance_iou, mask_in, suppress_instances
from promptseg.sam.sam import Sam
from promptseg.sam.seams import Piece, join_pieces

SIDE = 128
EASY = AutomaticSettings(
    points_per_side=8, points_per_batch=16, pred_iou_thresh=0.9, stability_score_thresh=0.0, mask_nms_thresh=1.0
)


@pytest.fixture(scope="module")
def untrained() -> Sam:
    return untrained_mobile_sam(SIDE)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blobs(num: int, size_hw: tuple[int, int] = (60, 80)) -> list[Instance]:
    """Smooth random masks with random scores; some of them similar, some apart."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(num):
        y, x, radius = rng.uniform(0, size_hw[0]), rng.uniform(0, size_hw[1]), rng.uniform(5, 25)
        rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
        wobble = ndimage.gaussian_filter(rng.normal(size=size_hw), 3) * 60
        mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2 + wobble
        found.append(Instance.from_mask(mask, float(rng.uniform())))
        if index % 3 == 0:
            found.append(Instance.from_mask(ndimage.binary_dilation(mask), float(rng.uniform())))
    return [instance for instance in found if rle_area(instance.rle)]


class TestPieces:
    @pytest.mark.parametrize("num_side", [1, 2, 7, 32])
    def test_the_grid_is_the_published_one(self, num_side: int) -> None:
        expected = published._build_point_grid(num_side) * np.array([640, 427])
        np.testing.assert_allclose(point_grid(num_side, (427, 640)), expected)

    @pytest.mark.parametrize("size_hw", [(427, 640), (640, 427), (1000, 1000), (33, 70)])
    @pytest.mark.parametrize(("num_layers", "overlap_ratio"), [(0, 0.3), (1, 512 / 1500), (3, 512 / 1500), (2, 0.0)])
    def test_the_crops_are_the_published_ones(
        self, size_hw: tuple[int, int], num_layers: int, overlap_ratio: float
    ) -> None:
        boxes, layers = published._generate_per_layer_crops(num_layers, overlap_ratio, size_hw)
        found = crop_layers(size_hw, num_layers=num_layers, overlap_ratio=overlap_ratio)
        assert [list(window) for window, _ in found] == boxes
        assert [layer for _, layer in found] == layers

    def test_stability_is_the_published_one(self) -> None:
        logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (5, 40, 50)).astype(np.float32))
        for offset in (0.5, 1.0):
            expected = published._compute_stability_score(logits, 0.0, offset)
            np.testing.assert_allclose(stability_scores(logits.numpy(), offset=offset), expected, rtol=1e-6)
        assert stability_scores(np.full((1, 4, 4), -9, np.float32), offset=1.0).tolist() == [0.0]

    def test_box_suppression_is_the_literal_one(self) -> None:
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 60, (80, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (80, 2))], axis=1)
        scores = rng.integers(0, 20, 80) / 20  # with ties
        assert suppress_boxes(boxes, scores, iou_threshold=0.4).tolist() == literal_suppression(boxes, scores, 0.4)
        assert suppress_boxes(np.zeros((0, 4)), np.zeros(0), iou_threshold=0.4).tolist() == []

    def test_box_iou_is_that_of_painted_boxes(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [5, 5, 15, 12], [3, 3, 3, 9], [20, 20, 30, 30]])
        painted = np.zeros((4, 40, 40), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(painted, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        shared = (painted[:, None] & painted[None]).sum((2, 3))
        union = (painted[:, None] | painted[None]).sum((2, 3)).clip(min=1)
        np.testing.assert_allclose(pairwise_box_iou(boxes, boxes), shared / union)

    def test_areas_of_codes_are_counts_of_pixels(self) -> None:
        for instance in blobs(6):
            assert rle_area(instance.rle) == instance.mask.sum()
        assert rle_area(encode_rle(np.zeros((0, 0), dtype=bool))) == 0

    def test_mask_suppression_is_the_literal_one(self) -> None:
        instances = blobs(30)
        masks = np.stack([instance.mask for instance in instances])
        scores = [instance.score for instance in instances]
        iou = (masks[:, None] & masks[None]).sum((2, 3)) / (masks[:, None] | masks[None]).sum((2, 3))
        np.testing.assert_allclose([[instance_iou(a, b) for b in instances] for a in instances], iou)
        for threshold in (0.1, 0.6, 1.0):
            kept: list[int] = []
            for index in np.argsort(-np.array(scores), kind="stable"):
                if not any(iou[index, rival] > threshold for rival in kept):
                    kept.append(int(index))
            assert suppress_instances(instances, scores, iou_threshold=threshold).tolist() == kept
            assert threshold == 1.0 or len(kept) < len(instances)

    def test_masks_are_cut_out_as_arrays_are(self) -> None:
        instances = blobs(5)
        masks = np.stack([instance.mask for instance in instances])
        for window in ((0, 0, 80, 60), (10, 5, 30, 50), (79, 59, 80, 60)):
            left, top, right, bottom = window
            for instance, mask in zip(instances, masks, strict=True):
                assert (mask_in(instance, window) == mask[top:bottom, left:right]).all()

    def test_cleaning_is_the_literal_one(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(10):
            mask = ndimage.gaussian_filter(rng.normal(size=(50, 70)), 1.5) > 0.05
            for min_area in (1, 8, 60):
                assert (fill_small_holes(mask, min_area=min_area) == ~literal_islands(~mask, min_area)).all()
                dropped = drop_small_islands(mask, min_area=min_area)
                assert (dropped == literal_islands(mask, min_area, keep_largest=True)).all()

    def test_cleaning_an_object_equals_cleaning_its_image(self) -> None:
        rng = np.random.default_rng(1)
        for left, top in ((0, 0), (20, 15), (40, 30)):  # at two edges of the image, inside, at the other two
            mask = np.zeros((60, 80), dtype=bool)
            mask[top : top + 30, left : left + 40] = ndimage.gaussian_filter(rng.normal(size=(30, 40)), 1.2) > -0.1
            expected = drop_small_islands(fill_small_holes(mask, min_area=9), min_area=9)
            assert (clean_instance(Instance.from_mask(mask, 0.9), min_area=9).mask == expected).all()
        speck = np.zeros((60, 80), dtype=bool)
        speck[20:24, 30:34] = True
        assert (clean_instance(Instance.from_mask(speck, 0.9), min_area=100).mask == speck).all()
        solid = Instance.from_mask(np.ones((5, 6), dtype=bool), 0.9)
        assert clean_instance(solid, min_area=9) is solid

    def test_windows_of_a_resized_map_are_parts_of_it(self) -> None:
        values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
        for size_hw in ((83, 121), (9, 14)):
            covered = (1.0, 0.5, 28.25, 17.0)
            whole = resize_map(values, size_hw, covered_xyxy=covered)
            window = (3, 2, 11, 8)
            part = resize_map(values, size_hw, covered_xyxy=covered, window_xyxy=window)
            np.testing.assert_allclose(part, whole[2:8, 3:11], atol=1e-5)
            assert (threshold_map(values, size_hw, 0.2, covered_xyxy=covered) == (whole >= 0.2)).all()

    def test_a_map_in_strips_is_the_map(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("promptseg.ops.resize.STRIP_PIXELS", 500)
        values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
        assert (threshold_map(values, (83, 121), 0.2) == (resize_map(values, (83, 121)) >= 0.2)).all()


def literal_suppression(boxes: NDArray[np.float64], scores: NDArray[np.float64], threshold: float) -> list[int]:
    """As a textbook writes it, pair by pair."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for rival in kept:
            width = min(boxes[index, 2], boxes[rival, 2]) - max(boxes[index, 0], boxes[rival, 0])
            height = min(boxes[index, 3], boxes[rival, 3]) - max(boxes[index, 1], boxes[rival, 1])
            shared = max(width, 0) * max(height, 0)
            areas = [(boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1]) for i in (index, rival)]
            if shared / (sum(areas) - shared) > threshold:
                break
        else:
            kept.append(index)
    return kept


def literal_islands(mask: NDArray[np.bool_], min_area: int, *, keep_largest: bool = False) -> NDArray[np.bool_]:
    """Drop small islands by flooding from every pixel."""
    height, width = mask.shape
    seen, islands = np.zeros_like(mask), []
    for start in np.argwhere(mask).tolist():
        if seen[tuple(start)]:
            continue
        seen[tuple(start)] = True
        island, front = [], [start]
        while front:
            y, x = front.pop()
            island.append((y, x))
            for ny in range(max(y - 1, 0), min(y + 2, height)):
                for nx in range(max(x - 1, 0), min(x + 2, width)):
                    if mask[ny, nx] and not seen[ny, nx]:
                        seen[ny, nx] = True
                        front.append([ny, nx])
        islands.append(island)
    large = [island for island in islands if len(island) >= min_area]
    if not large and keep_largest and islands:
        large = [max(islands, key=len)]
    kept = np.zeros_like(mask)
    for island in large:
        kept[tuple(np.array(island).T)] = True
    return kept


class TestJudging:
    @pytest.mark.parametrize("size_hw", [(90, 100), (100, 60), (128, 128), (40, 33)])
    def test_judged_in_a_window_as_on_the_whole_view(self, untrained: Sam, size_hw: tuple[int, int]) -> None:
        """What SAM does: resize every map to the view, threshold, measure."""
        points = point_grid(4, size_hw)
        embedding = untrained.encode(noise(*size_hw))
        labels = np.ones((len(points), 1))
        output = untrained.segment(embedding, points_xy=points[:, None], point_labels=labels, choice="levels")
        # An untrained SAM's logits are all of one sign.
        smooth = F.interpolate(torch.randn(16, 3, 5, 5, generator=torch.Generator().manual_seed(0)), (32, 32)) * 3
        rows, columns = output.mask_logits.shape[2:]
        output = replace(output, mask_logits=smooth[..., :rows, :columns].numpy())
        full = torch.from_numpy(output.image_logits())
        candidates = list(judge(output, points, min_quality=-1e9, min_stability=0.0, offset=1.0))
        stability = published._compute_stability_score(full.flatten(0, 1), 0.0, 1.0)
        boxes = published._batched_mask_to_box(full.flatten(0, 1) > 0) + torch.tensor([0, 0, 1, 1])
        assert len(candidates) == 48
        np.testing.assert_allclose([c.stability_score for c in candidates], stability, atol=0.01)
        differences = np.abs(np.array([c.box_xyxy for c in candidates]) - boxes.numpy())
        assert (differences > 1).mean() < 0.01
        for candidate, logits in zip(candidates, full.flatten(0, 1).numpy(), strict=True):
            instance = draw(candidate, (0, 0, size_hw[1], size_hw[0]), size_hw)
            assert instance is not None
            assert ((logits > 0) != instance.mask).mean() < 0.004

    def test_thresholds_hold_back(self, untrained: Sam) -> None:
        frame = Frame((64, 64), (64, 64), (1.0, 1.0))
        logits = np.full((1, 3, 16, 16), -8.0, np.float32)
        logits[0, 0, 4:9, 4:9] = 8.0  # sharp
        logits[0, 1, 4:9, 4:9] = 0.5  # soft
        output = SamOutput(logits, np.array([[0.9, 0.8, 0.9]], np.float32), frame)
        points = np.array([[20.0, 20.0]])

        def kept(min_quality: float, min_stability: float) -> list[float]:
            found = judge(output, points, min_quality=min_quality, min_stability=min_stability, offset=1.0)
            return [round(candidate.mask_quality, 2) for candidate in found]

        assert kept(0.0, 0.0) == [0.9, 0.8]  # the empty one never
        assert kept(0.0, 0.5) == [0.9]
        assert kept(0.85, 0.0) == [0.9]
        assert kept(0.95, 0.0) == []

    def test_a_large_view_is_judged_small_and_drawn_large(self) -> None:
        """640 pixels were encoded as 64."""
        frame = Frame((640, 480), (64, 64), (0.1, 0.1))
        y, x = np.mgrid[:16, :16].astype(np.float32)
        logits = (4 - np.hypot(x - 6, y - 7))[None, None]
        (candidate,) = judge(
            SamOutput(logits, np.ones((1, 1), np.float32), frame),
            np.array([[250.0, 300.0]]),
            min_quality=0.5,
            min_stability=0.0,
            offset=1.0,
        )
        assert candidate.judged_hw == (64, 48)
        drawn = draw(candidate, (100, 50, 580, 690), (700, 600))
        assert drawn is not None and drawn.size_hw == (700, 600)
        left, top, right, bottom = drawn.box_xyxy
        # Radius 4 of 16 cells of 40 pixels; center (6.5, 7.5) cells.
        np.testing.assert_allclose([left, top, right, bottom], [200, 190, 520, 510], atol=12)
        assert abs(drawn.mask.sum() - np.pi * 160**2) < 0.03 * np.pi * 160**2


class TestGenerateMasks:
    def test_finds_what_there_is(self) -> None:
        image, shapes = shapes_image()
        found = generate_masks(ColorMasker(), image, EASY)
        assert len(found) == len(shapes) + 1  # and the background
        assert_all_found(found, shapes)
        for mask in found:
            assert mask.view_xyxy == (0, 0, 96, 64)
            assert mask.instance.mask_quality == pytest.approx(0.95)
            assert mask.instance.score == 1.0
            assert mask.stability_score > 0.7
            x, y = mask.point_xy
            assert mask.instance.mask[int(y), int(x)]

    def test_crops_find_what_the_grid_misses(self) -> None:
        image = np.zeros((160, 240, 3), dtype=np.uint8)
        image[36:39, 51:54] = 255  # between the points of the whole view's grid
        settings = replace(EASY, points_per_side=4)
        assert len(generate_masks(ColorMasker(), image, settings)) == 1
        deeper = replace(settings, crop_n_layers=1, crop_overlap_ratio=0.25)
        (small,) = (m for m in generate_masks(ColorMasker(), image, deeper) if m.instance.mask.sum() == 9)
        assert small.view_xyxy == (0, 0, 140, 100)
        assert small.instance.box_xyxy == (51, 36, 54, 39)

    def test_what_the_edge_of_a_crop_cuts_is_dropped(self) -> None:
        image = np.zeros((128, 256, 3), dtype=np.uint8)
        image[40:90, 60:200] = 255
        found = generate_masks(ColorMasker(), image, replace(EASY, crop_n_layers=1))
        assert sorted(int(mask.instance.mask.sum()) for mask in found) == [7000, 128 * 256 - 7000]

    def test_progress_is_reported_for_every_view(self) -> None:
        image, _ = shapes_image()
        reports: list[tuple[int, int]] = []
        settings = replace(EASY, crop_n_layers=1, crop_n_points_downscale_factor=2)
        generate_masks(ColorMasker(), image, settings, report=lambda done, of_all: reports.append((done, of_all)))
        # 8x8 points in batches of 16, then 4x4 in each of four crops
        assert reports == [(done, 8) for done in range(1, 9)]

    def test_settings_hold_back(self) -> None:
        image, shapes = shapes_image()
        assert generate_masks(ColorMasker(), image, replace(EASY, pred_iou_thresh=0.96)) == ()
        few = generate_masks(ColorMasker(), image, replace(EASY, mask_nms_thresh=0.0))
        assert len(few) == len(shapes) + 1  # they do not overlap

    def test_specks_are_cleaned_away(self) -> None:
        image = np.zeros((64, 96, 3), dtype=np.uint8)
        image[10:50, 20:70] = 200
        image[20:22, 30:32] = 90  # a hole of 4 pixels
        settings = replace(EASY, points_per_side=16)
        plain = generate_masks(ColorMasker(), image, settings)
        cleaned = generate_masks(ColorMasker(), image, replace(settings, min_mask_region_area=10))
        assert 40 * 50 - 4 in [mask.instance.mask.sum() for mask in plain]
        assert 40 * 50 in [mask.instance.mask.sum() for mask in cleaned]

    @pytest.mark.parametrize("size_hw", [(1, 1), (1, 90), (90, 1)])
    def test_thin_images_go_through(self, untrained: Sam, size_hw: tuple[int, int]) -> None:
        for mask in generate_masks(untrained, noise(*size_hw), replace(EASY, points_per_side=2, pred_iou_thresh=0.0)):
            assert mask.instance.size_hw == size_hw

    def test_the_batch_makes_no_difference(self, untrained: Sam) -> None:
        one, other = (
            generate_masks(untrained, noise(90, 100), replace(EASY, points_per_side=4, points_per_batch=size))
            for size in (3, 64)
        )
        assert [mask.point_xy for mask in one] == [mask.point_xy for mask in other]
        for a, b in zip(one, other, strict=True):
            assert a.instance.mask_quality == pytest.approx(b.instance.mask_quality, abs=1e-5)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("points_per_side", 0, "points_per_side is at least 1, not 0"),
            ("points_per_batch", -1, "points_per_batch is at least 1"),
            ("crop_n_layers", -1, "crop_n_layers is at least 0"),
            ("stability_score_offset", float("nan"), "stability_score_offset is at least 0, not nan"),
            ("box_nms_thresh", 1.5, r"box_nms_thresh is in \[0, 1\], not 1.5"),
            ("pred_iou_thresh", float("nan"), "pred_iou_thresh is in"),
        ],
    )
    def test_bad_settings_are_named(self, field: str, value: float, message: str) -> None:
        with pytest.raises(PromptError, match=message):
            replace(EASY, **{field: value})


class TestTiles:
    """Of 64 pixels that overlap by 16; the shapes are larger and smaller than that, and lie on seams."""

    tiles = Tiles(side=64, overlap=16)

    def test_an_object_across_a_seam_is_one(self) -> None:
        image = np.zeros((150, 200, 3), dtype=np.uint8)
        shapes = [(10, 10, 22, 20), (40, 30, 60, 44), (30, 70, 170, 90), (100, 100, 110, 145), (150, 5, 198, 60)]
        for index, (x0, y0, x1, y1) in enumerate(shapes):
            image[y0:y1, x0:x1] = 60 + 30 * index
        found = generate_masks(ColorMasker(), image, replace(EASY, points_per_side=16), tiles=self.tiles)
        areas = sorted(int(mask.instance.mask.sum()) for mask in found)
        expected = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in shapes]
        assert areas == sorted([*expected, image.shape[0] * image.shape[1] - sum(expected)])
        assert_all_found(found, shapes)

    def test_a_image_of_one_tile_is_not_tiled(self) -> None:
        image, _ = shapes_image()
        plain = generate_masks(ColorMasker(), image, EASY)
        tiled = generate_masks(ColorMasker(), image, EASY, tiles=Tiles(side=96, overlap=16))
        assert [mask.instance.box_xyxy for mask in plain] == [mask.instance.box_xyxy for mask in tiled]

    def test_two_objects_side_by_side_stay_two(self) -> None:
        image = np.zeros((64, 200, 3), dtype=np.uint8)
        image[10:30, 20:100] = 200
        image[32:52, 60:180] = 200
        found = generate_masks(ColorMasker(), image, replace(EASY, points_per_side=16), tiles=self.tiles)
        assert_all_found(found, [(20, 10, 100, 30), (60, 32, 180, 52)])
        assert len(found) == 3

    def test_where_two_tiles_differ_the_one_that_sees_more_around_decides(self) -> None:
        size_hw, left, right = (40, 100), (0, 0, 60, 40), (40, 0, 100, 40)
        masks = np.zeros((2, *size_hw), dtype=bool)
        masks[:, 10:30, 20:80] = True
        masks[0, :, 60:] = masks[1, :, :40] = False  # each sees its own tile
        masks[1, 30:34, 40:60] = True  # and the right one something more where they overlap
        pieces = [Piece(Instance.from_mask(m, 0.9), tile) for m, tile in zip(masks, (left, right), strict=True)]
        (joined,) = join_pieces(pieces)
        expected = np.zeros(size_hw, dtype=bool)
        expected[10:30, 20:80] = True
        expected[30:34, 50:60] = True
        assert (joined.instance.mask == expected).all()

    @pytest.mark.parametrize("size_hw", [(64, 64), (65, 64), (200, 150), (1000, 70)])
    def test_tiles_cover_everything_and_overlap(self, size_hw: tuple[int, int]) -> None:
        windows = self.tiles.windows(size_hw)
        assert (windows == ()) == (max(size_hw) <= 64)
        covered = np.zeros(size_hw, dtype=int)
        for left, top, right, bottom in windows:
            assert (bottom - top, right - left) == (min(64, size_hw[0]), min(64, size_hw[1]))
            covered[top:bottom, left:right] += 1
        assert not windows or covered.min() >= 1
        for axis in (0, 1):
            starts = sorted({window[axis] for window in windows})
            assert all(b - a <= 48 for a, b in pairwise(starts))

    @pytest.mark.parametrize(("side", "overlap"), [(32, 8), (64, 0), (64, 33)])
    def test_bad_tiles_are_named(self, side: int, overlap: int) -> None:
        with pytest.raises(PromptError, match=r"tiles must have a side of at least 64|must overlap by 1 to 32 pixels"):
            Tiles(side=side, overlap=overlap)


def shapes_image() -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int]]]:
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    shapes = [(4, 4, 30, 28), (40, 10, 90, 30), (10, 40, 70, 60)]
    for index, (x0, y0, x1, y1) in enumerate(shapes):
        image[y0:y1, x0:x1] = 80 * (index + 1)
    return image, shapes


def assert_all_found(found: Sequence[AutomaticMask], shapes: Sequence[tuple[int, int, int, int]]) -> None:
    boxes = {mask.instance.box_xyxy for mask in found}
    for shape in shapes:
        assert shape in boxes
        (mask,) = (each.instance for each in found if each.instance.box_xyxy == shape)
        assert mask.box_mask.all()


@pytest.mark.weights
def test_mobile_sam_finds_the_cup() -> None:
    sam = load_sam("mobile-sam", runtime=Runtime("torch"), input_side=512)
    settings = AutomaticSettings(points_per_side=8, stability_score_thresh=0.9)
    found = generate_masks(sam, read_image(bundled_image("coffee")), settings)
    assert 3 <= len(found) <= 40
    y, x = np.mgrid[:400, :600] + 0.5
    coffee = ((2 * x - 575) / 167) ** 2 + ((2 * y - 287) / 99) ** 2 < 1
    surface = Instance.from_mask(coffee, 1.0)
    assert max(instance_iou(mask.instance, surface) for mask in found) > 0.85
