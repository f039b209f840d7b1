"""What reads examples in other images, fitted after the pixels and the texts are trained and stay as they are.

An episode is an example of a name and another image: one that has the name too, whose mask is to be found, or one
that is known not to have it, where nothing is. Masks are judged as in training, presence by what was fitted for texts,
so that an example has to speak their language.

Shapes: E embedding, h w cells of a scene.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptseg.data.negatives import absent_names, present_names
from promptseg.data.sample import Sample, instance_masks, target_mask
from promptseg.errors import DataError
from promptseg.images import read_image
from promptseg.layers.dense_text import DenseTextHead
from promptseg.layers.exemplar import ExemplarHead
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import example_window
from promptseg.segmenter import Segmenter
from promptseg.train.pixel_text.vocabulary import Vocabulary

EPISODES = 24  # of a step
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
WEAK_ABSENCE = 0.4  # of a name that nobody mentioned, where names are not annotated completely
MIN_CELLS = 1.0  # an example that covers less tells nothing


@dataclass(frozen=True, eq=False)
class Example:
    """A region of an image, seen from near.

    Attributes:
        sample_id: Of the image.
        cells: Half-precision unit vectors, shape (E, h, w).
        coverage: Share of each cell that is meant, half precision, shape (h, w).
    """

    sample_id: str
    cells: Tensor
    coverage: Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """An image to look for things in.

    Attributes:
        sample: What is known of it.
        cells: Half-precision unit vectors, shape (E, h, w).
        truths: Share of each cell that each of its names covers, half precision, shape (h, w).
    """

    sample: Sample
    cells: Tensor
    truths: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Scenes, and examples of their names.

    Attributes:
        scenes: Images.
        examples: By name.
        missing: For each scene, names with examples that are not in it, and how surely, in (0, 1].
    """

    scenes: Sequence[Scene]
    examples: Mapping[str, Sequence[Example]]
    missing: Sequence[Mapping[str, float]]


@torch.no_grad()
def collect_episodes(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    vocabulary: Vocabulary,
    stuff: Sequence[str],
    *,
    max_names: int,
    seed: int,
) -> Episodes:
    """Encode images as scenes, and the largest object of some of their names as examples.

    Args:
        segmenter: A trained model, or an engine that runs it.
        samples: Annotated images.
        vocabulary: Every name that is said of them.
        stuff: Names whose absence is only believed where people say that they are not there.
        max_names: Names to take of an image, drawn.
        seed: Of the draw.

    Raises:
        DataError: No name is seen in two images.
    """
    rng = np.random.default_rng(seed)
    scenes: list[Scene] = []
    examples: dict[str, list[Example]] = defaultdict(list)
    for sample in samples:
        targets = [target for target in sample.targets if target.masks and target.kind != "phrase"]
        image_rgb = read_image(sample.image)
        cells = _look(segmenter, image_rgb)
        truths = {}
        for index in rng.permutation(len(targets))[:max_names]:
            target = targets[index]
            truth = _cover(target_mask(target, sample.size_hw), cells)
            if truth.sum() < MIN_CELLS:
                continue
            truths[target.phrase] = truth
            objects = instance_masks(target, sample.size_hw)
            rows, columns = example_window(objects[objects.sum(axis=(1, 2)).argmax()])
            near = _look(segmenter, np.ascontiguousarray(image_rgb[rows, columns]))
            meant = _cover(target_mask(target, sample.size_hw)[rows, columns], near)
            examples[target.phrase].append(Example(sample.sample_id, near, meant))
        scenes.append(Scene(sample, cells, truths))
    if not any(len(of_name) > 1 for of_name in examples.values()):
        raise DataError(
            f"in {len(samples)} images no name is seen twice: an example needs another image to be found in"
        )
    missing = [_weigh_missing(scene.sample, tuple(examples), vocabulary, frozenset(stuff)) for scene in scenes]
    return Episodes(scenes, dict(examples), missing)


