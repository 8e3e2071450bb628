"""Objects on images with an EXIF orientation: labels must lie where the image that is read shows the object."""

import json

import numpy as np
import pytest
from helpers.annotated import object_of, runs, save_coco
from PIL import Image, ImageOps

from hypercolumns.data import coco, label_studio, labelme
from hypercolumns.data.index import read_example
from hypercolumns.errors import HypercolumnsError

FLIPS, TURNS = (2, 3, 4), (5, 6, 7, 8)
WIDE, SQUARE = (6, 9), (7, 7)  # height and width as stored


def save(folder, size, orientation, suffix="png"):
    """Save three images with a red corner, and return where it is on the stored and on the turned form."""
    stored = np.zeros((*size, 3), np.uint8)
    stored[1:3, 0:4, 0] = 255
    image, exif = Image.fromarray(stored), Image.Exif()
    exif[0x0112] = orientation
    folder.mkdir(parents=True)
    for name in "abc":
        if suffix == "tif":
            image.save(folder / f"{name}.tif", tiffinfo={0x0112: orientation})
        else:
            image.save(folder / f"{name}.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    image.getexif()[0x0112] = orientation
    return {"ignored": stored[..., 0] > 0, "applied": np.asarray(ImageOps.exif_transpose(image))[..., 0] > 0}


def check(index):
    """Check that the labels are 1 where the image is red."""
    for pairs in index.splits.values():
        for pair in pairs:
            image, labels = read_example(pair, index.scheme)
            assert ((image[0] > 0) == (labels == 1)).all()
            assert (labels == 1).sum() == 8


def save_annotations(folder, mask, sized, suffix="png"):
    names = [f"{name}.{suffix}" for name in "abc"]
    save_coco(
        folder / "instances_all.json", names, [object_of(id, 3, runs(mask)) for id in (7, 17, 27)], size=mask.shape
    )
    if not sized:
        file = folder / "instances_all.json"
        content = json.loads(file.read_text())
        for entry in content["images"]:
            del entry["width"], entry["height"]
        file.write_text(json.dumps(content))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("form", ["applied", "ignored"])
@pytest.mark.parametrize(
    ("size", "orientation", "sized"),
    [(WIDE, orientation, sized) for orientation in (*FLIPS, *TURNS) for sized in (True, False)]
    + [(SQUARE, orientation, True) for orientation in TURNS],
)
def test_labels_lie_on_the_object(tmp_path, size, orientation, sized, form, suffix):
    masks = save(tmp_path / "images", size, orientation, suffix)
    save_annotations(tmp_path, masks[form], sized, suffix)
    check(coco(tmp_path, images="images", orientation=form))
    if sized and masks["applied"].shape != masks["ignored"].shape:
        check(coco(tmp_path, images="images"))  # the size tells the form
    else:
        reason = "names a size that both forms have" if sized else "does not name the size of the image"
        message = rf"^orientation=auto: .*a\.\w+ is stored with the EXIF orientation {orientation}, and .*{reason}, so"
        with pytest.raises(HypercolumnsError, match=message):
            coco(tmp_path, images="images")


def test_upright_and_empty_images_need_no_setting(tmp_path):
    masks = save(tmp_path / "images", WIDE, 1)
    save_annotations(tmp_path, masks["ignored"], sized=False)
    check(coco(tmp_path, images="images"))
    save(tmp_path / "turned", WIDE, 6)
    save_coco(tmp_path / "turned.json", ["a.png", "b.png", "c.png"], [object_of(99, 3, [])][:0], size=WIDE)
    index = coco(tmp_path, annotations="turned.json", images="turned")
    assert len(index.splits["train"]) == 2


@pytest.mark.parametrize("form", ["applied", "ignored"])
def test_labelme_and_label_studio_ask(tmp_path, form):
    masks = save(tmp_path / "photos", WIDE, 3)
    rows, columns = masks[form].nonzero()
    height, width = WIDE
    corners = [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]
    shape = {"label": "car", "shape_type": "rectangle", "points": corners}
    percent = {"x": 100 * corners[0][0] / width, "y": 100 * corners[0][1] / height, "rectanglelabels": ["car"]}
    percent |= {"width": 100 * 4 / width, "height": 100 * 2 / height}
    tasks = []
    for number, name in enumerate("abc"):
        content = {"imagePath": f"{name}.png", "shapes": [shape], "imageHeight": height, "imageWidth": width}
        (tmp_path / f"photos/{name}.json").write_text(json.dumps(content))
        region = {"type": "rectanglelabels", "value": percent, "original_width": width, "original_height": height}
        tasks.append({"id": number, "data": {"image": f"{name}.png"}, "annotations": [{"result": [region]}]})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    check(labelme("photos", root=tmp_path, orientation=form))
    check(label_studio("export.json", "photos", root=tmp_path, orientation=form))
    for index in (lambda: labelme("photos", root=tmp_path), lambda: label_studio("export.json", "photos", tmp_path)):
        with pytest.raises(HypercolumnsError, match=r"^orientation=auto: .* orientation 3, .* data\.orientation="):
            index()
    with pytest.raises(HypercolumnsError, match="orientation=turned must be one of auto, applied, ignored"):
        labelme("photos", root=tmp_path, orientation="turned")
