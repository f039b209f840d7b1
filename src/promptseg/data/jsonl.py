"""Reader of the JSONL index: one record per image, images beside it.

    {"image": "SET/NAME.webp", "width", "height",                     all coordinates are in the stored image's pixels
     "masks": [{"category", "rle", "kind", "iscrowd", "void"}], "boxes": [{"category", "box_xyxy"}],
     "regions": [{"phrase", "box_xyxy"}], "tags": [...], "single_object": true, "alt_names": [...], "phrases": [...],
     "captions": [...], "exhaustive": names or the name of a list, "coco_id", "sequence", "source", "license"}

Files of pseudo-masks have the same format; their masks also have "source", "score" and other "names".
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from promptseg._value_checks import is_number
from promptseg.data.merge_annotations import TargetAssembler
from promptseg.data.sample import KINDS, Box, Kind, Problem, Sample, SampleSet
from promptseg.errors import DataError
from promptseg.images import check_stated_size
from promptseg.language.class_names import EXHAUSTIVE_SETS, NAME_LISTS
from promptseg.language.phrases import normalize_phrase
from promptseg.ops.rle import Rle, check_rle
from promptseg.untrusted_files import parse_json, read_text

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One record and its place in the file.

    Attributes:
        where: File and line, for messages.
        record: Content of the line.
    """

    where: str
    record: Record

    def require(self, holder: Record, key: str, kind: type | tuple[type, ...]) -> Any:
        """Return a required field of a record or of an object in it.

        Args:
            holder: The record or the object.
            key: Name of the field.
            kind: Allowed type, or several.

        Raises:
            DataError: The field is missing or has another type.
        """
        if not isinstance(holder.get(key), kind):
            expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise DataError(f"{self.where}: field '{key}' must be {expected}, got {holder.get(key)!r:.80}")
        return holder[key]

    def objects(self, key: str) -> list[Record]:
        """Return a list of objects of the record; none if the field is missing or null.

        Raises:
            DataError: It is something else.
        """
        return self._listed(key, dict, "objects")

    def texts(self, key: str) -> list[str]:
        """Return a list of texts of the record; none if the field is missing or null.

        Raises:
            DataError: It is something else.
        """
        return self._listed(key, str, "texts")

    def _listed(self, key: str, kind: type, noun: str) -> list[Any]:
        values = [] if self.record.get(key) is None else self.record[key]
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise DataError(f"{self.where}: field '{key}' must be a list of {noun}, got {values!r:.80}")
        return values

    def size_hw(self) -> tuple[int, int]:
        """Return the record's "height" and "width", pixels.

        Raises:
            DataError: One of them is missing or not a positive whole number, or the image would be too large.
        """
        return check_stated_size(self.record.get("height"), self.record.get("width"), where=self.where)


PseudoMasks = Mapping[str, tuple[Line, ...]]


