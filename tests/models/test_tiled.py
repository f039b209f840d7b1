"""Large images in tiles: no seam in a map, no object in two, and the plain answer where one view is enough."""

from dataclasses import replace

import numpy as np
import pytest
from color_world import ColorSegmenter, image
from numpy.typing import NDArray
from scipy import ndimage

import promptseg
from promptseg.errors import CheckpointError, ImageError, PromptError, UnsupportedPromptError
from promptseg.image_files import bundled_image
from promptseg.images import ImageLimits, read_image
from promptseg.models.tiled import TiledSegmenter
from promptseg.ops.windows import Tiles
from promptseg.predictor import Predictor
from promptseg.prompts import PointPrompt, Query, to_queries
from promptseg.segmenter import Prediction

CHELSEA = read_image(bundled_image("chelsea"))
TILES = Tiles(side=128, overlap=32)


def ask(segmenter: TiledSegmenter | ColorSegmenter, image_rgb: NDArray[np.uint8], *texts: str) -> Prediction:
    return segmenter.segment(segmenter.encode_image(image_rgb), to_queries(texts))


class TestSeams:
    def test_one_view_is_the_segmenter_itself(self) -> None:
        image_rgb = image(((10, 10, 60, 90), "red"), size_hw=(100, 128))
        plain, tiled = (
            ask(one, image_rgb, "red", "blue") for one in (ColorSegmenter(), TiledSegmenter(ColorSegmenter(), TILES))
        )
        np.testing.assert_array_equal(plain.mask_logits, tiled.mask_logits)
        np.testing.assert_array_equal(plain.presence, tiled.presence)
        np.testing.assert_array_equal(plain.mask_quality, tiled.mask_quality)

    def test_a_smooth_image_gives_a_smooth_map(self) -> None:
        """Every view says nearly the same of a slope; a seam would show as a step between neighboring cells."""
        x = np.linspace(0, 255, 420)
        image_rgb = np.zeros((300, 420, 3), dtype=np.uint8)
        image_rgb[..., 0], image_rgb[..., 2] = x, 255 - x
        tiled = ask(TiledSegmenter(ColorSegmenter(), TILES), image_rgb, "red", "blue")
        steps = np.diff(tiled.mask_logits, axis=2)
        expected = 20 * 4 / 420
        assert tiled.mask_logits.shape == (2, 75, 105)
        # No tile reaches from end to end, where a lone tile is believed and another is not.
        assert np.abs(steps).max() < 3 * expected
        assert np.abs(np.diff(tiled.mask_logits, axis=1)).max() < 1e-4

    def test_maps_lie_where_the_image_has_them(self) -> None:
        boxes = [(8, 8, 40, 40), (100, 60, 140, 200), (200, 220, 416, 292), (230, 20, 244, 60)]
        image_rgb = image(*((box, "red") for box in boxes))
        tiled = ask(TiledSegmenter(ColorSegmenter(), TILES), image_rgb, "red")
        expected = (image_rgb[::4, ::4, 0] == 255)[:75, :105]
        found = tiled.mask_logits[0] > 0
        assert (found != expected).mean() < 0.01

    def test_what_is_too_small_for_the_whole_is_found_in_a_tile(self) -> None:
        image_rgb = image(((1000, 500, 1012, 512), "green"), size_hw=(1500, 1500))
        plain = ask(ColorSegmenter(), image_rgb, "green", "red")
        tiled = ask(TiledSegmenter(ColorSegmenter(), TILES), image_rgb, "green", "red")
        assert plain.presence[0] < 0.5 < tiled.presence[0]
        assert tiled.presence[1] < 0.5
        y, x = np.argwhere(tiled.mask_logits[0] > 0).mean(axis=0)
        assert (x * 4, y * 4) == (pytest.approx(1004, abs=8), pytest.approx(504, abs=8))

    def test_many_queries_get_the_answers_of_each_alone(self) -> None:
        image_rgb = image(((8, 8, 40, 200), "red"), ((100, 60, 140, 280), "blue"))
        tiled = TiledSegmenter(ColorSegmenter(tells_apart=True), TILES)
        texts = ["red", "blue", "green"] * 6  # more than are held at once
        together = ask(tiled, image_rgb, *texts)
        alone = [ask(tiled, image_rgb, text) for text in texts]
        np.testing.assert_allclose(together.mask_logits, np.concatenate([one.mask_logits for one in alone]), atol=1e-5)
        np.testing.assert_allclose(together.presence, np.concatenate([one.presence for one in alone]), atol=1e-6)
        assert together.instances is not None
        assert [len(objects or ()) for objects in together.instances] == [1, 1, 0] * 6

    def test_an_object_across_seams_is_one(self) -> None:
        boxes = [(20, 20, 80, 60), (60, 100, 380, 140), (100, 180, 130, 290), (330, 10, 400, 70)]
        image_rgb = image(*((box, "red") for box in boxes))
        prediction = ask(TiledSegmenter(ColorSegmenter(tells_apart=True), TILES), image_rgb, "red")
        assert prediction.instances is not None and prediction.instances[0] is not None
        found = sorted(instance.box_xyxy for instance in prediction.instances[0])
        assert len(found) == len(boxes)
        np.testing.assert_allclose(found, sorted(boxes), atol=6)

    def test_what_no_view_holds_is_absent_and_finite(self) -> None:
        segmenter = TiledSegmenter(ColorSegmenter(), TILES)
        sure = ColorSegmenter()
        answer = sure.segment
        # as sure as a calibrated model can be that nothing is there
        sure.segment = lambda *asked: replace(answer(*asked), presence=np.zeros(1, np.float32))  # type: ignore[method-assign]
        segmenter.segmenter = sure
        prediction = ask(segmenter, image(), "red")
        assert np.isfinite(prediction.mask_logits).all()
        assert prediction.mask_logits.max() < 0 and prediction.presence[0] == 0

    def test_no_query_no_answer(self) -> None:
        segmenter = TiledSegmenter(load_tiny().segmenter, TILES)
        assert segmenter.segment(segmenter.encode_image(CHELSEA), []).presence.shape == (0,)


