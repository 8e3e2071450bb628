"""Masks with the georeference of their images."""

import importlib.util
import json

import numpy as np
import pytest
import rasterio
from helpers.predictions import predict, predicted, read
from PIL import Image
from rasterio.control import GroundControlPoint

from hypercolumns import HypercolumnsError

H, W = 21, 34
COLOURS = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
PLACE = rasterio.Affine(0.2, 0, 500000, 0, -0.2, 4000000)


def write(path, **georeference):
    form = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": H, "width": W, "photometric": "rgb"}
    with rasterio.open(path, "w", **form, **georeference) as file:
        file.write(np.moveaxis(COLOURS, -1, 0))


def test_mask_has_the_place_of_its_image(place, segmenter):
    write("a.tif", crs="EPSG:32632", transform=PLACE)
    assert predict("images=a.tif", "out=out", "outputs.geotiff=true") == 0
    with rasterio.open("out/a.tif") as mask:
        assert mask.crs == rasterio.CRS.from_epsg(32632)
        assert mask.transform == PLACE
        assert (mask.count, mask.dtypes, mask.nodata) == (1, ("uint8",), None)
        labels = mask.read(1)
        colours = [mask.colormap(1)[index][:3] for index in range(len(segmenter.classes))]
        assert colours == [*segmenter.palette]
        assert json.loads(mask.tags(1)["classes"]) == [*segmenter.classes]
    assert (labels == predicted(segmenter, COLOURS).labels).all()
    assert (labels == read("out/a.png")).all()


def test_control_points_are_carried(place):
    points = [GroundControlPoint(row, column, column * 2.0, row * -3.0) for row, column in ((0, 0), (0, 9), (9, 0))]
    write("a.tif", gcps=points, crs="EPSG:4326")
    assert predict("images=a.tif", "out=out", "outputs.geotiff=true") == 0
    with rasterio.open("out/a.tif") as mask:
        carried, crs = mask.gcps
    assert [(point.row, point.col, point.x, point.y) for point in carried] == [
        (point.row, point.col, point.x, point.y) for point in points
    ]
    assert crs == rasterio.CRS.from_epsg(4326)


def test_world_file_of_a_jpeg_counts(place):
    Image.fromarray(COLOURS).save("a.jpg")
    (place / "a.jgw").write_text("0.5\n0\n0\n-0.5\n10.25\n19.75\n")
    assert predict("images=a.jpg", "out=out", "outputs.geotiff=true") == 0
    with rasterio.open("out/a.tif") as mask:
        assert mask.transform == rasterio.Affine(0.5, 0, 10, 0, -0.5, 20)


def test_image_without_place_gives_a_plain_tiff(place, segmenter):
    Image.fromarray(COLOURS).save("a.png")
    assert predict("images=a.png", "out=out", "outputs.geotiff=true") == 0
    assert predict("images=.", "out=out2", "outputs.geotiff=true") == 0  # the outputs in `out` are no inputs
    assert [path.name for path in (place / "out2").glob("*.tif")] == ["a.tif"]
    assert (read("out/a.tif") == predicted(segmenter, COLOURS).labels).all()


def test_turned_image_is_refused(place):
    write("a.tif", crs="EPSG:32632", transform=PLACE)
    content = (place / "a.tif").read_bytes()
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00"  # the tag Orientation
    plain = b"\x15\x01\x03\x00\x01\x00\x00\x00"  # SamplesPerPixel, which follows it
    place_of_tag = content.index(b"\x1c\x01\x03\x00")  # PlanarConfiguration, whose default is the value here
    assert plain in content
    assert entry not in content
    turned = content[:place_of_tag] + entry + b"\x03\x00\x00\x00" + content[place_of_tag + 12 :]
    (place / "a.tif").write_bytes(turned)
    with pytest.raises(HypercolumnsError, match=r"a\.tif is georeferenced for its first page as stored, but the mask"):
        predict("images=a.tif", "out=out", "outputs.geotiff=true", "num_workers=0")


def test_missing_rasterio_is_named(place, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rasterio" else find(name))
    write("a.tif", transform=PLACE)
    with pytest.raises(HypercolumnsError, match=r"outputs\.geotiff=true needs rasterio; .* uv sync --extra geo"):
        predict("images=a.tif", "out=out", "outputs.geotiff=true")
    assert predict("images=a.tif", "out=out") == 0