def load_lines(path: Path) -> Iterator[Line]:
    """Yield the records of a JSONL file.

    Raises:
        DataError: The file can't be read, or a line is not a JSON object; the message names file and line.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = parse_json(content)
        except ValueError as error:
            raise DataError(f"{where}: not valid JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected a JSON object, got {type(record).__name__}")
        yield Line(where, record)


def load_pseudo_masks(paths: Iterable[Path]) -> PseudoMasks:
    """Load files of pseudo-masks, by image; one image may occur in several files and lines.

    Raises:
        DataError: A file can't be read or a line is malformed; the message names file and line.
    """
    by_image: dict[str, tuple[Line, ...]] = defaultdict(tuple)
    for path in paths:
        for line in load_lines(path):
            by_image[line.require(line.record, "image", str)] += (line,)
    return dict(by_image)


def load_pseudo_mask_folder(directory: Path) -> PseudoMasks:
    """Load all files of pseudo-masks of a directory.

    Raises:
        DataError: The directory has no such file, or one is malformed.
    """
    paths = sorted(directory.glob("*.jsonl"))
    if not paths:
        raise DataError(f"{directory}: no file of pseudo-masks (*.jsonl) in it")
    return load_pseudo_masks(paths)


def read_jsonl(index: Path, *, pseudo_masks: PseudoMasks | None = None) -> SampleSet:
    """Read an index and merge the pseudo-masks of its images.

    Args:
        index: The file; paths of images are relative to its directory.
        pseudo_masks: Result of `load_pseudo_masks`; None: human annotations only.

    Returns:
        The samples, and everything that was left out: missing images, masks of another size than their image, boxes
        outside it, pseudo-masks for images that are not in the index.

    Raises:
        DataError: The index can't be read, a record is malformed (the message names file and line), or no image is
            left.
    """
    pseudo_masks = pseudo_masks or {}
    samples: dict[str, Sample] = {}
    problems: list[Problem] = []
    for line in load_lines(index):
        name = line.require(line.record, "image", str)
        if name in samples:
            raise DataError(f"{line.where}: image {name} has a second record")
        if not (index.parent / name).is_file():
            problems.append(Problem(line.where, f"no image {name}"))
            continue
        samples[name] = _read_sample(line, index, pseudo_masks.get(name, ()), problems)
    for name, lines in pseudo_masks.items():
        if name.startswith(f"{index.stem}/") and name not in samples:
            problems.append(Problem(lines[0].where, f"pseudo-masks for {name}, which {index.name} does not have"))
    if not samples:
        raise DataError(f"{index}: no record has its image in {index.parent}")
    return SampleSet(tuple(samples.values()), tuple(problems))


def exhaustive_names(record: Record, dataset: str) -> frozenset[str]:
    """List the names that a record declares as annotated completely."""
    listed = record.get("exhaustive")
    if listed is None:
        listed = EXHAUSTIVE_SETS.get(dataset, ())
    if isinstance(listed, str):
        listed = NAME_LISTS.get(listed) or listed.split(",")
    return frozenset(normalize_phrase(name) for name in listed)


def _read_sample(line: Line, index: Path, pseudo_lines: tuple[Line, ...], problems: list[Problem]) -> Sample:
    record = line.record
    size_hw = line.size_hw()
    if not isinstance(record.get("exhaustive"), str):
        line.texts("exhaustive")
    exhaustive = exhaustive_names(record, index.stem)
    assembler = TargetAssembler(size_hw, exhaustive)
    for item, rle in _masks(line, size_hw, problems):
        name = line.require(item, "category", str)
        assembler.add_mask(name, rle, kind=_kind(line, item), crowd=bool(item.get("iscrowd")))
        if item.get("void") is not None and _fits(line, name, item["void"], size_hw, problems):
            assembler.add_void(name, item["void"])
    for item in line.objects("boxes"):
        _add_box(assembler, line, item, "category", size_hw, problems)
    _add_tags(assembler, line)
    for item in line.objects("regions"):
        _add_box(assembler, line, item, "phrase", size_hw, problems)
    for pseudo_line in pseudo_lines:
        for item, rle in _masks(pseudo_line, size_hw, problems):
            assembler.add_pseudo_mask(
                pseudo_line.require(item, "category", str),
                rle,
                kind=_kind(pseudo_line, item),
                source=pseudo_line.require(item, "source", str),
                score=float(pseudo_line.require(item, "score", (int, float))),
                alternatives=item.get("names", ()),
            )
    return Sample(
        sample_id=record["image"],
        image=index.parent / record["image"],
        size_hw=size_hw,
        targets=assembler.targets(),
        exhaustive=exhaustive,
        captions=tuple(line.texts("captions")),
        dataset=index.stem,
        license=record.get("license"),
        single_object=bool(record.get("single_object")),
        coco_id=record.get("coco_id"),
        sequence=record.get("sequence"),
    )


def _masks(line: Line, size_hw: tuple[int, int], problems: list[Problem]) -> Iterator[tuple[Record, Rle]]:
    """Yield the masks of a record that fit its image."""
    for item in line.objects("masks"):
        rle = line.require(item, "rle", dict)
        if _fits(line, str(item.get("category")), rle, size_hw, problems):
            yield item, cast(Rle, rle)


def _fits(line: Line, name: str, rle: Record, size_hw: tuple[int, int], problems: list[Problem]) -> bool:
    line.require(rle, "counts", str)
    mask_hw = tuple(line.require(rle, "size", list))
    if mask_hw != size_hw:
        what = f"mask '{name}' of {line.record['image']} is {mask_hw} (height, width), the image {size_hw}"
        problems.append(Problem(line.where, what))
        return False
    try:
        check_rle(cast(Rle, rle))
    except ValueError as error:
        raise DataError(f"{line.where}: mask '{name}': {error}") from error
    return True


def _add_box(
    assembler: TargetAssembler,
    line: Line,
    item: Record,
    name_key: str,
    size_hw: tuple[int, int],
    problems: list[Problem],
) -> None:
    name, corners = line.require(item, name_key, str), line.require(item, "box_xyxy", list)
    if len(corners) != 4:
        raise DataError(f"{line.where}: box_xyxy of '{name}' has {len(corners)} numbers, expected 4")
    if not all(map(is_number, corners)):
        raise DataError(f"{line.where}: box_xyxy of '{name}' has corners that are not numbers: {corners!r:.80}")
    limits = (size_hw[1], size_hw[0]) * 2
    x0, y0, x1, y1 = (float(min(max(corner, 0), limit)) for corner, limit in zip(corners, limits, strict=True))
    if x0 >= x1 or y0 >= y1:
        problems.append(Problem(line.where, f"box {corners} of '{name}' has no area inside {line.record['image']}"))
        return
    box: Box = (x0, y0, x1, y1)
    assembler.add_box(name, box, kind="phrase" if name_key == "phrase" else "thing")


def _add_tags(assembler: TargetAssembler, line: Line) -> None:
    tags = line.texts("tags")
    if line.record.get("single_object") and tags:  # one object: every tag and phrase is a name of it
        assembler.add_tag(tags[0])
        assembler.add_wordings(tags[0], (*tags[1:], *line.texts("alt_names"), *line.texts("phrases")))
        return
    for tag in tags:
        assembler.add_tag(tag)


def _kind(line: Line, item: Record) -> Kind:
    kind = item.get("kind", "thing")
    if kind == "object":
        return "thing"
    if kind not in KINDS:
        raise DataError(f"{line.where}: kind must be one of {', '.join(KINDS)} or object, got {kind!r}")
    return cast(Kind, kind)
