"""Pickles that hold plain values only; anything else in one is refused.

A pickle is a program: one that names a class or a function can run whatever it likes. The annotations that some data
sets hand out as pickles hold lists, dicts, numbers and text, which take no such names.
"""

import io
import pickle
import pickletools
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

# How long what follows an opcode is, by its first byte: bytes if not negative, else as pickletools says.
_LENGTHS = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
# Widths of a number that says how many bytes come after it.
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


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
        content = path.read_bytes()
        _check_memo(content)
        return _PlainUnpickler(path, io.BytesIO(content)).load()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from error
    except _DAMAGED as error:
        raise DataError(f"{path}: not a pickle, or damaged ({type(error).__name__}: {error})") from error


def _check_memo(content: bytes) -> None:
    """Refuse to remember a value under a number so high that room for all numbers below it would fill the memory.

    Whoever counts what is remembered comes to no number higher than that of the bytes so far.
    """
    place = 0
    while place < len(content):
        code = content[place]
        # Where it ends, asks for a name or makes no sense, the unpickler stops too.
        if code in b".ci" or code not in _LENGTHS:
            return
        start, length = place + 1, _LENGTHS[code]
        if length == pickletools.UP_TO_NEWLINE:
            end = content.find(b"\n", start) + 1 or len(content)
        elif length in _COUNTED:
            width = _COUNTED[length]
            end = start + width + int.from_bytes(content[start : start + width], "little")
        else:
            end = start + length
        if code in b"pr":  # PUT, LONG_BINPUT; BINPUT goes to 255
            index = int(content[start:end]) if code == ord("p") else int.from_bytes(content[start:end], "little")
            if index > place:
                raise pickle.UnpicklingError(f"value {index:,} is to be remembered at byte {place:,}")
        place = end
