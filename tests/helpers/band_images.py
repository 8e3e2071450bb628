"""Data sets of TIFF files with bands."""

from PIL import Image


def write_bands(place, count, draw, write):
    """Write a data set to `images` and `masks`, and its last two images to `new` and `truth`, as images to predict.

    Args:
        place: the folder.
        count: the number of images.
        draw: takes the number of an image, and returns its mask and its bands.
        write: takes a path and bands, and writes the file.
    """
    for name in ("images", "masks", "new", "truth"):
        (place / name).mkdir()
    (place / "classes.txt").write_text("ground\nwater\nplants\n")
    for number in range(count):
        images, masks = ("new", "truth") if number >= count - 2 else ("images", "masks")
        mask, bands = draw(number)
        write(place / images / f"{number}.tif", bands)
        Image.fromarray(mask).save(place / masks / f"{number}.png")
