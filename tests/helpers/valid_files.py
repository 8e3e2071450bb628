"""Small valid files of each kind that the program reads, and the functions that read them."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from hypercolumns.callbacks import AtomicCheckpointIO, SelfContainedCheckpoint
from hypercolumns.data.class_files import read_class_list
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.datasets.voc import read_layout
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation
from hypercolumns.io.images import read_image
from hypercolumns.io.masks import read_mask, write_mask
from hypercolumns.labels import LabelScheme, voc_palette
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.weights import load_weights
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.model_file import TRAINED
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter, find_damage

CLASSES = ["ground", "cat", "dog"]
PALETTE = voc_palette(len(CLASSES))
NAMES = [f"2007_{number:06d}" for number in range(6)]


class ValidFile(NamedTuple):
    """A file and the way in which the program reads it.

    Attributes:
        path: of the file.
        read: reads the file and returns its content as a value that can be compared.
        checked: whether checksums cover the file; other content must then be refused.
    """

    path: Path
    read: Callable[[], Any]
    checked: bool


def hash_tensor(tensor):
    """Return a hash of the dtype, shape and values of a tensor."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_tensors(tensors):
    return {name: hash_tensor(tensor) for name, tensor in tensors.items()}


def mask_and_picture():
    """Return a mask of square blocks and a picture of the classes as noisy greys."""
    chance = np.random.default_rng(0)
    mask = np.kron(chance.integers(0, 3, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    picture = Image.fromarray((mask[..., None] * 80 + chance.integers(0, 60, (48, 64, 3))).astype(np.uint8))
    return mask, picture


def jpeg(folder):
    path = folder / "image.jpg"
    mask_and_picture()[1].save(path)
    return ValidFile(path, lambda: hash_tensor(read_image(path)), False)


def png(folder):
    path = folder / "image.png"
    mask_and_picture()[1].save(path)
    return ValidFile(path, lambda: hash_tensor(read_image(path)), False)


def index_mask(folder):
    path = folder / "mask.png"
    write_mask(path, mask_and_picture()[0], PALETTE)
    return ValidFile(path, lambda: hash_tensor(read_mask(path, LabelScheme.of(CLASSES, PALETTE))), True)


def colour_mask(folder):
    path = folder / "coloured.png"
    Image.fromarray(np.array(PALETTE, np.uint8)[mask_and_picture()[0]]).save(path)
    return ValidFile(path, lambda: hash_tensor(read_mask(path, LabelScheme.of(CLASSES, PALETTE))), True)


def split_list(folder):
    """Return the split list of a data set in Pascal VOC's layout; reading it reads the whole index of the set."""
    mask, picture = mask_and_picture()
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for name in NAMES:
        picture.save(folder / "JPEGImages" / f"{name}.jpg")
        write_mask(folder / "SegmentationClass" / f"{name}.png", mask, PALETTE)
    for split, names in (("train", NAMES[:4]), ("val", NAMES[4:])):
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))

    def read():
        images = read_layout(folder, "voc", ClassList.of(CLASSES), "train", "val")
        return {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()}

    return ValidFile(folder / "ImageSets/Segmentation/train.txt", read, False)


def class_list(folder):
    path = folder / "classes.txt"
    path.write_text("".join(f"{name}\n" for name in CLASSES))
    return ValidFile(path, lambda: read_class_list(path), False)


def small_segmenter():
    torch.manual_seed(0)
    backbone = Backbone("rgb", ["image", "pyramid:2", "coordinates"])
    return Segmenter(HypercolumnExtractor(backbone), MLPClassifier(backbone.channels, len(CLASSES), 32), CLASSES).eval()


def read_segmenter(path):
    segmenter = Segmenter.load(path)
    return json.dumps(segmenter.header(), sort_keys=True), hash_tensors(segmenter.tensors())


def model_file(folder):
    path = folder / "model.safetensors"
    small_segmenter().save(path)
    return ValidFile(path, lambda: read_segmenter(path), True)


