"""The command line as a person meets it: words in; exit code, stdout and stderr out."""

from collections.abc import Callable

import pytest
from command_line import Ended

from promptseg.cli.main import main


@pytest.fixture
def promptseg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `promptseg` with these words."""

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        return Ended(int(exit_info.value.code or 0), *capsys.readouterr())

    return run
