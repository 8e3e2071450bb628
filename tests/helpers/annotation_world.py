"""A session in which small images are labelled, for tests."""

import numpy as np
from PIL import Image

from hypercolumns.annotation import PixelTrainer
from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules
from hypercolumns.annotation.labels.label_store import LabelStore, journal_path
from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.annotation.serving.image_list import ImageList, ImageToLabel
from hypercolumns.annotation.serving.requests import Address
from hypercolumns.annotation.serving.server import AnnotationServer
from hypercolumns.annotation.serving.session import AnnotationSession
from hypercolumns.labels import LabelScheme

CLASSES = ("sky", "tree", "road")
SIZE = (40, 60)
ADDRESS = Address("127.0.0.1", 8000, "secret")


def draw(folder, names="abc"):
    """Write images whose left half is dark red and the right one light blue, with noise and a green block in it."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(0, 60, (*SIZE, 3), np.uint8)
        image[:, :30, 0] += 150
        image[:, 30:, 2] += 180
        image[12:28, 36:54, 1] += 190
        Image.fromarray(image).save(folder / f"{name}.png")


def begin(folder, extractor, say):
    """Return a session with all images of a folder, and its application."""
    masks = folder / "masks"
    scheme = LabelScheme.of(CLASSES)
    rules = LabelRules(scheme, MaskCoding.of(scheme))
    masks.mkdir(exist_ok=True)
    paths = sorted((folder / "images").iterdir())
    files = [LabelFiles(mask, journal_path(masks, mask)) for mask in (masks / f"{path.stem}.png" for path in paths)]
    listed = [ImageToLabel(path.stem, path, of) for path, of in zip(paths, files, strict=True)]
    trainer = PixelTrainer(extractor, CLASSES, scheme.palette, hidden=8)

    def save(segmenter):
        segmenter.save(folder / "model.safetensors")
        return folder / "model.safetensors"

    counts = [own.labelled if (own := of.own_mask()) else [0, 0, 0] for of in files]
    session = AnnotationSession(ImageList(listed), LabelStore(files, rules, say), trainer, counts, {}, save, say)
    return session, AnnotationServer(session, ADDRESS)
