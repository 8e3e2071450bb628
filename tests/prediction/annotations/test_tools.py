"""Round trips: annotation tools read what the project writes, and get each mask to the pixel.

Each tool runs in an environment of its own, in a version that was current when the test was written.
"""

import json
import sys

import numpy as np
import pytest
from helpers.annotation_tools import assert_equal, run_tool
from helpers.annotations import expected_masks, hard_labels, write_annotations

from hypercolumns.labels import voc_palette
from hypercolumns.prediction.annotations.label_studio import encode_brush

DATUMARO = """
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

def masks(folder, kind):
    dataset = Dataset.import_from(folder, kind)
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    found = {}
    for item in dataset:
        for annotation in item.annotations:
            if annotation.type == AnnotationType.mask:
                key = item.id, names[annotation.label]
                assert key not in found
                found[key] = annotation.image != 0
    return found
"""
LABEL_STUDIO = """
import json
from label_studio_sdk.converter.brush import decode_from_annotation, mask2rle

def masks(file):
    found = {}
    for task in json.load(open(file)):
        image = task["data"]["image"].removeprefix("/data/local-files/?d=").replace("%20", " ").rpartition(".")[0]
        (prediction,) = task["predictions"]
        for result in prediction["result"]:
            # the converter decodes the fields of `value` and of the result in one dictionary
            layers = decode_from_annotation("tag", [{**result, **result["value"]}])
            ((name, layer),) = layers.items()
            assert set(layer.ravel()) <= {0, 255}
            assert mask2rle(layer) == result["value"]["rle"]
            found[image, name.removeprefix("tag-").removesuffix("-0")] = layer != 0
    return found
"""
LABEL_STUDIO_LONG = """
import json
import numpy
from label_studio_sdk.converter.brush import decode_rle, mask2rle

def masks(file):
    found = {}
    for name, (shape, rle) in json.load(open(file)).items():
        mask = decode_rle(rle).reshape(*shape, 4)[:, :, 3]
        assert mask2rle(mask) == rle
        found["long", name] = mask != 0
    return found
"""
LABELME = """
import io
from pathlib import Path
from PIL import Image
from labelme._label_file import read_label_file
from labelme.MODULE import shapes_to_label

def masks(folder):
    found = {}
    for path in Path(folder).rglob("*.json"):
        file = read_label_file(filename=str(path))
        name = path.relative_to(folder).with_suffix("").as_posix()
        width, height = Image.open(io.BytesIO(file.image_data)).size
        for shape in file.shapes:
            values = {shape["label"]: 1}
            labels, _ = shapes_to_label(img_shape=(height, width), shapes=[shape], label_name_to_value=values)
            found[name, shape["label"]] = labels == 1
    return found
"""
LABELME_VERSIONS = [("6.3.1", sys.executable, "utils.shape"), ("7.9.1", "3.12", "_utils")]


@pytest.mark.slow(seconds=20)
def test_datumaro_reads_cvat_masks(tmp_path):
    out = write_annotations(tmp_path, hard_labels(), "cvat")
    masks = run_tool(tmp_path, "datumaro==1.13.12", DATUMARO, out / "cvat", "voc_segmentation")
    assert_equal(masks, expected_masks(hard_labels()))


@pytest.mark.slow(seconds=20)
def test_datumaro_reads_black_class(tmp_path):
    """Without a class `background`, all pixels are read, also those of a black class."""
    classes = ("sky", "road", "car", "tree")
    out = write_annotations(tmp_path, hard_labels(), "cvat", classes=classes, palette=voc_palette(4))
    masks = run_tool(tmp_path, "datumaro==1.13.12", DATUMARO, out / "cvat", "voc_segmentation")
    assert_equal(masks, expected_masks(hard_labels(), classes))


@pytest.mark.slow(seconds=20)
def test_datumaro_reads_coco(tmp_path):
    out = write_annotations(tmp_path, hard_labels(), "coco")
    for folder in ("annotations", "images"):  # Datumaro wants the folder of the images, not the images
        (tmp_path / "coco" / folder).mkdir(parents=True)
    (out / "coco.json").rename(tmp_path / "coco/annotations/instances_default.json")
    masks = run_tool(tmp_path, "datumaro==1.13.12", DATUMARO, tmp_path / "coco", "coco_instances")
    assert_equal(masks, expected_masks(hard_labels()))


@pytest.mark.slow(seconds=20)
def test_label_studio_reads_brushes(tmp_path):
    out = write_annotations(tmp_path, hard_labels(), "label_studio")
    masks = run_tool(tmp_path, "label-studio-sdk==2.1.2", LABEL_STUDIO, out / "label_studio.json")
    assert_equal(masks, expected_masks(hard_labels()))


@pytest.mark.slow(seconds=20)
def test_label_studio_reads_long_runs(tmp_path):
    """Runs of more values than one code can describe, and lengths next to each border between codes."""
    lengths = [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 32768, 32769, 40000]
    flat = np.concatenate([np.full(length, number % 2, bool) for number, length in enumerate(lengths)])
    shapes = {"row": (1, flat.size), "column": (flat.size, 1)}
    codes = {name: (shape, encode_brush(flat.reshape(shape))) for name, shape in shapes.items()}
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    masks = run_tool(tmp_path, "label-studio-sdk==2.1.2", LABEL_STUDIO_LONG, tmp_path / "codes.json")
    assert_equal(masks, {("long", name): flat.reshape(shape) for name, shape in shapes.items()})


@pytest.mark.slow(seconds=30)
@pytest.mark.parametrize(("version", "python", "module"), LABELME_VERSIONS, ids=["6.3.1", "7.9.1"])
def test_labelme_reads_masks(tmp_path, version, python, module):
    out = write_annotations(tmp_path, hard_labels(), "labelme")
    script = LABELME.replace("MODULE", module)
    masks = run_tool(tmp_path, f"labelme=={version}", script, out / "labelme", python=python)
    assert_equal(masks, expected_masks(hard_labels()))
