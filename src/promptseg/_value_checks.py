"""Check numbers that callers give; each message says what is wrong and what would be right."""

from collections.abc import Sequence
from math import isfinite
from numbers import Integral
from typing import TypeGuard

import numpy as np

from promptseg.errors import PromptError
from promptseg.stored_values import MaskValue


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite real number, of Python or NumPy; True and False are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def checked_probability(value: object, *, what: str) -> float:
    """Return a probability as a float.

    Args:
        value: What the caller gave.
        what: Its name, for the message.

    Raises:
        PromptError: It is no number in [0, 1].
    """
    if not (is_number(value) and 0.0 <= value <= 1.0):
        raise PromptError(f"{what} is a number in [0, 1], not {value!r}")
    return float(value)


def checked_mask_value(value: object) -> MaskValue | None:
    """Return a mask value with Python's own integers; None stays None.

    Raises:
        PromptError: It is no whole number from 0 on, no color of three such numbers, and not "nonzero".
    """
    if value is None or (isinstance(value, str) and value == "nonzero"):
        return None if value is None else "nonzero"
    if _is_level(value):
        return int(value)
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value) == 3:
        red, green, blue = value
        if _is_level(red) and _is_level(green) and _is_level(blue):
            return int(red), int(green), int(blue)
    raise PromptError(
        f"mask_value is a gray value or palette index such as 7, a color such as (255, 0, 0), or 'nonzero', not "
        f"{value!r:.80}"
    )


def _is_level(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral | np.integer) and not isinstance(value, bool) and int(value) >= 0
