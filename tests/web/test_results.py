"""What is done with answers: sliders, what is not there, and files that promptseg reads back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer
from page_driver import PageDriver, save, unpack
from PIL import Image
from playwright.sync_api import expect
from pycocotools.coco import COCO

from promptseg import Predictor, Segmentation, read_image, read_mask
from promptseg.formats.table import find_format
from promptseg.ops.rle import decode_rle

pytestmark = pytest.mark.browser


@pytest.fixture
def asked(cat: PageDriver) -> PageDriver:
    cat.find("cat, window, table")
    return cat


def test_the_presence_slider_and_the_opacity_ask_nothing(asked: PageDriver) -> None:
    num_requests = len(asked.requests)
    expect(asked.row("table")).to_have_attribute("data-verdict", "present")
    before = asked.masks()
    asked.slide("presence", 0.99)
    expect(asked.row("table")).to_have_attribute("data-verdict", "absent")
    expect(asked.row("table").locator(".row-detail")).to_have_text("not there")
    expect(asked.row("cat")).to_have_attribute("data-verdict", "present")
    without_table = asked.masks()
    assert not np.array_equal(without_table, before)
    asked.slide("presence", 0)
    expect(asked.row("window")).to_have_attribute("data-verdict", "present")
    asked.slide("opacity", 0)
    assert (asked.masks()[..., 3] > 0).mean() < (without_table[..., 3] > 0).mean()
    assert len(asked.requests) == num_requests


def test_the_mask_threshold_asks_anew(asked: PageDriver) -> None:
    asked.slide("mask-threshold", 0.9)
    asked.wait_idle()
    assert asked.requests[-1]["mask_threshold"] == 0.9


def test_what_is_not_there_stays_as_a_row_that_says_so(asked: PageDriver) -> None:
    absent = asked.row("window")
    expect(absent).to_have_attribute("data-verdict", "absent")
    expect(absent.locator(".row-detail")).to_have_text("not there")
    expect(asked.page.locator("#status")).to_contain_text("window: not there")
    with_it = asked.masks()
    absent.locator("[aria-label='Remove window']").click()
    asked.wait_idle()
    assert np.array_equal(asked.masks(), with_it)


def test_what_the_model_is_unsure_of_is_shown_as_that(
    predictor: Predictor, serve: Callable[..., LiveServer], tabs: Callable[..., PageDriver], photo: Path
) -> None:
    tab = tabs(serve(replace(predictor, unsure_threshold=0.3))).start()
    tab.drop(photo)
    tab.find("grass, window, table")
    expect(tab.row("table")).to_have_attribute("data-verdict", "present")
    expect(tab.row("window")).to_have_attribute("data-verdict", "unsure")
    expect(tab.row("window").locator(".row-detail")).to_have_text("unsure · 3 objects")
    expect(tab.row("grass")).to_have_attribute("data-verdict", "absent")
    with_window = tab.masks()
    tab.slide("presence", 0.5)  # who moves the slider decides
    expect(tab.row("window")).to_have_attribute("data-verdict", "absent")
    assert not np.array_equal(tab.masks(), with_window)


def test_the_answers_of_a_server_that_says_more_are_shown(asked: PageDriver) -> None:
    def say_more(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        body = answer.json()
        body["results"][0] |= {"status": "unsure", "read_as": "a cat"}
        route.fulfill(response=answer, json=body)  # type: ignore[attr-defined]

    asked.page.route("**/v1/segment", say_more)
    asked.find("dog")
    expect(asked.row("cat")).to_have_attribute("data-verdict", "unsure")
    expect(asked.row("cat").locator(".row-detail")).to_contain_text("unsure")
    expect(asked.row("cat").locator(".row-detail")).to_contain_text("read as “a cat”")


def test_every_export_is_read_back_with_the_masks_of_the_server(
    asked: PageDriver, predictor: Predictor, photo: Path, tmp_path: Path
) -> None:
    truth = predictor.segment(photo, ["cat", "table"])
    masks = {result.label: result.mask for result in truth}
    objects = [(result.label, instance.mask) for result in truth for instance in result.instances]

    names = unpack(asked.export("masks"), tmp_path / "masks")
    assert names == ["mask-000-cat.png", "mask-001-table.png"]
    for name, label in zip(names, ("cat", "table"), strict=True):
        with Image.open(tmp_path / "masks" / name) as file:
            assert file.mode == "1"
        assert np.array_equal(read_mask(tmp_path / "masks" / name), masks[label])

    unpack(asked.export("cutouts"), tmp_path / "cutouts")
    expected = np.asarray(truth["table"].cut_out(photo))
    with Image.open(tmp_path / "cutouts" / "cutout-001-table.png") as file:
        cut = np.asarray(file)
    assert np.array_equal(cut[..., 3], expected[..., 3])
    inside = expected[..., 3] > 0
    # two decoders of JPEG differ by a few levels
    assert np.abs(cut[inside].astype(int) - expected[inside].astype(int)).mean() < 3

    overlay = read_image(save(asked.export("overlay"), tmp_path / "overlay.png"))
    original = read_image(photo).astype(int)
    changed = np.abs(overlay.astype(int) - original).max(axis=2) > 40
    assert overlay.shape == original.shape and changed[masks["cat"]].mean() > 0.5

    save(asked.export("json"), tmp_path / "json" / "result.json")
    loaded = Segmentation.load(tmp_path / "json", image=photo)
    assert loaded.labels == ("cat", "table") and loaded.presence_threshold == 0.5
    for result in truth[:]:
        assert np.array_equal(loaded[result.label].mask, result.mask)
        assert len(loaded[result.label].instances) == len(result.instances)

    unpack(asked.export("coco"), tmp_path / "coco")
    assert (tmp_path / "coco" / "images" / "chelsea.jpg").read_bytes() == photo.read_bytes()
    COCO(tmp_path / "coco" / "annotations" / "instances.json")
    unpack(asked.export("labelstudio"), tmp_path / "labelstudio")
    save(asked.export("polygons"), tmp_path / "geojson" / "chelsea.geojson")
    (tmp_path / "geojson" / "classes.txt").write_text("cat\ntable\n")
    for name in ("coco", "labelstudio", "geojson"):
        data = find_format(name).read(tmp_path / name)
        (annotation,) = data.annotations
        assert data.classes == ("cat", "table") and Path(annotation.file_name).stem == "chelsea"
        read = [(label, instance.mask) for label, instance in annotation.objects()]
        assert [label for label, _ in read] == [label for label, _ in objects]
        for (label, mask), (_, expected_mask) in zip(read, objects, strict=True):
            assert np.array_equal(mask, expected_mask), (name, label)


def test_only_what_is_selected_is_exported(asked: PageDriver, tmp_path: Path) -> None:
    asked.page.locator("#export").click()
    # what is not there is not selected
    assert asked.page.locator("#export-rows input:checked").count() == 2
    asked.page.get_by_label("cat", exact=True).uncheck()
    path = save(asked.export("masks"), tmp_path / "one.png")
    assert read_mask(path).any()
    asked.page.get_by_label("table", exact=True).uncheck()
    asked.page.locator("[data-format=masks]").click()
    expect(asked.page.locator("#export-note")).to_have_text("Nothing is selected.")


def test_a_candidate_that_was_chosen_is_exported(cat: PageDriver, tmp_path: Path) -> None:
    cat.click(220, 150)
    cat.press("3")
    cat.wait_idle()
    document = json.loads(save(cat.export("json"), tmp_path / "result.json").read_text())
    mask = decode_rle(document["results"][0]["mask"])
    assert mask.shape == (300, 451) and 0 < mask.sum() < 30_000
