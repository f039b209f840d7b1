"""100 hostile checkpoints, embeddings, states of training runs and pickles."""

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from annotation_sets import damaged_pickles
from damage import cut_places, damage_json, flip_bits
from hostile_case import NOTICED, REFUSED, UNNOTICEABLE, Case, Outcome

import promptseg
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.registry import load_network
from promptseg.train.config import TrainConfig
from promptseg.train.state import Progress, save_state

_MODELS = ("promptseg-test", "promptseg-s1-test")
_NUM_WRONG_VALUES = 16


def write_checkpoint_cases(root: Path, *, seed: int = 0) -> list[Case]:
    """Write checkpoints and other stored tensors below `root`/checkpoints; return their cases."""
    rng = np.random.default_rng((seed, 99))
    folder = root / "checkpoints"
    folder.mkdir(parents=True)
    return [
        *_write_checkpoints(root, folder, rng),
        *_write_files(root, folder, "embedding", _encode_embedding(folder), rng, _damaged_tensors),
        *_write_files(root, folder, "state", _encode_state(folder), rng, _damaged_archive),
        *_write_files(root, folder, "torch-pickle", _encode_tensors(), rng, _damaged_archive),
        *_write_files(root, folder, "plain-pickle", pickle.dumps([{"a": ["b", 1.5]}] * 9), rng, _damaged_pickle),
    ]


def _write_checkpoints(root: Path, folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    for model in _MODELS:
        original = folder / f"{model}-original"
        save_pretrained(load_network(model), original)
        tensors, config = (original / name for name in ("model.safetensors", "config.json"))
        damages = [(tensors, *one) for one in _damaged_tensors(tensors.read_bytes(), rng)]
        for _ in range(_NUM_WRONG_VALUES):
            text, done = damage_json(config.read_text(encoding="utf-8"), rng)
            # a field that is missing has its default, as in checkpoints of earlier versions
            damages.append((config, text.encode(), done, UNNOTICEABLE if "is missing" in done else NOTICED))
        damages += [(config, b"[" * 200_000, "lists in lists", REFUSED), (config, b"", "empty", REFUSED)]
        for number, (path, content, done, allowed) in enumerate(damages):
            damaged = folder / f"{model}-{number:02d}"
            shutil.copytree(original, damaged)
            (damaged / path.name).write_bytes(content)
            yield _case(root, damaged, "checkpoint", f"{path.name}: {done}", allowed, original, ("predict-with",))


def _write_files(
    root: Path, folder: Path, reader: str, content: bytes, rng: np.random.Generator, damage
) -> Iterator[Case]:
    original = folder / f"{reader}-original"
    original.write_bytes(content)
    for number, (damaged, done, allowed) in enumerate(damage(content, rng)):
        path = folder / f"{reader}-{number:02d}"
        path.write_bytes(damaged)
        yield _case(root, path, reader, done, allowed, original)


def _case(
    root: Path, path: Path, reader: str, damage: str, allowed: tuple[Outcome, ...], original: Path,
    commands: tuple[str, ...] = (),
) -> Case:  # fmt: skip
    places = (one.relative_to(root).as_posix() for one in (path, original))
    return Case(next(places), reader, damage, allowed, next(places), commands)


_Damage = tuple[bytes, str, tuple[Outcome, ...]]


def _damaged_tensors(content: bytes, rng: np.random.Generator) -> Iterator[_Damage]:
    """Damage a safetensors file: eight bytes with the length of its JSON header, the header, the numbers."""
    length = struct.unpack("<Q", content[:8])[0]
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = next(name for name in sorted(header) if name != "__metadata__")
    for place in cut_places(len(content), 6):
        yield content[:place], f"cut after {place} bytes", REFUSED
    for size in (0, 2**63, 2**31, length + 1):
        yield struct.pack("<Q", size) + content[8:], f"a header of {size} bytes", REFUSED
    wrong = {
        "another type": {"dtype": "F64"},
        "an unknown type": {"dtype": "X9"},
        "another shape": {"shape": [2**40, 2**40]},
        "a negative side": {"shape": [-1]},
        "numbers outside of the file": {"data_offsets": [0, 2**62]},
        "numbers in reverse": {"data_offsets": [8, 0]},
    }
    for what, change in wrong.items():
        yield _pack(header | {name: header[name] | change}, numbers), f"{name} has {what}", REFUSED
    yield _pack({key: value for key, value in header.items() if key != name}, numbers), f"no {name}", REFUSED
    yield _pack(header, b"\xff" * len(numbers)), "all numbers are NaN", UNNOTICEABLE
    yield b"{}", "no length", REFUSED
    for _ in range(3):
        yield flip_bits(content, rng), "a bit turned over", UNNOTICEABLE


def _pack(header: dict[str, object], numbers: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def _damaged_archive(content: bytes, rng: np.random.Generator) -> Iterator[_Damage]:
    """Damage a file that torch.save wrote: a zip archive with a pickle in it."""
    for place in cut_places(len(content), 6):
        yield content[:place], f"cut after {place} bytes", REFUSED
    for _ in range(4):
        yield flip_bits(content, rng), "a bit turned over", UNNOTICEABLE
    for _, damaged, done, allowed in damaged_pickles(content, "", rng):
        if len(damaged) < len(content):
            yield damaged, f"no archive, {done}", REFUSED if allowed != UNNOTICEABLE else allowed
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        members = {name: archive.read(name) for name in archive.namelist()}
    for _, damaged, done, allowed in damaged_pickles(members[pickled], "", rng):
        if "cut" not in done and allowed == REFUSED:
            yield _zip(members | {pickled: damaged}), f"in the archive: {done}", REFUSED
    for name in sorted(members):
        yield _zip({key: value for key, value in members.items() if key != name}), f"no {name}", NOTICED


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _damaged_pickle(content: bytes, rng: np.random.Generator) -> Iterator[_Damage]:
    for _, damaged, done, allowed in damaged_pickles(content, "", rng):
        yield damaged, done, UNNOTICEABLE if done in ("nothing", "lists in lists") or "number" in done else allowed


def _encode_embedding(folder: Path) -> bytes:
    model = promptseg.load("promptseg-test", engine="torch", device="cpu")
    path = model.encode(np.full((24, 32, 3), 90, dtype=np.uint8)).save(folder / "embedding.safetensors")
    content = path.read_bytes()
    path.unlink()
    return content


def _encode_state(folder: Path) -> bytes:
    path = folder / "state.pt"
    save_state(
        path, progress=Progress(step=2), config=TrainConfig(steps=3), commit=None, frozen="frozen",
        model=torch.nn.Linear(2, 2), optimizer={}, scaler={}, average=None,
    )  # fmt: skip
    content = path.read_bytes()
    path.unlink()
    return content


def _encode_tensors() -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, 2.0])}, stream)
    return stream.getvalue()
