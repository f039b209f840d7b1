"""Clusters of names to hide: a name, its kinds and its synonyms. Measurements and fits hide them in rotation.

python -m lab.name_clusters lab/hidden_names.json --seed 0

The committed list was made from the names that the shipped checkpoint was trained on, and stays as it is when a later
checkpoint knows more names.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from promptseg.language.hypernyms import load_nouns
from promptseg.language.phrases import canonical
from promptseg.language.reading import PhraseReader
from promptseg.models.promptseg.config import PromptSegConfig

HIDDEN_NAMES = Path(__file__).with_name("hidden_names.json")
NUM_FOLDS = 6
# A broader name ("animal") is no cluster: without all of its kinds, little would be left to know.
MAX_KINDS = 25


@dataclass(frozen=True)
class HiddenNames:
    """Folds of names.

    Attributes:
        folds: The names of each fold, canonical; no name is in two.
    """

    folds: tuple[frozenset[str], ...]

    @cached_property
    def fold_of(self) -> Mapping[str, int]:
        """The fold of each name."""
        return {name: fold for fold, names in enumerate(self.folds) for name in names}

    def hide(self, fold: int, reader: PhraseReader) -> PhraseReader:
        """Make a reader for which the names of a fold were neither trained nor are classes of the detector."""
        hidden = self.folds[fold]
        return PhraseReader(
            tuple("" if canonical(name) in hidden else name for name in reader.detector_names),
            frozenset(name for name in reader.trained_names if canonical(name) not in hidden),
            knows_imagenet=reader.knows_imagenet,
        )


def load_hidden_names(path: Path = HIDDEN_NAMES) -> HiddenNames:
    """Read the list that this module's command wrote."""
    clusters = json.loads(path.read_text(encoding="utf-8"))["clusters"]
    folds: list[set[str]] = [set() for _ in range(NUM_FOLDS)]
    for cluster in clusters:
        folds[cluster["fold"]].update(cluster["names"])
    return HiddenNames(tuple(map(frozenset, folds)))


def cluster_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group names by the broadest of the names that each is a kind of in WordNet, if that has few kinds.

    A name that WordNet lacks goes with its last word ("office chair" with "chair").
    """
    nouns = load_nouns()
    known = sorted({canonical(name) for name in names})
    row_of = {name: nouns.meaning_of[name] for name in known if name in nouns.meaning_of}
    kinds = defaultdict(set)
    for name, row in row_of.items():
        for above in (row, *nouns.above(row)):
            kinds[above].add(name)
    named_rows = {row: name for name, row in reversed(row_of.items())}

    def find_root(name: str) -> str:
        if name not in row_of:
            head = canonical(name.split(" ")[-1])
            return find_root(head) if head != name and head in known else name
        lineage = (row_of[name], *nouns.above(row_of[name]))
        return named_rows[
            [row for row in lineage if (row in named_rows and len(kinds[row]) <= MAX_KINDS) or row == lineage[0]][-1]
        ]

    clusters = defaultdict(list)
    for name in known:
        clusters[find_root(name)].append(name)
    return {root: tuple(members) for root, members in sorted(clusters.items())}


def assign_folds(clusters: Mapping[str, tuple[str, ...]], seed: int) -> dict[str, int]:
    """Assign whole clusters to folds, at random; each goes to the fold with the fewest names so far."""
    roots = list(clusters)
    sizes = [0] * NUM_FOLDS
    fold_of = {}
    for index in np.random.default_rng(seed).permutation(len(roots)):
        fold = sizes.index(min(sizes))
        fold_of[roots[index]] = fold
        sizes[fold] += len(clusters[roots[index]])
    return fold_of


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    from promptseg.loading import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="checkpoint whose trained names are clustered; by default the shipped one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    config = load(options.model).config
    assert isinstance(config, PromptSegConfig)  # no other model knows what it was trained on
    clusters = cluster_names(config.trained_names)
    fold_of = assign_folds(clusters, options.seed)
    lines = [
        json.dumps({"fold": fold_of[root], "root": root, "names": list(names)}, ensure_ascii=False)
        for root, names in clusters.items()
    ]
    text = f'{{"seed": {options.seed}, "clusters": [\n' + ",\n".join(lines) + "\n]}\n"
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
