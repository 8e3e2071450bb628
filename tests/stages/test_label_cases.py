"""Masks as tools write them, trained to the end: the colour of a pixel decides its class, so the mIoU must be 1."""

import json

import numpy as np
import pytest
from helpers.predictions import predict
from helpers.small_runs import RGB, only, run
from PIL import Image

from hypercolumns.errors import HypercolumnsError

pytestmark = pytest.mark.usefixtures("place")
NAMES = ("background", "road", "car")
PICTURE = np.array([(90, 90, 90), (200, 40, 40), (40, 40, 200)], np.uint8)  # the colour of each class in the images
COLOURS = ((0, 0, 0), (52, 209, 183), (250, 50, 83))  # the colour of each class in the masks
NOISE = (250, 250, 250)  # the colour of void in the images: if void were trained, it would be a class
SETTINGS = ["classifier.hidden=16", "trainer.max_epochs=4", "batch_size=64", "optimizer.lr=0.1"]


def truth(number):
    labels = np.zeros((24, 32), np.uint8)
    labels[12:] = 1
    labels[8:16, 4 + number : 14 + number] = 2
    labels[:3, :9] = 255
    return labels


def write(place, encode, classes):
    """Write eight images and masks; `encode` makes the picture of a mask from labels, in which 255 is void."""
    for folder in ("images", "masks"):
        (place / folder).mkdir()
    for number in range(8):
        labels = truth(number)
        picture = PICTURE[np.where(labels == 255, 0, labels)]
        picture[labels == 255] = NOISE
        Image.fromarray(picture).save(place / f"images/{number}.png")
        encode(labels, number).save(place / f"masks/{number}.png")
    (place / "classes.txt").write_text(classes)


def listed(names=NAMES):
    return "".join(f"{name}:{','.join(map(str, COLOURS[NAMES.index(name)]))}::\n" for name in names)


def by_table(table):
    """Return an encoder that looks up the value of each label; a dict of label to value."""
    return lambda labels, number: Image.fromarray(np.vectorize(table.get)(labels).astype(np.uint8))


def coloured(labels, number):
    return Image.fromarray(np.array(COLOURS, np.uint8)[np.where(labels == 255, 0, labels)])


def renumbered(labels, number):
    """Number the colours of each file again, as lossless optimisers do."""
    order = np.roll(np.arange(3), number)
    image = Image.fromarray(order.argsort()[np.where(labels == 255, 0, labels)].astype(np.uint8))
    image.putpalette([channel for index in order for channel in COLOURS[index]])
    return image


def miscoloured(labels, number):
    """Give each index the colour of another class."""
    image = Image.fromarray(np.where(labels == 255, 0, labels).astype(np.uint8))
    image.putpalette([channel for index in (2, 0, 1) for channel in COLOURS[index]])
    return image


def recoloured(labels, number):
    """Give the indices colours that the list of classes does not name."""
    image = Image.fromarray(labels)
    image.putpalette([channel for value in range(256) for channel in (value, 9, 200)])
    return image


CASES = {
    "several voids": (
        by_table({0: 3, 1: 7, 2: 8, 255: 5}),
        "value,class\n3,background\n7,road\n8,car\n",
        ["data.void=[5,255]"],
    ),
    "void at 0": (by_table({0: 1, 1: 2, 2: 3, 255: 0}), "none\nbackground\nroad\ncar\n", ["data.void=0"]),
    "merged": (
        lambda labels, number: by_table({0: 0, 1: 1 + 2 * (number % 2), 2: 2, 255: 255})(labels, number),
        "background\nroad\ncar\nlane\n",
        ["data.map={lane: road}"],
    ),
    "sorted by name": (coloured, listed(sorted(NAMES)), []),
    "renumbered": (renumbered, listed(), []),
    "palette of no class": (recoloured, "background\nroad\ncar\n", []),
    "void of 255 in binary masks": (
        by_table({0: 0, 1: 0, 2: 0, 255: 255}),
        "background\n",
        ["data.void=255", "data.missing_classes=allow"],
    ),
    "wrong palette": (miscoloured, listed(), ["data.encoding=values"]),
}


@pytest.mark.parametrize("name", CASES)
def test_masks_as_tools_write_them(place, capsys, name):
    encode, classes, more = CASES[name]
    write(place, encode, classes)
    data = [
        "data=folder",
        "data.images=images",
        "data.masks=masks",
        "data.name=mine",
        "data.classes=classes.txt",
        *more,
    ]
    base = [text for text in RGB if not text.startswith(("data", "classifier", "trainer.max", "sampler"))] + data
    run("extract", "sampler=uniform", "sampler.n=100", base=base)
    assert run("pretrain", "sampler=uniform", *SETTINGS, base=base) > 0.999

    capsys.readouterr()
    model = only(place, "runs/mine/rgb/pretrain/*")
    assert predict(f"model={model}", "images=images", "masks=masks", "out=out") == 0  # it knows what the values mean
    assert json.loads((place / "out" / "metrics.json").read_text())["miou"] > 0.999
    told = "the masks are read like those of the training: " in capsys.readouterr().out
    assert told == (name in ("several voids", "void at 0", "merged", "renumbered"))  # others have the usual values


def test_void_is_asked_for(place):
    write(place, by_table({0: 0, 1: 1, 2: 2, 255: 11}), "\n".join(NAMES))
    data = ["data=folder", "data.images=images", "data.masks=masks", "data.classes=classes.txt"]
    base = [text for text in RGB if not text.startswith("data")] + data
    with pytest.raises(HypercolumnsError, match=r"values that are no class: 11; .*set data\.void=\[11,255\]"):
        run("extract", base=base)
