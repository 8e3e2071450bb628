"""Data sets in the formats of annotation tools: their files, and the labels that readers must get from them."""

import json

import numpy as np
from PIL import Image

from hypercolumns.io.masks import read_mask

SIZE = (9, 12)  # height and width


def box(left, top, right, bottom, size=SIZE):
    """Return the pixels of a box, without its right and bottom ends."""
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def corners(left, top, right, bottom):
    """Return the polygon of the same box, as COCO writes it: a list of x, y, x, y and so on."""
    return [float(number) for number in (left, top, right, top, right, bottom, left, bottom)]


def runs(mask):
    """Return the uncompressed run lengths of a mask, as COCO writes them."""
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1), flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def save_images(folder, names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size[::-1], (number, 50, 90)).save(folder / name)


def object_of(image, category, segmentation, **fields):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, **fields}


def save_coco(path, names, objects, categories=((3, "road"), (90, "car")), size=SIZE, ids=None):
    """Write a COCO file. The images have the ids 7, 17, 27 and so on."""
    ids = ids or [7 + 10 * number for number in range(len(names))]
    images = [
        {"id": id, "file_name": name, "height": size[0], "width": size[1]} for id, name in zip(ids, names, strict=True)
    ]
    named = [{"id": id, "name": name} for id, name in categories]
    annotations = [{"id": number, **entry} for number, entry in enumerate(objects, 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": named}))


def labels(index):
    """Return the class indices of all images of a data set, by the ids of the images."""
    pairs = [pair for of_split in index.splits.values() for pair in of_split]
    return {pair.id: read_mask(pair.mask, index.scheme).numpy() for pair in pairs}
