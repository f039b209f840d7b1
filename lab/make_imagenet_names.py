"""Make the table of the names that ImageNet's 1,000 classes are kinds of.

python -m lab.make_imagenet_names OLD NEW DATA/imagenet_sample.jsonl src/promptseg/language/imagenet_names.txt.gz

OLD holds data.noun of WordNet 3.0, by whose offsets ImageNet numbers its classes (Debian package wordnet-base, folder
usr/share/wordnet). NEW is the folder of `lab.make_nouns`. The index has an image of each class. The same files give the
same table to the byte. `promptseg.language.imagenet` reads it.
"""

import argparse
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.make_nouns import read_content, read_synsets
from promptseg.language.hypernyms import load_nouns

# A name with more classes ("animal") says too little about each of them.
MAX_CLASSES = 150
# A class answers to a word that the table reads otherwise if it is one of so many first meanings of the word: an ear of
# corn is the fifth meaning of "ear".
MAX_SENSE = 2
# Where fewer of a name's kinds are classes, they do not stand for it: of 7,000 kinds of person, three are.
MIN_SHARE = 0.01


@dataclass(frozen=True)
class ImageNetClass:
    """One class.

    Attributes:
        words: Its words in WordNet, of whose first meanings it is one.
        row: Its meaning in the table of nouns; None: the table lacks it, because it is text or a sign.
    """

    words: tuple[str, ...]
    row: int | None


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder with data.noun of WordNet 3.0")
    parser.add_argument("new", type=Path, help="folder with data.noun and index.sense of WordNet 3.1")
    parser.add_argument("index", type=Path, help="imagenet_sample.jsonl")
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    records = map(json.loads, options.index.read_text(encoding="utf-8").splitlines())
    wnids = sorted({record["wnid"] for record in records})
    if len(wnids) != 1000:
        parser.error(f"{options.index} has images of {len(wnids)} classes, not of 1,000")
    names = collect_names(read_classes(wnids, options.old, options.new))
    lines = (f"{name}\t{','.join(map(str, classes))}\n" for name, classes in sorted(names.items()))
    # without a time stamp, so that the file is reproducible
    options.out.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def read_classes(wnids: Sequence[str], old: Path, new: Path) -> list[ImageNetClass]:
    """Read the classes; a meaning of WordNet 3.0 is found in 3.1 by the key of its sense (senseidx(5WN))."""
    sense_of_key = {line.split(" ", 1)[0]: line.split()[1:3] for line in read_content(new / "index.sense")}
    row_of_offset = {offset: row for row, offset in enumerate(read_synsets(new / "data.noun"))}
    fields_of = {line.split(" ", 1)[0]: line.split() for line in read_content(old / "data.noun")}
    classes = []
    for wnid in wnids:
        fields = fields_of[wnid[1:]]
        num_words = int(fields[3], 16)
        senses = list(zip(fields[4 : 4 + 2 * num_words : 2], fields[5 : 5 + 2 * num_words : 2], strict=True))
        keys = {f"{word.lower()}%1:{fields[1]}:{int(number, 16):02d}::": word for word, number in senses}
        found = {word: sense_of_key[key] for key, word in keys.items() if key in sense_of_key}
        words = tuple(word.replace("_", " ").lower() for word, (_, number) in found.items() if int(number) <= MAX_SENSE)
        offset, _ = next(iter(found.values()))
        classes.append(ImageNetClass(words, row_of_offset.get(offset)))
    return classes


def collect_names(classes: Sequence[ImageNetClass]) -> Mapping[str, tuple[int, ...]]:
    """Map every name that stands for some of the classes to their indexes, ascending."""
    nouns = load_nouns()
    lineage = [(row, *nouns.above(row)) for row in range(len(nouns.words))]
    num_kinds = Counter(above for rows in lineage for above in rows)
    kinds = defaultdict(list)
    for index, one in enumerate(classes):
        for row in () if one.row is None else lineage[one.row]:
            kinds[row].append(index)
    named = {
        word: tuple(kinds[row])
        for word, row in nouns.meaning_of.items()
        if row in kinds and len(kinds[row]) <= MAX_CLASSES and len(kinds[row]) >= MIN_SHARE * num_kinds[row]
    }
    own = defaultdict(list)
    for index, one in enumerate(classes):
        for word in one.words:
            own[word].append(index)
    return {word: tuple(indexes) for word, indexes in own.items()} | named


if __name__ == "__main__":
    main()
