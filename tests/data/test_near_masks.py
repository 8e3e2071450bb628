"""Messages that name the file that seems to be the mask of an image without one, and what to do."""

import re

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.data.datasets import auto, folder, voc
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.near_masks import nearest_mask
from hypercolumns.data.predictions import check_names, mask_pairs
from hypercolumns.data.subsets import drop_unlabelled
from hypercolumns.labels import LabelScheme, voc_palette
from hypercolumns.prediction.ground_truth import GroundTruth
from hypercolumns.prediction.sources import Source

CLASSES = ["ground", "cat"]
CONVERT = (
    "; masks must be PNG, TIFF or BMP files: save it as PNG, and if it was a JPEG file, set each pixel to the nearest"
)
CAPITALS = ", whose name differs in small and capital letters; rename it to img_1.png"
# The name of a mask file, and what to do about it with the setting `mask_name`.
CASES = {
    "img_1_mask.png": "; set \"data.mask_name='{id}_mask.png'\" if all masks are named so, or rename it to img_1.png",
    "img_1.JPG.png": "; set \"data.mask_name='{id}.JPG.png'\" if all masks are named so, or rename it to img_1.png",
    "maskimg_1.tif": None,
    "mask_img_1.tif": "; set \"data.mask_name='mask_{id}.tif'\" if all masks are named so, or rename it to img_1.tif",
    "img_1_mask.jpg": f"{CONVERT} label first; then set \"data.mask_name='{{id}}_mask.png'\" if all masks are named so",
    "IMG_1.PNG": CAPITALS,
    "Img_1_Mask.png": "; rename it to img_1.png",
    "img_1.pNG": "if all masks are named so, or rename it to img_1.png",
    "img_1.jpg": CONVERT,
    "img_1.webp": CONVERT,
    "img_10_mask.png": None,
}


def message(read):
    with pytest.raises(HypercolumnsError) as error:
        read()
    return str(error.value)


@pytest.mark.parametrize(("name", "remedy"), CASES.items())
def test_file_near_a_missing_mask_is_named(write, name, remedy):
    """The message is the same if no image has a mask, and if all but one have."""
    root = write("images/img_1.jpg", "images/img_2.jpg", f"masks/{name}")

    def read():
        drop_unlabelled(folder(root / "images", root / "masks", CLASSES), "error", "{id}.*")

    for said in (message(read), (write("masks/img_2.png"), message(read))[1]):
        assert (f"masks/{name} seems to be this mask" in said) == (remedy is not None)
        assert (remedy or "") in said
    assert remedy is None or re.search(
        r"1 images have no mask, such as \S+masks/img_1\.png for \S+images/img_1\.jpg: ", said
    )


def test_remedy_works(write):
    root = write("images/img_1.jpg", "images/img_2.jpg", "masks/img_1.JPG.png", "masks/img_2.JPG.png")
    said = message(lambda: folder(root / "images", root / "masks", CLASSES))
    pattern = re.search(r"data\.mask_name='(.*?)'", said)[1]
    pairs = folder(root / "images", root / "masks", CLASSES, mask_name=pattern).splits
    masks = {pair.id: pair.mask.name for split in pairs.values() for pair in split}
    assert masks == {"img_1": "img_1.JPG.png", "img_2": "img_2.JPG.png"}


def test_suggestion_keeps_folders_of_mask_name(write):
    root = write("train/images/1.jpg", "train/labels/1_mask.png", "val/images/2.jpg", "val/labels/2_mask.png")
    names = {"image_name": "images/{id}.*", "mask_name": "labels/{id}.*", "train": "train", "val": "val"}
    said = message(lambda: folder(root, root, CLASSES, **names))
    assert "\"data.mask_name='labels/{id}_mask.png'\"" in said


def test_suffix_in_mask_name_that_no_file_has(write):
    root = write("images/1.jpg", "images/2.jpg", "masks/1.tif", "masks/2.tif")
    said = message(lambda: folder(root / "images", root / "masks", CLASSES, mask_name="{id}.png"))
    assert re.search(
        r"masks/[12]\.tif seems to be this mask; set .data\.mask_name='{id}\.tif'. if all masks .* so$", said
    )


def test_masks_beside_the_images(write):
    """Without `mask_name`, 1_mask.png is an image, too."""
    root = write("1.jpg", "1_mask.png", "2.jpg")
    message_of_folder = message(lambda: drop_unlabelled(folder(root, root, CLASSES), "error", "{id}.*"))
    assert "/1_mask.png seems to be this mask; set \"data.mask_name='{id}_mask.png'\"" in message_of_folder


