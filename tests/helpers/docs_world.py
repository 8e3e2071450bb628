"""The folder in which the docs' commands run: everything that they name, tiny."""

import shutil
from pathlib import Path

import numpy as np
import tifffile
import torch
import torchvision
from PIL import Image

from helpers.networks import FIRES
from helpers.videos import write_video
from hypercolumns.data.datasets.shapes import CLASSES, draw
from hypercolumns.io.images import write_image
from hypercolumns.io.masks import write_mask
from hypercolumns.labels import voc_palette
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

SPLITS = {"train": [f"{group}_{i:04}" for group in "abc" for i in range(4)], "val": [f"d_{i:04}" for i in range(4)]}


def make_world(place: Path) -> None:
    """Write labelled images in both layouts, photos, a video and a model into a folder."""
    write_voc(place / "data", classes=21)
    write_voc(place / "my_data")
    for path in (place / "classes.txt", place / "my_data" / "classes.txt"):
        path.write_text("\n".join(CLASSES) + "\n")
    for number in range(4):
        write_pair(place / "aerial", place / "aerial_masks", f"tile_{number}", number)
        jpeg = place / "aerial" / f"tile_{number}.jpg"
        with Image.open(jpeg) as image:
            bands = np.dstack([np.array(image), np.array(image)[..., 0]]).astype(np.uint16) * 16
        tifffile.imwrite(jpeg.with_suffix(".tif"), bands, photometric="rgb", extrasamples=["unspecified"])
        jpeg.unlink()
    for number in range(10):
        write_pair(place / "images", place / "masks", f"image_{number}", number)
        if number < 3:
            write_image(place / "photos" / f"photo_{number}.jpg", Image.open(place / "images" / f"image_{number}.jpg"))
    shutil.copy(place / "photos" / "photo_0.jpg", place / "photo.jpg")
    write_video(place / "video.mp4")
    torch.manual_seed(0)
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0]])
    classifier = MLPClassifier(backbone.channels, len(CLASSES), hidden=8)
    Segmenter(HypercolumnExtractor(backbone), classifier, list(CLASSES)).save(place / "model.safetensors")


def write_voc(root: Path, classes: int = len(CLASSES)) -> None:
    folder = root / "VOCdevkit" / "VOC2012"
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for number, stem in enumerate(stem for stems in SPLITS.values() for stem in stems):
        write_pair(folder / "JPEGImages", folder / "SegmentationClass", stem, number, classes)
    for split, stems in SPLITS.items():
        (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")


def write_pair(images: Path, masks: Path, stem: str, seed: int, classes: int = len(CLASSES)) -> None:
    picture, labels = draw(np.random.default_rng(seed))
    labels[0, :classes] = range(classes)  # each class occurs
    write_image(images / f"{stem}.jpg", Image.fromarray(picture))
    write_mask(masks / f"{stem}.png", labels, voc_palette(classes))


def random_weights(weights: torchvision.models.WeightsEnum, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
    """Return random weights in place of those that torchvision would download."""
    models = torchvision.models
    (network,) = [n for n in models.list_models(models) if models.get_model_weights(n) is type(weights)]
    torch.manual_seed(0)
    return models.get_model(network, weights=None).state_dict()
