"""A list of classes for a map of an image: a name each, with its synonyms, and whether it is a thing or stuff.

A thing is counted one by one (cars); stuff is one region however many parts it has (sky). In a file a class is a line:

    person
    couch, sofa, settee
    wall [stuff]
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from promptseg.errors import PromptError
from promptseg.language.lists import check_no_list_mark
from promptseg.language.phrases import normalize_phrase
from promptseg.language.things_and_stuff import Decision, decide_kind

MAX_CLASSES = 1000
MAX_PHRASES = 4000

_MARK = re.compile(r"\s*\[\s*([^\[\]]*?)\s*\]\s*")
_FORMS = "write a class as 'couch, sofa' or 'wall [stuff]': a name, synonyms after commas, [thing] or [stuff]"


@dataclass(frozen=True)
class NamedClass:
    """A class of a map.

    Attributes:
        label: Its name.
        synonyms: Other names for the same.
        is_thing: Whether it is counted one by one.
        decided_by: What `is_thing` is from: a mark or option of the user, the table of data sets' classes, WordNet, or
            nothing ("default"), for a word that is in neither: a thing.
    """

    label: str
    synonyms: tuple[str, ...] = ()
    is_thing: bool = True
    decided_by: Decision = "mark"

    def __str__(self) -> str:
        """Write the class as a line of a file."""
        return f"{', '.join(self.phrases)} [{self.kind}]"

    @property
    def phrases(self) -> tuple[str, ...]:
        """All its names, the label first."""
        return (self.label, *self.synonyms)

    @property
    def kind(self) -> Literal["thing", "stuff"]:
        """The word for `is_thing`: "thing" or "stuff"."""
        return "thing" if self.is_thing else "stuff"


@dataclass(frozen=True)
class _Line:
    where: str
    names: tuple[str, ...]
    mark: Literal["thing", "stuff"] | None


def parse_class_list(
    lines: Iterable[str], *, stuff: Iterable[str] = (), where: Sequence[str] | None = None
) -> tuple[NamedClass, ...]:
    """Read classes, one a line.

    Args:
        lines: Such as "couch, sofa" or "wall [stuff]".
        stuff: Names or synonyms of classes that are stuff; those with a mark keep it.
        where: The place of each line, for messages; None: "class 1", "class 2", ...

    Returns:
        One class for each line, in order.

    Raises:
        PromptError: There is no class or there are too many, a line has no name or an unknown mark, a name comes twice,
            is a synonym of two classes, is a thing and stuff, or `stuff` has a name that no class has. The message
            names the line and says how to write it.

    Example:
        >>> [(one.label, one.synonyms, one.kind) for one in parse_class_list(["sofa, couch", "sky", "wall [thing]"])]
        [('sofa', ('couch',), 'thing'), ('sky', (), 'stuff'), ('wall', (), 'thing')]
    """
    if isinstance(lines, str):
        raise PromptError(f"classes are a list of lines, such as [{lines!r}], not one text")
    given = tuple(lines)
    if not given:
        raise PromptError(f"no name was given: a map needs one class at least; {_FORMS}")
    if len(given) > MAX_CLASSES:
        raise PromptError(f"{len(given):,} classes; a map has {MAX_CLASSES:,} at most: leave out what can't be there")
    places = [f"class {number}" for number in range(1, len(given) + 1)] if where is None else where
    read = [_read_line(line, place) for line, place in zip(given, places, strict=True)]
    if (num_phrases := sum(len(one.names) for one in read)) > MAX_PHRASES:
        raise PromptError(f"{num_phrases:,} names with all synonyms; a map takes {MAX_PHRASES:,}: leave some out")
    owners = _find_owners(read)
    asked_stuff = {}
    for name in stuff:
        if normalize_phrase(name) not in owners:
            raise PromptError(f"{name!r} is said to be stuff, but no class has that name")
        asked_stuff[owners[normalize_phrase(name)]] = name
    return tuple(_decide(line, name_of_stuff=asked_stuff.get(index)) for index, line in enumerate(read))


def read_class_list(
    path: str | Path, *, stuff: Iterable[str] = (), skipped: list[str] | None = None
) -> tuple[NamedClass, ...]:
    """Read a file of classes, one a line.

    Args:
        path: UTF-8 text. Empty lines, and those that begin with "#", are skipped.
        stuff: As `parse_class_list`.
        skipped: Receives the places of the empty lines between classes, or None.

    Raises:
        PromptError: As `parse_class_list`, or the file can't be read as text.
    """
    lines, places = [], []
    empty: list[str] = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            empty.append(place)
        elif not line.lstrip().startswith("#"):
            lines.append(line)
            places.append(place)
            if skipped is not None:
                skipped += empty
            empty = []
    if not lines:
        raise PromptError(f"{path}: no name; write one class a line, such as 'cat'")
    return parse_class_list(lines, stuff=stuff, where=places)


def _read_text(path: str | Path) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: can't be read as UTF-8 text: {error}") from error
    if "\0" in text:
        raise PromptError(f"{path}: can't be read as UTF-8 text: it holds zero bytes; give a text file of names")
    return text


def _read_line(line: str, where: str) -> _Line:
    if not isinstance(line, str):
        raise PromptError(f"{where}: a class is text, not {type(line).__name__}; {_FORMS}")
    check_no_list_mark(line, where)
    marks = {mark.lower() for mark in _MARK.findall(line)}
    if unknown := marks - {"thing", "stuff"}:
        raise PromptError(f"{where}: the mark [{min(unknown)}] is unknown; {_FORMS}")
    if len(marks) > 1:
        raise PromptError(f"{where}: {line.strip()!r} is marked [thing] and [stuff]: keep one of the two")
    names = tuple(name for name in (part.strip() for part in _MARK.sub(" ", line).split(",")) if name)
    if not any(normalize_phrase(name) for name in names):
        raise PromptError(f"{where}: {line.strip()!r} has no name; {_FORMS}")
    return _Line(where, tuple(dict.fromkeys(names)), "thing" if "thing" in marks else "stuff" if marks else None)


def _find_owners(lines: Sequence[_Line]) -> dict[str, int]:
    """Find the line of each name.

    Raises:
        PromptError: A name is in two lines; where both have it as their label and their marks differ, the message says
            that it can't be both.
    """
    owners: dict[str, int] = {}
    for index, line in enumerate(lines):
        for name in line.names:
            other = owners.setdefault(normalize_phrase(name), index)
            if other == index:
                continue
            first = lines[other]
            are_labels = {normalize_phrase(first.names[0]), normalize_phrase(line.names[0])} == {normalize_phrase(name)}
            if are_labels and first.mark and line.mark and first.mark != line.mark:
                raise PromptError(
                    f"{line.where}: {name!r} is marked [{line.mark}], in {first.where} [{first.mark}]: a class is one "
                    "of the two"
                )
            if are_labels:
                raise PromptError(f"{line.where}: the class {name!r} is in {first.where} already")
            raise PromptError(
                f"{line.where}: {name!r} is a name of {line.names[0]!r} and, in {first.where}, of {first.names[0]!r}: "
                "a name belongs to one class"
            )
    return owners


def _decide(line: _Line, *, name_of_stuff: str | None) -> NamedClass:
    label, *synonyms = line.names
    if line.mark == "thing" and name_of_stuff is not None:
        raise PromptError(f"{line.where}: {label!r} is marked [thing], but {name_of_stuff!r} is said to be stuff")
    mark = "stuff" if name_of_stuff is not None else line.mark
    is_thing, decided_by = decide_kind(line.names) if mark is None else (mark == "thing", "mark")
    return NamedClass(label, tuple(synonyms), is_thing, decided_by)
