"""Examples on the command line: `[NAME=]IMAGE[:MASK | :LEFT,TOP,RIGHT,BOTTOM][@WEIGHT]`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptseg.prompts import ExemplarPrompt, QueryLike

# A drive's letter keeps its colon.
_PATH = r"(?:[A-Za-z]:[\\/])?[^:]+?"
_FORM = re.compile(
    rf"(?:(?P<name>[^=/\\:]+)=)?(?P<image>{_PATH})(?::(?P<region>{_PATH}))?(?:@(?P<weight>[-+]?[\d.]+))?"
)
_BOX = re.compile(r"[-\d.]+(?:,[-\d.]+){3}")

# Escaped, for the help is markup, in which [@...] means something.
FORM_HELP = (
    r"An example: \[NAME=]IMAGE\[:MASK or :LEFT,TOP,RIGHT,BOTTOM]\[@WEIGHT]; those of one NAME, and --text NAME, "
    "mix; a negative WEIGHT says what is not meant."
)


def collect_queries(texts: Sequence[str], exemplars: Sequence[str]) -> "list[QueryLike]":
    """Bring phrases and examples together.

    Args:
        texts: One query each.
        exemplars: Each in the form above. Those of one name are one query, mixed with the phrase that is that name if
            there is one; an example without a name is a query of its own, labeled by its file.

    Returns:
        The phrases in their order, then what is asked by examples alone.

    Raises:
        ImageError: An image or mask can't be read.
        PromptError: A region, a weight or a name is malformed, or a name has no example of positive weight.
    """
    from promptseg.prompts import Query, TextPrompt

    named: dict[str, list[ExemplarPrompt]] = {}
    nameless: list[Query] = []
    for written in exemplars:
        name, label, exemplar = parse_exemplar(written)
        if name is None:
            nameless.append(Query(label, (exemplar,)))
        else:
            named.setdefault(name, []).append(exemplar)
    asked: list[QueryLike] = [Query(text, (TextPrompt(text), *named.pop(text.strip(), ()))) for text in texts]
    return [*asked, *(Query(name, tuple(group)) for name, group in named.items()), *nameless]


def parse_exemplar(written: str) -> "tuple[str | None, str, ExemplarPrompt]":
    """Read one example.

    Returns:
        Its name or None, the stem of its file, and the prompt.

    Raises:
        ImageError: The image or its mask can't be read.
        PromptError: The region or the weight is malformed.
    """
    from promptseg.errors import PromptError
    from promptseg.exemplar_files import read_exemplar

    # A file may be called anything; Path.is_file raises for what is too long to be a name.
    match = None if os.path.isfile(written) else _FORM.fullmatch(written)  # noqa: PTH113
    if match is None:
        return None, Path(written).stem, read_exemplar(written)
    name, image, region, weight = match.group("name", "image", "region", "weight")
    try:
        box = tuple(float(corner) for corner in region.split(",")) if region and _BOX.fullmatch(region) else None
        exemplar = read_exemplar(
            image,
            mask=region if box is None else None,
            box_xyxy=box,  # type: ignore[arg-type]  # the pattern has four
            weight=1.0 if weight is None else float(weight),
        )
    except (ValueError, PromptError) as error:
        raise PromptError(f"--exemplar {written}: {error}") from error
    return None if name is None else name.strip(), Path(image).stem, exemplar
