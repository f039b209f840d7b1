"""Sets in the layouts of published data and of batches: tables, shards, lists and class maps, as small as can be.

`annotation_sets.py` damages their files one by one; `READERS` reads them, for `probe.py`.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from benchmark_trees import draw_image, write_coco_20i, write_pascal_5i, write_voc
from data_trees import box_rle
from map_trees import write_tree
from PIL import Image
from sa1b_tree import draw_sa1b

# Rows of a table, members of a shard.
_NUM_IMAGES = 3


def _encode_image(seed: int, size_hw: tuple[int, int] = (24, 32)) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_table(root: Path) -> None:
    """Write a Parquet table of encoded images, in two row groups."""
    import pyarrow
    import pyarrow.parquet

    rows = [{"image": {"bytes": _encode_image(seed), "path": f"{seed}.png"}} for seed in range(_NUM_IMAGES)]
    root.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "images.parquet", row_group_size=2)


def write_path_table(root: Path) -> None:
    """Write a Parquet table of paths."""
    import pyarrow
    import pyarrow.parquet

    root.mkdir(parents=True)
    paths = [f"/nowhere/{number}.png" for number in range(_NUM_IMAGES)]
    pyarrow.parquet.write_table(pyarrow.table({"path": paths}), root / "paths.parquet")


def write_refcoco_m(root: Path) -> None:
    """Write RefCOCO-M's table: an image, objects with masks, sentences."""
    import pyarrow
    import pyarrow.parquet

    mask = box_rle(2, 2, 9, 9)
    rows = [
        {
            "image": {"bytes": _encode_image(seed), "path": None},
            "image_id": 10 + seed,
            "file_name": f"{seed}.jpg",
            "samples": [{"id": seed, "sentences": ["the left one", "it"], "mask": dict(mask)}],
        }
        for seed in range(_NUM_IMAGES)
    ]
    root.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "validation-0.parquet")


