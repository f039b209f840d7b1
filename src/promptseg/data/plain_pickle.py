"""Load pickles that hold plain values only, and refuse all others.

A pickle is a program: one that names a class or a function can run any code. The annotations that some data sets
publish as pickles hold only lists, dicts, numbers and text, which need no such names.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from promptseg.errors import DataError

# Errors of the unpickler that were observed on 200,000 damaged files.
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

# Length of an opcode's argument by the opcode's byte: in bytes, or a negative constant of pickletools.
_LENGTHS = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
# Widths in bytes of the number that contains the length of the rest of the argument.
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
# BYTEARRAY8, NEXT_BUFFER, READONLY_BUFFER: Python prints an error of its own at a bytearray that is cut off.
_BUFFERS = b"\x96\x97\x98"


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, path: Path, file: Any) -> None:
        # Python 2 wrote these files, so their text needs an encoding
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path}: asks for {module}.{name}, and a pickle that names a class or function can run any code: it "
            "was not loaded. The original files hold only lists, dicts, numbers and text; get it from the source"
        )


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of lists, dicts, tuples, sets, numbers and text.

    Raises:
        DataError: The pickle names a class or function (the message contains it; it is not imported), or is damaged.
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
    """Refuse memo indexes so high that a table up to them would fill the memory.

    Valid pickles number their memo entries consecutively, so an index never exceeds the number of bytes before it.

    Raises:
        UnpicklingError: A memo index is too high.
    """
    place = 0
    while place < len(content):
        code = content[place]
        # at STOP, a class name or an unknown opcode, the unpickler stops too
        if code in b".ci" or code not in _LENGTHS:
            return
        if code in _BUFFERS:
            raise pickle.UnpicklingError("it holds a bytearray or a buffer, which no annotation needs")
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
                raise pickle.UnpicklingError(f"memo index {index:,} at byte {place:,} is too high")
        place = end
