"""Galleries: the pairs that are chosen, and the contact sheet."""

import numpy as np
from evaluate_world import ColorSegmenter, write_indexes

from promptseg.data.jsonl import read_jsonl
from promptseg.evaluate.gallery import PREDICTION_RGB, TRUTH_RGB, Tile, choose_pairs, draw_pairs, draw_sheet
from promptseg.evaluate.records import ImageRecord, PairRecord
from promptseg.evaluate.runner import evaluate_examples, sample_examples
from promptseg.metrics import PixelCounts


def test_gallery_spreads_over_images_and_phrases():
    def image(name, *ious):
        pairs = tuple(
            PairRecord(f"phrase {index}", "thing", "human", True, 0.9, True, counts, counts)
            for index, counts in enumerate(PixelCounts(iou, iou, 100, 1000) for iou in ious)
        )
        return ImageRecord(name, pairs=pairs)

    chosen = choose_pairs([image("a", 90, 95), image("b", 99, 50), image("c", 10, 0)], num_each=2)
    names = {row: [(image.sample_id, pair.phrase) for image, pair in pairs] for row, pairs in chosen.items()}
    assert names["best"] == [("b", "phrase 0"), ("a", "phrase 1")]
    assert names["worst"] == [("c", "phrase 1"), ("a", "phrase 0")], "though c and b have worse ones left"
    assert choose_pairs([]) == {}


def test_gallery_draws_truth_green_and_prediction_red(tmp_path):
    write_indexes(tmp_path, "clothes")
    examples = list(sample_examples(read_jsonl(tmp_path / "clothes.jsonl")))
    records = list(evaluate_examples(ColorSegmenter(), examples))
    sheet = np.asarray(draw_pairs(ColorSegmenter(), examples, choose_pairs(records, num_each=4), title="t"))
    for color in (TRUTH_RGB, PREDICTION_RGB):
        assert (np.abs(sheet.astype(int) - color).max(axis=-1) < 40).sum() > 500


def test_sheet_has_even_columns_for_images_of_any_shape():
    mask = np.zeros((50, 2000), dtype=bool)
    mask[10:20, 100:900] = True
    wide = Tile(np.zeros((50, 2000, 3), np.uint8), mask, mask, "a very long phrase " * 10, "IoU 1.00")
    tiny = Tile(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool), np.zeros((1, 1), bool), "dot", "IoU 0.00")
    one, two = (draw_sheet({"best": [wide] * count}, title="x") for count in (1, 4))
    assert one.size == two.size
    assert draw_sheet({"best": [wide, tiny], "worst": [tiny] * 5}, title="x").width == one.width
