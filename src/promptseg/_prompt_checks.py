"""Check the values that prompts are made of; each message says what is wrong and what would be right."""

import re
import shlex
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg._value_checks import is_number
from promptseg.errors import PromptError

MAX_PHRASE_CHARACTERS = 512

# Control characters and lone surrogates: no phrase needs them, and they break terminals, JSON and tokenizers.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs"})

# White space, and what has no width: a zero-width space, a word joiner, the byte order mark of a text file.
_BLANKS = re.compile(r"^[\s\u200b\u2060\ufeff]+|[\s\u200b\u2060\ufeff]+$")

_SEPARATOR = re.compile(r"[^\w\s'-]")


def checked_phrase(text: object) -> str:
    """Return a phrase without the white space and the invisible characters around it.

    Raises:
        PromptError: It is no text, empty or too long, has no letter or digit, or contains a control character.
    """
    if not isinstance(text, str):
        raise PromptError(f"a phrase is text, not {type(text).__name__}")
    phrase = _BLANKS.sub("", text)
    shown = repr(phrase if len(phrase) <= 40 else phrase[:39] + "…")
    if not phrase:
        raise PromptError(f"the phrase is {'blank' if text else 'empty'}: name something to find")
    if len(phrase) > MAX_PHRASE_CHARACTERS:
        raise PromptError(
            f"the phrase {shown} has {len(phrase):,} characters; the limit is {MAX_PHRASE_CHARACTERS}: "
            "ask for one thing in a phrase"
        )
    for character in phrase:
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
            raise PromptError(f"the phrase {shown} holds the control character U+{ord(character):04X}")
    if not any(character.isalnum() for character in phrase):
        raise PromptError(f"the phrase {shown} has no letter or digit: say it in words")
    return phrase


def refuse_list(text: object) -> None:
    """Refuse a text that lists several names, such as "cup, table": a phrase means one thing.

    Raises:
        PromptError: It does. Anything that is no text passes.
    """
    if not isinstance(text, str) or not _SEPARATOR.search(text):
        return
    # here and not above: most phrases have no separator
    from promptseg.language.lists import find_list

    names = find_list(text)
    if names:
        rest = ", ..." if len(names) > 3 else ""
        listed = ", ".join(map(repr, names[:3])) + rest
        options = " ".join(f"--text {shlex.quote(name)}" for name in names[:3]) + rest.replace(",", "")
        raise PromptError(
            f"{text if len(text) <= 40 else text[:39] + '…'!r} lists {len(names)} names, and a phrase means one thing: "
            f"give them as several phrases, [{listed}], on the command line {options}; TextPrompt(...) takes the whole "
            "text as one phrase"
        )


def finite_array(values: ArrayLike, *, what: str) -> NDArray[np.float64]:
    """Return numbers as an array of any shape.

    Args:
        values: What the caller gave.
        what: Name of the field, for messages.

    Raises:
        PromptError: They are not finite numbers.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} is made of numbers, not {values!r:.200}") from error
    except OverflowError as error:
        raise PromptError(f"{what} holds a number of too many digits") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{what} holds a number that is not finite: {values!r:.200}")
    return array


def refuse_shares(coordinates: NDArray[np.float64], *, what: str) -> None:
    """Refuse coordinates that are fractions in [0, 1]; whole numbers may be pixels at the image's corner.

    Raises:
        PromptError: All coordinates, an array of any shape, lie in [0, 1], and one is no whole number.
    """
    if ((coordinates >= 0) & (coordinates <= 1)).all() and (coordinates % 1 != 0).any():
        raise PromptError(
            f"{what} is in pixels; {coordinates.tolist()} looks like shares of the image size: multiply x by the width "
            "and y by the height"
        )


def checked_box(box_xyxy: ArrayLike, *, what: str = "box_xyxy") -> tuple[float, float, float, float]:
    """Return a box as four floats, pixels.

    Args:
        box_xyxy: What the caller gave.
        what: Its name, for messages.

    Raises:
        PromptError: These are not four finite numbers with left < right and top < bottom, or they look like shares.
    """
    box = finite_array(box_xyxy, what=what)
    if box.shape != (4,):
        raise PromptError(f"{what} is (left, top, right, bottom), not an array of shape {box.shape}")
    refuse_shares(box, what=what)
    left, top, right, bottom = box.tolist()
    if left >= right or top >= bottom:
        raise PromptError(
            f"{what} is (left, top, right, bottom) with left < right and top < bottom, not {box.tolist()}"
        )
    return left, top, right, bottom


def checked_mask(mask: NDArray[np.bool_], *, what: str = "the mask") -> NDArray[np.bool_]:
    """Return a read-only copy of a mask, bool, shape (H, W).

    Raises:
        PromptError: It is no two-dimensional bool array, or empty.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        hint = "; promptseg.read_mask reads a file" if mask.dtype.kind in "US" else ""
        if mask.dtype.kind in "iuf" and mask.ndim == 2:
            hint = "; mask > 0 makes one"
        elif mask.ndim == 3:
            hint = "; give one mask of several, such as mask[0] or mask[:, :, 0]"
        raise PromptError(f"{what} is a bool array of shape (H, W), not {mask.dtype} {mask.shape}{hint}")
    if not mask.any():
        raise PromptError(f"{what} is empty: not one pixel is set")
    return frozen_copy(mask)


def checked_weight(weight: object) -> float:
    """Return a weight as a float.

    Raises:
        PromptError: It is 0 or not a finite number.
    """
    if not is_number(weight):
        raise PromptError(f"a weight is a finite number, not {weight!r}")
    if weight == 0:
        raise PromptError("a weight of 0 says nothing; leave the prompt out, or give what is not meant a negative one")
    return float(weight)


def frozen_copy(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array of any shape; the copy can't be written to."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy
