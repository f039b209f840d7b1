"""The georeference of a GeoTIFF; this is the only module that needs rasterio."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg._extras import require
from promptseg.errors import ImageError
from promptseg.images import EXIF_ORIENTATION, open_image

_EXTRA = "geo"
_WGS84 = "EPSG:4326"

# TIFF tags that only a GeoTIFF has: ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory.
_GEO_TAGS = frozenset({33550, 33922, 34264, 34735})


@dataclass(frozen=True)
class Georeference:
    """A raster's coordinate system, and the affine map into it.

    Attributes:
        crs: The coordinate system as WKT.
        transform: (a, b, c, d, e, f); pixel (x, y) lies at (a x + b y + c, d x + e y + f).
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    @classmethod
    def load(cls, path: Path) -> "Georeference | None":
        """Read the georeference of an image.

        Args:
            path: An image that can be read.

        Returns:
            None if the image is not a GeoTIFF.

        Raises:
            ImageError: It is a GeoTIFF whose georeference is missing, incomplete or unreadable.
            MissingExtraError: It is a GeoTIFF, and rasterio is not installed.
        """
        with path.open("rb") as file, open_image(file) as image:
            tags = dict(image.tag_v2) if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
        if not _GEO_TAGS & tags.keys():
            return None
        rasterio = require("rasterio", extra=_EXTRA)
        try:
            with warnings.catch_warnings():
                # What rasterio only warns of is an error below.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                with rasterio.open(path) as raster:
                    crs, transform = raster.crs, raster.transform
        except rasterio.errors.RasterioError as error:
            raise ImageError(f"{path}: a GeoTIFF that can't be read: {error}") from error
        if crs is None or transform.is_identity or transform.is_degenerate:
            missing = "coordinate system" if crs is None else "place and size of its pixels"
            raise ImageError(
                f"{path}: a GeoTIFF without the {missing}; set it with gdal_edit, or save the image as PNG for pixels"
            )
        if tags.get(EXIF_ORIENTATION, 1) != 1:
            raise ImageError(f"{path}: a GeoTIFF that is stored rotated; save it upright first")
        a, b, c, d, e, f = tuple(transform)[:6]
        return cls(crs.to_wkt(), (a, b, c, d, e, f))

    def to_geographic(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points from pixels, shape (P, 2), to longitude and latitude, degrees, shape (P, 2)."""
        return _transform(self.crs, _WGS84, points_xy @ self._linear.T + self._offset)

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points from longitude and latitude, degrees, shape (P, 2), to pixels, shape (P, 2)."""
        return (_transform(_WGS84, self.crs, points) - self._offset) @ np.linalg.inv(self._linear).T

    def to_dict(self) -> dict[str, Any]:
        """Describe it in JSON's own types; `from_dict` reads it."""
        return {"crs": self.crs, "transform": list(self.transform)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Georeference":
        """Read what `to_dict` returned."""
        a, b, c, d, e, f = (float(value) for value in values["transform"])
        return cls(str(values["crs"]), (a, b, c, d, e, f))

    @property
    def _linear(self) -> NDArray[np.float64]:
        a, b, _, d, e, _ = self.transform
        return np.array([[a, b], [d, e]])

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.transform[2], self.transform[5]])


def _transform(source: str, target: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = require("rasterio.warp", extra=_EXTRA).transform(
        source, target, points[:, 0].tolist(), points[:, 1].tolist()
    )
    return np.stack([x, y], axis=1)
