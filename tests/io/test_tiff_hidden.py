"""TIFF files with images that are not in their list of pages."""

import numpy as np
import pytest
import tifffile
from helpers.image_reading import read, refused

H, W = 24, 32
STACK = np.random.default_rng(0).integers(0, 256, (3, H, W), np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("imagej", [True, False])
def test_stack_behind_one_page_is_refused(tmp_path, dtype, imagej):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, STACK.astype(dtype), photometric="minisblack", truncate=True, imagej=imagej)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].shape == (3, H, W)
        assert len(file.pages) == 1
    for page in (None, 0, "all"):
        assert "ImageDescription counts 3 images, but has only 1 in its list of pages; save" in refused(
            path, range="dtype", page=page
        )


def test_stack_of_pages_is_read(tmp_path):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", imagej=True)
    assert "is a TIFF with 3 pages" in refused(path)
    assert (read(path, (H, W), page="all") == np.moveaxis(STACK, 0, -1)).all()


@pytest.mark.parametrize("imagej", [True, False])
def test_single_image_may_be_described(tmp_path, imagej):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, STACK[0], photometric="minisblack", truncate=True, imagej=imagej)
    assert (read(path, (H, W)) == STACK[0][..., None]).all()
    rgb = np.moveaxis(STACK, 0, -1)
    tifffile.imwrite(path, rgb, photometric="rgb", truncate=True, imagej=imagej)
    assert (read(path, (H, W)) == rgb).all()


@pytest.mark.parametrize("bigtiff", [True, False])
def test_thumbnail_of_a_dng_is_refused(tmp_path, bigtiff):
    path = tmp_path / "i.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        file.write(STACK[0, ::4, ::4], photometric="minisblack", subfiletype=1, subifds=1, metadata=None)
        file.write(STACK[0], photometric="minisblack", subfiletype=0, metadata=None)
    assert "is a TIFF whose pages are only thumbnails, with the image itself in a SubIFD" in refused(path)


def test_smaller_copies_in_a_subifd_are_no_pages(tmp_path):
    path = tmp_path / "i.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(STACK[0], photometric="minisblack", subifds=1, metadata=None)
        file.write(STACK[0, ::4, ::4], photometric="minisblack", subfiletype=1, metadata=None)
    assert (read(path, (H, W)) == STACK[0][..., None]).all()


def test_long_description_is_no_fault(tmp_path):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, STACK[0], photometric="minisblack", description="<OME>" * 20_000, metadata=None)
    assert (read(path, (H, W)) == STACK[0][..., None]).all()
