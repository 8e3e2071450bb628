import numpy as np
import pytest
import torch
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.images import colour, overlay, read_image, read_mask, voc_palette, write_mask

LABELS = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def test_palette_is_vocs():
    palette = voc_palette(256)
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert palette[20] == (0, 64, 128)
    assert palette[255] == (224, 224, 192)


def test_masks_survive_writing_and_reading(tmp_path):
    write_mask(tmp_path / "m.png", LABELS, voc_palette(3))
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
    assert read_mask(tmp_path / "m.png", voc_palette(3), 3).tolist() == LABELS.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_palette_masks_are_indices_whatever_their_colours(tmp_path):
    write_mask(tmp_path / "m.png", LABELS, ((9, 9, 9), (9, 9, 9), (0, 0, 0)))
    assert read_mask(tmp_path / "m.png", voc_palette(3), 3).tolist() == LABELS.tolist()


def test_grey_masks_are_indices(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", voc_palette(3), 3).tolist() == LABELS.tolist()


def test_rgb_masks_are_mapped_through_the_palette(tmp_path):
    Image.fromarray(colour(LABELS, voc_palette(3))).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", voc_palette(3), 3)
    assert mask.dtype == torch.uint8
    assert mask.tolist() == LABELS.tolist()


def test_a_colour_outside_the_palette_is_refused(tmp_path):
    pixels = colour(LABELS, voc_palette(3))
    pixels[0, 0] = 1, 2, 3
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(
        HypercolumnsError, match=r"m\.png: 1 of its colours are not in the palette, such as \(1, 2, 3\)"
    ):
        read_mask(tmp_path / "m.png", voc_palette(3), 3)


def test_a_label_that_is_no_class_is_refused(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "m.png")
    with pytest.raises(
        HypercolumnsError, match=r"m\.png: 2 pixels have labels that are no class \(2\); expected 0 to 1"
    ):
        read_mask(tmp_path / "m.png", voc_palette(2), 2)


def test_a_mask_of_another_kind_is_refused(tmp_path):
    Image.fromarray(LABELS.astype(np.uint16) * 1000).save(tmp_path / "m.png")
    with pytest.raises(HypercolumnsError, match=r"must be a palette or grey image .* this one is I"):
        read_mask(tmp_path / "m.png", voc_palette(3), 3)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_images_of_any_mode_are_read_as_rgb(tmp_path, mode):
    grey = Image.fromarray(np.full((2, 3), 100, np.uint8)).convert(mode)
    path = tmp_path / ("i.jpg" if mode == "CMYK" else "i.png")
    grey.save(path)
    image = read_image(path)
    assert image.shape == (3, 2, 3)
    assert (image.int() - 100).abs().max() <= 2


def test_images_of_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((2, 3), 40000, np.uint16)).save(tmp_path / "i.png")
    with pytest.raises(HypercolumnsError, match=r"i\.png is of a kind that is not read \(I;16\), .*; convert it"):
        read_image(tmp_path / "i.png")


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "i.jpg", exif=exif)
    assert read_image(tmp_path / "i.jpg").shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is not an image"), (b"<html>", "is not an image"), ("cut", "can't be decoded")],
)
def test_files_that_are_no_images_are_named(tmp_path, content, message):
    path = tmp_path / "i.png"
    if content == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)).save(path)
        content = path.read_bytes()[:2000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HypercolumnsError, match=rf"i\.png {message}"):
        read_image(path)


def test_overlay_mixes_by_opacity():
    image = np.full((1, 1, 3), 100, np.uint8)
    assert overlay(image, np.array([[1]], np.uint8), voc_palette(2), 0.25).tolist() == [[[107, 75, 75]]]
