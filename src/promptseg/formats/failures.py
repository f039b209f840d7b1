"""The list of images that are not in a data set because they failed."""

from collections.abc import Mapping
from pathlib import Path

from promptseg.formats.base import write_text

FAILURES = "failures.txt"


def write_failures(directory: Path, failures: Mapping[str, str]) -> None:
    """Write a line for each image that failed, its name and the message, to `FAILURES`; without any, remove the file.

    Raises:
        OutputError: The file can't be written.
    """
    path = directory / FAILURES
    if failures:
        write_text(path, "".join(f"{name}\t{' '.join(error.split())}\n" for name, error in failures.items()))
    else:
        path.unlink(missing_ok=True)
