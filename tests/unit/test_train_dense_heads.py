"""Finishing a dense run: the vocabulary that competes, and heads fitted on the answers for pictures kept aside."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.models.promptseg import PromptSeg
from promptseg.models.registry import load_model
from promptseg.ops.rle import encode_rle
from promptseg.train.dense import heads
from promptseg.train.dense.heads import Answers, collect_answers, fit_heads

SCRIPT = Path(__file__).parents[2] / "scripts" / "finish_dense.py"


@pytest.fixture
def model() -> PromptSeg:
    return load_model("promptseg-test-dense")


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        mask = np.zeros((48, 64), dtype=bool)
        mask[10:34, 8 * number : 8 * number + 30] = True
        image = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        image[mask] += 150
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        targets = (
            Target("cat", masks=(encode_rle(mask),)),
            Target("ball", boxes_xyxy=((2.0, 2.0, 20.0, 20.0),)),
            Target("street"),
            Target("left cat", kind="phrase", masks=(encode_rle(mask),)),
        )
        known = frozenset({"cat", "zebra", "train", "pizza", "bus"})
        made.append(Sample(str(number), stream.getvalue(), (48, 64), targets, exhaustive=known))
    return made


def finish_dense():
    spec = importlib.util.spec_from_file_location("finish_dense", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_model_is_asked_for_what_has_a_place_and_as_much_that_is_absent(model: PromptSeg) -> None:
    answers = collect_answers(model, samples(), seed=0)
    # of each picture a mask, a box, and two names that are not there; no tag, no phrase
    assert answers.present.tolist() == [True, True, False, False] * 4
    assert answers.has_mask.tolist() == [True, False, True, True] * 4
    shares = [truth.mean().item() for truth in answers.truth]
    assert shares[0] == pytest.approx(24 * 30 / (48 * 64), abs=5e-3) and shares[2] == shares[3] == 0.0
    for maps in zip(answers.similarity, answers.competition, answers.truth, strict=True):
        assert {tuple(one.shape) for one in maps} == {(12, 12)}
    again = collect_answers(model, samples(), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(answers.similarity, again.similarity, strict=True))


@pytest.mark.parametrize("wanted", ["present", "absent"])
def test_one_kind_of_pictures_is_not_enough(model: PromptSeg, wanted: str) -> None:
    (one, *_) = samples()
    parts = {"targets": one.targets, "exhaustive": frozenset()} if wanted == "present" else {"targets": ()}
    with pytest.raises(DataError, match="one kind is missing"):
        collect_answers(model, [Sample(**{**vars(one), **parts})], seed=0)


def made_answers() -> Answers:
    """Maps that are nearly right at a wrong scale and shift; the competition knows better than the similarity."""
    generator = torch.Generator().manual_seed(0)
    present = torch.arange(12) % 2 == 0
    truth = [torch.zeros(8, 10) for _ in present]
    for row in range(0, 12, 2):
        truth[row][2:6, 1 : 4 + row // 2] = 1.0
    similarity = [2.0 * one - 7.0 + torch.randn(8, 10, generator=generator) for one in truth]
    competition = [3.0 * one - 5.0 + 0.5 * torch.randn(8, 10, generator=generator) for one in truth]
    has_mask = torch.ones(12, dtype=torch.bool)
    has_mask[4] = False  # known by its box: says something of presence only
    truth[4][:] = 1.0
    return Answers(similarity, competition, truth, present, has_mask)


def test_mask_weights_are_the_best_of_all_that_are_tried(model: PromptSeg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "STEPS", 1)
    monkeypatch.setattr(heads, "COMPETITION_WEIGHTS", (0.0, 1.0, 3.0))
    answers = made_answers()
    report = fit_heads(model, answers, seed=0)
    scores = {}
    for weight in heads.COMPETITION_WEIGHTS:
        for edge in torch.linspace(-12.0, 6.0, 73).tolist():
            ious = []
            for row in (0, 2, 6, 8, 10):
                mask = answers.similarity[row] + weight * answers.competition[row] > edge
                target = answers.truth[row] > 0.5
                ious.append((mask & target).sum().item() / (mask | target).sum().item())
            scores[weight, edge] = sum(ious) / len(ious)
    assert report["iou"] == pytest.approx(max(scores.values()), abs=1e-5)
    assert scores[report["competition_weight"], report["threshold_logit"]] == pytest.approx(report["iou"], abs=1e-5)
    assert report["competition_weight"] > 0.0 and report["iou"] > max(s for (w, _), s in scores.items() if w == 0.0)
    weights = [1.0, report["competition_weight"], -report["threshold_logit"]]
    assert model.dense.mask_weights.tolist() == pytest.approx(weights)


def test_evidence_learns_presence_and_quality(model: PromptSeg) -> None:
    answers = made_answers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = fit_heads(model, answers, seed=0)
    assert report["presence_loss"] < 0.2 and report["quality_error"] < 0.02
    with torch.no_grad():
        presence = torch.cat(
            [
                model.dense.judge(s[None], c[None])[0]
                for s, c in zip(answers.similarity, answers.competition, strict=True)
            ]
        )
    assert presence[answers.present].min() > presence[~answers.present].max()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("dense.mask_weights", "dense.evidence.")) for name in changed)
    again = load_model("promptseg-test-dense")
    assert fit_heads(again, answers, seed=0) == report


def test_finished_model_has_its_vocabulary_and_nothing_else_changes(model: PromptSeg) -> None:
    with_vocabulary = finish_dense().with_vocabulary
    state = {name: value.clone() for name, value in model.state_dict().items()}
    finished = with_vocabulary(model, ("cat", "granny smith", "grass", "siamese", "zebra"))
    # what is held out of training does not compete either
    assert finished.config.dense.vocabulary == ("cat", "grass", "zebra")
    assert finished.dense.names.shape == (3, 16)
    texts = finished.encode_texts(["cat"])
    torch.testing.assert_close(finished.dense.names[0], texts.dense[0])
    for name, value in finished.state_dict().items():
        assert name in ("dense.vocabulary", "dense.names") or torch.equal(value, state[name])
    # once more, with as many names
    again = with_vocabulary(finished, ("dog", "sky", "zebra"))
    torch.testing.assert_close(again.dense.names[2], finished.dense.names[2])
    assert not torch.equal(again.dense.names[0], finished.dense.names[0])
    answers = collect_answers(again, samples()[:1], seed=0)
    assert all((one < 0).all() for one in answers.competition)
