"""The public flow in Python: load, encode, segment, save; on the tiny model, which is random but real."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import promptseg
from promptseg import BoxPrompt, Embedding, Query, TextPrompt
from promptseg.photos import find_photo
from promptseg.predictor import Predictor
from promptseg.results import Segmentation

PHRASES = ["the cat's ear", "grass", "a dog", "grass"]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return promptseg.load("promptseg-test", threshold=0.0, engine="openvino")


@pytest.fixture(scope="module")
def embedding(model: Predictor) -> Embedding:
    return model.encode(find_photo("chelsea"))


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
    path = find_photo("chelsea")
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
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(promptseg.PromptError, match=r"probability in \[0, 1\]"):
            model.segment(embedding, "cat", threshold=threshold)


def test_embedding_survives_a_file(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    path = embedding.save(tmp_path / "deep" / "chelsea.safetensors")
    loaded = Embedding.load(path)
    assert (loaded.model, loaded.fingerprint, loaded.size_hw) == ("promptseg-test", model.fingerprint, (300, 451))
    np.testing.assert_array_equal(loaded.image_rgb, embedding.image_rgb)
    assert_same(model.segment(loaded, PHRASES), model.segment(embedding, PHRASES))
    assert [path.name for path in path.parent.iterdir()] == ["chelsea.safetensors"]


def test_embedding_is_frozen(embedding: Embedding) -> None:
    with pytest.raises(FrozenInstanceError):
        embedding.model = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        embedding.features["new"] = torch.zeros(1)  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        embedding.image_rgb[0, 0] = 0


def test_embedding_of_another_model_is_refused(model: Predictor, embedding: Embedding) -> None:
    with pytest.raises(promptseg.CheckpointError, match=r"made by other \(checkpoint .*encode the image again"):
        model.segment(replace(embedding, model="other"), "cat")
    with pytest.raises(promptseg.CheckpointError, match="checkpoint 0123"):
        model.segment(replace(embedding, fingerprint="0123"), "cat")


def test_embedding_load_says_what_is_wrong(tmp_path: Path, embedding: Embedding) -> None:
    with pytest.raises(promptseg.DataError, match=r"gone\.safetensors: not an embedding"):
        Embedding.load(tmp_path / "gone.safetensors")
    path = embedding.save(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(promptseg.DataError, match=r"cut\.safetensors: not an embedding"):
        Embedding.load(path)
    with pytest.raises(promptseg.OutputError, match="can't be written"):
        embedding.save(path / "below-a-file.safetensors")


def test_embedding_load_refuses_a_file_that_lacks_something(tmp_path: Path, embedding: Embedding) -> None:
    said = {"format": "promptseg-embedding-1", "model": embedding.model, "fingerprint": embedding.fingerprint}
    image = torch.from_numpy(embedding.image_rgb.copy())
    path = tmp_path / "partial.safetensors"
    for tensors, metadata in (
        ({"x": image}, said),
        ({"image_rgb": image[0]}, said),
        ({"image_rgb": image.float()}, said),
        ({"image_rgb": image}, {"format": said["format"]}),
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(promptseg.DataError, match=r"partial\.safetensors: an embedding without its image or"):
            Embedding.load(path)


def test_prompts_that_the_model_does_not_take(model: Predictor, embedding: Embedding) -> None:
    assert model.prompt_kinds == {"text"}
    with pytest.raises(promptseg.UnsupportedPromptError, match=r"promptseg-test takes text prompts, no box prompts"):
        model.segment(embedding, BoxPrompt((0, 0, 9, 9)))
    with pytest.raises(promptseg.UnsupportedPromptError, match=r"one phrase a query, .pets. is text \+ text"):
        model.segment(embedding, Query("pets", (TextPrompt("cat"), TextPrompt("dog"))))
    with pytest.raises(promptseg.PromptError, match="at least one phrase"):
        model.segment(embedding, [])


def test_saved_model_loads_as_the_same(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    directory = tmp_path / "promptseg-test"
    model.save_pretrained(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]
    loaded = promptseg.load(directory, engine="openvino")
    assert loaded.fingerprint == model.fingerprint
    assert loaded.presence_threshold == model.model.presence_threshold
    assert_same(loaded.segment(embedding, PHRASES), model.segment(embedding, PHRASES))
    with pytest.raises(promptseg.OutputError):
        model.save_pretrained(directory / "config.json")


def test_fingerprint_tells_checkpoints_apart(model: Predictor) -> None:
    other = promptseg.load("promptseg-test")
    assert other.fingerprint == model.fingerprint
    with torch.no_grad():
        changed = promptseg.load("promptseg-test")
        changed.model.text_projection.bias += 1e-3
    assert changed.fingerprint != model.fingerprint


def test_a_data_set_holds_the_answers_of_one_checkpoint(model: Predictor, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    found = model.segment(photo, "cat")
    assert found.origin == model.origin and model.fingerprint in found.origin
    assert model.segment(photo, "cat", threshold=0.25).origin == replace(model, presence_threshold=0.25).origin
    other = promptseg.load("promptseg-test", engine="torch")
    with torch.no_grad():
        other.model.text_projection.bias += 1e-3
    promptseg.write({"a.jpg": found}, tmp_path, format="npz")
    promptseg.write({"b.jpg": model.segment(photo, "cat")}, tmp_path, format="npz")
    for images in ({"c.jpg": other.segment(photo, "cat")}, {"a.jpg": found, "c.jpg": other.segment(photo, "cat")}):
        with pytest.raises(promptseg.OutputError, match=r"another origin|found by promptseg-test"):
            promptseg.write(images, tmp_path, format="npz")


def test_damaged_numbers_are_an_error_not_a_mask() -> None:
    damaged = promptseg.load("promptseg-test", engine="torch")
    with torch.no_grad():
        damaged.model.text_projection.bias.fill_(float("nan"))
    with pytest.raises(promptseg.CheckpointError, match="not finite"):
        damaged.segment(find_photo("coffee"), "cat")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_engines_read_each_others_embeddings(model: Predictor, embedding: Embedding, engine: str) -> None:
    other = promptseg.load("promptseg-test", engine=engine, threshold=0.0)
    expected = model.segment(embedding, PHRASES)
    for result in (other.segment(embedding, PHRASES), model.segment(other.encode(find_photo("chelsea")), PHRASES)):
        for one, same in zip(result, expected, strict=True):
            np.testing.assert_allclose(one.mask_logits, same.mask_logits, atol=1e-3)


def test_load_refuses_unknown_names_and_devices(tmp_path: Path) -> None:
    with pytest.raises(promptseg.UnknownModelError, match="near ones: promptseg"):
        promptseg.load("promptsegg")
    with pytest.raises(promptseg.CheckpointError, match="is not a checkpoint"):
        promptseg.load(tmp_path)
    with pytest.raises(promptseg.EngineError, match="there is no device 'cuda:64' here"):
        promptseg.load("promptseg-test", device="cuda:64")
    with pytest.raises(promptseg.EngineError, match="no engine is named 'steam'; use auto, torch"):
        promptseg.load("promptseg-test", engine="steam")
    with pytest.raises(promptseg.PromptError, match="probability"):
        promptseg.load("promptseg-test", threshold=2.0)


def test_load_refuses_damaged_and_foreign_checkpoints(model: Predictor, tmp_path: Path) -> None:
    def saved(name: str) -> Path:
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    nan = saved("nan") / "model.safetensors"
    state = load_file(nan)
    state["text_projection.bias"][0] = float("nan")
    save_file(state, nan)
    with pytest.raises(promptseg.CheckpointError, match=r"text_projection\.bias holds values that are not finite"):
        promptseg.load(nan.parent)

    foreign = saved("foreign") / "config.json"
    foreign.write_text(foreign.read_text().replace('"architecture": "promptseg"', '"architecture": "other"'))
    with pytest.raises(promptseg.CheckpointError, match="a checkpoint of another model: 'other'"):
        promptseg.load(foreign.parent)

    cut = saved("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(promptseg.CheckpointError, match=r"can't read .*model\.safetensors"):
        promptseg.load(cut.parent)


def test_saved_files_have_the_usual_permissions(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    model.save_pretrained(tmp_path / "model")
    embedding.save(tmp_path / "embedding.safetensors")
    for path in (tmp_path / "model" / "model.safetensors", tmp_path / "embedding.safetensors"):
        assert path.stat().st_mode == usual
