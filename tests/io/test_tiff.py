"""TIFF files and animated images as other programs write them."""

import importlib.util
import logging
from functools import partial

import numpy as np
import pytest
import rasterio
import tifffile
from helpers.image_reading import read as read_of_size
from helpers.image_reading import refused
from PIL import Image
from rasterio.enums import Resampling

from hypercolumns.errors import HypercolumnsError, UnreadableError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.images import MAX_PIXELS_VARIABLE, image_size, read_image, set_max_pixels
from hypercolumns.io.masks import read_mask, read_pair
from hypercolumns.labels import LabelScheme

H, W = 24, 32
COLOURS = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 4096, (H, W, 4), np.uint16)
OPACITY = np.random.default_rng(2).integers(0, 256, (H, W, 1), np.uint8)


read = partial(read_of_size, size=(H, W))


def of_12_bits(values):
    return np.rint(values / 4095 * 255)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("big", [False, True])
def test_forms_of_four_deep_bands(tmp_path, planar, compression, big):
    bands = np.moveaxis(DEEP, -1, 0) if planar == "separate" else DEEP
    settings = {"predictor": True} if compression in ("lzw", "deflate") else {}
    path = tmp_path / "i.tif"
    tile = (16, 16) if compression == "deflate" else None
    order = ">" if compression == "packbits" else "<"
    tifffile.imwrite(
        path,
        bands,
        photometric="minisblack",
        planarconfig=planar,
        compression=compression,
        bigtiff=big,
        tile=tile,
        byteorder=order,
        **settings,
    )
    assert (read(path, range=[0, 4095], channels=[3, 0, 1]) == of_12_bits(DEEP[..., [3, 0, 1]])).all()


def test_floats_with_a_float_predictor(tmp_path):
    values = DEEP.astype(np.float32) / 4095
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", compression="deflate", predictor=3)
    assert (read(path, range=[0, 1], channels=[2]) == of_12_bits(DEEP[..., [2]])).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_rgb_of_8_bits_needs_no_rules(tmp_path, planar, compression):
    bands = np.moveaxis(COLOURS, -1, 0) if planar == "separate" else COLOURS
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, bands, photometric="rgb", planarconfig=planar, compression=compression)
    assert (read(path) == COLOURS).all()


@pytest.mark.parametrize("compression", ["jpeg2000", "lerc", "jpegxl", "jpegxr", "png", "webp", "jpeg", "zstd"])
@pytest.mark.parametrize("grey", [False, True])
def test_compressions_of_8_bits(tmp_path, compression, grey):
    if grey and compression == "webp":
        pytest.skip("WebP is for colours")
    path = tmp_path / "i.tif"
    colours = COLOURS[..., 0] if grey else COLOURS
    tifffile.imwrite(path, colours, photometric="minisblack" if grey else "rgb", compression=compression)
    expected = tifffile.imread(path).reshape(H, W, -1)
    assert (read(path) == expected).all()
    if compression in ("lerc", "png", "zstd"):  # these are lossless
        assert (expected == COLOURS[..., : 1 if grey else 3]).all()


@pytest.mark.parametrize("extra", [None, 0])
def test_fourth_band_is_no_transparency(tmp_path, extra):
    """A near infrared band must not be blended over white."""
    bands = np.concatenate([COLOURS, OPACITY], axis=-1)
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, bands, photometric="rgb", extrasamples=None if extra is None else [extra])
    if extra is None:
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[0].tags["ExtraSamples"].overwrite(0)
    assert "is a TIFF with 4 channels of uint8, and which of them are red, green and blue is not known" in refused(path)
    assert (read(path, channels=[0, 1, 2]) == COLOURS).all()
    assert (read(path, channels=[3, 0, 1]) == bands[..., [3, 0, 1]]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("premultiplied", [False, True])
def test_marked_transparency_is_blended(tmp_path, dtype, premultiplied):
    scale = 257 if dtype == "uint16" else 1
    opacity = OPACITY / 255.0
    colours = COLOURS * opacity if premultiplied else COLOURS
    stored = (np.rint(np.concatenate([colours, OPACITY], axis=-1)).astype(int) * scale).astype(dtype)
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, stored, photometric="rgb", extrasamples=["assocalpha" if premultiplied else "unassalpha"])
    image = read(path, range="dtype" if dtype == "uint16" else None)
    assert np.abs(image - (COLOURS * opacity + 255 * (1 - opacity))).max() <= 2


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("colours", [1, 3])
def test_channels_ignore_transparency(tmp_path, planar, kind, colours):
    """Only the tag says that a band is an opacity, so that no other band may be divided by it."""
    scale = {"uint8": 1, "uint16": 257, "float32": 1 / 255}[kind]
    bands = (np.concatenate([COLOURS[..., :colours], OPACITY], axis=-1) * np.float64(scale)).astype(kind)
    stored = np.moveaxis(bands, -1, 0) if planar == "separate" else bands
    path = tmp_path / "i.tif"
    photometric = "rgb" if colours == 3 else "minisblack"
    tifffile.imwrite(path, stored, photometric=photometric, planarconfig=planar, extrasamples=["assocalpha"])
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].tags["ExtraSamples"].value == (1,)
    written = tifffile.imread(path)
    expected = np.rint((np.moveaxis(written, 0, -1) if planar == "separate" else written)[..., [colours, 0]] / scale)
    rules = {"range": [0, 1]} if kind == "float32" else {} if kind == "uint8" else {"range": "dtype"}
    assert (read(path, channels=[colours, 0], **rules) == expected).all()


