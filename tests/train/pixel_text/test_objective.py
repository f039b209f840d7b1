"""The dense objective against sums written out by hand, what it leaves alone, and that it can be learned."""

import math

import pytest
import torch
from torch import Tensor

from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import get_model
from promptseg.train.pixel_text.batches import DenseBatch
from promptseg.train.pixel_text.objective import DenseObjective

CELLS = 12
CAT, DOG, GRASS, UNKNOWN, ZEBRA = range(5)


@pytest.fixture
def model() -> PromptSeg:
    torch.manual_seed(0)
    return get_model("promptseg-test-dense")


@pytest.fixture
def name_vectors() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(5, 1, 24, generator=generator), dim=2)


def make_batch() -> DenseBatch:
    """A red cat beside a dark dog; grass in the lower half; and an image that is only said to show a cat."""
    generator = torch.Generator().manual_seed(2)
    pixels = 0.2 * torch.randn(3, 3, 96, 96, generator=generator)
    maps = torch.zeros(3, 5, CELLS, CELLS)
    maps[0, CAT, 2:10, :5] = 1.0
    maps[0, DOG, 2:10, 7:] = 1.0
    maps[1, GRASS, 6:] = 1.0
    maps[1, CAT, 5, 3] = 0.3  # too little to be the name of that cell
    colors = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, -2.0], [0.0, 2.0, 0.0]])
    for row, name in ((0, CAT), (0, DOG), (1, GRASS)):
        inside = maps[row, name].repeat_interleave(8, 0).repeat_interleave(8, 1)
        pixels[row] += inside * colors[name][:, None, None]
    present, absent = torch.zeros(3, 5), torch.zeros(3, 5)
    present[0, CAT], present[0, DOG], present[1, GRASS], present[1, CAT] = 1.0, 0.5, 1.0, 1.0
    absent[0, ZEBRA], absent[0, GRASS], absent[1, ZEBRA], absent[2, DOG], absent[2, ZEBRA] = 1.0, 0.4, 1.0, 0.4, 1.0
    tags = torch.zeros(3, 5, dtype=torch.bool)
    tags[2, CAT] = True
    valid = torch.ones(3, CELLS, CELLS)
    valid[0, :3] = 0.0
    return DenseBatch(["0", "1", "2"], pixels, valid, torch.arange(5), maps, present, absent, tags)


def similarities(model: PromptSeg, name_vectors: Tensor, batch: DenseBatch) -> Tensor:
    """Scaled cosine of every name at every cell, shape (B, N, s, s)."""
    pixels = model.encode_images(batch.pixels).pixel_embedding
    assert pixels is not None and model.dense is not None
    return model.dense.log_scale.exp() * torch.einsum(
        "ne,behw->bnhw", model.dense.embed_texts(name_vectors[:, 0]), pixels
    )


def test_choice_is_a_softmax_among_what_is_known_at_each_cell(model: PromptSeg, name_vectors: Tensor) -> None:
    batch = make_batch()
    scores = similarities(model, name_vectors, batch).tolist()
    by_image = []
    for row in (0, 1):
        losses = []
        for y in range(CELLS):
            for x in range(CELLS):
                right, rivals = [], []
                for name in range(5):
                    share, known = batch.maps[row, name, y, x].item(), batch.present[row, name] > 0
                    if known and share > 0.5:
                        right.append(scores[row][name][y][x])
                    elif (known and share < 0.05) or batch.absent[row, name] > 0:
                        rivals.append(scores[row][name][y][x])
                if right and batch.valid[row, y, x] > 0.5:
                    together = sum(map(math.exp, right + rivals))
                    losses.append(-math.log(sum(map(math.exp, right)) / together))
        by_image.append(sum(losses) / len(losses))
    # every labeled cell is drawn, since there are fewer than are drawn at most
    parts = DenseObjective(name_vectors, text_noise=0.0)(model, batch)
    assert parts["choice"].item() == pytest.approx(sum(by_image) / 2, rel=1e-4)


