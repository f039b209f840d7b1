"""Exemplars on the command line: `[NAME=]IMAGE[:MASK | :LEFT,TOP,RIGHT,BOTTOM][@WEIGHT]`."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptseg.batch import AskedClass
    from promptseg.language.class_list import NamedClass
    from promptseg.prompts import ExemplarPrompt, QueryLike
    from promptseg.stored_values import MaskValue

# A drive's letter keeps its colon.
_PATH = r"(?:[A-Za-z]:[\\/])?[^:]+?"
_FORM = re.compile(
    rf"(?:(?P<name>[^=/\\:]+)=)?(?P<image>{_PATH})(?::(?P<region>{_PATH}))?(?:@(?P<weight>[-+]?[\d.]+))?"
)
_BOX = re.compile(r"[-\d.]+(?:,[-\d.]+){3}")

# Escaped: the help is markup, in which [@...] has a meaning.
FORM_HELP = (
    r"Example image: \[NAME=]IMAGE\[:MASK or :LEFT,TOP,RIGHT,BOTTOM]\[@WEIGHT]. Exemplars of one NAME, and --text "
    "NAME, are mixed into one query; a negative WEIGHT excludes what it shows."
)


def collect_queries(
    texts: Sequence[str], exemplars: Sequence[str], *, mask_value: "MaskValue | None" = None
) -> "list[QueryLike]":
    """Combine phrases and exemplars into queries.

    Args:
        texts: One query each.
        exemplars: Each in the form above. Exemplars of one name make one query, mixed with the phrase of that name if
            there is one; an exemplar without a name is a query of its own, labeled by its file.
        mask_value: What is inside masks of several classes, as `promptseg.read_mask` takes it.

    Returns:
        The phrases in their order, then the queries of exemplars alone.

    Raises:
        ImageError: An image or mask can't be read.
        PromptError: A text lists several names; a region, a weight or a name is malformed; or a name has no exemplar
            of positive weight.
    """
    from promptseg._prompt_checks import refuse_list
    from promptseg.prompts import Query, TextPrompt

    for text in texts:
        refuse_list(text)
    named: dict[str, list[ExemplarPrompt]] = {}
    nameless: list[Query] = []
    for written in exemplars:
        name, label, exemplar = parse_exemplar(written, mask_value=mask_value)
        if name is None:
            nameless.append(Query(label, (exemplar,)))
        else:
            named.setdefault(name, []).append(exemplar)
    queries: list[QueryLike] = [Query(text, (TextPrompt(text), *named.pop(text.strip(), ()))) for text in texts]
    return [*queries, *(Query(name, tuple(group)) for name, group in named.items()), *nameless]


def collect_classes(
    names: "Sequence[NamedClass]",
    texts: Sequence[str],
    exemplars: Sequence[str],
    *,
    mask_value: "MaskValue | None" = None,
) -> "list[AskedClass]":
    """Combine classes of several wordings, phrases and exemplars.

    Args:
        names: Classes; an exemplar of the name of one is mixed with each of its wordings.
        texts: As `collect_queries`.
        exemplars: As `collect_queries`.
        mask_value: As `collect_queries`.

    Returns:
        The phrases in their order, then the classes, then those of exemplars alone.

    Raises:
        PromptsegError: As `collect_queries`.
    """
    from promptseg.batch import AskedClass
    from promptseg.prompts import TextPrompt, to_queries

    named = {one.label: one for one in names}
    queries = collect_queries([*texts, *named], exemplars, mask_value=mask_value)
    classes = []
    for query in to_queries(queries) if queries else ():
        if query.label not in named:
            classes.append(AskedClass(query.label, (query,)))
            continue
        one = named[query.label]
        others = (replace(query, prompts=(TextPrompt(name), *query.prompts[1:])) for name in one.synonyms)
        classes.append(AskedClass(query.label, (query, *others), one.is_thing))
    return classes


def read_name_file(path: Path | None) -> "tuple[NamedClass, ...]":
    """Read a file of classes: a line is a name, synonyms after commas, and a mark such as [stuff]; None: there is none.

    Raises:
        PromptError: The file can't be read, or a line is malformed; the message names it.
    """
    from promptseg.labeling import read_lines
    from promptseg.language.class_list import parse_class_list

    if path is None:
        return ()
    numbers = read_lines(path)
    return parse_class_list(numbers, where=[f"{path}, line {number}" for number in numbers.values()])


def parse_exemplar(written: str, *, mask_value: "MaskValue | None" = None) -> "tuple[str | None, str, ExemplarPrompt]":
    """Read one exemplar.

    Returns:
        Its name or None, the stem of its file, and the prompt.

    Raises:
        ImageError: The image or its mask can't be read.
        PromptError: The region or the weight is malformed.
    """
    from promptseg.errors import PromptError
    from promptseg.prompts import ExemplarPrompt

    # A file name may look like this form. Path.is_file raises where the text is too long for a file name.
    match = None if os.path.isfile(written) else _FORM.fullmatch(written)  # noqa: PTH113
    if match is None:
        return None, Path(written).stem, ExemplarPrompt.from_file(written)
    name, image, region, weight = match.group("name", "image", "region", "weight")
    try:
        box = tuple(float(corner) for corner in region.split(",")) if region and _BOX.fullmatch(region) else None
        exemplar = ExemplarPrompt.from_file(
            image,
            mask=region if box is None else None,
            box_xyxy=box,  # type: ignore[arg-type]  # the pattern has four
            weight=1.0 if weight is None else float(weight),
            mask_value=mask_value,
        )
    except (ValueError, PromptError) as error:
        raise PromptError(f"--exemplar {written}: {error}") from error
    return None if name is None else name.strip(), Path(image).stem, exemplar
