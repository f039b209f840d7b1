"""Names of output files: short, unique, traceable to the folder of the source, the same when a run is repeated."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import PurePosixPath

# Room for a suffix within 100 characters; file systems count bytes, and take 255.
_MAX_CHARACTERS = 90
_MAX_BYTES = 200
_NUM_DIGITS = 10

# Characters with a special meaning for some file system or some reader of labels.
# Names that Windows keeps for devices, whatever suffix follows.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9])\s*(?:\.|$)", re.IGNORECASE)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')


class OutputNames:
    """Chooses a name for each source; names that differ in case or Unicode form only clash, as in some file systems.

    A source is named after its file; where that clashes, its folders come before it: "scene0001/rgb.png" becomes
    "scene0001-rgb". Where no such name is short and unique, a checksum of the source ends it.

    Args:
        sources: Those to come, as far as they are known: names that clash among them are lengthened for all of them, so
            the names do not depend on the order. The others give way to names that were chosen before.
        taken: Names that are in use already.
    """

    def __init__(self, sources: Iterable[str] = (), *, taken: Iterable[str] = ()) -> None:
        self._taken = {_fold(name) for name in taken}
        self._wanted = Counter(
            _fold(name) for source in dict.fromkeys(sources) for name in dict.fromkeys(_candidates(source))
        )

    def choose(self, source: str, *, is_free: Callable[[str], bool] = lambda name: True) -> str:
        """Choose the name of a source, without a suffix, at most 90 characters; it is taken from now on.

        Args:
            source: Path or name of the source.
            is_free: Tells whether a name may be taken; the last one, which ends in a checksum, is taken in any case.
        """
        for name in _candidates(source):
            if _fold(name) not in self._taken and self._wanted[_fold(name)] <= 1 and is_free(name):
                break
        self._taken.add(_fold(name))
        return name


def _candidates(source: str) -> Iterator[str]:
    """Yield names from the shortest on; the last one belongs to this source alone."""
    parts = [part for part in source.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    # Files whose names begin with a dot are hidden: no reader would find them.
    file_name = _clean(parts[-1]) if parts else ""
    path = PurePosixPath(file_name or "image")
    # Windows drops blanks and dots at the end of a name.
    stem, dotless = path.stem.rstrip(" .") or "image", path.name.replace(".", "-").rstrip()
    stem, dotless = (f"_{name}" if _DEVICE.match(name) else name for name in (stem, dotless))
    checksum = sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:_NUM_DIGITS]
    folders = [_clean(part) for part in parts[-2::-1]]
    if _fits(stem):
        yield stem
    prefix = ""
    for folder in folders:
        prefix = f"{folder}-{prefix}" if folder else prefix
        if not _fits(prefix + dotless):
            break
        yield prefix + stem
        # Two kinds of one image, side by side in one folder.
        yield prefix + dotless
    if not folders and _fits(dotless):
        yield dotless
    nearest = f"{folders[0]}-" if folders and folders[0] and _fits(f"{folders[0]}-{stem}-{checksum}") else ""
    yield f"{_shorten(nearest + stem, _NUM_DIGITS + 1)}-{checksum}"


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _clean(part: str) -> str:
    return _UNSAFE.sub("_", part).lstrip(".")


def _fits(name: str) -> bool:
    return len(name) <= _MAX_CHARACTERS and len(name.encode("utf-8", "replace")) <= _MAX_BYTES


def _shorten(name: str, room: int) -> str:
    name = name[: _MAX_CHARACTERS - room]
    return name.encode("utf-8", "replace")[: _MAX_BYTES - room].decode("utf-8", "ignore")
