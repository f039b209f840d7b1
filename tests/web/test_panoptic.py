"""A name for every pixel: by one's own words, or by everyday names."""

from pathlib import Path

import numpy as np
import pytest
from page_driver import PageDriver, unpack
from playwright.sync_api import expect

from promptseg import Predictor
from promptseg.formats.table import find_format

pytestmark = pytest.mark.browser


def show_everything(tab: PageDriver) -> None:
    tab.page.locator("#view-panoptic").click()
    tab.wait_idle()


def test_every_pixel_gets_one_of_the_words(cat: PageDriver, predictor: Predictor, photo: Path, tmp_path: Path) -> None:
    cat.find("cat, table, window")
    asked = cat.masks()
    show_everything(cat)
    assert cat.requests[-1]["names"] == ["cat", "table", "window"]
    truth = predictor.panoptic(photo, ["cat", "table", "window"])
    labels = {segment.label for segment in truth.segments}
    assert labels and set(cat.page.locator("#names .row-label").all_inner_texts()) == labels
    expect(cat.page.locator("#presence")).to_be_hidden()
    assert cat.masks()[..., 3].any()

    unpack(cat.export("coco"), tmp_path / "coco")
    data = find_format("coco").read(tmp_path / "coco")
    objects = list(data.annotations[0].objects())
    assert len(objects) == len(truth.segments)
    covered = np.sum([instance.mask for _, instance in objects], axis=0)
    assert covered.max() == 1  # no pixel has two names
    assert covered.sum() == sum(segment.area for segment in truth.segments)
    names = (
        unpack(cat.export("masks"), tmp_path / "masks") if len(labels) > 1 else [cat.export("masks").suggested_filename]
    )
    assert len(names) == len(labels)
    cat.press("Escape")

    cat.page.locator("#view-queries").click()
    cat.wait_idle()
    assert np.array_equal(cat.masks(), asked)


def test_without_words_the_names_are_everyday_ones(cat: PageDriver) -> None:
    show_everything(cat)
    assert "names" not in cat.requests[-1]
    expect(cat.page.locator("#panoptic-note")).to_contain_text("an everyday name")
    cat.click(220, 150)  # a click asks for an object: the page shows what was asked again
    expect(cat.page.locator("#query-view")).to_be_visible()
    assert cat.labels() == ["object 1"]
    cat.press("Control+z")
    cat.wait_idle()
    expect(cat.page.locator("#panoptic-view")).to_be_visible()
    cat.press("Control+z")
    expect(cat.page.locator("#query-view")).to_be_visible()
