"""Draw the images of README and docs: the example's overlay by the default model, and the figure of the flow.

python scripts/make_images.py
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import promptseg

IMAGES = Path(__file__).parents[1] / "docs" / "images"
EXAMPLE = Path(promptseg.__file__).parent / "photos" / "astronaut.jpg"
PHRASES = ("person", "face")

STEP_WIDTH, STEP_HEIGHT, GAP, MARGIN = 172, 78, 28, 12
# One row of the figure: what runs on an image, then what runs on each request.
IMAGE_STEPS = (
    ("image", "longest side 512 px"),
    ("two encoders", "EfficientNet-Lite2,|YOLOX-Nano"),
    ("pyramid", "ConvNeXt blocks,|strides 32 to 8"),
    ("cell vectors", "one unit vector|per 8 x 8 pixels"),
)
REQUEST_STEPS = (
    ("phrase or example", "read once:|name, class, expression"),
    ("text encoder", "MiniLM + adapter;|examples: small network"),
    ("coarse mask", "cosine similarity;|presence"),
    ("MobileSAM", "redraws objects;|clicks and boxes"),
    ("result", "mask, presence,|instances"),
)


def draw_flow() -> str:
    """Draw the flow of a request as SVG: the image's row above, the request's row below."""
    width = 2 * MARGIN + len(REQUEST_STEPS) * STEP_WIDTH + (len(REQUEST_STEPS) - 1) * GAP
    upper, lower = MARGIN + 22, MARGIN + 22 + STEP_HEIGHT + 72
    height = lower + STEP_HEIGHT + MARGIN
    coarse = REQUEST_STEPS.index(("coarse mask", "cosine similarity;|presence"))
    from_x = _left(len(IMAGE_STEPS) - 1) + STEP_WIDTH / 2
    to_x = _left(coarse) + STEP_WIDTH / 2
    middle = (upper + STEP_HEIGHT + lower) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{upper - 10}" fill="#57606a">once per image: encode</text>',
        f'<text x="{MARGIN}" y="{lower - 10}" fill="#57606a">for each request: segment</text>',
        *_draw_row(IMAGE_STEPS, upper, "#ddf4ff"),
        *_draw_row(REQUEST_STEPS, lower, "#fff8c5"),
        _draw_arrow(f"M{from_x} {upper + STEP_HEIGHT}V{middle}H{to_x}V{lower}"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _left(index: int) -> int:
    return MARGIN + index * (STEP_WIDTH + GAP)


def _draw_row(steps: Sequence[tuple[str, str]], top: int, fill: str) -> list[str]:
    parts = []
    for index, (title, detail) in enumerate(steps):
        left = _left(index)
        center = left + STEP_WIDTH / 2
        parts.append(
            f'<rect x="{left}" y="{top}" width="{STEP_WIDTH}" height="{STEP_HEIGHT}" rx="6" fill="{fill}" '
            'stroke="#57606a"/>'
        )
        parts.append(
            f'<text x="{center}" y="{top + 22}" text-anchor="middle" font-weight="bold" fill="#24292f">{title}</text>'
        )
        for line, text in enumerate(detail.split("|")):
            parts.append(
                f'<text x="{center}" y="{top + 43 + 18 * line}" text-anchor="middle" fill="#24292f">{text}</text>'
            )
        if index:
            parts.append(_draw_arrow(f"M{left - GAP} {top + STEP_HEIGHT / 2}H{left}"))
    return parts


def _draw_arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#57606a" stroke-width="1.5" marker-end="url(#head)"/>'


def main() -> None:
    """Write both images."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    result = promptseg.segment(EXAMPLE, PHRASES)
    result.overlay().save(IMAGES / "astronaut.jpg", quality=90)
    (IMAGES / "flow.svg").write_text(draw_flow(), encoding="utf-8")


if __name__ == "__main__":
    main()