def load_tiny() -> Predictor:
    return promptseg.load("promptseg-test-dense", device="cpu", engine="torch")


@pytest.fixture(scope="module")
def plain() -> Predictor:
    return load_tiny()


class TestPredictor:
    def test_what_fits_in_one_tile_gets_the_plain_answer(self, plain: Predictor) -> None:
        texts = ["cat", "grass"]
        expected, found = (model.segment(CHELSEA, texts) for model in (plain, plain.tiled(512)))
        for a, b in zip(expected, found, strict=True):
            assert a.presence == b.presence
            assert (a.mask_logits == b.mask_logits).all()

    def test_tiles_give_finer_maps_of_every_query(self, plain: Predictor) -> None:
        found = plain.tiled(128, overlap=40).segment(CHELSEA, ["cat", "grass", "cat"])
        assert [result.label for result in found] == ["cat", "grass", "cat"]
        whole = plain.segment(CHELSEA, "cat")[0]
        assert found[0].mask_logits.shape[1] > 2.5 * whole.mask_logits.shape[1]
        assert (found[0].mask_logits == found[2].mask_logits).all()
        assert found[0].mask.shape == CHELSEA.shape[:2]

    def test_embeddings_are_of_their_own_tiles(self, plain: Predictor) -> None:
        tiled = plain.tiled(128)
        embedding = tiled.encode(CHELSEA)
        again = tiled.segment(embedding, "cat")[0]
        assert (again.mask_logits == tiled.segment(CHELSEA, "cat")[0].mask_logits).all()
        for other in (plain, plain.tiled(128, overlap=20)):
            with pytest.raises(CheckpointError, match="encode the image again"):
                other.segment(embedding, "cat")

    def test_limits_are_higher_and_can_be_set(self, plain: Predictor) -> None:
        large = np.zeros((60, 60, 3), dtype=np.uint8)
        low = replace(plain, limits=ImageLimits(max_pixels=3599))
        with pytest.raises(ImageError, match="60x60 = 3,600 pixels; the limit is 3,599"):
            low.segment(large, "cat")
        assert len(low.tiled(64).segment(large, "cat")) == 1
        with pytest.raises(ImageError, match="the limit is 100"):
            plain.tiled(64, limits=ImageLimits(max_pixels=100)).segment(large, "cat")
        assert plain.tiled().limits.max_pixels > 100_000_000 > plain.limits.max_pixels

    def test_bad_requests_say_why(self, plain: Predictor) -> None:
        with pytest.raises(PromptError, match="tiles must have a side of at least 64 pixels, got 10"):
            plain.tiled(10)
        with pytest.raises(PromptError, match=r"tiles have whole numbers of pixels, not a side of 128\.5 and"):
            plain.tiled(128.5)  # type: ignore[arg-type]
        with pytest.raises(PromptError, match="has tiles already: use it as it is"):
            plain.tiled(128).tiled(64)
        with pytest.raises(UnsupportedPromptError, match="takes exemplar and text prompts, no point prompts"):
            plain.tiled(128).segment(CHELSEA, PointPrompt(((5, 5),)))
        segmenter = TiledSegmenter(ColorSegmenter(), TILES)
        query = Query("red", (PointPrompt(((5, 5),)),))
        with pytest.raises(UnsupportedPromptError, match=r"in tiles .* \(query 'red'\): segment without tiles"):
            segmenter.segment(segmenter.encode_image(CHELSEA), [query])


class TestResultsOfLargeMaps:
    """What they work out in strips and windows is what the whole map gives."""

    def test_mask_and_objects(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("promptseg.ops.resize.STRIP_PIXELS", 5000)
        monkeypatch.setattr("promptseg.ops.masks.COUNTED_AT_ONCE", 5000)
        rng = np.random.default_rng(0)
        logits = ndimage.gaussian_filter(rng.normal(size=(40, 60)), 3).astype(np.float32) * 30
        result = promptseg.QueryResult("x", 0.8, logits, (400, 600), 0.5, 0.6)
        enlarged = result.probability >= 0.6
        assert (result.mask != enlarged).mean() < 1e-4
        labels, count = ndimage.label(enlarged, structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        large = [index + 1 for index in range(count) if areas[index] >= 0.02 * areas.max()]
        expected = {int(areas[index - 1]): result.probability[labels == index].mean() * 0.8 for index in large}
        found = {int(instance.mask.sum()): instance.score for instance in result.instances}
        assert found.keys() == expected.keys()
        for area, score in found.items():
            assert score == pytest.approx(expected[area], abs=1e-4)


@pytest.mark.weights
@pytest.mark.slow
def test_a_face_of_few_pixels_is_found_in_a_large_image() -> None:
    """The astronaut's photo as one of many parts of a large image."""
    astronaut = read_image(bundled_image("astronaut"))
    sky = np.tile(read_image(bundled_image("rocket"))[:60, 100:160], (18, 26, 1))
    image_rgb = np.ascontiguousarray(sky[:1024, :1536])
    image_rgb[400:912, 900:1412] = astronaut
    model = promptseg.load(engine="torch", device="cpu")
    (result,) = model.tiled(512).segment(image_rgb, "face")
    assert result.is_present
    y, x = np.nonzero(result.mask)
    inside = (x > 900) & (x < 1412) & (y > 400) & (y < 912)
    assert inside.mean() > 0.8
