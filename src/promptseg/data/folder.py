"""Reader of a plain folder of images and masks, in any of three layouts.

    images/NAME.jpg   masks/NAME.png          phrases.json {"NAME": "the red mug" or ["the red mug", "mug"]}
    images/NAME.jpg   masks/PHRASE/NAME.png   one folder of masks per phrase
    images/CATEGORY/NAME.jpg   masks/CATEGORY/NAME.png   few-shot: images by category

A mask is black outside and has one other value or color inside (`stored_values`). A mask that is black all over means
that the phrase is not in the image. So does, where the masks hold several classes and `mask_value` says which one is
inside, a mask of other classes; unless no mask of the phrase has that value, which is no answer.

A data set that `promptseg.write` or `autolabel` wrote is read too, in any format (`data.dataset_folder`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from promptseg._prompt_checks import checked_phrase
from promptseg._value_checks import checked_mask_value
from promptseg.data.dataset_folder import is_written_dataset, read_dataset_folder
from promptseg.data.merge_annotations import TargetAssembler
from promptseg.data.sample import Problem, Sample, SampleSet
from promptseg.errors import DataError, ImageError, PromptError
from promptseg.image_files import IMAGE_SUFFIXES
from promptseg.images import list_mask_values, read_image, read_mask
from promptseg.language.phrases import normalize_phrase
from promptseg.ops.rle import encode_rle
from promptseg.skipped_files import explain_skip
from promptseg.stored_values import MaskValue
from promptseg.untrusted_files import read_json


class _Annotation(NamedTuple):
    mask: Path
    phrase: str
    wordings: tuple[str, ...] = ()


def read_folder(directory: Path, *, mask_value: MaskValue | None = None) -> SampleSet:
    """Read a folder of images and masks, or a data set that `promptseg.write` wrote.

    Args:
        directory: Holds `images`, `masks` and, where masks are not sorted by phrase, `phrases.json`; or a data set.
        mask_value: What is inside a mask of several classes, as `promptseg.read_mask` takes it.

    Returns:
        The samples, and what was left out of them: files that are not images, masks of another size than their
        image or with values of several readings, masks without an image, images without a mask, images whose names
        differ in the suffix only, phrases none of whose masks has `mask_value`.

    Raises:
        DataError: A folder is missing, phrases.json is missing or malformed, no image is left, no mask has
            `mask_value`, or it is given for a data set that `promptseg.write` wrote.
        PromptError: `mask_value` is no mask value.
    """
    mask_value = checked_mask_value(mask_value)
    if is_written_dataset(directory):
        refuse_mask_value(mask_value, directory, "a data set that promptseg wrote")
        return read_dataset_folder(directory)
    images, masks = directory / "images", directory / "masks"
    for needed in (images, masks):
        if not needed.is_dir():
            raise DataError(
                f"{directory}: no folder '{needed.name}'; expected images/ and masks/, or a data set that "
                "promptseg wrote"
            )
    problems: list[Problem] = []
    image_paths: dict[Path, Path] = {}
    for path in _images(images, problems):
        first = image_paths.setdefault(path.relative_to(images).with_suffix(""), path)
        if first != path:
            problems.append(Problem(str(path), f"has the name of {first.name}, whose masks can't be told from its own"))
    annotations = _annotations(directory, {key.parent for key in image_paths}, problems)
    for key in annotations.keys() - image_paths.keys():
        problems.append(Problem(str(annotations[key][0].mask), f"no image images/{key}.*"))
    samples: list[Sample] = []
    other_values: dict[str, Problem] = {}
    for key, path in image_paths.items():
        if key not in annotations:
            problems.append(Problem(str(path), "no mask"))
            continue
        try:
            samples.append(_read_sample(directory, path, annotations[key], problems, mask_value, other_values))
        except ImageError as error:
            problems.append(Problem.from_error(path, error))
    samples = _leave_out_unanswered(directory, samples, other_values, problems)
    if not samples:
        example = f"; for example, {problems[0]}" if problems else ""
        raise DataError(f"{directory}: no image with a mask{example}")
    return SampleSet(tuple(samples), tuple(problems))


def _images(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        elif path.is_file():
            problems.append(Problem(str(path), explain_skip(path).reason))


def _annotations(
    directory: Path, image_folders: Iterable[Path], problems: list[Problem]
) -> dict[Path, list[_Annotation]]:
    """Find the masks of each image, by the image's path below images/ without its suffix."""
    masks = directory / "masks"
    by_category = any(folder != Path() for folder in image_folders)
    phrases: Mapping[str, tuple[str, ...]] | None = None
    found: dict[Path, list[_Annotation]] = defaultdict(list)
    for path in _images(masks, problems):
        place = path.relative_to(masks)
        if place.parent != Path():
            key = place.with_suffix("") if by_category else Path(place.stem)
            found[key].append(_Annotation(path, normalize_phrase(place.parent.as_posix())))
            continue
        phrases = _load_phrases(directory) if phrases is None else phrases
        wordings = phrases.get(place.stem)
        if wordings is None:
            problems.append(Problem(str(path), f"phrases.json has no phrase for {place.stem}"))
        else:
            found[Path(place.stem)].append(_Annotation(path, wordings[0], wordings[1:]))
    return found


