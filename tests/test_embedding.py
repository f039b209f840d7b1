"""An encoded image: it travels by file and by pickle, only its own checkpoint reads it, and files say what is wrong."""

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import promptseg
from promptseg import Embedding
from promptseg.errors import CheckpointError, DataError, OutputError
from promptseg.image_files import bundled_image
from promptseg.predictor import Predictor

PHRASES = ["the cat's ear", "grass"]
MODELS = ["promptseg-test", "promptseg-test-dense", "promptseg-s1-test", "promptseg-test-vit", "clipseg-test"]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return promptseg.load("promptseg-test", threshold=0.0, engine="torch")


@pytest.fixture(scope="module")
def embedding(model: Predictor) -> Embedding:
    return model.encode(bundled_image("chelsea"))


def assert_same_answers(model: Predictor, one: Embedding, other: Embedding) -> None:
    for first, second in zip(model.segment(one, PHRASES), model.segment(other, PHRASES), strict=True):
        assert first.presence == second.presence
        np.testing.assert_array_equal(first.mask_logits, second.mask_logits)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tile_side", [None, 128])
def test_a_file_and_a_pickle_give_the_same_answers(name: str, tile_side: int | None, tmp_path: Path) -> None:
    model = promptseg.load(name, threshold=0.0, engine="torch")
    model = model if tile_side is None else model.tiled(tile_side)
    embedding = model.encode(bundled_image("chelsea"))
    path = embedding.save(tmp_path / "deep" / "chelsea.safetensors")
    assert [each.name for each in path.parent.iterdir()] == ["chelsea.safetensors"]
    for again in (Embedding.load(path), pickle.loads(pickle.dumps(embedding))):
        assert (again.model, again.fingerprint, again.size_hw) == (name, model.fingerprint, (300, 451))
        np.testing.assert_array_equal(again.image_rgb, embedding.image_rgb)
        assert again.features.keys() == embedding.features.keys()
        assert_same_answers(model, again, embedding)
    twice = pickle.loads(pickle.dumps(Embedding.load(path)))
    assert_same_answers(model, twice, embedding)
    assert Embedding.load(twice.save(tmp_path / "twice.safetensors")).features.keys() == embedding.features.keys()


def test_the_path_of_the_image_survives_a_pickle(embedding: Embedding) -> None:
    assert embedding.source == str(bundled_image("chelsea"))
    assert pickle.loads(pickle.dumps(embedding)).source == embedding.source


def test_nothing_in_it_changes(model: Predictor) -> None:
    image_rgb = np.full((30, 40, 3), 7, dtype=np.uint8)
    embedding = model.encode(image_rgb)
    with pytest.raises(FrozenInstanceError):
        embedding.model = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        embedding.features["new"] = np.zeros(1)  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        embedding.image_rgb[0, 0] = 0


def test_another_checkpoint_is_refused(model: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"made by other \(checkpoint .*encode the image again"):
        model.segment(replace(embedding, model="other"), "cat")
    with pytest.raises(CheckpointError, match="checkpoint 0123"):
        model.segment(replace(embedding, fingerprint="0123"), "cat")
    loaded = Embedding.load(embedding.save(tmp_path / "embedding.safetensors"))
    with pytest.raises(CheckpointError, match="this is promptseg-test-dense"):
        promptseg.load("promptseg-test-dense", engine="torch").segment(loaded, "cat")


def test_a_file_of_version_1_is_refused(embedding: Embedding, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    metadata = {"format": "promptseg-embedding-1", "model": embedding.model, "fingerprint": embedding.fingerprint}
    save_file({"image_rgb": np.array(embedding.image_rgb)}, path, metadata=metadata)
    with pytest.raises(DataError, match=r"old\.safetensors: .* an embedding of another version; `Predictor\.encode"):
        Embedding.load(path)
    save_file({"image_rgb": np.array(embedding.image_rgb)}, path)
    with pytest.raises(DataError, match=r"old\.safetensors: a safetensors file, but no embedding"):
        Embedding.load(path)


def test_a_file_without_an_array_of_the_model_is_refused(
    model: Predictor, embedding: Embedding, tmp_path: Path
) -> None:
    path = embedding.save(tmp_path / "embedding.safetensors")
    arrays = {name: each for name, each in load_file(path).items() if name != "part.pixel_embedding"}
    metadata = {"format": "promptseg-embedding-2", "model": embedding.model, "fingerprint": embedding.fingerprint}
    save_file(arrays, path, metadata=metadata)
    with pytest.raises(DataError, match="the embedding lacks 'pixel_embedding': encode the image again"):
        model.segment(Embedding.load(path), "cat")


def test_a_file_without_its_image_or_its_model_is_refused(embedding: Embedding, tmp_path: Path) -> None:
    said = {"format": "promptseg-embedding-2", "model": embedding.model, "fingerprint": embedding.fingerprint}
    image = np.array(embedding.image_rgb)
    path = tmp_path / "partial.safetensors"
    for arrays, metadata in (
        ({"x": image}, said),
        ({"image_rgb": image[0]}, said),
        ({"image_rgb": image.astype(np.float32)}, said),
        ({"image_rgb": image}, {"format": said["format"]}),
    ):
        save_file(arrays, path, metadata=metadata)
        with pytest.raises(DataError, match=r"partial\.safetensors: an embedding without its image or"):
            Embedding.load(path)


def test_a_file_that_is_gone_or_damaged_is_refused(embedding: Embedding, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.safetensors: not an embedding"):
        Embedding.load(tmp_path / "gone.safetensors")
    path = embedding.save(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"cut\.safetensors: not an embedding"):
        Embedding.load(path)
    with pytest.raises(OutputError, match="can't be written"):
        embedding.save(path / "below-a-file.safetensors")
