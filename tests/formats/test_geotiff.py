"""GeoTIFF in, longitude and latitude out, judged by rasterio's own warping and rasterizing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from formats_world import CLASSES, SIZE_HW, make_masks, make_segmentation
from PIL import Image, TiffImagePlugin

from promptseg.errors import ImageError, MissingExtraError
from promptseg.formats.dataset import read, write

rasterio = pytest.importorskip("rasterio")
features = pytest.importorskip("rasterio.features")
warp = pytest.importorskip("rasterio.warp")

# Ten meters a pixel, turned by a few degrees, in UTM zone 32.
TRANSFORM = rasterio.Affine(9.9, 1.2, 400_000.0, 1.2, -9.9, 5_600_000.0)


def write_geotiff(path: Path, **profile: object) -> Path:
    image_rgb = make_segmentation(make_masks()).image_rgb
    height, width = SIZE_HW
    settings = {"crs": "EPSG:32632", "transform": TRANSFORM} | profile
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8", photometric="RGB", **settings
    ) as raster:
        raster.write(np.moveaxis(image_rgb, 2, 0))
    return path


def test_geographic_features_lie_where_the_raster_says(tmp_path: Path) -> None:
    image = write_geotiff(tmp_path / "field.tif")
    out = write({image: make_segmentation(make_masks())}, tmp_path / "out", format="geojson", tolerance=0)
    document = json.loads((out / "field.geojson").read_text(encoding="utf-8"))
    expected = [(label, mask) for label, masks in make_masks().items() for mask in masks]
    for (label, mask), feature in zip(expected, document["features"], strict=True):
        assert feature["properties"]["label"] == label
        in_utm = warp.transform_geom("EPSG:4326", "EPSG:32632", feature["geometry"])
        drawn = features.rasterize([in_utm], out_shape=SIZE_HW, transform=TRANSFORM)
        np.testing.assert_array_equal(drawn, mask)
        rings = np.array(feature["geometry"]["coordinates"][0][0]).reshape(-1, 2)
        assert (np.abs(rings - [7.6, 50.5]) < 0.1).all(), "degrees east and north, near Wetzlar"


def test_geographic_features_are_read_back_as_pixels(tmp_path: Path) -> None:
    image = write_geotiff(tmp_path / "field.tif")
    out = write({image: make_segmentation(make_masks())}, tmp_path / "out", format="geojson", tolerance=0)
    (annotation,) = read(out, format="geojson").annotations
    assert (annotation.file_name, annotation.size_hw) == ("field.tif", SIZE_HW)
    for region in annotation.regions:
        np.testing.assert_array_equal(region.area.mask, np.logical_or.reduce(make_masks()[region.label]))


def test_a_plain_tiff_stays_in_pixels(tmp_path: Path) -> None:
    Image.fromarray(make_segmentation(make_masks()).image_rgb).save(tmp_path / "plain.tif")
    out = write({tmp_path / "plain.tif": make_segmentation(make_masks())}, tmp_path / "out", format="geojson")
    assert json.loads((out / "plain.geojson").read_text())["picture"]["coordinates"] == "pixel"


def test_broken_geotiffs_are_named(tmp_path: Path) -> None:
    nowhere = write_geotiff(tmp_path / "nowhere.tif", crs=None)
    result = make_segmentation({CLASSES[0]: []})
    with pytest.raises(ImageError, match=r"nowhere\.tif: a GeoTIFF without the coordinate system"):
        write({nowhere: result}, tmp_path / "a", format="geojson")
    # A key directory that promises a projection and gives none.
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[34735] = (1, 1, 0, 1, 1024, 0, 1, 9)
    tags.tagtype[34735] = 3
    Image.fromarray(result.image_rgb).save(tmp_path / "broken.tif", tiffinfo=tags)
    with pytest.raises(ImageError, match=r"broken\.tif: a GeoTIFF"):
        write({tmp_path / "broken.tif": result}, tmp_path / "b", format="geojson")
    # Other formats don't ask.
    write({nowhere: result}, tmp_path / "c", format="coco")


def test_without_rasterio_the_error_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write_geotiff(tmp_path / "field.tif")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'promptseg\[geo\]'"):
        write({image: make_segmentation(make_masks())}, tmp_path / "out", format="geojson")
