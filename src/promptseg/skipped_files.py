"""What a folder of images holds besides images that can be read: counted and named, with the way out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_NUM_NAMED = 20

# Kinds of images that can't be read, and what to do.
_WAYS_OUT = {
    ".heic": "pip install 'promptseg[heic]', or save it as JPEG",
    ".heif": "pip install 'promptseg[heic]', or save it as JPEG",
    ".svg": "vector graphics: save it as PNG",
    ".pdf": "a document: save its pages as PNG",
    ".psd": "save it as PNG",
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "raw data: save it as JPEG"),
    **dict.fromkeys((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"), "a video: save its frames as images"),
}


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder that was passed over, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


def explain_skip(path: Path) -> SkippedFile:
    """Say why something in a folder is no image that can be read."""
    if path.is_symlink() and not path.exists():
        reason = "a broken link"
    elif path.is_dir():
        reason = f"a folder; subfolders are not searched, '{path}/**/*' finds the images in it"
    elif path.name.startswith("."):
        reason = "hidden"
    elif path.suffix.lower() in _WAYS_OUT:
        reason = f"can't be read: {_WAYS_OUT[path.suffix.lower()]}"
    elif not path.is_file():
        reason = "no plain file"
    else:
        reason = "not an image"
    return SkippedFile(path, reason)


def describe_skipped(skipped: Sequence[SkippedFile]) -> Iterable[str]:
    """Yield lines that count and name what was passed over; the first twenty are named, hidden files counted only."""
    named = [each for each in skipped if each.reason != "hidden"]
    for each in named[:_NUM_NAMED]:
        yield f"passed over: {each}"
    rest = [
        f"{number} {what}"
        for number, what in ((max(0, len(named) - _NUM_NAMED), "more"), (len(skipped) - len(named), "hidden"))
        if number
    ]
    if rest:
        yield f"passed over: {' and '.join(rest)}"


def summarize_skipped(skipped: Sequence[SkippedFile]) -> str:
    """Name the first one and count the others, as the end of an error message; "" where there is none."""
    if not skipped:
        return ""
    return f"; passed over: {skipped[0]}" + (f" and {len(skipped) - 1} more" if len(skipped) > 1 else "")
