"""placeholder"""

from collections.abc import Iterator
from pathlib import Path
from promptseg.train.recipe import Case


def draw_run(out_dir: Path, cases: Iterator[Case]) -> None:
    pass
