"""Names are hidden in clusters, and the weights of evidence are fitted on both views of a pair."""

import json
from pathlib import Path

import numpy as np
import pytest

import promptseg
from lab import fit_evidence, make_imagenet_names, name_clusters
from lab.evidence_pairs import EvidencePair, NameDrawer, View
from lab.fit_evidence import Observation, choose_thresholds, fit, measure, rotate, weigh_all
from lab.name_clusters import HiddenNames, assign_folds, cluster_names, load_hidden_names
from promptseg.data.sample import Sample, Target
from promptseg.language.phrases import canonical
from promptseg.language.reading import PhraseReader
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.presence import PresenceEvidence
from promptseg.models.promptseg.settings import ClassifierSettings

SHIPPED = Path(promptseg.__file__).parent / "checkpoints" / "promptseg" / "config.json"
CONFIG = PromptSegConfig(
    "conv-test",
    (8, 16),
    "bytes-test",
    classifier=ClassifierSettings("efficientnet-lite2"),
    presence_calibration=(0.7, -0.2),
)


def test_a_cluster_is_a_name_with_its_kinds_and_synonyms() -> None:
    clusters = cluster_names(
        ["fox", "red fox", "kit fox", "couch", "sofa", "chair", "office chair", "plush sofa", "sky"]
    )
    members = {frozenset(names) for names in clusters.values()}
    assert frozenset({"fox", "kit fox", "red fox"}) in members
    assert frozenset({"sky"}) in members
    (couch,) = [names for names in clusters.values() if "couch" in names]
    assert "plush sofa" in couch and "sofa" not in couch, "canonical names only"


def test_the_committed_folds_hold_every_trained_name_once() -> None:
    trained = json.loads(SHIPPED.read_text(encoding="utf-8"))["config"]["trained_names"]
    hidden = load_hidden_names()
    assert len(hidden.fold_of) == sum(map(len, hidden.folds)) > 2000
    assert {canonical(name) for name in trained} == set(hidden.fold_of)
    clusters = cluster_names(trained)
    assert all(len({hidden.fold_of[name] for name in names}) == 1 for names in clusters.values())
    sizes = [len(names) for names in hidden.folds]
    assert max(sizes) - min(sizes) < 40
    assert assign_folds(clusters, 0) == {root: hidden.fold_of[names[0]] for root, names in clusters.items()}


def test_a_hidden_name_leans_on_its_hypernym_and_is_no_class() -> None:
    reader = PhraseReader(("dog", "cat"), frozenset({"dog", "animal", "cat"}), knows_imagenet=True)
    hidden = HiddenNames((frozenset({"dog"}), frozenset({"cat"}))).hide(0, reader)
    assert reader.read("dogs").exact_classes == (0,) and reader.read("dogs").hypernym is None
    assert hidden.read("dogs").exact_classes == () and hidden.read("dogs").hypernym == "animal"
    assert hidden.read("cat").exact_classes == (1,) and hidden.read("dogs").imagenet_classes


def test_absent_names_of_a_single_object_are_nothing_that_it_may_be() -> None:
    vocabulary = ("animal", "cat", "dog", "fox", "lamp", "puppy", "zebra")
    sample = Sample("set/a.jpg", b"", (4, 4), (Target("dog"),), single_object=True)
    drawn = list(NameDrawer(vocabulary, {}, frozenset()).draw(sample))
    assert drawn[0].name == "dog" and drawn[0].is_present
    absent = {one.name for one in drawn[1:]}
    assert absent and absent <= {"cat", "fox", "lamp", "zebra"}


def make_pairs(num: int = 400) -> list[Observation]:
    """Pairs whose truth is in the map and the classes, and half of which have no classes."""
    rng = np.random.default_rng(0)
    observations = []
    for index in range(num):
        is_present = bool(index % 2)
        sign = 1 if is_present else -1
        map_logit, class_logit = rng.normal(sign, 1.5), rng.normal(2 * sign, 1.5) if index % 4 < 2 else None
        views = [View(PresenceEvidence(map_logit, None, class_logit), is_trained, 0.5) for is_trained in (True, False)]
        pair = EvidencePair(f"{index}", f"name{index % 40}", index % 6, is_present, "annotated", True, *views)
        observations += [
            Observation(pair, view, is_hidden) for view, is_hidden in zip(views, (False, True), strict=True)
        ]
    return observations


def test_weights_make_presence_a_better_guess() -> None:
    observations = make_pairs()
    fitted = fit(observations, CONFIG)
    assert fitted.classifier is not None
    both, alone = fitted.classifier.trained_and_classified, fitted.classifier.trained
    assert both.classes > 0.3 and both.map > 0.2 and alone.classes == 0 and alone.map > 0.5
    presence = weigh_all(observations, fitted)
    is_present = np.array([one.pair.is_present for one in observations])
    assert presence[is_present].mean() > 0.75 and presence[~is_present].mean() < 0.25


def test_thresholds_follow_from_the_rates() -> None:
    observations = make_pairs()
    rotated = rotate(observations, CONFIG)
    config = choose_thresholds(fit(observations, CONFIG), observations, rotated)
    known = np.array([not one.is_hidden for one in observations])
    is_present = np.array([one.pair.is_present for one in observations])
    assert (rotated[known & ~is_present] < config.presence_threshold).mean() == pytest.approx(0.95, abs=0.01)
    assert config.unsure_threshold is not None and config.unsure_threshold <= config.presence_threshold
    rates = measure(observations, rotated, config)["kept aside, annotated, hidden"]
    assert rates["names"] == 20 and 0.8 < rates["auroc"] <= 1 and rates["gated_iou"] <= rates["iou"] == 0.5


@pytest.mark.parametrize("script", [fit_evidence, make_imagenet_names, name_clusters])
def test_every_script_describes_its_options(script, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main(["--help"])
    assert stopped.value.code == 0 and "python -m lab." in capsys.readouterr().out
