"""The public flow in Python: load, encode, segment, save; on the tiny model, which is random but real."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_world import Painted, PaintedImage
from PIL import Image
from safetensors.torch import load_file, save_file

import promptseg
from promptseg import BoxPrompt, Embedding, Query, TextPrompt
from promptseg.errors import CheckpointError, EngineError, UnknownModelError, UnsupportedPromptError
from promptseg.image_files import bundled_image
from promptseg.images import ImageLimits
from promptseg.predictor import Predictor
from promptseg.results import Segmentation
from promptseg.segmenter import Prediction

PHRASES = ["the cat's ear", "grass", "a dog", "grass"]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return promptseg.load("promptseg-test", threshold=0.0, engine="openvino")


@pytest.fixture(scope="module")
def embedding(model: Predictor) -> Embedding:
    return model.encode(bundled_image("chelsea"))


def assert_same(first: Segmentation, second: Segmentation) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert (one.label, one.presence) == (other.label, pytest.approx(other.presence, abs=1e-5))
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=1e-4)


def test_n_queries_give_n_results_in_order(model: Predictor, embedding: Embedding) -> None:
    result = model.segment(embedding, PHRASES)
    assert [each.label for each in result] == PHRASES
    for each in result:
        assert each.mask.shape == each.probability.shape == (300, 451)
        assert 0.0 <= each.presence <= 1.0
    np.testing.assert_array_equal(result[1].mask_logits, result[3].mask_logits)
    assert result.model == "promptseg-test"


def test_queries_prompts_and_phrases_mean_the_same(model: Predictor, embedding: Embedding) -> None:
    phrase, prompt, query = model.segment(embedding, ["cat", TextPrompt("cat"), Query("kitty", (TextPrompt("cat"),))])
    np.testing.assert_array_equal(phrase.mask_logits, prompt.mask_logits)
    np.testing.assert_array_equal(phrase.mask_logits, query.mask_logits)
    assert query.label == "kitty"
    assert len(model.segment(embedding, "cat")) == 1


def test_one_query_does_not_change_another(model: Predictor, embedding: Embedding) -> None:
    together = model.segment(embedding, PHRASES)
    for index, phrase in enumerate(PHRASES):
        np.testing.assert_allclose(
            model.segment(embedding, phrase)[0].mask_logits, together[index].mask_logits, atol=1e-4
        )


def test_every_kind_of_image_gives_the_same_result(model: Predictor, embedding: Embedding) -> None:
    path = bundled_image("chelsea")
    for image in (str(path), path.read_bytes(), Image.open(path), np.asarray(Image.open(path))):
        assert_same(model.segment(image, PHRASES), model.segment(embedding, PHRASES))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 20000), (20000, 1), (2, 3)])
def test_extreme_images_give_masks_of_their_size(model: Predictor, size_hw: tuple[int, int]) -> None:
    result = model.segment(np.full((*size_hw, 3), 99, dtype=np.uint8), "cat")
    assert result[0].mask.shape == size_hw


def test_threads_share_one_embedding(model: Predictor, embedding: Embedding) -> None:
    expected = model.segment(embedding, PHRASES)
    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(lambda _: model.segment(embedding, PHRASES), range(16)):
            assert_same(result, expected)


def test_absent_below_the_threshold(model: Predictor, embedding: Embedding) -> None:
    presence = model.segment(embedding, "cat")[0].presence
    absent = model.segment(embedding, "cat", threshold=min(1.0, presence + 1e-3))[0]
    assert not absent.mask.any() and absent.instances == () and absent.probability.max() > 0
    assert model.segment(embedding, "cat", threshold=presence)[0].is_present
    assert model.segment(embedding, "cat", threshold=np.float32(0.5)).presence_threshold == 0.5
    for threshold in (-0.1, 1.5, float("nan"), "0.5", True):
        with pytest.raises(promptseg.PromptError, match=r"threshold is a number in \[0, 1\]"):
            model.segment(embedding, "cat", threshold=threshold)


def test_prompts_that_the_model_does_not_take(model: Predictor, embedding: Embedding) -> None:
    assert model.prompt_kinds == {"text", "exemplar"}
    with pytest.raises(UnsupportedPromptError, match=r"promptseg-test takes exemplar and text prompts, no box prompts"):
        model.segment(embedding, BoxPrompt((0, 0, 9, 9)))
    with pytest.raises(UnsupportedPromptError, match=r"promptseg-test has no candidates for text"):
        model.propose(embedding, "cat")
    s1 = promptseg.load("promptseg-s1-test", engine="torch")
    with pytest.raises(UnsupportedPromptError, match=r"one phrase per query, but query 'pets' has text \+ text"):
        s1.segment(bundled_image("chelsea"), Query("pets", (TextPrompt("cat"), TextPrompt("dog"))))
    with pytest.raises(promptseg.PromptError, match="at least one phrase"):
        model.segment(embedding, [])


def test_saved_model_loads_as_the_same(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    directory = tmp_path / "promptseg-test"
    model.save_pretrained(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]
    loaded, again = (promptseg.load(directory, engine="openvino") for _ in range(2))
    assert loaded.fingerprint == again.fingerprint
    assert loaded.presence_threshold == loaded.config.presence_threshold
    assert_same(loaded.segment(embedding.image_rgb, PHRASES), model.segment(embedding, PHRASES))
    with pytest.raises(promptseg.OutputError):
        model.save_pretrained(directory / "config.json")


def save_changed(model: Predictor, directory: Path, value: float) -> Path:
    """Save a checkpoint whose weights differ in one number."""
    model.save_pretrained(directory)
    state = load_file(directory / "model.safetensors")
    state["dense.mask_shift"] = torch.tensor(value)
    save_file(state, directory / "model.safetensors")
    return directory


def test_fingerprint_tells_checkpoints_apart(model: Predictor, tmp_path: Path) -> None:
    assert promptseg.load("promptseg-test").fingerprint == model.fingerprint
    one, other = (promptseg.load(save_changed(model, tmp_path / str(value), value)) for value in (0.0, 1e-3))
    assert one.fingerprint != other.fingerprint
    assert one.tiled(64).fingerprint not in (one.fingerprint, one.tiled(128).fingerprint)


def test_a_data_set_holds_the_answers_of_one_checkpoint(model: Predictor, tmp_path: Path) -> None:
    image_rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    found = model.segment(image_rgb, "cat")
    assert found.origin == model.origin and model.fingerprint in found.origin
    assert model.segment(image_rgb, "cat", threshold=0.25).origin == replace(model, presence_threshold=0.25).origin
    other = promptseg.load(save_changed(model, tmp_path / "promptseg-test", 1e-3), engine="torch")
    data_set = tmp_path / "set"
    promptseg.write({"a.jpg": found}, data_set, format="npz")
    promptseg.write({"b.jpg": model.segment(image_rgb, "cat")}, data_set, format="npz")
    foreign = other.segment(image_rgb, "cat")
    for images in ({"c.jpg": foreign}, {"a.jpg": found, "c.jpg": foreign}):
        with pytest.raises(promptseg.OutputError, match=r"another origin|found by promptseg-test"):
            promptseg.write(images, data_set, format="npz")


def test_damaged_numbers_are_an_error_not_a_mask() -> None:
    damaged = promptseg.load("promptseg-test", engine="torch")
    assert damaged.loaded is not None and damaged.loaded.source is not None
    with torch.no_grad():
        damaged.loaded.source.network.get().dense.bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        damaged.segment(bundled_image("coffee"), "cat")


def test_a_pickled_predictor_is_loaded_again(model: Predictor, embedding: Embedding) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert (again.name, again.fingerprint, again.presence_threshold) == (model.name, model.fingerprint, 0.0)
    assert_same(again.segment(embedding, PHRASES), model.segment(embedding, PHRASES))
    tiled = model.tiled(128, overlap=20, limits=ImageLimits(max_pixels=500_000))
    copied = pickle.loads(pickle.dumps(tiled))
    assert (copied.tiles, copied.limits, copied.fingerprint) == (tiled.tiles, tiled.limits, tiled.fingerprint)


def test_a_pickle_notices_that_its_checkpoint_changed(model: Predictor, tmp_path: Path) -> None:
    pickled = pickle.dumps(promptseg.load(save_changed(model, tmp_path / "model", 0.0), engine="torch"))
    save_changed(model, tmp_path / "model", 1e-3)
    with pytest.raises(CheckpointError, match="is not the checkpoint that was pickled: load it again"):
        pickle.loads(pickled)


def test_a_predictor_of_a_segmenter_alone_has_nothing_to_pickle_or_to_save(model: Predictor, tmp_path: Path) -> None:
    made = Predictor("made", model.segmenter, 0.5, "torch", "0123")
    with pytest.raises(TypeError, match=r"only a predictor that `promptseg\.load` made can be pickled"):
        pickle.dumps(made)
    with pytest.raises(CheckpointError, match="made has nothing of its own to save"):
        made.save_pretrained(tmp_path / "directory")
    with pytest.raises(CheckpointError, match="made was made of a segmenter: it has no config"):
        _ = made.config
    published = promptseg.load("sam-test", engine="torch")
    with pytest.raises(CheckpointError, match="sam-test has nothing of its own to save"):
        published.save_pretrained(tmp_path / "directory")
    assert not (tmp_path / "directory").exists()


def test_options_that_a_model_does_not_have_are_refused() -> None:
    with pytest.raises(promptseg.PromptError, match=r"promptseg-test has no option 'depth'; it has refiner, settings"):
        promptseg.load("promptseg-test", engine="torch", depth=3)
    with pytest.raises(promptseg.PromptError, match=r"clipseg-test has no option 'refiner'; it has none"):
        promptseg.load("clipseg-test", engine="torch", refiner=None)
    with pytest.raises(promptseg.PromptError, match=r"promptseg-test: refiner must be one of"):
        promptseg.load("promptseg-test", engine="torch", refiner="sam9")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_engines_read_each_others_embeddings(model: Predictor, embedding: Embedding, engine: str) -> None:
    other = promptseg.load("promptseg-test", engine=engine, threshold=0.0)
    expected = model.segment(embedding, PHRASES)
    for result in (other.segment(embedding, PHRASES), model.segment(other.encode(bundled_image("chelsea")), PHRASES)):
        for one, same in zip(result, expected, strict=True):
            np.testing.assert_allclose(one.mask_logits, same.mask_logits, atol=1e-3)


def test_load_refuses_unknown_names_and_devices(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="similar names: promptseg"):
        promptseg.load("promptsegg")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        promptseg.load(tmp_path)
    with pytest.raises(EngineError, match="there is no device 'cuda:64' here"):
        promptseg.load("promptseg-test", device="cuda:64")
    with pytest.raises(EngineError, match="no engine is named 'steam'; use auto, torch"):
        promptseg.load("promptseg-test", engine="steam")
    with pytest.raises(promptseg.PromptError, match="threshold is a number in"):
        promptseg.load("promptseg-test", threshold=2.0)


def test_load_refuses_damaged_and_foreign_checkpoints(model: Predictor, tmp_path: Path) -> None:
    def saved(name: str) -> Path:
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    nan = saved("nan") / "model.safetensors"
    state = load_file(nan)
    state["dense.bias"].fill_(float("nan"))
    save_file(state, nan)
    with pytest.raises(CheckpointError, match=r"dense\.bias holds values that are not finite"):
        promptseg.load(nan.parent)

    foreign = saved("foreign") / "config.json"
    foreign.write_text(foreign.read_text().replace('"architecture": "promptseg"', '"architecture": "other"'))
    with pytest.raises(CheckpointError, match="a checkpoint of another model: 'other'"):
        promptseg.load(foreign.parent)

    cut = saved("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"can't read .*model\.safetensors"):
        promptseg.load(cut.parent)


def test_saved_files_have_the_usual_permissions(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    model.save_pretrained(tmp_path / "model")
    embedding.save(tmp_path / "embedding.safetensors")
    for path in (tmp_path / "model" / "model.safetensors", tmp_path / "embedding.safetensors"):
        assert path.stat().st_mode == usual


@pytest.mark.parametrize("name", [5, "", []])
def test_what_names_no_model_is_refused(name: object) -> None:
    with pytest.raises(UnknownModelError, match="a model is a name, the path of a checkpoint or a config"):
        promptseg.load(name)  # type: ignore[arg-type]


def test_the_background_is_what_no_other_query_has(model: Predictor, embedding: Embedding) -> None:
    grass, rest, cat = model.segment(embedding, ["grass", "background", "cat"])
    np.testing.assert_array_equal(rest.mask, ~(grass.mask | cat.mask))


class Hesitant(Painted):
    """A painted model that is unsure from presence .85 down to .3, and takes every phrase as "shape"."""

    presence_threshold = 0.85
    unsure_threshold = 0.3

    def segment(self, image: PaintedImage, queries: Sequence[Query]) -> Prediction:
        return replace(super().segment(image, queries), read_as=("shape",) * len(queries))


def test_a_model_may_be_unsure_unless_a_threshold_is_given() -> None:
    model = promptseg.Predictor("painted", Hesitant(), 0.85, "torch", "0", unsure_threshold=0.3)
    image = np.zeros((100, 400, 3), np.uint8)
    found = model.segment(image, ["squares", "square", "nothing"])
    assert [result.status for result in found] == ["present", "unsure", "absent"]
    assert [result.read_as for result in found] == ["shape"] * 3 and found.unsure_threshold == 0.3
    answered = model.segment(image, ["squares", "square", "nothing"], threshold=0.85)
    assert [result.status for result in answered] == ["present", "absent", "absent"]
    assert answered.unsure_threshold is None
