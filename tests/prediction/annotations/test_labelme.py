"""The files for labelme, against a slow reading; test_tools.py reads them with labelme itself."""

import base64
import io
import json

import numpy as np
from helpers.annotation_tools import assert_equal
from helpers.annotations import expected_masks, hard_labels, write_annotations
from helpers.predictions import files
from PIL import Image

from hypercolumns.prediction.annotations.labelme import write_labelme


def test_shapes_keep_each_pixel(tmp_path):
    folder = write_annotations(tmp_path, hard_labels(), "labelme") / "labelme"
    assert files(folder) == ["a.json", "deep/b c.json", "empty.json", "full.json", "pixel.json"]
    masks = {}
    for file, labels in hard_labels().items():
        path = folder / f"{file.rpartition('.')[0]}.json"
        content = json.loads(path.read_text())
        assert (path.parent / content["imagePath"]).resolve() == (tmp_path / "photos" / file).resolve()
        assert (content["imageHeight"], content["imageWidth"], content["imageData"]) == (*labels.shape, None)
        for shape in content["shapes"]:
            assert shape["shape_type"] == "mask"
            (left, top), (right, bottom) = shape["points"]
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
                inside = np.array(picture)
            assert inside.dtype == np.uint8
            assert inside.shape == (bottom - top + 1, right - left + 1)
            whole = np.zeros_like(labels)
            for row, column in np.ndindex(inside.shape):
                whole[top + row, left + column] = inside[row, column]
            masks[file.rpartition(".")[0], shape["label"]] = whole
    assert_equal(masks, expected_masks(hard_labels()))


def test_image_path_survives_linked_folders(tmp_path):
    """The path leads from the real folder of the file to the image, also if both are reached by links."""
    for folder in ("real/deep/out", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "photos/a.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real/deep/out")
    (tmp_path / "pictures").symlink_to(tmp_path / "photos")
    write_labelme(tmp_path / "link/a.json", np.ones((2, 3), np.uint8), ["a", "b"], str(tmp_path / "pictures/a.png"))
    content = json.loads((tmp_path / "real/deep/out/a.json").read_text())
    assert (tmp_path / "link" / content["imagePath"]).samefile(tmp_path / "photos/a.png")
