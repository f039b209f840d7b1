"""Training of the exemplar head, after the pixel-text head, which stays as it is.

Masks have the losses of the pixel-text head. Presence is predicted by the head that was calibrated for texts, so that
the vector of an example must lie where the vector of a text would.

Shapes: E embedding, h w cells of a query image, h' w' cells of a support region.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptseg.layers.exemplar import ExemplarHead
from promptseg.layers.pixel_text import PixelTextHead
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.batch import move_tensors
from promptseg.train.config import TrainConfig
from promptseg.train.fit import fit_model
from promptseg.train.pixel_text.episodes import ExemplarEpisodes, QueryImage, SupportRegion

PAIRS = 12  # of a present and an absent episode, in a step
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
WARMUP_SHARE = 0.3  # of the steps, as in PyTorch's OneCycleLR
NO_CLIPPING = 1e9


@dataclass(frozen=True, eq=False)
class Trial:
    """A support region and a query image.

    Attributes:
        support: Cells of the region's image, half precision, shape (E, h', w').
        coverage: Share of each cell that the region covers, half precision, shape (h', w').
        query: Cells of the query image, half precision, shape (E, h, w).
        truth: Share of each cell that the name covers, half precision, shape (h, w); zero where it is absent.
        weight: Weight of the loss.
    """

    support: Tensor
    coverage: Tensor
    query: Tensor
    truth: Tensor
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class EpisodePair:
    """A query that has the name, and one that does not; None where a drawn query has no known absent name."""

    sample_id: str
    present: Trial
    absent: Trial | None


@dataclass(frozen=True, eq=False)
class EpisodeBatch:
    """The pairs of a step."""

    pairs: tuple[EpisodePair, ...]

    @property
    def sample_ids(self) -> Sequence[str]:
        """Return the names of the query images."""
        return [pair.sample_id for pair in self.pairs]

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


@dataclass(frozen=True, eq=False)
class EpisodeSource:
    """Pairs of episodes, drawn with replacement; a `TrainSource`.

    Attributes:
        episodes: Queries and support regions to draw from.
        num_items: Pairs in an epoch.
    """

    episodes: ExemplarEpisodes
    num_items: int

    def __len__(self) -> int:
        return self.num_items

    def item(self, index: int, rng: np.random.Generator) -> EpisodePair:
        """Draw a pair; `index` only numbers the draws."""
        query, name = self._present[int(rng.choice(len(self._present), p=self._probabilities))]
        regions = [one for one in self.episodes.support[name] if one.sample_id != query.sample.sample_id]
        present = _trial(_draw(regions, rng), query, query.truths[name])
        return EpisodePair(query.sample.sample_id, present, self._draw_absent(rng))

    def collate(self, items: list[EpisodePair]) -> EpisodeBatch:
        """Join pairs into a batch."""
        return EpisodeBatch(tuple(items))

    def _draw_absent(self, rng: np.random.Generator) -> Trial | None:
        index = int(rng.integers(len(self.episodes.queries)))
        query, absent = self.episodes.queries[index], self.episodes.absent[index]
        if not absent:
            return None
        name = tuple(absent)[int(rng.integers(len(absent)))]
        empty = query.cells.new_zeros(query.cells.shape[1:])
        return _trial(_draw(self.episodes.support[name], rng), query, empty, weight=absent[name])

    @cached_property
    def _present(self) -> list[tuple[QueryImage, str]]:
        """Every query and name of it that another image shows too."""
        return [
            (query, name)
            for query in self.episodes.queries
            for name in query.truths
            if any(region.sample_id != query.sample.sample_id for region in self.episodes.support[name])
        ]

    @cached_property
    def _probabilities(self) -> NDArray[np.float64]:
        """Probability of each of them; a name counts by the square root of its frequency."""
        weights = np.array([len(self.episodes.support[name]) ** -0.5 for _, name in self._present])
        return np.asarray(weights / weights.sum())


def exemplar_step(model: PromptSegNetwork, batch: EpisodeBatch) -> Mapping[str, Tensor]:
    """Compute the losses of present and absent names: a recipe's `step`."""
    head, exemplar = model.dense, model.exemplar
    present = torch.stack([_present_loss(head, exemplar, pair.present) for pair in batch.pairs]).mean()
    zero = head.bias.new_zeros(())
    absent = torch.stack(
        [zero if pair.absent is None else _absent_loss(head, exemplar, pair.absent) for pair in batch.pairs]
    ).mean()
    return {"loss": present + absent, "present": present.detach(), "absent": absent.detach()}


def fit_exemplars(
    model: PromptSegNetwork,
    episodes: ExemplarEpisodes,
    *,
    steps: int,
    seed: int,
    run_dir: Path | None = None,
    resume: bool = False,
) -> list[float]:
    """Train the model's exemplar head, in place; the rest of the model stays as it is.

    Args:
        model: A trained model.
        episodes: From `collect_episodes`.
        steps: Updates, of `PAIRS` pairs of episodes each.
        seed: Seed of the draw of episodes.
        run_dir: Directory for the log and the state of the run; None: a temporary one.
        resume: Continue the run in `run_dir`.

    Returns:
        The loss of each step.

    Raises:
        OutputError: `run_dir` can't be written, or it already holds a run and `resume` is not set.
        CheckpointError: `resume` is set and there is no run, or another run.
        TrainingError: A loss is not finite.
    """
    config = TrainConfig(
        steps=steps,
        batch_size=PAIRS,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        warmup_epochs=WARMUP_SHARE,  # the run is one epoch
        clip_norm=NO_CLIPPING,
        seed=seed,
    )
    source = EpisodeSource(episodes, num_items=PAIRS * steps)
    return fit_model(model, source, exemplar_step, config, trainable=("exemplar.",), run_dir=run_dir, resume=resume)


def _present_loss(head: PixelTextHead, exemplar: ExemplarHead, trial: Trial) -> Tensor:
    """Compute the loss of a query that has the name: balanced cross-entropy, Dice and presence."""
    logits, presence_logit = _predict(head, exemplar, trial)
    truth = trial.truth.float()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside, outside = (truth * entropy).sum() / (truth.sum() + 4.0), ((1.0 - truth) * entropy).mean()
    probability = logits.sigmoid()
    dice = 1.0 - (2.0 * (probability * truth).sum() + 2.0) / (probability.sum() + truth.sum() + 2.0)
    return inside + 3.0 * outside + dice + F.softplus(-presence_logit)


def _absent_loss(head: PixelTextHead, exemplar: ExemplarHead, trial: Trial) -> Tensor:
    """Compute the loss of a query that does not have the name: an empty mask and no presence."""
    logits, presence_logit = _predict(head, exemplar, trial)
    return trial.weight * (3.0 * F.softplus(logits).mean() + F.softplus(presence_logit))


def _predict(head: PixelTextHead, exemplar: ExemplarHead, trial: Trial) -> tuple[Tensor, Tensor]:
    """Return the logits of the query's cells, shape (h, w), and the presence logit, a scalar."""
    vector = exemplar(trial.support.float(), trial.coverage.float())
    similarity = head.similarity(trial.query.float(), vector[None])
    presence_logit, _ = head.presence(similarity)
    return similarity[0], presence_logit[0]


def _trial(region: SupportRegion, query: QueryImage, truth: Tensor, *, weight: float = 1.0) -> Trial:
    return Trial(region.cells, region.coverage, query.cells, truth, weight)


def _draw(regions: Sequence[SupportRegion], rng: np.random.Generator) -> SupportRegion:
    return regions[int(rng.integers(len(regions)))]
