"""Forms of annotations that are not read: what the message says to export instead."""

import re

import pytest

from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.layouts import recognise
from hypercolumns.errors import ArgumentError

COCO = r"export COCO's JSON, and read it by data=coco"
FILES = {
    "cvat": (
        "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>',
        r"CVAT for images; export COCO 1\.0 \(read by data=coco\)",
    ),
    "boxes": (
        "Annotations/a.xml",
        "<annotation>\n <folder>x</folder><object><name>cat</name><bndbox/></object></annotation>",
        "Pascal VOC's detection: boxes, which are no masks",
    ),
    "via": ("via.json", '{"_via_settings": {}, "_via_img_metadata": {}}', rf"VIA .*; {COCO}"),
    "supervisely": (
        "ds/ann/a.png.json",
        '{"size": {}, "objects": [{"classTitle": "cat", "geometryType": "bitmap", "bitmap": {}}]}',
        r"Supervisely's own JSON; export masks",
    ),
    "v7": ("a.json", '{"version": "2.0", "schema_ref": "https://darwin/2.0.json", "item": {}}', rf"V7 Darwin; {COCO}"),
    "labelbox": ("export.ndjson", "{}", "writes lines of JSON"),
    "yolo boxes": ("train/labels/a.txt", "0 0.5 0.5 0.2 0.1\n1 0.25 0.5 0.1 1e-05\n", rf"YOLO; {COCO}"),
    "yolo polygons": ("labels/a.txt", "12 " + "0.123456 0.654321 " * 400, rf"YOLO; {COCO}"),
    "label studio": ("task-12-annotation-3-by-1-tag-road-0.png", "", "export JSON, and read it by data=label_studio"),
    "numpy": ("masks/a.npy", "", "NumPy; save each mask as a PNG file"),
    "container": ("data/train-00000-of-00001.parquet", "", "a container of many images"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_format_is_named(tmp_path, name):
    file, content, message = FILES[name]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.raises(ArgumentError, match=f"{re.escape(str(path))} is of .*{message}"):
        recognise(tmp_path)


def test_other_texts_are_not_taken_for_labels(tmp_path):
    (tmp_path / "label_colors.txt").write_text("128 128 128 Sky\n")
    (tmp_path / "numbers.txt").write_text("2007_000032\n2007_000039\n")
    (tmp_path / "columns.txt").write_text("1 2 3\n")
    with pytest.raises(ArgumentError, match="has no known layout"):
        recognise(tmp_path)


def test_folder_of_other_masks_is_named(tmp_path):
    for name in ("images/a.jpg", "images/b.jpg", "masks/a.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"a mask for none of the 2 images: .*masks/a\.npy is of NumPy"):
        folder(tmp_path / "images", tmp_path / "masks", ["cat"])
