"""Label images that are hard for annotation tools, and the folder that predict.py would write for them."""

import numpy as np
from PIL import Image

from hypercolumns.labels import voc_palette
from hypercolumns.prediction import OUTPUTS, TOOLS, AnnotationFiles, Frame, ImagePrediction, RenderStyle, Source

CLASSES = ("background", "road", "car", "sign, round")
PALETTE = voc_palette(len(CLASSES))


def hard_labels():
    """Return label images (H, W) with holes, lines of one pixel, single pixels and objects that touch, by file."""
    rings = np.zeros((40, 61), np.uint8)
    rings[2:30, 3:40] = 1
    rings[8:20, 10:30] = 0  # a hole
    rings[12:15, 15:18] = 2  # an object in the hole
    rings[5:25, 40:55] = 2  # touches the ring
    rings[25:35, 35:50] = 3  # touches both
    rings[0, :], rings[:, 60], rings[38, 5:50:2] = 3, 2, 1  # lines at the edges, single pixels in a row
    rings[np.arange(30, 38), np.arange(3, 11)] = 2  # a diagonal line
    noise = np.random.default_rng(0).integers(0, len(CLASSES), (33, 47)).astype(np.uint8)
    return {
        "a.png": rings,
        "deep/b c.jpg": noise,
        "empty.png": np.zeros((5, 7), np.uint8),
        "full.png": np.full((300, 70), 2, np.uint8),
        "pixel.png": np.ones((1, 1), np.uint8),
    }


def write_annotations(folder, labels, *tools, classes=CLASSES, palette=PALETTE, **more):
    """Write `photos` and the predictions `out` of a folder; return the latter."""
    out = folder / "out"
    sources = []
    for file, mask in labels.items():
        path = folder / "photos" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", mask.shape[::-1]).save(path)
        sources.append(Source(str(path), file.rpartition(".")[0], False, file))
        kinds = [kind for name, kind in OUTPUTS.items() if name == "mask" or (kind.setting or name) in tools]
        for kind in kinds:
            prediction = ImagePrediction(Frame(sources[-1].name, sources[-1], None), mask)
            kind.write(out / kind.file(sources[-1].name), prediction, RenderStyle(classes, palette))
    files = AnnotationFiles(frozenset(tools), **more)
    assert set(tools) <= set(TOOLS)
    files.check(sources, classes, palette)
    files.write(out, sources, [source.name for source in sources], classes, palette)
    return out


def expected_masks(labels, classes=CLASSES):
    """Return the mask of each class but the background that occurs in an image, by (name of the image, class)."""
    return {
        (file.rpartition(".")[0], name): mask == index
        for file, mask in labels.items()
        for index, name in enumerate(classes)
        if name != "background" and (mask == index).any()
    }