def test_tag_is_a_softmax_of_the_best_cells(model: PromptSeg, name_vectors: Tensor) -> None:
    batch = make_batch()
    scores = similarities(model, name_vectors, batch)[2].flatten(1)
    best = scores.sort(dim=1, descending=True).values[:, : int(0.12 * CELLS * CELLS)].mean(1)
    expected = torch.logsumexp(best[[CAT, DOG, ZEBRA]], 0) - best[CAT]
    parts = DenseObjective(name_vectors, text_noise=0.0)(model, batch)
    assert parts["tag"].item() == pytest.approx(0.5 * expected.item() / 3, rel=1e-4)


def test_loss_is_the_sum_of_its_parts(model: PromptSeg, name_vectors: Tensor) -> None:
    parts = dict(DenseObjective(name_vectors)(model, make_batch()))
    loss = parts.pop("loss")
    assert set(parts) == {"mask", "dice", "absence", "presence", "choice", "tag"}
    assert loss.item() == pytest.approx(sum(value.item() for value in parts.values()), rel=1e-5)
    loss.backward()
    untouched = {name for name, value in model.named_parameters() if value.requires_grad and value.grad is None}
    # these are fitted afterwards, on images kept aside
    assert untouched == {
        name for name, _ in model.named_parameters() if name.startswith(("dense.mask_shift", "dense.evidence."))
    }


def test_names_of_which_nothing_is_known_are_left_alone(model: PromptSeg, name_vectors: Tensor) -> None:
    vectors = name_vectors.requires_grad_()
    DenseObjective(vectors, text_noise=0.0)(model, make_batch())["loss"].backward()
    moved = vectors.grad.abs().sum(dim=(1, 2)) > 0
    assert moved.tolist() == [True, True, True, False, True]


def test_cells_outside_the_image_are_left_alone(model: PromptSeg, name_vectors: Tensor) -> None:
    batch = make_batch()
    batch.present[1:] = 0.0
    objective = DenseObjective(name_vectors, text_noise=0.0)
    plain = objective(model, batch)
    batch.maps[0, CAT, :3] = batch.maps[0, CAT, :3].flip(0)  # rows that are not valid
    moved = objective(model, batch)
    for name in ("mask", "dice", "choice"):
        assert moved[name].item() == pytest.approx(plain[name].item(), rel=1e-5), name
    batch.valid[:] = 0.0
    nowhere = objective(model, batch)
    assert nowhere["mask"] == nowhere["absence"] == nowhere["choice"] == 0.0


@pytest.mark.parametrize("missing", ["masks", "absent names", "tags", "everything"])
def test_batches_without_one_kind_of_evidence_have_finite_losses(
    model: PromptSeg, name_vectors: Tensor, missing: str
) -> None:
    batch = make_batch()
    if missing in ("masks", "everything"):
        batch.maps[:], batch.present[:] = 0.0, 0.0
    if missing in ("absent names", "everything"):
        batch.absent[:] = 0.0
    if missing in ("tags", "everything"):
        batch.tags[:] = False
    parts = DenseObjective(name_vectors)(model, batch)
    parts["loss"].backward()
    assert all(value.isfinite() for value in parts.values())
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert missing != "everything" or parts["loss"] == 0.0


def test_one_batch_is_learned_in_seconds(model: PromptSeg, name_vectors: Tensor) -> None:
    batch, objective = make_batch(), DenseObjective(name_vectors)
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    history = []
    for _ in range(40):
        losses = objective(model, batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    assert history[-1]["loss"] < 0.4 * history[0]["loss"]
    assert history[-1]["choice"] < 0.3 and history[-1]["tag"] < 0.5 * history[0]["tag"]
    winner = similarities(model, name_vectors, batch)[0, [CAT, DOG, ZEBRA]].argmax(0)
    assert (winner[3:10, :4] == 0).float().mean() > 0.9 and (winner[3:10, 8:] == 1).float().mean() > 0.9