def test_rasterio_calls_a_fourth_band_alpha(tmp_path):
    """GDAL writes the tag of transparency for four bands of 8 bits, whatever they are."""
    path = tmp_path / "i.tif"
    bands = np.concatenate([COLOURS, OPACITY], axis=-1)
    settings = {"count": 4, "dtype": "uint8", "height": H, "width": W, "transform": rasterio.Affine.scale(2)}
    with rasterio.open(path, "w", driver="GTiff", **settings) as file:
        file.write(np.moveaxis(bands, -1, 0))
    assert (read(path, channels=[3, 0, 1]) == bands[..., [3, 0, 1]]).all()


def test_overviews_are_no_pages(tmp_path):
    path = tmp_path / "i.tif"
    settings = {"count": 4, "dtype": "uint16", "height": H, "width": W, "transform": rasterio.Affine.scale(2)}
    with rasterio.open(path, "w", driver="GTiff", compress="lzw", **settings) as file:
        file.write(np.moveaxis(DEEP, -1, 0))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.nearest)
        file.write_mask(np.full((H, W), 255, np.uint8))
    assert (read(path, range=[0, 4095], channels=[0, 1, 2]) == of_12_bits(DEEP[..., :3])).all()


def test_pages_are_refused_unless_chosen(tmp_path):
    path = tmp_path / "i.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(COLOURS, photometric="rgb")
        file.write(255 - COLOURS, photometric="rgb")
        file.write(COLOURS[:9, :8], photometric="rgb")
    assert "is a TIFF with 3 pages (32x24, 8x9), and which one to read is not known; choose" in refused(path)
    assert "page=all needs pages of one channel, one type and one size" in refused(path, page="all")
    assert "so it has no data.page=3; pages are counted from 0" in refused(path, page=3, prefix="data.")
    assert (read(path, page=0) == COLOURS).all()
    assert (read(path, page=1) == 255 - COLOURS).all()
    assert read_image(path, None, ImageDecoding(page=2)).shape == (3, 9, 8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_pages_can_be_the_channels(tmp_path, dtype):
    path = tmp_path / "i.tif"
    bands = np.minimum(DEEP, 255).astype(dtype) if dtype == "uint8" else DEEP.astype(dtype)
    high = 255 if dtype == "uint8" else 4095
    tifffile.imwrite(path, np.moveaxis(bands, -1, 0), photometric="minisblack")
    expected = np.rint(bands / high * 255)
    assert "page=all takes each page as a channel" in refused(path)
    assert (read(path, page="all", range=[0, high], channels=[3, 0, 2]) == expected[..., [3, 0, 2]]).all()
    assert (read(path, page=3, range=[0, high]) == expected[..., [3]]).all()
    assert "is a TIFF with 4 channels" in refused(path, page="all", range=[0, high])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animated_image_is_refused_unless_chosen(tmp_path, suffix):
    path = tmp_path / f"i{suffix}"
    frames = [Image.fromarray(frame) for frame in (COLOURS, 255 - COLOURS, COLOURS // 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert "is an image with 3 frames, and which one to read is not known; choose one by page=0" in refused(path)
    assert "which one to read is not known" in refused(path, page="all")
    assert "so it has no page=3" in refused(path, page=3)
    for number, frame in enumerate(frames):
        assert (read(path, page=number) == np.array(frame)).all()


def test_single_image_has_page_0_only(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "i.jpg", quality=95)
    assert (read(tmp_path / "i.jpg", page=0) == read(tmp_path / "i.jpg")).all()
    assert "is an image with 1 frame, so it has no page=1" in refused(tmp_path / "i.jpg", page=1)


def test_previews_in_a_jpeg_are_no_frames(tmp_path):
    """Cameras store a smaller copy after the picture."""
    picture = Image.fromarray(COLOURS)
    picture.save(tmp_path / "i.jpg", format="MPO", save_all=True, append_images=[picture.resize((8, 6))])
    assert np.abs(read(tmp_path / "i.jpg").astype(int) - COLOURS).mean() < 60


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["rgb", "grey", "deep grey", "bands"])
@pytest.mark.parametrize("orientation", TURNED)
def test_turned_tiff_follows_its_mask(tmp_path, form, orientation):
    stored = {"rgb": COLOURS, "grey": COLOURS[..., 0], "deep grey": DEEP[..., 0], "bands": DEEP}[form]
    rules = {
        "rgb": {},
        "grey": {},
        "deep grey": {"range": [0, 4095]},
        "bands": {"range": [0, 4095], "channels": [0, 1, 2]},
    }
    decoding = ImageDecoding(**rules[form])
    path, mask = tmp_path / "i.tif", tmp_path / "m.png"
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(
        path,
        stored,
        photometric="rgb" if form == "rgb" else "minisblack",
        extratags=[tag],
        planarconfig="contig" if stored.ndim == 3 else None,
    )
    shown = np.rint(stored / (255 if form in ("rgb", "grey") else 4095) * 255)
    shown = np.stack([shown] * 3, axis=-1) if shown.ndim == 2 else shown[..., :3]
    upright = TURNED[orientation](shown)
    assert (read_image(path, None, decoding).permute(1, 2, 0).numpy() == upright).all()
    scheme = LabelScheme.of(["a"])
    for expected in (upright, shown if orientation > 4 else upright):
        size = expected.shape[:2]
        Image.fromarray(np.zeros(size, np.uint8)).save(mask)
        assert image_size(path, size, decoding) == size
        image, _ = read_pair(path, mask, scheme, decoding)
        assert (image.permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("orientation", TURNED)
def test_turned_mask_keeps_its_rows(tmp_path, orientation):
    """Pillow 13 mixes up the rows of such a file, grey and not compressed, if it opens the file by its path."""
    labels = np.random.default_rng(0).integers(0, 3, (H, W), np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", labels, extratags=[(274, "H", 1, orientation, True)])
    read_labels = read_mask(tmp_path / "m.tif", LabelScheme.of(["a", "b", "c"]))
    assert (read_labels.numpy() == TURNED[orientation](labels)).all()


def test_missing_packages_are_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    hidden = {"tifffile", "imagecodecs"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else find(name))
    path, rules = tmp_path / "i.tif", {"range": [0, 4095], "channels": [0, 1, 2]}
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig")
    message = refused(path, **rules)
    assert "is a TIFF with 4 channels of uint16, and reading it needs tifffile; install" in message
    assert "uv sync --extra tiff, or pip install 'hypercolumns[tiff]'" in message
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig", compression="lzw")
    assert "reading it needs tifffile and imagecodecs; install" in refused(path, **rules)
    tifffile.imwrite(path, DEEP[..., 0], compression="lzw")  # Pillow reads it
    assert read(path, range=[0, 4095]).shape == (H, W, 3)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("bands", [1, 4])
@pytest.mark.parametrize("share", [0.95, 0.5, 0.02])
def test_truncated_tiff_raises(tmp_path, compression, bands, share, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    path = tmp_path / "i.tif"
    tifffile.imwrite(
        path,
        DEEP[..., :bands].squeeze(),
        photometric="minisblack",
        compression=compression,
        planarconfig="contig" if bands > 1 else None,
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(HypercolumnsError, match=r"i\.tif (can't be decoded|is )"):
        read_image(path, None, ImageDecoding(range=[0, 4095], channels=[0]))


def test_too_large_tiff_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # restores the limit afterwards
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "0")
    set_max_pixels(H * W)
    rules = {"range": [0, 4095], "channels": [0, 1, 2]}
    tifffile.imwrite(tmp_path / "i.tif", DEEP, photometric="minisblack", planarconfig="contig")
    assert read(tmp_path / "i.tif", **rules).shape == (H, W, 3)
    tifffile.imwrite(tmp_path / "i.tif", np.tile(DEEP, 3), photometric="minisblack", planarconfig="contig")
    assert "has 12 channels of 32x24 pixels, more than max_pixels=768" in refused(tmp_path / "i.tif", **rules)
    tifffile.imwrite(tmp_path / "i.tif", np.tile(DEEP, (2, 1, 1)), photometric="minisblack", planarconfig="contig")
    assert "has 32x48 pixels, more than max_pixels=768" in refused(tmp_path / "i.tif", **rules)


def overwrite(path, **tags):
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in tags.items():
            file.pages[0].tags[name].overwrite(value)


def test_missing_part_of_a_tiff_is_refused(tmp_path):
    """tifffile shows parts without an entry in the list of parts as black."""
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig", compression="lzw", rowsperstrip=H)
    overwrite(path, ImageLength=2 * H)
    with pytest.raises(HypercolumnsError, match=r"i\.tif can't be decoded \(the file lacks parts of the image\)"):
        read_image(path, None, ImageDecoding(range=[0, 4095], channels=[0]))


def test_huge_tile_is_refused(tmp_path):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig", compression="lzw", tile=(16, 16))
    overwrite(path, TileWidth=60000, TileLength=60000)
    assert "has a tile of 60000x60000 pixels, more than" in refused(path, range=[0, 4095], channels=[0])


def test_memory_error_is_no_fault_of_the_file(tmp_path, monkeypatch):
    """Such a file may be valid, so it is never quarantined."""

    def fail(self):
        raise MemoryError

    path = tmp_path / "i.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(UnreadableError, match=r"i\.tif can't be read, because it needs more memory than there is"):
        read_image(path, None, ImageDecoding(range=[0, 4095], channels=[0]))


def test_endless_list_of_pages_is_refused(tmp_path):
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, COLOURS, photometric="rgb")
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].offset
        end = first + 2 + 12 * len(file.pages[0].tags)
    content = bytearray(path.read_bytes())
    content[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    assert "can't be decoded (the list of the pages does not end)" in refused(path)
