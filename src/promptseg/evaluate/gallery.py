"""Contact sheets of predictions: the best, the typical and the worst, ground truth in green and prediction in red."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import maximum_filter, minimum_filter

from promptseg.data.sample import Mask
from promptseg.evaluate.records import ImageRecord, PairRecord
from promptseg.evaluate.runner import EvaluationExample, PhraseSegmenter, predict
from promptseg.evaluate.scoring import ungated_mask
from promptseg.images import read_image
from promptseg.ops.label_fonts import choose_font

TRUTH_RGB = (40, 230, 90)
PREDICTION_RGB = (255, 45, 60)
_INK, _FAINT, _PAPER, _MOUNT = (25, 25, 28), (110, 110, 116), (255, 255, 255), (238, 238, 240)

# One tile, pixels: the image is fitted into the frame, two lines of text stand under it.
_FRAME_WH = (320, 240)
_CAPTION_HEIGHT = 48
_GAP = 16
_HEADING_HEIGHT = 44
# Drawn larger and shrunk, so that contours are smooth.
_OVERSAMPLING = 2
# In pixels of the larger drawing; a dark edge of two more shows the line on any ground.
_LINE_WIDTH = 5


@dataclass(frozen=True, eq=False)
class Tile:
    """One prediction on a contact sheet.

    Attributes:
        image_rgb: The image, uint8 (H, W, 3).
        truth: bool (H, W).
        prediction: bool (H, W).
        title: First line under the image: the phrase.
        caption: Second line: figures.
    """

    image_rgb: NDArray[np.uint8]
    truth: Mask
    prediction: Mask
    title: str
    caption: str


def choose_pairs(
    images: Iterable[ImageRecord], *, num_each: int = 8
) -> dict[str, tuple[tuple[ImageRecord, PairRecord], ...]]:
    """Choose the present pairs of the highest IoU, of the IoU nearest to the median, and of the lowest.

    Args:
        images: All records of a data set.
        num_each: Pairs in each row of the sheet, at most.

    Returns:
        "best", "typical" and "worst". Each shows an image once and a phrase once, as far as there are enough of them;
        among equally bad ones the largest objects come first.
    """
    pairs = [(image, pair) for image in images for pair in image.pairs if pair.counts is not None]
    if not pairs:
        return {}
    ious = np.array([pair.counts.iou for _, pair in pairs if pair.counts is not None])
    areas = np.array([pair.counts.iou_of_everything for _, pair in pairs if pair.counts is not None])
    ranks = {
        "best": np.lexsort((-areas, -ious)),
        "typical": np.argsort(np.abs(ious - np.median(ious)), kind="stable"),
        "worst": np.lexsort((-areas, ious)),
    }
    return {name: _spread([pairs[index] for index in order], num_each) for name, order in ranks.items()}


def draw_pairs(
    model: PhraseSegmenter,
    examples: Iterable[EvaluationExample],
    chosen: Mapping[str, Sequence[tuple[ImageRecord, PairRecord]]],
    *,
    title: str,
) -> Image.Image:
    """Run the model again on the chosen pairs and draw the sheet.

    Args:
        model: The model that the records are of.
        examples: The examples that the records are of.
        chosen: Rows of the sheet by their headings, as `choose_pairs` gives them.
        title: Heading of the sheet.

    Raises:
        PromptsegError: An image can't be read any more.
    """
    by_id = {example.sample_id: example for example in examples}
    sections = {
        name: [_tile(model, by_id[image.sample_id], pair) for image, pair in pairs] for name, pairs in chosen.items()
    }
    return draw_sheet(sections, title=title)


def draw_sheet(sections: Mapping[str, Sequence[Tile]], *, title: str, num_columns: int = 4) -> Image.Image:
    """Draw tiles in even columns, a heading over each section.

    Args:
        sections: Tiles by heading.
        title: Heading of the sheet.
        num_columns: Tiles side by side.

    Returns:
        RGB image.
    """
    step_x, step_y = _FRAME_WH[0] + _GAP, _FRAME_WH[1] + _CAPTION_HEIGHT + _GAP
    heights = [_HEADING_HEIGHT + step_y * math.ceil(len(tiles) / num_columns) for tiles in sections.values()]
    sheet = Image.new("RGB", (step_x * num_columns + _GAP, 2 * _HEADING_HEIGHT + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _HEADING_HEIGHT * 0.75), title, fill=_INK, font=ImageFont.load_default(24), anchor="lm")
    _draw_legend(draw, y=_HEADING_HEIGHT * 1.45)
    top = 2 * _HEADING_HEIGHT
    for (name, tiles), height in zip(sections.items(), heights, strict=True):
        draw.text((_GAP, top + _HEADING_HEIGHT / 2), name, fill=_INK, font=ImageFont.load_default(20), anchor="lm")
        for index, tile in enumerate(tiles):
            row, column = divmod(index, num_columns)
            _draw_tile(sheet, tile, (_GAP + column * step_x, top + _HEADING_HEIGHT + row * step_y))
        top += height
    return sheet


def _spread(
    ranked: Sequence[tuple[ImageRecord, PairRecord]], num_each: int
) -> tuple[tuple[ImageRecord, PairRecord], ...]:
    """Take from the front, each image and each phrase once; fill up with the front of the rest."""
    taken: list[tuple[ImageRecord, PairRecord]] = []
    seen: set[str] = set()
    for image, pair in ranked:
        if len(taken) < num_each and not seen & {image.sample_id, f"phrase {pair.phrase}"}:
            taken.append((image, pair))
            seen |= {image.sample_id, f"phrase {pair.phrase}"}
    rest = [item for item in ranked if item not in taken]
    return (*taken, *rest[: num_each - len(taken)])


def _tile(model: PhraseSegmenter, example: EvaluationExample, pair: PairRecord) -> Tile:
    queries = example.load_queries()
    predictions = predict(model, example.image, queries)
    index = [query.phrase for query in queries].index(pair.phrase)
    iou = pair.counts.iou if pair.counts is not None else math.nan
    verdict = "" if pair.kept else ", predicted absent"
    return Tile(
        image_rgb=read_image(example.image),
        truth=queries[index].truth,
        prediction=ungated_mask(predictions[index]),
        title=pair.phrase,
        caption=f"IoU {iou:.2f}   presence {pair.presence:.2f}{verdict}",
    )


def _draw_legend(draw: ImageDraw.ImageDraw, *, y: float) -> None:
    font = ImageFont.load_default(15)
    x = float(_GAP)
    for text, color in (("truth", TRUTH_RGB), ("prediction", PREDICTION_RGB)):
        draw.line((x, y, x + 26, y), fill=_INK, width=7)
        draw.line((x + 1, y, x + 25, y), fill=color, width=4)
        draw.text((x + 34, y), text, fill=_FAINT, font=font, anchor="lm")
        x += 34 + draw.textlength(text, font=font) + 24


def _draw_tile(sheet: Image.Image, tile: Tile, corner_xy: tuple[int, int]) -> None:
    x, y = corner_xy
    width, height = _FRAME_WH
    image = _paint(tile)
    sheet.paste(_MOUNT, (x, y, x + width, y + height))
    sheet.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))
    draw = ImageDraw.Draw(sheet)
    for line, (text, size, color) in enumerate(((tile.title, 16, _INK), (tile.caption, 13, _FAINT))):
        shown, font = choose_font(text, size)
        draw.text((x, y + height + 14 + 20 * line), _fit(draw, shown, font), fill=color, font=font, anchor="lm")


def _fit(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if draw.textlength(text, font=font) <= _FRAME_WH[0]:
        return text
    while text and draw.textlength(text + "…", font=font) > _FRAME_WH[0]:
        text = text[:-1]
    return text.rstrip() + "…"


def _paint(tile: Tile) -> Image.Image:
    """Fit the image into the frame and draw both contours."""
    H, W, _ = tile.image_rgb.shape
    scale = min(_FRAME_WH[0] / W, _FRAME_WH[1] / H)
    size_wh = max(1, round(W * scale)), max(1, round(H * scale))
    large_wh = size_wh[0] * _OVERSAMPLING, size_wh[1] * _OVERSAMPLING
    canvas = Image.fromarray(tile.image_rgb).resize(large_wh, Image.Resampling.LANCZOS)
    truth, prediction = (
        np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(large_wh, Image.Resampling.BILINEAR)) >= 128
        for mask in (tile.truth, tile.prediction)
    )
    # Truth just outside its edge, prediction just inside: they lie side by side where both agree.
    for line, color in ((_LINE_WIDTH + 2, _INK), (_LINE_WIDTH, TRUTH_RGB)):
        canvas.paste(color, mask=Image.fromarray(maximum_filter(truth, 2 * line + 1) & ~truth))
    for line, color in ((_LINE_WIDTH + 2, _INK), (_LINE_WIDTH, PREDICTION_RGB)):
        canvas.paste(color, mask=Image.fromarray(prediction & ~minimum_filter(prediction, 2 * line + 1)))
    return canvas.resize(size_wh, Image.Resampling.LANCZOS)
