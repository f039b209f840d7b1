"""Points and boxes of single images from a file: JSON lines or CSV."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptseg.batch.sources import BatchImage
from promptseg.errors import PromptError
from promptseg.image_files import expand_home
from promptseg.prompts import UNNAMED_OBJECT, BoxPrompt, PointPrompt, Prompt, Query
from promptseg.untrusted_files import parse_json, read_text

_FORM = {
    ".jsonl": 'write {"image": "a.jpg", "label": "cup", "points": [[x, y], [x, y, 0]], "boxes": [[x0, y0, x1, y1]]}',
    ".csv": "its columns are image, label, object, x, y, on_object, x0, y0, x1, y1; it needs image, and x, y or a box",
}
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_COLUMNS = frozenset("image label x y on_object x0 y0 x1 y1 object".split())


@dataclass(frozen=True)
class Pointing:
    """What is pointed at in single images.

    Attributes:
        where: The file, for messages.
        queries: The objects, by the name of the image.
    """

    where: str
    queries: Mapping[str, tuple[Query, ...]]


def read_pointing(path: str | Path) -> Pointing:
    """Read points and boxes.

    In JSON lines, a line is an object of an image: `image`, `label` (without one: "object"), `points` of [x, y] or
    [x, y, 0] beside it, and `boxes`. In CSV, a row is a point or a box; the points of one image, label and `object`
    (without one: all) are of one object. Coordinates are pixels.

    Args:
        path: Its suffix is .jsonl or .csv.

    Raises:
        PromptError: The file can't be read, or a line is malformed; the message names it.
    """
    path = expand_home(path)
    suffix = path.suffix.lower()
    if suffix not in _FORM:
        raise PromptError(f"{path}: points and boxes are in a file .jsonl or .csv")
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise PromptError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: can't be read as UTF-8 text: {error}") from error
    found: dict[str, list[Query]] = defaultdict(list)
    for image, query in _read_lines(path, text) if suffix == ".jsonl" else _read_rows(path, text):
        found[image].append(query)
    if not found:
        raise PromptError(f"{path}: no point and no box; {_FORM[suffix]}")
    return Pointing(str(path), {image: tuple(queries) for image, queries in found.items()})


def point_at(images: Iterable[BatchImage], pointing: Pointing) -> list[BatchImage]:
    """Give images their points and boxes.

    Args:
        images: Found by their ids.
        pointing: What `read_pointing` read.

    Raises:
        PromptError: The file names another image.
    """
    listed = list(images)
    known = {image.id for image in listed}
    if strangers := [name for name in pointing.queries if name not in known]:
        more = f" (and {len(strangers) - 1} more)" if len(strangers) > 1 else ""
        raise PromptError(f"{pointing.where}: there is no image {strangers[0]!r}{more} among those to label")
    return [replace(image, pointing=pointing.queries.get(image.id, ())) for image in listed]


def _read_lines(path: Path, text: str) -> Iterator[tuple[str, Query]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = parse_json(line)
            image, label = record["image"], record.get("label", UNNAMED_OBJECT)
            points, boxes = record.get("points", []), record.get("boxes", [])
            if not (isinstance(image, str) and isinstance(label, str)):
                raise TypeError("image and label are text")
            flags = [_read_flag(point[2]) if len(point) > 2 else True for point in points]
            query = _make_query(label, [(point[0], point[1]) for point in points], flags, boxes)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, PromptError) as error:
            raise PromptError(f"{where}: {_explain(error)}; {_FORM['.jsonl']}") from error
        yield image, query


def _read_rows(path: Path, text: str) -> Iterator[tuple[str, Query]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    groups: dict[tuple[str, str, str], tuple[list[tuple[float, float]], list[bool], str]] = {}
    where = str(path)
    try:
        if unknown := [name for name in reader.fieldnames or () if name not in _COLUMNS]:
            raise ValueError(f"the column {unknown[0]!r} is unknown")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise ValueError("more values than columns")
            image, label = row["image"], row.get("label") or UNNAMED_OBJECT
            if row.get("x") or row.get("y"):
                points, flags, _ = groups.setdefault((image, label, row.get("object") or ""), ([], [], where))
                points.append((float(row["x"]), float(row["y"])))
                flags.append(_read_flag(row.get("on_object") or 1))
            elif row.get("x0"):
                box = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
                yield image, _make_query(label, [], [], [box])
            else:
                raise ValueError("no point and no box")
        for (image, label, _), (points, flags, first) in groups.items():
            where = first
            yield image, _make_query(label, points, flags, [])
    except (csv.Error, KeyError, TypeError, ValueError, PromptError) as error:
        raise PromptError(f"{where}: {_explain(error)}; {_FORM['.csv']}") from error


def _make_query(label: str, points: Sequence[Any], flags: Sequence[bool], boxes: Iterable[Any]) -> Query:
    prompts: list[Prompt] = [PointPrompt(tuple(points), tuple(flags))] if points else []
    prompts += [BoxPrompt(tuple(box)) for box in boxes]
    if not prompts:
        raise ValueError("no point and no box")
    return Query(label, tuple(prompts))


def _read_flag(value: object) -> bool:
    """Read whether a point is on the object: 1, or beside it: 0."""
    written = str(value).strip().lower()
    if written not in _FLAGS:
        raise ValueError(f"a point is on the object (1) or beside it (0), not {value!r}")
    return _FLAGS[written]


def _explain(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
