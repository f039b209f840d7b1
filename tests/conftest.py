"""The command line as a person meets it: words in; exit code, stdout and stderr out."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from promptseg.cli.main import main


class Ended(NamedTuple):
    """How a run of the command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def promptseg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `promptseg` with these words."""

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        return Ended(int(exit_info.value.code or 0), *capsys.readouterr())

    return run