def test_files_of_other_images_are_no_masks(write):
    root = write("1.jpg", "2.jpg", "2_extra.jpg", "2_extra.png")
    pairs = folder(root, root, CLASSES, image_name="{id}.jpg")
    assert re.search(
        r"2 images have no mask, such as .*; set data\.unl", message(lambda: drop_unlabelled(pairs, "error"))
    )


def test_other_layouts_have_no_mask_name(root):
    masks = root / "VOCdevkit/VOC2012/SegmentationClass"
    (masks / "a.png").rename(masks / "a_mask.png")
    said = message(lambda: drop_unlabelled(voc(root), "error"))
    assert re.search(
        r"SegmentationClass/a_mask\.png seems to be this mask; rename it to a\.png; or set data\.unl", said
    )


def test_auto_names_files_that_differ_in_case(write):
    root = write(*(f"photos/img_{i}.jpg" for i in "abc"), *(f"drawn/IMG_{i.upper()}.PNG" for i in "abc"))
    said = message(lambda: auto(root, CLASSES))
    assert re.search(
        r"drawn/IMG_A\.PNG and \S+photos/img_a\.jpg differ in small and capital letters: rename them", said
    )


@pytest.mark.parametrize("suffix", [".jpg", ".gif"])
def test_auto_names_a_mask_that_must_be_converted(write, suffix):
    root = write(*(f"images/a{i}.png" for i in range(6)), *(f"masks/a{i}.png" for i in range(5)), f"masks/a5{suffix}")
    said = message(lambda: auto(root, CLASSES))
    assert re.search(
        rf"no mask, such as \S+masks/a5\.png for \S+images/a5\.png: \S+masks/a5{suffix} seems to be this", said
    )
    assert CONVERT in said
    assert "move these files" not in said


def test_auto_takes_no_part_of_a_mask_for_a_mask(write):
    root = write(*(f"images/a{i}.png" for i in range(6)), *(f"masks/a{i}.png" for i in range(5)), "masks/a5_one.png")
    assert "masks/a5_one.png; move these files, or write all masks of an image" in message(lambda: auto(root, CLASSES))


def test_truth_of_predictions(write):
    root = write("images/img_1.jpg", "masks/img_1_mask.png", "masks/img_1.overlay.jpg", "masks/img_1.entropy.png")
    scheme = LabelScheme.of(("ground", "cat"), voc_palette(2))
    sources = [Source(str(root / "images/img_1.jpg"), "img_1", False, "img_1.jpg")]
    said = message(lambda: GroundTruth(root / "masks", sources, scheme))
    assert re.search(r"of the images, such as \S+masks/img_1\.png for \S+images/img_1\.jpg: ", said)
    assert "masks/img_1_mask.png seems to be this mask; score the predictions by train.py stage=evaluate" in said
    assert "'{id}_mask.png'\" if all masks are named so, or rename it to img_1.png, or leave out masks=" in said
    (root / "masks/img_1_mask.png").unlink()
    said = message(lambda: GroundTruth(root / "masks", sources, scheme))
    assert "masks/img_1.png; add the masks, or leave out masks=" in said


def test_predicted_masks(write):
    root = write("masks/1.png", "predictions/1_pred.png", "jpeg/1.jpg", "right/1.tif")
    said = message(lambda: check_names(mask_pairs(root / "predictions", root / "masks"), ()))
    assert re.search(r"missing, such as \S+/1\.png: \S+/1_pred\.png seems to be this mask; rename it to 1\.png$", said)
    check_names(mask_pairs(root / "predictions", root / "masks"), {root / "predictions/1_pred.png"})
    check_names(mask_pairs(root / "right", root / "masks"), ())
    said = message(lambda: mask_pairs(root / "predictions", root / "jpeg"))
    assert re.search(r"holds no .*; if \S+jpeg/1\.jpg is a mask: masks must be PNG, TIFF or BMP files: save", said)


def test_first_missing_masks_are_looked_for(write):
    root = write("masks/30_mask.png")
    pairs = [ImageMaskPair(f"{i}", root / f"{i}.jpg", root / "masks" / f"{i}.png") for i in range(31)]
    assert nearest_mask(pairs, ()) is None
    assert nearest_mask(pairs[11:], ()).path == root / "masks/30_mask.png"
