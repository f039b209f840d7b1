"""Find image files: in folders, by patterns, and those that come with the package."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from promptseg._heic import HEIC_SUFFIXES, can_read_heic
from promptseg.errors import ImageError
from promptseg.skipped_files import SkippedFile, explain_skip, summarize_skipped

_ADDRESS = re.compile(r"https?://|s3://|gs://|ftp://", re.IGNORECASE)
# those of HEIC only where it can be read: in a folder, they are passed over with a hint elsewhere
IMAGE_SUFFIXES = frozenset(HEIC_SUFFIXES if can_read_heic() else ()) | frozenset(
    {*".avif .bmp .gif .jfif .jif .jp2 .jpe .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()}
)


def expand_home(path: str | Path) -> Path:
    """Replace a leading "~" by the home folder; other paths stay as they are."""
    path = Path(path)
    return path.expanduser() if path.parts[:1] == ("~",) else path


def bundled_image(name: str) -> Path:
    """Find a photograph that comes with the package; `photos/LICENSES.md` names the authors (CC0 or public domain).

    Args:
        name: "astronaut", "chelsea", "coffee" or "rocket".

    Raises:
        ImageError: There is none of that name; the message lists them.

    Example:
        >>> bundled_image("coffee").name
        'coffee.jpg'
    """
    paths = {path.stem: path for path in (Path(__file__).resolve().parent / "photos").glob("*.jpg")}
    if name not in paths:
        raise ImageError(f"no bundled image is named {name!r}; there are {', '.join(sorted(paths)) or 'none'}")
    return paths[name]


def list_images(paths: Iterable[str | Path], *, skipped: list[SkippedFile] | None = None) -> list[Path]:
    """List the images that paths, folders and glob patterns stand for.

    Args:
        paths: A file is taken as it is, even when it is missing: reading it raises the error. A folder stands for the
            images directly in it, a pattern (`photos/**/*.jpg`) for the images it matches, both sorted by name. "~" is
            the home folder. Hidden files of a folder, such as those that macOS writes beside each image ("._cat.jpg"),
            are skipped.
        skipped: Receives whatever else the folders and patterns hold.

    Returns:
        Each image once, in the order of `paths`.

    Raises:
        ImageError: A folder or pattern holds no image.
    """
    found: dict[Path, None] = {}
    for given in paths:
        if _ADDRESS.match(str(given)):
            raise ImageError(f"{given}: is an address, and images are files: download it first")
        path = expand_home(given)
        if path.is_dir():
            matches: Iterable[Path] = path.iterdir()
        elif glob.has_magic(str(path)) and not path.exists():
            matches = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob refuses absolute ones)
        else:
            found[path] = None
            continue
        images: list[Path] = []
        left_out: list[SkippedFile] = []
        for match in sorted(matches):
            is_shown = not (path.is_dir() and match.name.startswith("."))
            if is_shown and match.suffix.lower() in IMAGE_SUFFIXES and match.is_file():
                images.append(match)
            elif path.is_dir() or not match.is_dir():  # a pattern such as ** does search subfolders
                left_out.append(explain_skip(match))
        if not images:
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            what = "no image in this folder" if path.is_dir() else "no image matches"
            raise ImageError(f"{path}: {what} ({kinds}){summarize_skipped(left_out)}")
        if skipped is not None:
            skipped.extend(left_out)
        found.update(dict.fromkeys(images))
    return list(found)
