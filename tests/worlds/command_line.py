"""How a run of the command line ended, as the fixture `promptseg` gives it."""

from typing import NamedTuple


class Ended(NamedTuple):
    """How a run of the command line ended."""

    code: int
    out: str
    err: str