def _load_phrases(directory: Path) -> dict[str, tuple[str, ...]]:
    path = directory / "phrases.json"
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: missing; it names the phrase of each mask in masks/. Or sort the masks: masks/PHRASE/NAME.png"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f'{path}: expected {{"NAME": "phrase"}}, got {type(content).__name__}')
    phrases: dict[str, tuple[str, ...]] = {}
    for name, value in content.items():
        wordings = tuple(value) if isinstance(value, list) else (value,)
        if not wordings or not all(isinstance(wording, str) and wording.strip() for wording in wordings):
            raise DataError(f"{path}: '{name}' must be a phrase or a list of phrases, got {value!r:.80}")
        try:
            wordings = tuple(map(checked_phrase, wordings))
        except PromptError as error:
            raise DataError(f"{path}: '{name}': {error}") from error
        known_suffix = Path(name).suffix.lower() in IMAGE_SUFFIXES
        phrases[Path(name).stem if known_suffix else name] = tuple(normalize_phrase(wording) for wording in wordings)
    return phrases


def _read_sample(
    directory: Path,
    path: Path,
    annotations: Iterable[_Annotation],
    problems: list[Problem],
    mask_value: MaskValue | None,
    other_values: dict[str, Problem],
) -> Sample:
    """Read an image and its masks.

    Args:
        directory: Of the data.
        path: The image.
        annotations: Its masks and their phrases.
        problems: Receives the masks that can't be used.
        mask_value: What is inside.
        other_values: Receives, for each phrase, the first mask that has values, but not this one.

    Raises:
        ImageError: The image can't be read.
    """
    height, width = read_image(path).shape[:2]
    assembler = TargetAssembler((height, width))
    absent = []
    for annotation in annotations:
        try:
            mask = read_mask(annotation.mask, mask_value=mask_value)
        except ImageError as error:
            problems.append(Problem.from_error(annotation.mask, error))
            continue
        if mask.shape != (height, width):
            what = f"the mask is {mask.shape} (height, width), its image {path.name} {(height, width)}"
            problems.append(Problem(str(annotation.mask), what, is_failure=True))
        elif not mask.any():
            absent.append(annotation.phrase)
            if mask_value is not None and annotation.phrase not in other_values:
                values = list_mask_values(annotation.mask, mask_value=mask_value)
                if values not in ("0", "(0, 0, 0)"):
                    what = f"the mask has the values {values}, none is {mask_value!r} (--mask-value)"
                    other_values[annotation.phrase] = Problem(str(annotation.mask), what, is_failure=True)
        else:
            assembler.add_mask(annotation.phrase, encode_rle(mask), kind="phrase")
            assembler.add_wordings(annotation.phrase, annotation.wordings)
    return Sample(
        sample_id=path.relative_to(directory).as_posix(),
        image=path,
        size_hw=(height, width),
        targets=assembler.targets(),
        absent=tuple(absent),
        dataset=directory.name,
    )


def _leave_out_unanswered(
    directory: Path, samples: list[Sample], other_values: Mapping[str, Problem], problems: list[Problem]
) -> list[Sample]:
    """Leave out the phrases none of whose masks has the value that is inside: they would all count as absent.

    Args:
        directory: Of the data.
        samples: As they were read.
        other_values: For each phrase, a mask that has other values.
        problems: Receives a mask of each phrase that is left out.

    Returns:
        The samples that still have a phrase.

    Raises:
        DataError: No mask has the value.
    """
    shown = {target.phrase for sample in samples for target in sample.targets}
    unanswered = {phrase: problem for phrase, problem in other_values.items() if phrase not in shown}
    if unanswered and not shown:
        raise DataError(f"{directory}: no mask shows anything; for example, {next(iter(unanswered.values()))}")
    problems += unanswered.values()
    answered = [
        replace(sample, absent=tuple(phrase for phrase in sample.absent if phrase not in unanswered))
        for sample in samples
    ]
    return [sample for sample in answered if sample.targets or sample.absent]


def refuse_mask_value(mask_value: MaskValue | None, source: Path, kind: str) -> None:
    """Refuse a mask value for data whose masks have no values to choose from.

    Raises:
        DataError: One is given.
    """
    if mask_value is not None:
        raise DataError(f"{source}: {kind} says itself what is inside its masks: leave mask_value (--mask-value) out")
