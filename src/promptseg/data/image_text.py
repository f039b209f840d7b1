"""Reader of image-text pairs: images with captions, and no masks.

    pairs.tsv       a line for each image; the first line names the columns: filepath, title (OpenCLIP's names; others
                    are ignored), or has no names: caption, path. Paths are relative to the file.
    *.tar           webdataset: NAME.jpg (.jpeg, .png, .webp) and NAME.txt (or "caption" in NAME.json) side by side
    index.jsonl     this project's index, see `promptseg.data.jsonl`; records with "captions"

Entities and better captions that something else made, such as a language model, come in the files entities.jsonl and
captions.jsonl: `{"image": sample id, "entities": [...]}` and `{"image": sample id, "captions": [...]}`.

Members of an archive are read in place, never unpacked; an image is read when it is asked for.
"""

import csv
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal, overload

from promptseg.data.jsonl import load_lines, read_jsonl
from promptseg.data.sample import Problem, Sample
from promptseg.errors import DataError, ImageError
from promptseg.images import read_image

ENTITIES_FILE, CAPTIONS_FILE = "entities.jsonl", "captions.jsonl"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_TEXT_BYTES = 1_000_000
MAX_IMAGE_BYTES = 100_000_000
_CAPTION_COLUMNS = ("title", "caption", "text")
_PATH_COLUMNS = ("filepath", "path", "image")


@dataclass(frozen=True)
class ImageText:
    """One pair, not yet read.

    Attributes:
        sample_id: The image's path, relative to the data; in an archive: archive/member.
        captions: One or more.
        path: The image file, or the archive that holds it.
        start: First byte of the image in the archive; None: it is a file.
        num_bytes: Its length in the archive.
    """

    sample_id: str
    captions: tuple[str, ...]
    path: Path
    start: int | None = None
    num_bytes: int = 0

    def load(self) -> Sample:
        """Read the image.

        Raises:
            ImageError: It can't be read.
        """
        image: Path | bytes = self.path
        if self.start is not None:
            try:
                with self.path.open("rb") as file:
                    file.seek(self.start)
                    image = file.read(self.num_bytes)
            except OSError as error:
                raise ImageError(f"{self.sample_id}: can't be read ({error})") from error
        try:
            height, width = read_image(image).shape[:2]
        except ImageError as error:
            raise ImageError(f"{self.sample_id}: {error}") from error
        return Sample(self.sample_id, image, (height, width), captions=self.captions, dataset="image-text")


@dataclass(frozen=True)
class ImageTexts(Sequence[Sample]):
    """Image-text pairs; `pairs[i]` reads the i-th image.

    Attributes:
        pairs: The pairs.
        problems: What was left out, with the reasons.
    """

    pairs: tuple[ImageText, ...]
    problems: tuple[Problem, ...] = field(default=())

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageTexts": ...
    def __getitem__(self, index: int | slice) -> "Sample | ImageTexts":
        """Read one pair, or take some of them.

        Raises:
            ImageError: The image can't be read.
        """
        return ImageTexts(self.pairs[index]) if isinstance(index, slice) else self.pairs[index].load()

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Sample]:
        return (pair.load() for pair in self.pairs)

    def with_captions(self, captions: Mapping[str, Sequence[str]]) -> "ImageTexts":
        """Replace the captions of the images that a file has others for; see `load_captions`."""
        pairs = tuple(
            replace(pair, captions=tuple(captions[pair.sample_id])) if pair.sample_id in captions else pair
            for pair in self.pairs
        )
        return ImageTexts(pairs, self.problems)


def find_image_texts(path: Path) -> ImageTexts:
    """Find the pairs of a TSV file, a webdataset archive, a JSONL index, or of all of these in a folder.

    Raises:
        DataError: The path holds no pairs, or a file is malformed; the message names it.
    """
    files = sorted(
        each
        for suffix in ("tsv", "tar", "jsonl")
        for each in path.rglob(f"*.{suffix}")
        if each.name not in (ENTITIES_FILE, CAPTIONS_FILE)
    )
    pairs: list[ImageText] = []
    problems: list[Problem] = []
    for file in files if path.is_dir() else [path]:
        readers = {".tsv": _read_tsv, ".tar": _read_tar, ".jsonl": _read_index}
        if file.suffix not in readers:
            raise DataError(f"{file}: image-text pairs are in .tsv, .tar or .jsonl files")
        found, left_out = readers[file.suffix](file)
        pairs += found
        problems += left_out
    if not pairs:
        first = f"; for one, {problems[0]}" if problems else ""
        raise DataError(f"{path}: no image-text pairs (.tsv, .tar or .jsonl){first}")
    return ImageTexts(tuple(pairs), tuple(problems))