def fit_exemplars(model: PromptSeg, episodes: Episodes, *, steps: int, seed: int) -> list[float]:
    """Fit the model's exemplar head, in place; all else stays as it is.

    Args:
        model: With `config.takes_exemplars`.
        episodes: To learn from.
        steps: Updates, of `EPISODES` episodes each.
        seed: Of the draw of episodes.

    Returns:
        The loss of each step.
    """
    assert model.exemplar is not None and model.dense is not None  # the config has both
    rng = np.random.default_rng(seed)
    asked = [
        (scene, name)
        for scene in episodes.scenes
        for name in scene.truths
        if any(example.sample_id != scene.sample.sample_id for example in episodes.examples[name])
    ]
    # frequent names by the root of how often they are there
    chances = np.array([len(episodes.examples[name]) ** -0.5 for _, name in asked])
    chances /= chances.sum()
    parameters = list(model.exemplar.parameters())
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    losses = []
    for _ in range(steps):
        present = [
            _judge_present(model.dense, scene, name, episodes, model.exemplar, rng)
            for scene, name in (asked[index] for index in rng.choice(len(asked), EPISODES // 2, p=chances))
        ]
        absent = [_judge_absent(model.dense, episodes, model.exemplar, rng) for _ in range(EPISODES // 2)]
        loss = torch.stack(present).mean() + torch.stack(absent).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=parameters)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def _judge_present(
    head: DenseTextHead,
    scene: Scene,
    name: str,
    episodes: Episodes,
    exemplar: ExemplarHead,
    rng: np.random.Generator,
) -> Tensor:
    """Loss of finding what another image shows."""
    others = [one for one in episodes.examples[name] if one.sample_id != scene.sample.sample_id]
    logits, presence_logit = _ask(head, exemplar, _draw(others, rng), scene)
    truth = scene.truths[name].float()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside, outside = (truth * entropy).sum() / (truth.sum() + 4.0), ((1.0 - truth) * entropy).mean()
    probability = logits.sigmoid()
    dice = 1.0 - (2.0 * (probability * truth).sum() + 2.0) / (probability.sum() + truth.sum() + 2.0)
    return inside + 3.0 * outside + dice + F.softplus(-presence_logit)


def _judge_absent(head: DenseTextHead, episodes: Episodes, exemplar: ExemplarHead, rng: np.random.Generator) -> Tensor:
    """Loss of finding nothing where what is shown is not there."""
    index = int(rng.integers(len(episodes.scenes)))
    missing = episodes.missing[index]
    if not missing:
        return head.bias.new_zeros(())
    names = tuple(missing)
    name = names[int(rng.integers(len(names)))]
    logits, presence_logit = _ask(head, exemplar, _draw(episodes.examples[name], rng), episodes.scenes[index])
    return missing[name] * (3.0 * F.softplus(logits).mean() + F.softplus(presence_logit))


def _ask(head: DenseTextHead, exemplar: ExemplarHead, example: Example, scene: Scene) -> tuple[Tensor, Tensor]:
    """Give the logits of a scene's cells, shape (h, w), and of presence, a scalar."""
    vector = exemplar(example.cells.float(), example.coverage.float())
    similarity = head.similarity(scene.cells.float(), vector[None])
    presence_logit, _ = head.judge(similarity)
    return similarity[0], presence_logit[0]


def _draw(examples: Sequence[Example], rng: np.random.Generator) -> Example:
    return examples[int(rng.integers(len(examples)))]


def _look(segmenter: Segmenter, image_rgb: NDArray[np.uint8]) -> Tensor:
    return segmenter.encode_image(image_rgb)["pixel_embedding"][0].cpu().half().clone()


def _cover(mask: NDArray[np.bool_], cells: Tensor) -> Tensor:
    shares = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.interpolate(shares, cells.shape[1:], mode="area")[0, 0].half()


def _weigh_missing(
    sample: Sample, names: Sequence[str], vocabulary: Vocabulary, stuff: frozenset[str]
) -> dict[str, float]:
    """Say how surely each name is not in an image; names that may be there are left out."""
    said = vocabulary.find(present_names(sample))
    doubtful = np.any([vocabulary.unsure_of(index) for index in said], axis=0)
    unmentioned = [
        name
        for name in names
        if name not in stuff and said and not any(doubtful[index] for index in vocabulary.find([name]))
    ]
    return {**dict.fromkeys(unmentioned, WEAK_ABSENCE), **dict.fromkeys(absent_names(sample, names), 1.0)}