def write_shard(root: Path) -> None:
    """Write a tar file of images and captions, as WebDataset does."""
    root.mkdir(parents=True)
    with tarfile.open(root / "000.tar", "w") as shard:
        for seed in range(_NUM_IMAGES):
            for name, content in ((f"{seed}.png", _encode_image(seed)), (f"{seed}.txt", b"a noisy image")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def write_pairs(root: Path) -> None:
    """Write a TSV file of images and captions."""
    for seed in range(_NUM_IMAGES):
        draw_image(root / f"{seed}.jpg", seed, {1: (2, 2, 9, 9)})
    lines = [f"{seed}.jpg\ta box, number {seed}" for seed in range(_NUM_IMAGES)]
    (root / "pairs.tsv").write_text("\n".join(["filepath\ttitle", *lines]) + "\n", encoding="utf-8")


def write_rows(root: Path, *, format: Literal["parquet", "jsonl"]) -> None:
    """Write the output of a batch: a part with a row for each image."""
    from promptseg.batch.output import Claim, open_output

    mask = box_rle(2, 2, 9, 9)
    rows: list[dict[str, Any]] = [
        {
            "path": f"photos/{seed}.png", "sha256": f"{seed:064x}", "width": 32, "height": 24, "model": "tiny",
            "fingerprint": "0" * 16, "label": "cat", "presence": 0.75, "is_present": True, "status": "present",
            "read_as": None, "object": 0, "score": 0.5, "box_xyxy": [2, 2, 9, 9], "mask": json.dumps(mask),
            "error": None, "seconds": 0.1,
        }
        for seed in range(_NUM_IMAGES)
    ]  # fmt: skip
    with open_output(root, Claim(format, "tiny", "0" * 16, 0.5, ("cat",), "query")) as parts:
        parts.write(rows)


WRITERS: dict[str, Callable[[Path], object]] = {
    "table": write_table,
    "table-paths": write_path_table,
    "refcoco-m": write_refcoco_m,
    "shard": write_shard,
    "pairs": write_pairs,
    "pairs-shard": write_shard,
    "rows-parquet": partial(write_rows, format="parquet"),
    "rows-jsonl": partial(write_rows, format="jsonl"),
    "pascal": lambda root: write_voc(root, "SegmentationClass", [(1, 2), (3, 4), (5, 1)]),
    "pascal-5i": write_pascal_5i,
    "coco-20i": write_coco_20i,
    "sa1b": lambda root: draw_sa1b(root, 2),
    "coco-panoptic-maps": lambda root: write_tree("coco-panoptic", root),
}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_images(path: Path) -> tuple[Any, int]:
    """Read all images of a batch; those that can't be read are named, and count as left out."""
    from promptseg.batch.reader import ImageReader
    from promptseg.batch.sources import list_sources
    from promptseg.errors import ImageError

    source = next(path.iterdir(), path)
    reader, found, num_failed = ImageReader(), [], 0
    for image in list_sources([source]):
        try:
            found.append((image.id.rpartition("/")[2], _digest(reader.read(image))))
        except ImageError as error:
            assert image.id in str(error), error
            found.append((image.id.rpartition("/")[2], "failed"))
            num_failed += 1
    return found, num_failed


def _read_samples(samples: Sequence[Any], num_problems: int) -> tuple[Any, int]:
    from promptseg.data.sample import target_mask
    from promptseg.errors import ImageError

    found = []
    for index in range(len(samples)):
        try:
            each = samples[index]
        except ImageError:  # it is read when it is asked for, and named by its place in the data
            num_problems += 1
            continue
        targets = [(one.phrase, target_mask(one, each.size_hw).tobytes(), len(one.void)) for one in each.targets]
        found.append([each.sample_id, each.size_hw, each.captions, targets])
    return found, num_problems


def _read_rows(path: Path) -> tuple[Any, int]:
    from promptseg.batch import read_rows

    return list(read_rows(path)), 0


def _read_refcoco_m(path: Path) -> tuple[Any, int]:
    from promptseg.data.refcoco_m import read_refcoco_m

    found = read_refcoco_m(path)
    return _read_samples(found, len(found.problems))


def _read_pairs(path: Path) -> tuple[Any, int]:
    from promptseg.data.image_text import find_image_texts

    found = find_image_texts(path)
    return _read_samples(found, len(found.problems))


def _read_pascal(path: Path) -> tuple[Any, int]:
    from promptseg.data.pascal import read_pascal_zeroshot

    found = read_pascal_zeroshot(path, 2)
    return _read_samples(found.samples, len(found.samples.problems))


def _read_episodes(path: Path, read: Callable[..., Any]) -> tuple[Any, int]:
    found = read(path, 0, num_episodes=8)
    values = [
        (each.query.sample_id, [one.sample_id for one in each.support], each.query.targets[0].masks)
        for each in found.episodes
    ]
    return values, len(found.problems)


def _read_pascal_5i(path: Path) -> tuple[Any, int]:
    from promptseg.data.fewshot import read_pascal_5i

    return _read_episodes(path, read_pascal_5i)


def _read_coco_20i(path: Path) -> tuple[Any, int]:
    from promptseg.data.fewshot import read_coco_20i

    return _read_episodes(path, read_coco_20i)


def _read_sa1b(path: Path) -> tuple[Any, int]:
    from promptseg.data.sa1b import find_sa1b

    found = find_sa1b(path)
    return _read_samples(found, len(found.problems))


def _read_maps(path: Path) -> tuple[Any, int]:
    from promptseg.data.class_maps import read_panoptic

    names = {"sky-other-merged": 0, "grass-merged": 1, "cat": 2}
    images = path / "val2017"
    found = read_panoptic(
        path / "annotations/panoptic_val2017.json",
        path / "panoptic_val2017",
        lambda stem: images / f"{stem}.jpg",
        names.get,
    )
    truths = [(each.sample_id, each.load_truth()) for each in found.images]
    values = [(name, truth.ids.tobytes(), truth.class_of_id, sorted(truth.crowd_ids)) for name, truth in truths]
    return values, len(found.problems)


# Each gives what matters of a set, and how many things were left out and named.
READERS: dict[str, Callable[[Path], tuple[Any, int]]] = {
    "table": _read_images,
    "table-paths": _read_images,
    "refcoco-m": _read_refcoco_m,
    "shard": _read_images,
    "pairs": _read_pairs,
    "pairs-shard": _read_pairs,
    "rows-parquet": _read_rows,
    "rows-jsonl": _read_rows,
    "pascal": _read_pascal,
    "pascal-5i": _read_pascal_5i,
    "coco-20i": _read_coco_20i,
    "sa1b": _read_sa1b,
    "coco-panoptic-maps": _read_maps,
}
