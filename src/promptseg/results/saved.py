"""The files of a saved result: `overlay.png`, one mask for each query, and `result.json`, which lists them."""

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg._value_checks import checked_probability
from promptseg.errors import DataError, OutputError, PromptError
from promptseg.images import check_stated_size
from promptseg.ops.atomic import atomic_file
from promptseg.ops.resize import logit
from promptseg.ops.rle import coco_rle, decode_rle
from promptseg.results.instance import Instance
from promptseg.results.query_result import QueryResult
from promptseg.untrusted_files import read_json

JSON_SCHEMA = "promptseg/segmentation-1"
RESULT_FILE = "result.json"
OVERLAY_FILE = "overlay.png"

# Longer side of the map that a loaded result gets in place of the model's, pixels.
_MAP_SIDE = 256
# The names that `write_result_files` gives masks: nothing else is ever removed.
_MASK_FILE = re.compile(r"mask-[0-9]{3,}-[a-z0-9-]+\.png")


def write_result_files(
    directory: Path, document: dict[str, Any], masks: Iterable[NDArray[np.bool_]], overlay: Image.Image
) -> tuple[Path, ...]:
    """Write overlay, masks and JSON; masks that only an earlier result in this folder had are removed.

    Args:
        directory: Created if it is missing.
        document: What `Segmentation.to_dict` returns, and more keys; each result gets the key `mask_file`.
        masks: One for each result, bool, shape (H, W); they are read one by one.
        overlay: The drawn image.

    Returns:
        The files: overlay, masks in order, JSON.

    Raises:
        OutputError: A file can't be written or removed; the message names it.
    """
    earlier = _list_mask_files(directory)
    overlay_path = directory / OVERLAY_FILE
    with atomic_file(overlay_path) as path:
        overlay.save(path)
    results = []
    mask_paths = []
    for index, (result, mask) in enumerate(zip(document["results"], masks, strict=True)):
        mask_paths.append(directory / f"mask-{index:03d}-{slug(result['label'])}.png")
        results.append({**result, "mask_file": mask_paths[-1].name})
        with atomic_file(mask_paths[-1]) as path:
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    # Before result.json is replaced: a run that is killed here leaves a list that still names what is to be removed.
    for name in earlier - {path.name for path in mask_paths}:
        try:
            (directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{directory / name}: can't be removed: {error.strerror or error}") from error
    json_path = directory / RESULT_FILE
    with atomic_file(json_path) as path:
        text = json.dumps({**document, "results": results}, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return overlay_path, *mask_paths, json_path


def read_result_file(directory: Path) -> dict[str, Any]:
    """Read `result.json`.

    Raises:
        DataError: It is missing, or was not written by `Segmentation.save`; the message names it.
    """
    path = directory / RESULT_FILE
    try:
        document = read_json(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: can't be read, it is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != JSON_SCHEMA:
        raise DataError(f"{path}: not a result that Segmentation.save wrote (schema {JSON_SCHEMA!r})")
    return document


def read_source(path: Path) -> str | None:
    """Read which image a saved result or map is of, from its JSON file; None: it is missing, or does not say."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return None
    image = document.get("image") if isinstance(document, dict) else None
    source = image.get("source") if isinstance(image, dict) else None
    return source if isinstance(source, str) else None


def parse_results(document: dict[str, Any], *, where: str) -> tuple[QueryResult, ...]:
    """Convert what `read_result_file` returned to results, which keep the saved masks and instances.

    Args:
        document: The JSON object.
        where: Its file, for messages.

    Raises:
        DataError: A value is missing or malformed.
    """
    try:
        height, width = document["size_hw"]
        size_hw = check_stated_size(height, width, where=where)
        thresholds = _probability(document, "presence_threshold"), _probability(document, "mask_threshold")
        unsure_threshold = parse_unsure_threshold(document)
        if not isinstance(document["results"], list):
            raise TypeError("'results' is no list")
        return tuple(
            _parse_result(each, size_hw, *thresholds, unsure_threshold=unsure_threshold) for each in document["results"]
        )
    except KeyError as error:
        raise DataError(f"{where}: not a result that Segmentation.save wrote: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, PromptError) as error:
        raise DataError(f"{where}: not a result that Segmentation.save wrote: {error}") from error


def parse_unsure_threshold(document: dict[str, Any]) -> float | None:
    """Read `Segmentation.unsure_threshold`, which results of earlier versions lack."""
    return None if document.get("unsure_threshold") is None else _probability(document, "unsure_threshold")


def _probability(values: dict[str, Any], name: str) -> float:
    """Read a number in [0, 1].

    Raises:
        KeyError: It is missing.
        PromptError: It is another value.
    """
    return checked_probability(values[name], what=f"{name!r}")


def _parse_result(
    values: dict[str, Any],
    size_hw: tuple[int, int],
    presence_threshold: float,
    mask_threshold: float,
    *,
    unsure_threshold: float | None,
) -> QueryResult:
    stored_mask = coco_rle(values["mask"], size_hw)
    instances = tuple(
        Instance.from_mask(
            decode_rle(coco_rle(each["mask"], size_hw)),
            _probability(each, "score"),
            mask_quality=None if each.get("mask_quality") is None else _probability(each, "mask_quality"),
        )
        for each in values["instances"]
    )
    mask_logits = approximate_logits(decode_rle(stored_mask), mask_threshold)
    return QueryResult(
        str(values["label"]),
        _probability(values, "presence"),
        mask_logits,
        size_hw,
        presence_threshold,
        mask_threshold,
        instances,
        stored_mask=stored_mask,
        unsure_threshold=unsure_threshold,
        read_as=None if values.get("read_as") is None else str(values["read_as"]),
    )


def approximate_logits(mask: NDArray[np.bool_], mask_threshold: float) -> NDArray[np.float32]:
    """Make a small map, shape (h, w), that stands for the model's: its edge at `mask_threshold` is that of the mask."""
    height, width = mask.shape
    shrink = max(1.0, max(height, width) / _MAP_SIDE)
    size_wh = max(1, round(width / shrink)), max(1, round(height / shrink))
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size_wh, Image.Resampling.BOX)
    share = np.clip(np.asarray(small, dtype=np.float32) / 255, 0.001, 0.999)
    edge = logit(mask_threshold)
    return np.log(share / (1 - share)) + np.float32(edge if np.isfinite(edge) else 0.0)


def slug(label: str) -> str:
    """Convert a label to a part of a file name that is safe everywhere; two labels may give the same one."""
    ascii_text = unicodedata.normalize("NFKD", label.replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:40].strip("-") or "query"


def _list_mask_files(directory: Path) -> set[str]:
    """List the masks of an earlier result in this folder, by the names that its `result.json` states."""
    try:
        results = read_result_file(directory).get("results")
    except DataError:  # the folder is new, or holds something else: nothing in it is ours to remove
        return set()
    names = (
        {each.get("mask_file") for each in results if isinstance(each, dict)} if isinstance(results, list) else set()
    )
    return {name for name in names if isinstance(name, str) and _MASK_FILE.fullmatch(name)}
