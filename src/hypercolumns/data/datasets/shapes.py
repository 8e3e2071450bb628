"""A synthetic data set of textured shapes, in which colour alone does not identify the class. It has VOC's layout.

Each class has its own shape and texture, but shares its two colours with another class. The colour of a pixel therefore
only narrows its class down to two candidates. Texture and shape distinguish the two, so a classifier needs the
surroundings of the pixel. An object is one shape that is drawn in an image. The class, size, position, rotation and
colour shift of an object are random. Objects can overlap.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from hypercolumns.data.class_list import ClassList
from hypercolumns.data.datasets.voc import read_layout
from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import check_int
from hypercolumns.io.files import expand_path, write_json
from hypercolumns.io.images import write_image
from hypercolumns.io.masks import write_mask
from hypercolumns.labels import IGNORE_INDEX, voc_palette
from hypercolumns.runtime.progress import track

Array = NDArray[np.float64]
Texture = Callable[[Array, Array], Array]

VERSION = 1  # a part of the folder's name, so that images that another version of this module drew are not used
CLASSES = ("background", "disc", "box", "triangle", "star", "ring")
# distances of a shape's corners from its centre, as fractions of its radius, in the order around the centre
CORNERS = {"box": [1.0] * 4, "triangle": [1.0] * 3, "star": [1.0, 0.5] * 5}
# Each function maps the coordinates (u, v) of pixels, in periods of the texture, to the share of the object's first
# colour at these pixels, in [0, 1]. The rest is the object's second colour.
TEXTURES: dict[str, Texture] = {
    "disc": lambda u, v: ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09).astype(float),  # dots
    "box": lambda u, v: (v % 1 < 0.5).astype(float),  # stripes
    "triangle": lambda u, v: (np.floor(2 * u) + np.floor(2 * v)) % 2,  # chequers
    "star": lambda u, v: np.zeros_like(u),  # plain
    "ring": lambda u, v: ((u % 1 < 0.25) | (v % 1 < 0.25)).astype(float),  # a grid of lines
}
SIDES = (96, 160)  # smallest and largest height and width of an image, in pixels
RADII = (14, 44)  # smallest and largest radius of an object, in pixels
PERIODS = (5, 9)  # smallest and largest period of a texture, in pixels
HOLE = 0.4  # radius of the hole of a ring, as a fraction of the ring's radius
BORDER = 3  # side, in pixels, of the square filters that make one pixel on each side of an outline void
SHIFT = 0.15  # largest random change of each channel of an object's colours, up or down; channels are in [0, 1]
# (dark, light) colours of three pairs of classes, RGB in [0, 1]: background and ring, disc and box, triangle and star
COLOURS = np.array(
    [[[0.25, 0.45, 0.35], [0.55, 0.75, 0.6]], [[0.5, 0.2, 0.2], [0.9, 0.6, 0.4]], [[0.2, 0.25, 0.55], [0.5, 0.65, 0.9]]]
)
SHARED = (0, 1, 1, 2, 2, 0)  # for each class in CLASSES, the index of its two colours in COLOURS


def shapes(
    root: str | Path = "data",
    name: str = "shapes",
    seed: int = 0,
    train_images: int = 240,
    val_images: int = 40,
) -> DatasetIndex:
    """Index the synthetic data set. If the folder does not contain its images yet, draw them first.

    Args:
        root: the folder for the images. It gets one subfolder, in Pascal VOC's layout, for each combination of the seed
            and the two numbers of images.
        name: the name of the data set, and of the folder of its runs.
        seed: the seed of everything that is random in the images.
        train_images: the number of images to train on.
        val_images: the number of images to validate on.

    Returns:
        The index of both splits.

    Raises:
        ArgumentError: if a number of images is below 1, or `seed` is below 0.
    """
    check_int("train_images", train_images, minimum=1)
    check_int("val_images", val_images, minimum=1)
    check_int("seed", seed, minimum=0)
    folder = expand_path("root", root) / f"shapes-v{VERSION}-seed{seed}-{train_images}+{val_images}"
    layout = folder / "VOCdevkit" / "VOC2012"
    finished = folder / "shapes.json"
    if not finished.is_file():
        for split, count in (("train", train_images), ("val", val_images)):
            lists = layout / "ImageSets" / "Segmentation"
            lists.mkdir(parents=True, exist_ok=True)
            ids = [f"{split}_{number:05d}" for number in range(count)]
            for number, id_ in enumerate(track(ids, f"draw {split} images")):
                picture, labels = draw(np.random.default_rng([seed, split == "val", number]))
                write_image(layout / "JPEGImages" / f"{id_}.jpg", Image.fromarray(picture))
                write_mask(layout / "SegmentationClass" / f"{id_}.png", labels, voc_palette(len(CLASSES)))
            (lists / f"{split}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
        write_json(finished, {"version": VERSION})
    return read_layout(layout, name, ClassList.of(CLASSES, "shapes"), "train", "val")


def draw(random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a random image (H, W, 3) uint8 RGB, and its class indices (H, W) uint8.

    The pixels along the outlines of the objects are void (255).
    """
    height, width = random.integers(*SIDES, size=2, endpoint=True)
    y, x = np.mgrid[:height, :width].astype(float)
    picture = _ground(random, x, y)
    labels = np.zeros((height, width), np.uint8)
    for _ in range(random.integers(4, 8)):
        label = int(random.integers(1, len(CLASSES)))
        radius, angle = random.uniform(*RADII), random.uniform(0, 2 * math.pi)
        centre = random.uniform(0, width), random.uniform(0, height)
        shape = _shape(CLASSES[label], (height, width), centre, radius, angle)
        period, right, down = random.uniform(*PERIODS), x - centre[0], y - centre[1]
        u = (right * math.cos(angle) + down * math.sin(angle)) / period
        v = (down * math.cos(angle) - right * math.sin(angle)) / period
        texture = TEXTURES[CLASSES[label]](u, v)[..., None]
        first, second = _colours(random, label)
        picture = np.where(np.array(shape, bool)[..., None], texture * first + (1 - texture) * second, picture)
        labels[np.array(shape.filter(ImageFilter.MaxFilter(BORDER)), bool)] = IGNORE_INDEX
        labels[np.array(shape.filter(ImageFilter.MinFilter(BORDER)), bool)] = label
    picture = picture + random.normal(0, 0.03, picture.shape)
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8), labels