def load_entities(path: Path) -> dict[str, tuple[str, ...]]:
    """Load the entities of images, by sample id, from lines {"image", "entities": [...]}.

    Raises:
        DataError: The file can't be read, or a line is malformed; the message names file and line.
    """
    return _load_texts(path, "entities")


def load_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Load the captions of images, by sample id, from lines {"image", "captions": [...]}; errors as `load_entities`."""
    return _load_texts(path, "captions")


def _load_texts(path: Path, key: Literal["entities", "captions"]) -> dict[str, tuple[str, ...]]:
    texts: dict[str, tuple[str, ...]] = {}
    for line in load_lines(path):
        values = line.require(line.record, key, list)
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise DataError(f"{line.where}: field '{key}' must be a list of texts, got {values!r:.80}")
        texts[line.require(line.record, "image", str)] = tuple(value.strip() for value in values)
    return texts


def _read_tsv(path: Path) -> tuple[list[ImageText], list[Problem]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can't be read ({error})") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    caption_column = next((header.index(name) for name in _CAPTION_COLUMNS if name in header), None)
    path_column = next((header.index(name) for name in _PATH_COLUMNS if name in header), None)
    first_row = 1
    if caption_column is None or path_column is None:
        caption_column, path_column, first_row = 0, 1, 0
    pairs, problems = [], []
    for number, row in enumerate(rows[first_row:], start=first_row + 1):
        if not any(row):
            continue
        if len(row) <= max(caption_column, path_column):
            raise DataError(f"{path}:{number}: expected a caption and a path, got {len(row)} column")
        caption, name = row[caption_column].strip(), row[path_column].strip()
        if not caption or not (path.parent / name).is_file():
            problems.append(Problem(f"{path}:{number}", f"no image {name}" if caption else "no caption"))
        else:
            pairs.append(ImageText(name, (caption,), path.parent / name))
    return pairs, problems


def _read_tar(path: Path) -> tuple[list[ImageText], list[Problem]]:
    images: dict[str, tarfile.TarInfo] = {}
    captions: dict[str, str] = {}
    problems = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                stem, dot, suffix = member.name.rpartition(".")
                if not member.isfile() or not dot:
                    continue
                if f".{suffix}" in IMAGE_SUFFIXES and member.size <= MAX_IMAGE_BYTES:
                    images[stem] = member
                elif suffix in ("txt", "json") and member.size <= MAX_TEXT_BYTES:
                    caption = _read_caption(archive.extractfile(member), suffix)
                    if caption and (suffix == "txt" or stem not in captions):
                        captions[stem] = caption
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path}: can't be read as an uncompressed archive ({error})") from error
    pairs = []
    for stem, member in images.items():
        name = f"{path.name}/{member.name}"
        if stem in captions:
            pairs.append(ImageText(name, (captions[stem],), path, member.offset_data, member.size))
        else:
            problems.append(Problem(name, "no caption beside it"))
    return pairs, problems


def _read_caption(file: IO[bytes] | None, suffix: str) -> str:
    """Read a caption out of an archive; "" where there is none."""
    try:
        text = (file.read() if file is not None else b"").decode("utf-8")
        content = json.loads(text).get("caption") if suffix == "json" else text
    except (ValueError, AttributeError):
        return ""
    return content.strip() if isinstance(content, str) else ""


def _read_index(path: Path) -> tuple[list[ImageText], list[Problem]]:
    pairs, problems = [], []
    samples = read_jsonl(path)
    for sample in samples:
        if sample.captions and isinstance(sample.image, Path):
            pairs.append(ImageText(sample.sample_id, sample.captions, sample.image))
        else:
            problems.append(Problem(sample.sample_id, "no caption"))
    return pairs, [*samples.problems, *problems]
