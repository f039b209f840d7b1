"""PhraseCut+: negatives, exemplars and templates, reproducible from a seed."""

import numpy as np
import pytest
from data_trees import SIZE_HW
from phrasecut_tree import box_polygon, crowd, task, write_phrasecut

from promptseg.data.phrasecut import read_phrasecut
from promptseg.data.sample import target_mask, union_mask
from promptseg.errors import DataError
from promptseg.train.phrasecut_plus import PROMPT_TEMPLATES, phrasecut_plus


def test_plus_one_in_five_is_a_foreign_phrase_with_an_empty_mask(tmp_path):
    samples = crowd(tmp_path)
    by_id = {sample.sample_id: {target.phrase for target in sample.targets} for sample in samples}
    num_negative = num_examples = 0
    for epoch in range(4):
        for example in phrasecut_plus(samples, epoch=epoch):
            query, phrase = example.episode.query, example.episode.phrase
            assert len(query.targets) + len(query.absent) == 1
            assert bool(query.absent) == (phrase not in by_id[query.sample_id])
            assert example.text in {template.replace("{}", phrase) for template in PROMPT_TEMPLATES}
            num_negative += bool(query.absent)
            num_examples += 1
    assert num_examples == 480
    # Binomial(480, 0.2): 96, standard deviation 9.
    assert abs(num_negative - 96) < 36
    assert not any(example.episode.query.absent for example in phrasecut_plus(samples, negative_share=0))
    assert all(example.episode.query.absent for example in phrasecut_plus(samples, negative_share=1))


def test_plus_never_calls_foreign_what_the_image_implies(tmp_path):
    polygon = box_polygon(2, 2, 8, 8)
    write_phrasecut(tmp_path, [task(1, "black dog", polygon), task(2, "dog", polygon), task(3, "black cat", polygon)])
    samples = read_phrasecut(tmp_path, "test")
    asked = {}
    for seed in range(30):
        for example in phrasecut_plus(samples, seed=seed, negative_share=1):
            asked.setdefault(example.episode.query.sample_id, set()).add(example.episode.phrase)
    assert asked == {
        "phrasecut/1": {"black cat"},
        "phrasecut/2": {"black dog", "black cat"},
        "phrasecut/3": {"black dog", "dog"},
    }
    with pytest.raises(DataError, match="phrasecut/1 has all 1 phrases of the set"):
        list(phrasecut_plus(samples[:1], negative_share=1))


def test_plus_exemplars_show_the_phrase_in_another_image(tmp_path):
    samples = crowd(tmp_path)
    by_id = {sample.sample_id: sample for sample in samples}
    num_shown = 0
    for example in phrasecut_plus(samples):
        query, phrase = example.episode.query, example.episode.phrase
        if not example.episode.support:
            assert phrase.startswith("only")
            assert example.support_crop_xyxy is None
            continue
        (exemplar,) = example.episode.support
        assert exemplar.sample_id != query.sample_id
        (shown,) = (target for target in by_id[exemplar.sample_id].targets if target.phrase == phrase)
        assert np.array_equal(union_mask((exemplar.mask,), SIZE_HW), target_mask(shown, SIZE_HW))
        x0, y0, x1, y1 = example.support_crop_xyxy
        assert target_mask(shown, SIZE_HW)[y0:y1, x0:x1].any()
        num_shown += 1
    assert num_shown > 50


def test_plus_follows_from_seed_and_epoch(tmp_path):
    samples = crowd(tmp_path, 20)
    first = list(phrasecut_plus(samples, seed=3, epoch=1))
    assert first == list(phrasecut_plus(samples, seed=3, epoch=1))
    assert first != list(phrasecut_plus(samples, seed=3, epoch=2))
    assert first != list(phrasecut_plus(samples, seed=4, epoch=1))
    asked = sorted(example.episode.query.sample_id for example in first)
    assert asked == sorted(2 * [sample.sample_id for sample in samples])