def _colours(random: np.random.Generator, label: int) -> tuple[Array, Array]:
    """Choose the two colours of an object of class `label`, each (3,) RGB in [0, 1].

    The class has a dark and a light colour. The same random RGB vector shifts both. They are returned in random order.
    """
    dark, light = (COLOURS[SHARED[label]] + random.uniform(-SHIFT, SHIFT, size=3)).clip(0, 1)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _ground(random: np.random.Generator, x: Array, y: Array) -> Array:
    """Draw a background (H, W, 3) in [0, 1]: smooth waves that blend the two colours of class 0.

    `x` and `y` (H, W) are the coordinates of the pixels.
    """
    angle, phase = random.uniform(0, 2 * math.pi, size=2)
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) / random.uniform(12, 30) + phase)
    texture = 0.5 + 0.5 * wave[..., None]
    first, second = _colours(random, 0)
    ground: Array = texture * first + (1 - texture) * second
    return ground


def _shape(kind: str, size: tuple[int, int], centre: tuple[float, float], radius: float, angle: float) -> Image.Image:
    """Draw a filled shape in white on a black canvas of `size` = (height, width).

    `kind` is the class of the shape, `centre` its (x, y) and `radius` its radius, both in pixels. `angle` is its
    rotation in radians.
    """
    canvas = Image.new("L", (size[1], size[0]))
    brush = ImageDraw.Draw(canvas)
    if kind in CORNERS:
        turns = [angle + 2 * math.pi * number / len(CORNERS[kind]) for number in range(len(CORNERS[kind]))]
        distances = [radius * distance for distance in CORNERS[kind]]
        points = zip(turns, distances, strict=True)
        brush.polygon(
            [(centre[0] + away * math.cos(turn), centre[1] + away * math.sin(turn)) for turn, away in points],
            fill=255,
        )
    else:
        _disc(brush, centre, radius, 255)
        if kind == "ring":
            _disc(brush, centre, HOLE * radius, 0)
    return canvas


def _disc(brush: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: int) -> None:
    x, y = centre
    brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
