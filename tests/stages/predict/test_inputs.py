"""The images and settings that predict.py accepts and refuses."""

import os

import numpy as np
import pytest
from helpers.predictions import SIZES, files, predict, predicted, read
from PIL import Image

from hypercolumns import HypercolumnsError
from hypercolumns.io.images import MAX_PIXELS_VARIABLE


def test_unusual_images_are_predicted(place, segmenter):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (20, 31, 3), np.uint8)
    (place / "odd").mkdir()
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        Image.fromarray(pixels).convert(mode).save(place / "odd" / f"{mode}.tiff")
    Image.fromarray(pixels[:1]).save(place / "odd" / "wide [x], y=1.png")
    Image.fromarray(pixels[:, :1]).save(place / "odd" / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(pixels).save(place / "odd" / "exif.jpg", exif=exif)
    damaged = (place / "odd" / "exif.jpg").read_bytes()
    start = damaged.index(b"Exif") + 6
    (place / "odd" / "exif.jpg").write_bytes(damaged[:start] + b"MM\0*\0\0\0" + damaged[start + 7 :])
    Image.fromarray(pixels).save(place / "odd" / f"{'l' * 240}.png")
    Image.fromarray(pixels).save(place / "odd" / f"{'x' * 250}.png")  # the names of the outputs would be too long
    Image.fromarray(random.integers(0, 2**16, (5, 5), np.uint16)).save(place / "odd" / "deep.png")
    with open(os.fsencode(place / "odd") + b"/\xff.png", "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
    assert predict("images=odd", "out=out") == 2
    names = {name.partition(".")[0] for name in files(place / "out") if name.endswith(".overlay.jpg")}
    assert names == {"1", "L", "LA", "P", "RGBA", "CMYK", "wide [x], y=1", "tall", "exif", "l" * 240, "\udcff"}
    assert (read(place / "out" / "RGBA.png") == predicted(segmenter, pixels).labels).all()
    assert len((place / "out" / "class_fractions.csv").read_bytes().splitlines()) == 12


def test_bad_image_does_not_stop_the_others(photos, place, capsys):
    (photos / "b.jpg").write_text("no image")
    (photos / "c.png").write_bytes((photos / "x.png").read_bytes()[:60])
    assert predict("images=photos", "out=out") == 2
    printed = capsys.readouterr().out
    assert "2 images could not be predicted:" in printed
    assert "photos/b.jpg is not an image in a supported format" in printed
    assert "photos/c.png can't be decoded" in printed
    assert sum(name.endswith(".overlay.jpg") for name in files(place / "out")) == len(SIZES)
    (photos / "b.jpg").unlink()
    (photos / "c.png").unlink()
    assert predict("images=photos", "out=out") == 0


def test_bad_images_are_refused_as_in_training(place, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # restores the limit afterwards
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "0")
    (place / "odd").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    Image.fromarray(pixels).save("odd/cut.jpg")
    (place / "odd" / "cut.jpg").write_bytes((place / "odd" / "cut.jpg").read_bytes()[:-100])
    (place / "odd" / "empty.png").touch()
    Image.fromarray(pixels).save("odd/gif.png", format="GIF")
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save("odd/grey16.png")
    Image.new("RGB", (40, 26)).save("odd/large.png")
    (place / "odd" / "line\nbreak [red].png").write_text("<html>")
    Image.fromarray(pixels).save("odd/good.jpg", format="PNG")
    assert predict("images=odd", "out=out", "max_pixels=1000") == 6
    failed = capsys.readouterr().out.partition("6 images could not be predicted:\n")[2].splitlines()[:6]
    for line, message in zip(
        failed,
        [
            "  odd/cut.jpg can't be decoded (image file is truncated",
            "  odd/empty.png is empty; replace it",
            "  odd/gif.png is a GIF file, not an image in a supported format (JPEG, PNG, BMP, TIFF, WEBP); ",
            "  odd/grey16.png is a PNG with one channel of uint16, and which values are black and white is not",
            "  odd/large.png has 40x26 pixels, more than max_pixels=1000: ",
            "  odd/line\\nbreak [red].png is not an image in a supported format",
        ],
        strict=True,
    ):
        assert line.startswith(message)
    assert files(place / "out") == ["class_fractions.csv", "good.overlay.jpg", "good.png", "predictions.jsonl"]


def test_image_that_disappeared_is_reported(photos, place, capsys):
    (place / "list.txt").write_text("photos/a.jpg\nphotos/x.jpg\n")
    predict("images=list.txt", "out=out")
    (photos / "x.jpg").unlink()
    assert predict("images=list.txt", "out=out") == 1
    assert "photos/x.jpg does not exist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("images=null", "images is not set; give a path, as in images=photos/"),
        ("images=", "images= must be a path"),
        ("out=", "out= must be a path"),
        (
            "images=[a.jpg,b.jpg]",
            r"images=\['a\.jpg', 'b\.jpg'\] must be a path; to give several images, list their paths in a \.txt file",
        ),
        ("images=nothing", "images=nothing: no images found; give an image or a video"),
        ("masks=nowhere", r"masks=nowhere is not a folder; give the folder of the true masks, or leave out masks="),
        ("masks=photos", r"masks=photos has no mask for 1 of the images, such as photos/a\.png; add"),
        ("device=abacus", "device=abacus can't be used"),
        ("device=meta", r"device=meta can't be used \(.*\); try device=auto"),
        ("model=none", "model=none is not a file"),
        ("model=photos", r"model=photos is a folder without a model\.safetensors"),
        ("precision=64", "precision=64 must be auto, 32 or bf16"),
        ("max_window_pixels=0", "max_window_pixels=0 must be a whole number of at least 1"),
        ("window_overlap=16", "window_overlap=16 is an approximation that .* does not need"),
        ("window_overlap=0", "window_overlap=0 must be a whole number of at least 1"),
        ("adaptive=yes", "adaptive=yes must be true or false"),
        ("adaptive_stride=5", "adaptive_stride=5 must be a power of two"),
        ("compile=maybe", "compile=maybe must be true or false"),
        ("outputs.mask=some", r"outputs\.mask=some must be true or false"),
        ("opacity=2", "opacity=2 must be a number from 0 to 1"),
        ("batch_size=0", "batch_size=0 must be a whole number of at least 1"),
        ("frame_stride=0", "frame_stride=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_settings_are_refused(photos, override, message):
    with pytest.raises(HypercolumnsError, match=message):
        predict("images=photos/a.jpg", override)


def test_scoring_needs_the_mask_output(photos):
    with pytest.raises(HypercolumnsError, match=r"outputs\.mask=false writes no .*; set outputs\.mask=true"):
        predict("images=photos/a.jpg", "masks=photos", "outputs.mask=false")


@pytest.mark.parametrize("other", ["outputs.entropy=true", "tta.flip=true"])
def test_adaptive_refuses_probability_outputs(photos, other):
    with pytest.raises(HypercolumnsError, match="adaptive=true predicts only labels"):
        predict("images=photos/a.jpg", "adaptive=true", other)


def test_missing_extra_names_install_command(photos, place, monkeypatch):
    (place / "clip.mp4").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HypercolumnsError, match=r"outputs\.coco=true needs pycocotools; install it with: uv sync"):
        predict("images=photos/a.jpg", "outputs.coco=true")
    with pytest.raises(HypercolumnsError, match=r"images=clip\.mp4 needs av; install it with: uv sync --extra video"):
        predict("images=clip.mp4")
