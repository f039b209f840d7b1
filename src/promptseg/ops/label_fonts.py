"""Fonts for labels: every character of a label is drawn as itself or named by its code point, never as an empty box.

Source:
    fonts/DejaVuSans.ttf is DejaVu Sans 2.35 (Bitstream Vera and Arev licenses, changes in the public domain; see
    fonts/LICENSE_DEJAVU). It has Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic and many symbols, but no
    Chinese, Japanese, Korean or Indic letters: a font that has these is 16 MB.
"""

import io
import unicodedata
from functools import cache, lru_cache
from importlib import resources
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONT_FILE = "DejaVuSans.ttf"
# No font has a glyph for it, so that it is drawn as a missing one.
_NO_CHARACTER = "\U0010ffff"
_PROBE_SIZE = 20
_VARIATION_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))


def choose_font(text: str, size: int) -> tuple[str, Font]:
    """Choose the font of a label.

    Args:
        text: The label.
        size: Of the font, pixels.

    Returns:
        The text to draw, with "U+732B" for a character that no font here has, and the font: Pillow's own where it has
        every character, else DejaVu Sans.
    """
    shown = "".join(
        character
        for character in unicodedata.normalize("NFC", text)
        if unicodedata.category(character) != "Cf" and character not in _VARIATION_SELECTORS
    )
    if all(_has_glyph(character, is_bundled=False) for character in shown):
        return shown, _load_font(size, is_bundled=False)
    return _name_missing(shown), _load_font(size, is_bundled=True)


def _name_missing(text: str) -> str:
    words: list[str] = []
    was_named = False
    for character in text:
        is_named = not _has_glyph(character, is_bundled=True)
        # A space keeps two code points apart.
        words.append(f"{' ' if was_named and is_named else ''}U+{ord(character):04X}" if is_named else character)
        was_named = is_named
    return "".join(words)


@lru_cache(maxsize=2**12)  # labels may hold any character
def _has_glyph(character: str, *, is_bundled: bool) -> bool:
    if character.isspace():
        return True
    drawn = _draw_probe(character, is_bundled=is_bundled)
    return drawn != _draw_missing(is_bundled=is_bundled)


@cache
def _draw_missing(*, is_bundled: bool) -> tuple[tuple[int, int], bytes]:
    return _draw_probe(_NO_CHARACTER, is_bundled=is_bundled)


def _draw_probe(character: str, *, is_bundled: bool) -> tuple[tuple[int, int], bytes]:
    mask = _load_font(_PROBE_SIZE, is_bundled=is_bundled).getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _load_font(size: int, *, is_bundled: bool) -> Font:
    if not is_bundled:
        return ImageFont.load_default(size)
    return ImageFont.truetype(io.BytesIO(_read_bundled()), size)


@cache
def _read_bundled() -> bytes:
    return resources.files("promptseg.ops").joinpath("fonts", _FONT_FILE).read_bytes()
