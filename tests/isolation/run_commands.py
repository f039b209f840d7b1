"""Run command lines in one process: a JSON list of argument lists comes by stdin, the exit codes go to a file."""

import json
import sys
from pathlib import Path

from promptseg.cli.main import main


def run(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 1


if __name__ == "__main__":
    codes = [run(arguments) for arguments in json.load(sys.stdin)]
    Path(sys.argv[1]).write_text(json.dumps(codes), encoding="utf-8")
