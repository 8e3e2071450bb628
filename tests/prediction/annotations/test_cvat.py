"""The folder for CVAT and Datumaro; test_tools.py reads it with Datumaro."""

import numpy as np
import pytest
from helpers.annotations import CLASSES, PALETTE, hard_labels, write_annotations
from helpers.predictions import files, read

from hypercolumns import HypercolumnsError
from hypercolumns.prediction import Source
from hypercolumns.prediction.annotations.cvat import check_cvat, object_palette


def source(file, name=None):
    return Source(file, file.rpartition(".")[0] if name is None else name, False, file)


def test_folder_holds_masks_and_lists(tmp_path):
    labels = hard_labels()
    folder = write_annotations(tmp_path, labels, "cvat") / "cvat"
    names = ["a", "deep/b c", "empty", "full", "pixel"]
    masks = [f"{kind}/{name}.png" for kind in ("SegmentationClass", "SegmentationObject") for name in names]
    assert files(folder) == sorted(["ImageSets/Segmentation/default.txt", "labelmap.txt", *masks])
    assert (folder / "ImageSets/Segmentation/default.txt").read_text() == "".join(f"{name}\n" for name in names)
    lines = (folder / "labelmap.txt").read_text().splitlines()
    assert lines == [
        "# label:color_rgb:parts:actions",
        "background:0,0,0::",
        "road:128,0,0::",
        "car:0,128,0::",
        "sign, round:128,128,0::",
    ]
    for name, expected in zip(names, labels.values(), strict=True):
        colours, objects = (read(folder / kind / f"{name}.png") for kind in ("SegmentationClass", "SegmentationObject"))
        for row, column in np.ndindex(expected.shape):
            assert tuple(colours[row, column]) == PALETTE[expected[row, column]]
        assert ((objects == 0).all(2) == (expected == 0)).all()
        assert len(np.unique(objects.reshape(-1, 3), axis=0)) == len(np.unique(expected))


def test_only_background_is_no_object():
    assert object_palette(["ground", "background", "cat"]) == ((128, 0, 0), (0, 0, 0), (128, 128, 0))
    many = object_palette([f"class {index}" for index in range(255)])
    assert len(set(many)) == 255
    assert (0, 0, 0) not in many


@pytest.mark.parametrize("name", ["a:b", "#1", " road", "road "])
def test_unclear_class_name_is_refused(name):
    with pytest.raises(HypercolumnsError, match=rf"outputs\.cvat=true can't write the class names '{name}': in labelm"):
        check_cvat(["background", name, "car, red"], PALETTE[:3], [])


def test_equal_colours_are_refused():
    palette = ((0, 0, 0), (9, 9, 9), (0, 0, 0), (9, 9, 9))
    message = r"the same colour: background and car \(0, 0, 0\), road and sign, round \(9, 9, 9\); train with a palette"
    with pytest.raises(HypercolumnsError, match=message):
        check_cvat(CLASSES, palette, [])


def test_unclear_image_name_is_refused():
    check_cvat(CLASSES, PALETTE, [source("a.jpg"), source("deep/b c.png"), source("c.tar.png")])
    with pytest.raises(HypercolumnsError, match=r"so that x\.jpg can't be told from another input; rename one of"):
        check_cvat(CLASSES, PALETTE, [source("x.jpg", "x.jpg"), source("x.png", "x.png")])
    for file in ("#a.jpg", " a.jpg", "a .jpg", "a\nb.jpg"):
        with pytest.raises(HypercolumnsError, match=r"outputs\.cvat=true can't list the image .*; rename the image"):
            check_cvat(CLASSES, PALETTE, [source(file)])
