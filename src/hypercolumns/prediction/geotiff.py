"""Write predicted masks as TIFF files with the georeference of their images, by rasterio."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write
from hypercolumns.io.tiff import is_turned
from hypercolumns.labels import Palette, colour_table


def write_geotiff(
    path: Path, labels: NDArray[np.uint8], source: Path | None, classes: Sequence[str], palette: Palette
) -> None:
    """Write class indices as a TIFF with a palette, atomically.

    Args:
        path: the file.
        labels: (H, W) uint8 class indices.
        source: the image file, whose coordinate reference system, and transform or ground control points, are copied. A
            file without them gives a TIFF without them. None: there is no such file, as for the frame of a video.
        classes: the names of the classes, which become a tag of the band.
        palette: the colour of each class.

    Raises:
        HypercolumnsError: if the image is georeferenced, but its pixels are not those of the mask, or if GDAL can't
            read it.
    """
    import rasterio  # not at the top of the module: only the extra `geo` installs this package

    place, points = ({}, None) if source is None else _georeference(source, labels.shape)
    height, width = labels.shape
    form = {"driver": "GTiff", "count": 1, "dtype": "uint8", "compress": "deflate", "height": height, "width": width}
    with atomic_write(path) as temporary, rasterio.open(temporary, "w", **form, **place) as file:
        file.write(labels, 1)
        file.write_colormap(1, dict(enumerate(map(tuple, colour_table(palette)))))
        file.update_tags(1, classes=json.dumps(list(classes)))
        if points is not None:
            file.gcps = points


def _georeference(source: Path, size: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
    """Read the georeference of an image file.

    Args:
        source: the file.
        size: the (height, width) of the mask.

    Returns:
        The arguments `crs` and `transform` of rasterio.open, if the image has them. The second value is the ground
        control points with their coordinate reference system, or None.
    """
    import rasterio

    try:
        with rasterio.open(source) as image:
            points = image.gcps if image.gcps[0] else None
            known = {} if image.transform.is_identity else {"transform": image.transform}
            place = known | ({"crs": image.crs} if image.crs else {})
            stored = image.height, image.width
    except rasterio.errors.RasterioIOError as error:
        raise HypercolumnsError(
            f"{source} can't be read by GDAL ({error}), so its georeference is not known; set outputs.geotiff=false"
        ) from error
    if (place or points) and (stored != size or is_turned(source)):
        raise HypercolumnsError(
            f"{source} is georeferenced for its first page as stored, but the mask is that of another or of a turned "
            f"page; save the page upright as a file of its own, or set outputs.geotiff=false"
        )
    return place, points
