import numpy as np
import pytest

from promptseg.data.negatives import (
    NegativeSampler,
    absent_names,
    count_cooccurrence,
    present_names,
)
from promptseg.data.sample import Sample, Target

VOCABULARY = ("car", "cab", "vehicle", "dog", "puppy", "hot dog", "person", "tie", "sofa", "zebra", "spaceship")


def sample_of(*names, exhaustive=(), captions=(), **more):
    targets = tuple(Target(name) for name in names)
    return Sample("a", b"", (8, 8), targets, exhaustive=frozenset(exhaustive), captions=captions, **more)


def test_a_missing_name_is_unknown_unless_the_annotation_is_complete_for_it():
    assert absent_names(sample_of("dog"), VOCABULARY) == ()
    assert absent_names(sample_of("dog", exhaustive=["zebra", "couch"]), VOCABULARY) == ("sofa", "zebra")


def test_a_kind_of_what_is_absent_is_absent_too_but_nothing_broader():
    assert absent_names(sample_of("dog", exhaustive=["car"]), VOCABULARY) == ("car", "cab")


def test_names_for_what_is_there_are_never_absent():
    everything = ["car", "vehicle", "dog", "hot dog", "person", "tie", "couch", "zebra"]
    assert absent_names(sample_of("taxi", exhaustive=everything), ["car", "cab", "vehicle", "bus"]) == ()
    assert absent_names(sample_of("puppy", exhaustive=everything), ["dog", "hot dog"]) == ("hot dog",)
    # A part of something there is a hard negative where people looked for it.
    assert absent_names(sample_of("person", exhaustive=everything), ["tie"]) == ("tie",)
    # An alternative wording counts as present; a referring phrase is no name.
    target = Target("settee bed", alternatives=("couch",))
    phrase = Target("the zebra", kind="phrase")
    both = Sample("a", b"", (8, 8), (target, phrase), exhaustive=frozenset(everything))
    assert present_names(both) == {"settee bed", "couch"}
    assert absent_names(both, ["sofa", "zebra"]) == ("zebra",)


def test_a_name_that_a_caption_mentions_is_left_out():
    sample = sample_of("dog", exhaustive=["couch", "zebra"], captions=("A dog near two sofas",))
    assert absent_names(sample, VOCABULARY) == ("zebra",)


def test_cooccurrence_counts_images_and_joins_synonyms():
    samples = [sample_of("person", "tie"), sample_of("people", "tie", "couch"), sample_of("person", "zebra")]
    counted = count_cooccurrence(samples)
    assert counted.singles["person"] == 3
    assert counted.pairs["person"] == {"tie": 2, "couch": 1, "zebra": 1}
    weights = counted.weigh(["tie", "sofa", "spaceship"], ["person"])
    assert weights == pytest.approx([2 / 3 + 0.01, 1 / 3 + 0.01, 0.01])
    assert counted.weigh(["tie"], ["unheard of"]) == pytest.approx([0.01])


def test_the_sampler_prefers_what_goes_with_the_image():
    names = tuple(f"name {index}" for index in range(20))
    seen = [sample_of("dog", "name 3")] * 9 + [sample_of("name 7")]
    sampler = NegativeSampler(names, count_cooccurrence(seen), cooccurrence_share=0.8)
    sample = sample_of("dog", exhaustive=names)
    rng = np.random.default_rng(0)
    drawn = [sampler.draw(sample, 3, rng) for _ in range(100)]
    assert all(len(set(names)) == 3 for names in drawn)
    assert sum("name 3" in names for names in drawn) > 80
    assert sampler.draw(sample, 99, rng) and len(sampler.draw(sample, 99, rng)) == 20
    assert sampler.draw(sample_of("dog"), 3, rng) == ()
    first, second = (sampler.draw(sample, 5, np.random.default_rng(1)) for _ in range(2))
    assert first == second