def checkpoint(folder):
    path, segmenter = folder / "last.ckpt", small_segmenter()
    state = {"state_dict": {TRAINED + name: tensor for name, tensor in segmenter.tensors().items()}}
    SelfContainedCheckpoint(segmenter).on_save_checkpoint(None, None, state)
    AtomicCheckpointIO().save_checkpoint(state, path)
    return ValidFile(path, lambda: read_segmenter(path), True)


def weights(folder):
    path = folder / "weights.pth"
    torch.manual_seed(0)
    torch.save({f"features.{number}.weight": torch.randn(8, 3, 3, 3) for number in range(3)}, path)
    return ValidFile(path, lambda: hash_tensors(load_weights("squeezenet1_0", str(path))[0]), True)


def evaluation(folder):
    path, generator = folder / "images.npz", torch.Generator().manual_seed(0)
    counts = (torch.randint(0, 99, (len(NAMES), 3, 3), generator=generator) for _ in range(2))
    Evaluation(tuple(CLASSES), tuple(NAMES), *counts, 3).save(path)

    def read():
        loaded = Evaluation.load(path)
        tensors = {"all": loaded.all_pixels, "boundary": loaded.boundary}
        return loaded.classes, loaded.ids, loaded.boundary_width, hash_tensors(tensors)

    return ValidFile(path, read, True)


def store_file(folder, name, verify):
    """Return one file of a sample store; reading it reads the whole store.

    Args:
        folder: of the store.
        name: of the file.
        verify: whether the store is verified first, as by stage verify.
    """
    with StoreWriter(folder, {"seed": 1, "cnn": {"network": "none"}}, {"train": 40, "val": 5}) as writer:
        for split in ("train", "val"):
            for shard in writer.claims(split):
                writer.write(shard, [image_samples(number) for number in writer.images(shard)])
        writer.write_index()

    def read():
        if verify and (damage := find_damage(folder)):
            raise HypercolumnsError(damage[0])
        return read_store(folder)

    return ValidFile(folder / name, read, verify)


def image_samples(number):
    """Return random samples of an image."""
    generator, count = torch.Generator().manual_seed(number), 1 + number % 4
    return ImageSamples(
        f"image {number}",
        (30, 40),
        torch.randint(0, 30, (count, 2), generator=generator),
        torch.randint(0, 3, (count,), generator=generator),
        torch.randn(count, 6, generator=generator),
    )


def read_store(folder):
    """Return everything that stage pretrain reads from a store, as hashes and ids."""
    store, contents = SampleStore(folder), []
    for name in store.index_entries:
        split = store.split(name)
        rows = torch.arange(len(split))
        features, labels, *_ = split.fetch(rows, with_coordinates=True)
        mean, std = split.statistics()
        contents.append(hash_tensors({"features": features, "labels": labels, "mean": mean, "std": std}))
        contents += [image.id for image in split.images()]
        split.origins(rows)
    return contents


FILES: dict[str, Callable[[Path], ValidFile]] = {
    "JPEG": jpeg,
    "PNG": png,
    "mask of indices": index_mask,
    "mask of colours": colour_mask,
    "split list": split_list,
    "class names": class_list,
    "model.safetensors": model_file,
    "checkpoint": checkpoint,
    "weights.pth": weights,
    "images.npz": evaluation,
    "store: index": partial(store_file, name="index.json", verify=True),
    "store: fingerprint": partial(store_file, name="fingerprint.json", verify=True),
    "store: sidecar": partial(store_file, name="train-00001.json", verify=True),
    "store: shard": partial(store_file, name="train-00001.safetensors", verify=True),
    "shard, not verified": partial(store_file, name="train-00001.safetensors", verify=False),
    "sidecar, not verified": partial(store_file, name="train-00001.json", verify=False),
    "index, not verified": partial(store_file, name="index.json", verify=False),
}
