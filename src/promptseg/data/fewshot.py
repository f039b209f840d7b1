"""Readers of Pascal-5i and COCO-20i: episodes of classes that a model has not been trained on.

    splits/pascal/{trn,val}/fold{0,1,2,3}.txt   "NAME__CLASS" per line, CLASS from 01 (also in data/splits, as in HSNet)
    splits/coco/{trn,val}/fold{0,1,2,3}.pkl     a pickle: {class from 0: [FOLDER/NAME.jpg]}
    VOC2012/ (or VOCdevkit/VOC2012/)            JPEGImages/NAME.jpg, SegmentationClassAug/NAME.png (VOC's and SBD's)
    COCO2014/                                   {train2014,val2014}/NAME.jpg
                                                annotations/{train2014,val2014}/NAME.png, class numbers from 1

Source:
    Shaban et al. 2017, arXiv:1709.03410; Nguyen and Todorovic 2019, arXiv:1909.13140; Min et al. 2021,
    arXiv:2104.01538, the source of the lists and episodes: juhongm999/hsnet @ 6b1bc12, data/{pascal,coco}.py.
    Differs: episodes depend on the seed only, not on the order of loading; no image occurs twice in one support.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from promptseg.data.episodes import Episode, EpisodeSet, Exemplar
from promptseg.data.layout import Tree, image_problem, load_class_map, load_list
from promptseg.data.pascal import VOC_CLASSES, VOID, voc_tree
from promptseg.data.plain_pickle import load_plain_pickle
from promptseg.data.sample import Problem, Sample, Target
from promptseg.errors import DataError
from promptseg.language.class_names import COCO_THINGS, VOC_NAMES
from promptseg.ops.rle import encode_rle

Split = Literal["train", "val"]

NUM_FOLDS = 4

LISTS_SOURCE = "https://github.com/juhongm999/hsnet (the folder data/splits)"
MASKS_SOURCE = "https://github.com/juhongm999/hsnet (its README links to the masks)"
COCO_SOURCE = "http://images.cocodataset.org/zips/train2014.zip and val2014.zip"

_FOLDERS: Mapping[str, str] = {"train": "trn", "val": "val"}


def pascal_5i_classes(fold: int, split: Split) -> tuple[int, ...]:
    """Return the classes of a fold, from 0 (aeroplane): "val" has five consecutive ones, "train" the other fifteen.

    Example:
        >>> pascal_5i_classes(1, "val")
        (5, 6, 7, 8, 9)
    """
    size = len(VOC_CLASSES) // NUM_FOLDS
    tested = range(fold * size, (fold + 1) * size)
    return tuple(number for number in range(len(VOC_CLASSES)) if (number in tested) == (split == "val"))


def coco_20i_classes(fold: int, split: Split) -> tuple[int, ...]:
    """Return the classes of a fold, from 0 (person): "val" has every fourth, "train" the other sixty.

    Example:
        >>> coco_20i_classes(1, "val")[:4]
        (1, 5, 9, 13)
    """
    tested = range(fold, len(COCO_THINGS), NUM_FOLDS)
    return tuple(number for number in range(len(COCO_THINGS)) if (number in tested) == (split == "val"))


def read_pascal_5i(
    root: Path,
    fold: int,
    split: Split = "val",
    *,
    num_shots: int = 1,
    num_episodes: int | None = 1000,
    seed: int = 0,
) -> EpisodeSet:
    """Read episodes of Pascal-5i.

    The queries are the entries (image, class) of the split's list, repeated in the order of the list; the support is
    drawn from the other images of that class in the list.

    Args:
        root: Folder with VOC2012 and splits/pascal.
        fold: 0 to 3.
        split: "val": the five classes of the fold. "train": the other fifteen.
        num_shots: Exemplars per episode.
        num_episodes: Number of episodes; `None`: one per entry.
        seed: Seed of the support.

    Returns:
        The episodes, with the borders (255) as the void of their query; and everything that was left out.

    Raises:
        DataError: A file is missing (the message names its source) or malformed, there is no such fold, or no episode
            is left.
    """
    _check_arguments(fold, split, num_shots)
    class_ids = pascal_5i_classes(fold, split)
    entries: list[_Entry] = []
    for other in range(NUM_FOLDS):
        if (other == fold) == (split == "val"):  # the fold's own list, or the other three
            entries += _pascal_entries(_find_list(root, "Pascal-5i", f"pascal/{_FOLDERS[split]}/fold{other}.txt"))
    _check_classes(entries, class_ids, root)
    voc = voc_tree(root)
    images, labels = voc.folder("JPEGImages"), voc.folder("SegmentationClassAug", source=MASKS_SOURCE)
    labeled = _LabeledImages(
        "pascal", lambda name: (images / f"{name}.jpg", labels / f"{name}.png"), VOC_CLASSES, VOC_NAMES
    )
    queries = itertools.islice(itertools.cycle(entries), len(entries) if num_episodes is None else num_episodes)
    episodes, problems = _read_episodes(labeled, queries, entries, num_shots, (seed, fold), root)
    return EpisodeSet(episodes, {number: VOC_CLASSES[number] for number in class_ids}, problems)


def read_coco_20i(
    root: Path,
    fold: int,
    split: Split = "val",
    *,
    num_shots: int = 1,
    num_episodes: int = 1000,
    seed: int = 0,
) -> EpisodeSet:
    """Read episodes of COCO-20i.

    Each episode draws a class, then its query and support from the images of that class in the list, all uniformly, so
    that frequent classes (person) do not weigh more than rare ones (toaster).

    Args:
        root: Folder with COCO2014 and splits/coco.
        fold: 0 to 3.
        split: "val": the twenty classes of the fold on val2014. "train": the other sixty on train2014.
        num_shots: Exemplars per episode.
        num_episodes: Number of episodes.
        seed: Seed of class, query and support.

    Returns:
        The episodes, and everything that was left out.

    Raises:
        DataError: As `read_pascal_5i`.
    """
    _check_arguments(fold, split, num_shots)
    class_ids = coco_20i_classes(fold, split)
    entries = list(_coco_entries(_find_list(root, "COCO-20i", f"coco/{_FOLDERS[split]}/fold{fold}.pkl")))
    _check_classes(entries, class_ids, root)
    coco = Tree("COCO-20i", root / "COCO2014" if (root / "COCO2014").is_dir() else root, COCO_SOURCE)
    images = coco.folder(f"{split}2014").parent
    labels = coco.folder(f"annotations/{split}2014", source=MASKS_SOURCE).parent
    labeled = _LabeledImages(
        "coco", lambda name: (images / name, (labels / name).with_suffix(".png")), COCO_THINGS, COCO_THINGS
    )
    queries = _even_queries(entries, num_episodes, (seed, fold))
    episodes, problems = _read_episodes(labeled, queries, entries, num_shots, (seed, fold), root)
    return EpisodeSet(episodes, {number: COCO_THINGS[number] for number in class_ids}, problems)


class _Entry(NamedTuple):
    name: str
    class_id: int


@dataclass(frozen=True)
class _LabeledImages:
    """Images and label maps by name; each mask is computed once."""

    dataset: str
    paths: Callable[[str], tuple[Path, Path]]
    class_names: Sequence[str]
    phrases: Sequence[str]
    _made: dict[_Entry, Sample | Problem] = field(default_factory=dict)

    def sample(self, entry: _Entry) -> Sample | Problem:
        """Return the image with that class as its only target, or the reason why it was left out."""
        if entry not in self._made:
            self._made[entry] = self._make_sample(entry)
        return self._made[entry]

    def _make_sample(self, entry: _Entry) -> Sample | Problem:
        image, label = self.paths(entry.name)
        if not label.is_file():
            return Problem(str(label), "no such label map")
        class_map = load_class_map(label)
        height, width = class_map.shape
        if problem := image_problem(image, (height, width)):
            return problem
        mask, void = class_map == entry.class_id + 1, class_map == VOID
        class_name = self.class_names[entry.class_id]
        if not mask.any():
            return Problem(str(label), f"the list names the class {class_name}, but no pixel has it")
        target = Target(
            phrase=self.phrases[entry.class_id],
            masks=(encode_rle(mask),),
            void=(encode_rle(void),) if void.any() else (),
            category=class_name,
        )
        sample_id = f"{self.dataset}/{entry.name}"
        return Sample(sample_id, image, (height, width), targets=(target,), dataset=self.dataset)


def _read_episodes(
    labeled: _LabeledImages,
    queries: Iterable[_Entry],
    entries: Sequence[_Entry],
    num_shots: int,
    seed: tuple[int, int],
    where: Path,
) -> tuple[tuple[Episode, ...], tuple[Problem, ...]]:
    by_class = _by_class(entries)
    problems: dict[Problem, None] = {}
    episodes = []
    for index, query in enumerate(queries):
        # each episode has a separate generator, so leaving one out does not change the others
        rng = np.random.default_rng([*seed, index])
        sample = labeled.sample(query)
        if isinstance(sample, Problem):
            problems[sample] = None
            continue
        support = _draw_support(labeled, query, by_class[query.class_id], num_shots, rng, problems)
        if len(support) == num_shots:
            episodes.append(Episode(sample, support, query.class_id))
        else:
            what = f"{len(support)} other images of {labeled.class_names[query.class_id]}, {num_shots} are needed"
            problems[Problem(sample.sample_id, what)] = None
    if not episodes:
        first = f"; for one, {next(iter(problems))}" if problems else ": its list is empty"
        raise DataError(f"{labeled.dataset} in {where}: not one episode{first}")
    return tuple(episodes), tuple(problems)


def _draw_support(
    labeled: _LabeledImages,
    query: _Entry,
    names: Sequence[str],
    num_shots: int,
    rng: np.random.Generator,
    problems: dict[Problem, None],
) -> tuple[Exemplar, ...]:
    support: list[Exemplar] = []
    for position in rng.permutation(len(names)).tolist():
        if len(support) == num_shots:
            break
        if names[position] == query.name:
            continue
        sample = labeled.sample(_Entry(names[position], query.class_id))
        if isinstance(sample, Problem):
            problems[sample] = None
        else:
            support.append(Exemplar(sample.sample_id, sample.image, sample.targets[0].masks[0]))
    return tuple(support)


def _even_queries(entries: Sequence[_Entry], num_episodes: int, seed: tuple[int, int]) -> Iterator[_Entry]:
    by_class = _by_class(entries)
    class_ids = sorted(by_class)
    for index in range(num_episodes):
        rng = np.random.default_rng([*seed, index, 1])
        class_id = class_ids[rng.integers(len(class_ids))]
        yield _Entry(by_class[class_id][rng.integers(len(by_class[class_id]))], class_id)


def _by_class(entries: Iterable[_Entry]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for entry in dict.fromkeys(entries):
        names.setdefault(entry.class_id, []).append(entry.name)
    return names


def _find_list(root: Path, dataset: str, place: str) -> Path:
    return Tree(dataset, root, LISTS_SOURCE).file(f"splits/{place}", f"data/splits/{place}")


def _pascal_entries(path: Path) -> Iterator[_Entry]:
    for line in load_list(path):
        name, _, number = line.rpartition("__")
        if not name or not number.isdecimal():
            raise DataError(f"{path}: expected NAME__CLASS, got {line!r:.80}")
        yield _Entry(name, int(number) - 1)


def _coco_entries(path: Path) -> Iterator[_Entry]:
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or {(type(key), type(names)) for key, names in content.items()} - {(int, list)}:
        raise DataError(f"{path}: expected {{class: [image, ...]}}")
    for class_id, names in content.items():
        for name in names:
            yield _Entry(str(name), class_id)


def _check_classes(entries: Iterable[_Entry], class_ids: Collection[int], where: Path) -> None:
    if strange := sorted({entry.class_id for entry in entries} - set(class_ids)):
        raise DataError(f"{where}: has classes {strange} (from 0), which are not in this fold and split")


def _check_arguments(fold: int, split: str, num_shots: int) -> None:
    if fold not in range(NUM_FOLDS) or split not in _FOLDERS:
        raise DataError(f"there are folds 0 to {NUM_FOLDS - 1} with splits train and val, not fold {fold}, '{split}'")
    if num_shots < 1:
        raise DataError(f"an episode has at least one shot, not {num_shots}")
