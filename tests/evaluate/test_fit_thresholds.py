"""Thresholds fitted on samples, and the absent phrases that they need."""

import dataclasses

import pytest
from evaluate_world import ColorSegmenter, write_indexes

from promptseg.data.jsonl import read_jsonl
from promptseg.errors import DataError
from promptseg.evaluate.absent_phrases import add_absent_phrases
from promptseg.evaluate.fit_thresholds import fit_thresholds


@pytest.fixture
def samples(tmp_path):
    write_indexes(tmp_path, "shapes")
    return read_jsonl(tmp_path / "shapes.jsonl")


def test_thresholds_separate_present_from_absent_phrases(samples):
    calibration = fit_thresholds(ColorSegmenter(), add_absent_phrases(samples))
    assert calibration.mask_threshold == pytest.approx(0.5, abs=0.02)
    assert (calibration.present_kept, calibration.absent_rejected) == (1, 1)
    assert (calibration.num_present, calibration.num_absent) == (8, 4)


def test_thresholds_need_masks_and_absent_phrases(samples):
    with pytest.raises(DataError, match="no phrase with a mask"):
        fit_thresholds(ColorSegmenter(), [])
    with pytest.raises(DataError, match=r"there are 8 and 0\. Absent phrases come from"):
        fit_thresholds(ColorSegmenter(), samples)


def test_absent_phrases_are_complete_names_that_are_not_there(samples):
    assert [sample.absent for sample in add_absent_phrases(samples)] == [("blue",)] * 4
    unknown = dataclasses.replace(
        samples, samples=tuple(dataclasses.replace(sample, exhaustive=frozenset()) for sample in samples)
    )
    assert [sample.absent for sample in add_absent_phrases(unknown)] == [()] * 4


def test_absent_phrases_of_an_image_do_not_depend_on_the_others(samples):
    part = dataclasses.replace(samples, samples=samples.samples[1:])
    assert [sample.absent for sample in add_absent_phrases(part)] == [
        sample.absent for sample in add_absent_phrases(samples)[1:]
    ]
