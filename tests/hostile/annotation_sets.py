"""Hostile annotation sets: for every reader a good set, and copies of it with one file damaged."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_trees import write_grefcoco, write_phrasecut, write_refcoco
from damage import cut_places, damage_json, flip_bits
from data_trees import write_mask
from evaluate_world import block, paint, write_indexes
from formats_world import disc, make_masks, make_segmentation
from hostile_case import NOTICED, REFUSED, UNNOTICEABLE, Case, Outcome
from PIL import Image
from probe import DATA_FORMATS
from published_sets import WRITERS as PUBLISHED

import promptseg

# Damages of the readers' own kinds of file come on top of these.
_NUM_WRONG_VALUES = 10
_TEXT_SUFFIXES = (".json", ".jsonl", ".geojson", ".txt", ".yaml", ".xml", ".tsv")
_JSON_SUFFIXES = (".json", ".jsonl", ".geojson")
# Files that a format writes for people or for other programs, and that its reader leaves alone.
_UNREAD = (
    "overlay",
    "cutout",
    "SegmentationClass",
    "JPEGImages",
    "colors/",
    "label_config.xml",
    "train.txt",
    ".prompt",
)
# Keys that may be missing or null.
_OPTIONAL = ("score", "mask_quality", "exhaustive", "masks", "iscrowd", "group_id", "shape_type", "presence", "phrases")


def write_annotation_cases(root: Path, *, seed: int = 0) -> list[Case]:
    """Write the sets below `root`/sets; return their cases."""
    cases = []
    for index, (reader, write) in enumerate(_writers().items()):
        rng = np.random.default_rng((seed, index))
        original = root / "sets" / f"{reader}-original"
        write(original)
        for number, (name, content, damage, allowed) in enumerate(_damages(original, reader, rng)):
            path = original.with_name(f"{reader}-{number:02d}")
            shutil.copytree(original, path)
            _put(path / name, content)
            commands = ("evaluate",) if reader in (*_WITH_IMAGES, "folder") else ()
            places = path.relative_to(root).as_posix(), original.relative_to(root).as_posix()
            cases.append(Case(places[0], reader, f"{name}: {damage}", allowed, places[1], commands))
    return cases


# Formats that hold their images, so that `promptseg evaluate` can measure a model on them.
_WITH_IMAGES = ("coco", "coco-panoptic", "yolo", "labelstudio", "labelme", "voc")


def _writers() -> dict[str, Callable[[Path], object]]:
    """What writes a good set for each reader."""
    results = {f"{name}.png": make_segmentation(make_masks(), seed=seed) for seed, name in enumerate(("a", "b"))}
    plain = {"a.png": make_segmentation({"cat": [disc(15, 20, 9)], "dog": [disc(40, 20, 8), disc(50, 35, 5)]})}
    return {
        **{
            name: partial(promptseg.write, plain if name == "png" else results, format=name, classes=None)
            for name in DATA_FORMATS
        },
        "result": results["a.png"].save,
        "folder": _write_folder,
        "index": lambda root: write_indexes(root, "colors"),
        "phrasecut": write_phrasecut,
        "refcoco": write_refcoco,
        "grefcoco": write_grefcoco,
        **PUBLISHED,
    }


def _write_folder(root: Path) -> None:
    for name in ("a", "b", "c"):
        paint(root / f"images/{name}.png", {"red": block(0, 0, 5, 6)})
        write_mask(root / f"masks/{name}.png", block(0, 0, 5, 6))
    phrases = {"a": "the red mug", "b": ["red mug", "mug"], "c": "mug"}
    (root / "phrases.json").write_text(json.dumps(phrases), encoding="utf-8")


_Damage = tuple[str, bytes | None, str, tuple[Outcome, ...]]


def _damages(original: Path, reader: str, rng: np.random.Generator) -> Iterator[_Damage]:
    """Yield the file, its new content (None: it is removed), what was done, and the right outcomes."""
    files = [path for path in sorted(original.rglob("*")) if path.is_file() and _is_read(path, original)]
    texts = [path for path in files if path.suffix in _TEXT_SUFFIXES]
    for path in texts:
        yield from _damaged_text(path, path.relative_to(original).as_posix(), reader)
    documents = [path for path in texts if path.suffix in _JSON_SUFFIXES]
    for number in range(_NUM_WRONG_VALUES if documents else 0):
        path = documents[number % len(documents)]
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
        line = int(rng.integers(len(lines)))
        lines[line], done = damage_json(lines[line], rng)
        is_optional = any(f"'{key}'" in done for key in _OPTIONAL) or "folder" in reader
        allowed = UNNOTICEABLE if is_optional else NOTICED
        yield path.relative_to(original).as_posix(), "\n".join(lines).encode(), done, allowed
    for path in [path for path in files if path.suffix == ".png"][:2]:
        yield from _damaged_png(path, path.relative_to(original).as_posix(), reader, rng)
    for path in [path for path in files if path.suffix == ".npz"][:1]:
        yield from _damaged_archive(path, path.name, rng)
    for path in [path for path in files if path.suffix in (".parquet", ".tar")]:
        yield from _damaged_container(path, path.relative_to(original).as_posix(), rng)
    for path in [path for path in files if path.suffix in (".p", ".pkl")]:
        yield from damaged_pickles(path.read_bytes(), path.relative_to(original).as_posix(), rng)


def _is_read(path: Path, original: Path) -> bool:
    place = path.relative_to(original).as_posix()
    is_image = place.startswith(("images/", "pictures/")) and path.suffix not in _JSON_SUFFIXES
    return not is_image and not any(part in place for part in _UNREAD)


def _damaged_text(path: Path, name: str, reader: str) -> Iterator[_Damage]:
    content = path.read_bytes()
    # A list of lines has no end, labelme and Label Studio need no class map, and an image may have no annotation.
    is_list = path.parent.name in ("labels", "Segmentation") or path.suffix == ".tsv" or path.name.startswith("part-")
    is_needless = path.name == "classes.txt" and reader.startswith(("labelme", "labelstudio"))
    is_list |= is_needless
    is_one_of_many = reader.startswith(("labelme", "geojson", "voc", "rows")) or is_needless
    for place in cut_places(len(content), 4)[1:3]:
        yield name, content[:place], f"cut after {place} bytes", UNNOTICEABLE if is_list else NOTICED
    yield name, content[:10] + b"\xff\xfe\xfd" + content[10:], "not UTF-8", NOTICED
    yield name, None, "missing", UNNOTICEABLE if is_one_of_many else NOTICED
    yield name, b"", "empty", UNNOTICEABLE if is_list else NOTICED
    if path.suffix in _JSON_SUFFIXES:
        yield name, b"[" * 200_000, "lists in lists", REFUSED
        yield name, b'{"a":' * 200_000, "objects in objects", REFUSED
        yield name, b'"' + b"x" * 2_000_000 + b'"', "2 MB of text", REFUSED
        yield name, b"[" + b"9" * 100_000 + b"]", "a number of 100,000 digits", REFUSED
    if path.suffix == ".xml":
        entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
        bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><annotation><filename>&l9;</filename></annotation>'
        yield name, bomb.encode(), "a billion laughs", REFUSED
        outside = (
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>'
        )
        yield name, outside.encode(), "an outside entity", REFUSED
        yield name, b"<a>" * 200_000, "elements in elements", REFUSED
    if path.suffix == ".txt" and path.parent.name == "labels":
        for line in (
            "0 nan nan 0.1 0.1 0.5 0.5",
            "-1 0 0 1 0 1 1",
            "99 0 0 1 0 1 1",
            "0 1e300 0 1 0 1 1",
            "0 0 0",
            "x",
        ):
            yield name, line.encode(), f"a line {line!r}", REFUSED


def _damaged_png(path: Path, name: str, reader: str, rng: np.random.Generator) -> Iterator[_Damage]:
    content = path.read_bytes()
    for place in cut_places(len(content), 4)[:3]:
        yield name, content[:place], f"cut after {place} bytes", NOTICED
    yield name, flip_bits(content, rng, start=30), "a bit turned over", NOTICED
    yield name, None, "missing", UNNOTICEABLE if reader == "png" else NOTICED
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = content[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    yield name, bomb, "states 2^62 pixels", REFUSED
    with Image.open(path) as image:
        width, height = image.size
        for other, done in (
            (Image.new("L", (width + 1, height)), "of another size"),
            (Image.new("RGB", (width, height), (1, 2, 3)), "in color"),
            (Image.new("F", (width, height), 0.5), "a TIFF"),
        ):
            stream = io.BytesIO()
            other.save(stream, "TIFF" if other.mode == "F" else "PNG")
            yield name, stream.getvalue(), done, UNNOTICEABLE if reader in ("folder", "png") else NOTICED


def _damaged_container(path: Path, name: str, rng: np.random.Generator) -> Iterator[_Damage]:
    """Damage a Parquet table or a tar file; in a tar file some bits are just other pixels."""
    content = path.read_bytes()
    allowed = REFUSED if path.suffix == ".parquet" else UNNOTICEABLE
    for place in cut_places(len(content), 8):
        yield name, content[:place], f"cut after {place} bytes", allowed
    for _ in range(16):
        yield name, flip_bits(content, rng), "a bit turned over", UNNOTICEABLE
    yield name, content[:4] + bytes(len(content) - 8) + content[-4:], "zeros between its first and last bytes", REFUSED
    yield name, b"<!doctype html>" * 99, "a web page", REFUSED
    # an output whose images all failed, and are to be tried again, has no part
    yield name, None, "missing", UNNOTICEABLE if name.startswith("part-") else REFUSED


def _damaged_archive(path: Path, name: str, rng: np.random.Generator) -> Iterator[_Damage]:
    content = path.read_bytes()
    for place in cut_places(len(content), 5)[:4]:
        yield name, content[:place], f"cut after {place} bytes", REFUSED
    for _ in range(3):
        yield name, flip_bits(content, rng), "a bit turned over", NOTICED
    with np.load(path) as archive:
        arrays = dict(archive)
    for member in sorted(arrays):
        damaged = {one: array for one, array in arrays.items() if one != member}
        yield name, _pack(damaged), f"no {member}", NOTICED
    for member, wrong in (
        ("masks", arrays["masks"][:, :-1]),
        ("masks", arrays["masks"].astype(float) * np.nan),
        ("class_ids", arrays["class_ids"] + 99),
        ("class_ids", arrays["class_ids"] - 99),
        ("class_mask_ids", np.zeros_like(arrays["class_mask_ids"])),
        ("scores", arrays["scores"][:-1]),
        ("scores", arrays["scores"] * np.nan),
        ("size_hw", np.array([10**9, 10**9])),
        ("size_hw", np.array([-1, 5])),
        ("classes", np.array([1, 2, 3, 4])),
    ):
        yield name, _pack(arrays | {member: wrong}), f"{member} is wrong", NOTICED
    hostile = _pack({**arrays, "classes": np.array([_Hostile()], dtype=object)})
    yield name, hostile, "a pickled object", REFUSED
    yield name, _pack_raw(_npy_header((10**6, 10**6)), "masks.npy", content), "an array of 10^12 pixels", REFUSED
    yield name, _pack_raw(bytes(50_000_000), "file_name.npy", content), "zeros instead of an array", REFUSED
    yield name, b"PK\x05\x06" + bytes(18), "an archive of nothing", REFUSED


class _Hostile:
    """Writes a file once it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch hacked",)


