"""Pickles that hold plain values only; anything else in one is refused.

A pickle is a program: one that names a class or a function can run whatever it likes. The annotations that some data
sets hand out as pickles hold lists, dicts, numbers and text, which take no such names.
"""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from promptseg.errors import DataError

# What the unpickler was seen to raise on 200,000 damaged files.
_DAMAGED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, path: Path, file: Any) -> None:
        # Python 2 wrote these files; its text is bytes until somebody says how to read it.
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path}: asks for {module}.{name}, and a pickle that names a class or function can run anything: it "
            "was not loaded. The data sets' own files hold only lists, dicts, numbers and text; get it from the source"
        )


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of lists, dicts, tuples, sets, numbers and text.

    Raises:
        DataError: It names a class or function (the message says which; it is not imported), or it is damaged.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(path, file).load()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from error
    except _DAMAGED as error:
        raise DataError(f"{path}: not a pickle, or damaged ({type(error).__name__}: {error})") from error
