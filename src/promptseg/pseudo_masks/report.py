"""Report on a run: counts, score histograms, and a contact sheet."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promptseg.images import read_image
from promptseg.ops.overlay import OverlayLayer, draw_overlay
from promptseg.ops.rle import decode_rle

NUM_SCORE_BINS = 20
SHEET_COLUMNS, SHEET_ROWS = 6, 5
TILE_HW = (240, 280)


def statistics(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Count pseudo-masks.

    Args:
        records: From `image.mask_record`.

    Returns:
        The number of images and the failures; for each source the number of proposed and kept masks, the reasons for
        dropping, the mean score of the kept masks, and a histogram of all scores in equal bins from 0 to 1.
    """
    num_images, failures = 0, []
    kept: dict[str, list[float]] = defaultdict(list)
    dropped: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        num_images += 1
        if "error" in record:
            failures.append({"image": record["image"], "error": record["error"]})
        for entry in record["masks"]:
            kept[entry["source"]].append(entry["score"])
        for entry in record["dropped"]:
            dropped[entry["source"]].append(entry["score"])
            reasons[entry["source"]][entry["reason"]] += 1
    by_source = {
        source: _summary(kept[source], dropped[source], reasons[source])
        for source in sorted(kept.keys() | dropped.keys())
    }
    return {"num_images": num_images, "failures": failures, "sources": by_source}


def contact_sheet(records: Sequence[Mapping[str, Any]], data_dir: Path) -> Image.Image:
    """Draw the pseudo-masks of images spread evenly over a set.

    Args:
        records: From `image.mask_record`.
        data_dir: Directory that image names are relative to.
    """
    shown = [record for record in records if record["masks"]]
    num_tiles = min(SHEET_COLUMNS * SHEET_ROWS, len(shown))
    height, width = TILE_HW
    sheet = Image.new("RGB", (SHEET_COLUMNS * width, max(1, -(-num_tiles // SHEET_COLUMNS)) * height), "white")
    for tile in range(num_tiles):
        record = shown[tile * len(shown) // num_tiles]
        layers = [
            OverlayLayer(decode_rle(entry["rle"]), f"{entry['category']} {entry['score']:.2f}", index)
            for index, entry in enumerate(record["masks"])
        ]
        drawn = draw_overlay(read_image(data_dir / record["image"]), layers)
        drawn.thumbnail((width - 4, height - 4))
        sheet.paste(drawn, (tile % SHEET_COLUMNS * width, tile // SHEET_COLUMNS * height))
    return sheet


def _summary(kept: Sequence[float], dropped: Sequence[float], reasons: Mapping[str, int]) -> dict[str, Any]:
    num_proposed = len(kept) + len(dropped)
    histogram, _ = np.histogram(np.clip([*kept, *dropped], 0, 1), bins=NUM_SCORE_BINS, range=(0, 1))
    return {
        "num_proposed": num_proposed,
        "num_kept": len(kept),
        "kept_share": round(len(kept) / num_proposed, 4),
        "dropped": dict(reasons),
        "mean_kept_score": round(float(np.mean(kept)), 4) if kept else None,
        "score_histogram": histogram.tolist(),
    }
