"""Open files that anybody may have made, and parse JSON from them: nothing hangs, fills the memory or crashes."""

import codecs
import errno
import json
import stat
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading bytes.

    Raises:
        OSError: It can't be opened, or it is a pipe or a device, which may never end.
    """
    if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
    return path.open("rb")


def check_png(content: bytes | bytearray | memoryview) -> None:
    """Compare the checksums of a PNG, which Pillow does not for pixels: a bit that was turned over is another image.

    Raises:
        ValueError: The pixels are damaged.
        struct.error: The file is cut short.
    """
    place = 8
    while place < len(content):
        (size,) = struct.unpack_from(">I", content, place)
        stop = place + 8 + size
        (checksum,) = struct.unpack_from(">I", content, stop)
        name = bytes(content[place + 4 : place + 8])
        if name in (b"PLTE", b"IDAT", b"tRNS") and zlib.crc32(content[place + 4 : stop]) != checksum:
            raise ValueError(f"the checksum of its part {name.decode()} is wrong")
        if name == b"IEND":
            return
        place = stop + 4


def read_text(path: Path) -> str:
    """Read a text file, whatever its line ends: UTF-8, or UTF-16 with a byte order mark, as Windows tools write it.

    Raises:
        OSError: It can't be read.
        ValueError: It is neither, or its path is none that a file can have.
    """
    with open_file(path) as file:
        content = file.read()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is no JSON, or its lists and objects are nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; errors as `read_text` and `parse_json`."""
    return parse_json(read_text(path))
