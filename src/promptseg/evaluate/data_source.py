"""Read the annotated images that a caller names: a folder of images and masks, or a JSONL index."""

from collections.abc import Iterable
from pathlib import Path

from promptseg._wording import counted
from promptseg.data.folder import read_folder, refuse_mask_value
from promptseg.data.jsonl import PseudoMasks, read_jsonl
from promptseg.data.sample import SampleSet
from promptseg.errors import DataError
from promptseg.stored_values import MaskValue


def read_samples(
    source: Path, *, pseudo_masks: PseudoMasks | None = None, mask_value: MaskValue | None = None
) -> SampleSet:
    """Read annotated images.

    Args:
        source: A folder that holds `images` and `masks`, a data set that `promptseg.write` wrote, or a JSONL index
            beside its images; `docs/data.md` describes them.
        pseudo_masks: From `load_pseudo_masks`, for an index; None: people's annotations only.
        mask_value: What is inside masks of several classes, as `promptseg.read_mask` takes it.

    Raises:
        DataError: There is no such folder or index, its content is malformed, pseudo-masks are given for a folder, or
            `mask_value` for other data than a folder of masks.
    """
    if source.is_file():
        refuse_mask_value(mask_value, source, "an index")
        return read_jsonl(source, pseudo_masks=pseudo_masks)
    if not source.is_dir():
        raise DataError(f"{source}: no such folder or index; give a folder with images/ and masks/, or a .jsonl file")
    if pseudo_masks is not None:
        raise DataError(f"{source}: pseudo-masks belong to a JSONL index, and this is a folder")
    indexes = sorted(path.name for path in source.glob("*.jsonl"))
    if indexes and not (source / "images").is_dir():
        raise DataError(f"{source}: no folder 'images'; to take an index, name it: {source / indexes[0]}")
    return read_folder(source, mask_value=mask_value)


def select_samples(
    samples: SampleSet, name: str, *, only: Iterable[str] | None = None, limit: int | None = None
) -> SampleSet:
    """Select some samples of a set.

    Args:
        samples: The set.
        name: Name of the set, for the error message.
        only: Ids of the samples to take; None: all.
        limit: How many to take, from the front; None: all.

    Raises:
        DataError: No sample is left, or none of them has a phrase that can be scored.
    """
    ids = None if only is None else frozenset(only)
    chosen = tuple(sample for sample in samples if ids is None or sample.sample_id in ids)
    if not chosen:
        raise DataError(f"{name}: its {counted(len(samples))} and the list have none in common")
    if not any(sample.absent or sample.with_evidence("mask") for sample in chosen):
        raise DataError(f"{name}: no image has a phrase with a mask; boxes and tags alone can't be scored")
    return SampleSet(chosen[:limit], samples.problems)