def _pack(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|b1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _pack_raw(member: bytes, name: str, content: bytes) -> bytes:
    """Replace a member of an archive by any bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bad:
        for one in good.namelist():
            bad.writestr(one, member if one == name else good.read(one))
    return stream.getvalue()


def damaged_pickles(content: bytes, name: str, rng: np.random.Generator) -> Iterator[_Damage]:
    """Yield pickles that run programs, that fill the memory, and that are damaged."""
    yield name, pickle.dumps(_Hostile()), "runs a program", REFUSED
    for protocol in (0, 1, 2, 4):
        yield name, pickle.dumps([_Hostile()], protocol=protocol), f"runs a program, protocol {protocol}", REFUSED
    yield name, b'cbuiltins\neval\n(S\'open("hacked", "w")\'\ntR.', "evaluates", REFUSED
    yield name, b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch hacked\x85R.", "by STACK_GLOBAL", REFUSED
    yield name, b"]r\xff\xff\xff\x7f.", "a memo of 2^31 entries", REFUSED
    yield name, b"\x80\x04\x8e" + struct.pack("<Q", 2**62), "8 EB of bytes", REFUSED
    yield name, b"(" * 1_000_000, "a million marks", REFUSED
    yield name, b"]" * 200_000 + b"a" * 199_999 + b".", "lists in lists", REFUSED
    yield name, b"I" + b"9" * 1_000_000 + b"\n.", "a number of a million digits", REFUSED
    yield name, b"\x8a\xff" + b"\xff" * 255 + b".", "a number of 2,040 bits", REFUSED
    yield name, b"N.", "nothing", REFUSED
    yield name, b"", "empty", REFUSED
    for place in cut_places(len(content), 5)[1:]:
        yield name, content[:place], f"cut after {place} bytes", REFUSED
    for _ in range(4):
        yield name, flip_bits(content, rng), "a bit turned over", UNNOTICEABLE


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
