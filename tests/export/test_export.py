"""Exported files, run by onnxruntime and torch.export, against the model itself."""

import copy
import functools
import json
import logging
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.networks import make_segmenter, vgg_weights
from helpers.paths import ROOT
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor
from hypercolumns.export import export_onnx, export_torch, onnx, torch_export
from hypercolumns.export.graph import ExportableSegmenter
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.second_pass import SecondPass
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.settings.inference import quiet_libraries

# (images, height, width). Some sizes are below the minimum of a network, which is 9 or 16 pixels a side.
SIZES = [(1, 1, 1), (1, 1, 40), (2, 40, 1), (1, 5, 90), (3, 33, 47), (1, 64, 40), (1, 22, 21), (1, 101, 77)]
WRITERS = {"torch": export_torch, "onnx": export_onnx}
MODULES = {"torch": torch_export, "onnx": onnx}
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def segmenter_of(
    network, taps, head=MLPClassifier, alignment="exact", resize=None, scales=(1,), second=None, **settings
):
    torch.manual_seed(4)
    backbone = Backbone(network, taps, vgg_weights() if network == "vgg11" else None, seed=4, scales=scales)
    classifier = head(backbone.channels, 3, **settings)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    extractor = HypercolumnExtractor(backbone, alignment, resize)
    return Segmenter(extractor, classifier, ["a", "b", "c"], second_pass=second and SecondPass(3, second)).eval()


SQN = ["features.0", "features.3.expand1x1", "features.7.expand1x1"]
MODELS = {
    "plain": lambda: make_segmenter("plain"),
    "placed": lambda: make_segmenter("placed"),
    "linear": lambda: segmenter_of("rgb", ["image"], hidden=[]),
    "where": lambda: segmenter_of("rgb", ["image", "coordinates"], GridClassifier, size=2, hidden=8),
    "deep": lambda: segmenter_of("vgg11", ["features.0", "features.3", "features.8"], hidden=[8, 6], dropout=0.5),
    "normed": lambda: segmenter_of("resnet18", ["layer1", "layer3", "pyramid:3"], hidden=8),
    "corners": lambda: segmenter_of("squeezenet1_0", [*SQN, "pyramid:2"], alignment="corners", hidden=8),
    "scaled": lambda: segmenter_of("squeezenet1_0", [*SQN, "pyramid:2"], scales=[0.5, 1, 2], hidden=8),
    "second": lambda: segmenter_of("squeezenet1_0", [*SQN, "local_mean:3"], second=6, hidden=8),
    "half_pixel": lambda: segmenter_of("squeezenet1_0", SQN, GridClassifier, alignment="half_pixel", hidden=[]),
    "resized": lambda: segmenter_of("squeezenet1_0", [*SQN, "local_mean:3", "coordinates"], resize=(40, 56), hidden=8),
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Export a model once per session, and return the path and the reported agreement."""

    @functools.cache
    def write(model, format, inputs, outputs):
        path = tmp_path_factory.mktemp("exported") / ("model.pt2" if format == "torch" else "model.onnx")
        return path, WRITERS[format](MODELS[model](), path, inputs, outputs)

    return write


def load(path, format):
    """Load an exported file without the project, as a function from images to predictions."""
    if format == "torch":
        return torch.export.load(path).module()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings)
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize(
    ("format", "model", "inputs", "outputs"),
    [
        ("onnx", "plain", "uint8", "labels"),
        slow("torch", "placed", "float", "logits"),
        slow("onnx", "placed", "float", "logits"),
        # Both formats hold the same traced program, so the other models are only tested as ONNX.
        slow("onnx", "linear", "uint8", "logits"),
        slow("onnx", "where", "float", "logits"),
        slow("onnx", "deep", "uint8", "logits"),
        slow("onnx", "normed", "float", "labels"),
        slow("onnx", "corners", "float", "logits"),
        slow("onnx", "scaled", "float", "logits"),
        slow("onnx", "half_pixel", "uint8", "logits"),
        slow("onnx", "resized", "uint8", "logits"),
    ],
)
def test_file_equals_model_at_every_size(exported, format, model, inputs, outputs):
    path, agreement = exported(model, format, inputs, outputs)
    run, segmenter = load(path, format), MODELS[model]()
    same = total = 0
    for count, *size in SIZES:
        images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
        predicted = run(images if inputs == "uint8" else images / 255)
        with torch.inference_mode():
            logits = segmenter(images)
        if outputs == "logits":
            assert predicted.dtype == torch.float32
            assert predicted.shape == (count, 3, *size)
            assert (predicted - logits).abs().max() <= 1e-4 * (logits.max() - logits.min())
            continue
        assert predicted.dtype == torch.uint8
        assert predicted.shape == (count, *size)
        same, total = same + int((predicted == logits.argmax(1)).sum()), total + predicted.numel()
    assert outputs == "logits" or same >= 0.9999 * total
    assert agreement.labels > 0.999
    assert (agreement.logits is None) == (outputs == "labels")
    assert agreement.logits is None or 0 < agreement.logits < 1e-5 or model == "linear"


def test_file_holds_class_names_and_colours(exported):
    expected = {"classes": ["ground", "cat", "dog"], "palette": [[0, 0, 0], [128, 0, 0], [0, 128, 0]]}
    path, _ = exported("plain", "onnx", "uint8", "labels")
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in metadata.items()} == expected
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", "height", "width"]
    extra_files = dict.fromkeys(expected, "")
    torch.export.load(exported("plain", "torch", "uint8", "labels")[0], extra_files=extra_files)
    assert {name: json.loads(text) for name, text in extra_files.items()} == expected


def test_hidden_layer_never_has_the_image_size():
    """Only the hidden layer has 29 channels in this graph."""
    graph = onnx.make_program(segmenter_of("squeezenet1_0", SQN[:2], hidden=29), "uint8", "labels").graph
    shapes = [node.meta["val"].shape for node in graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    height, width = next(shape for shape in shapes if len(shape) == 4)[2:]
    wide = [shape for shape in shapes if 29 in shape]
    assert wide
    assert not any(height in shape or width in shape for shape in wide)


def test_grids_nest_if_cell_centres_coincide():
    assert [nested for _, nested in ExportableSegmenter(segmenter_of("squeezenet1_0", SQN), "labels").groups] == [
        True,
        True,
        False,
    ]
    resnet = segmenter_of("resnet18", ["layer1", "layer2", "coordinates"])
    assert ExportableSegmenter(resnet, "labels").groups == [([2], False), ([1], True), ([0], False)]
    vgg = segmenter_of("vgg11", ["features.0", "features.3", "features.8"])
    assert not any(nested for _, nested in ExportableSegmenter(vgg, "labels").groups)


@pytest.mark.parametrize("format", ["torch", slow("onnx")])
def test_file_that_disagrees_is_not_written(format, tmp_path, monkeypatch):
    """The exported program predicts the least probable class: all weights of its linear classifier are negated."""
    module = MODULES[format]
    make_program = module.make_program

    def make_wrong_program(segmenter, *kinds):
        wrong = copy.deepcopy(segmenter).requires_grad_(False)
        for parameter in wrong.classifier.parameters():
            parameter.neg_()
        return make_program(wrong, *kinds)

    monkeypatch.setattr(module, "make_program", make_wrong_program)
    path = tmp_path / "model"
    path.write_text("an earlier file")
    with pytest.raises(
        HypercolumnsError, match=r"model was not written: the exported program does not agree with the model"
    ):
        WRITERS[format](MODELS["linear"](), path)
    assert path.read_text() == "an earlier file"
    assert [*tmp_path.iterdir()] == [path]


def test_network_torch_cannot_export_is_named(segmenter, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such operation\nand much more")

    monkeypatch.setattr(torch.export, "export", fail)
    message = r"^squeezenet1_0 with the taps of this model can't be exported \(no such operation\); try other taps or"
    with pytest.raises(HypercolumnsError, match=message):
        export_torch(segmenter, tmp_path / "model.pt2")


def test_operation_that_onnx_lacks_is_named(segmenter, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such\noperation")

    monkeypatch.setattr(onnx, "make_program", lambda *_: None)
    monkeypatch.setattr(torch.onnx, "export", fail)
    message = r"^squeezenet1_0 can't be written as ONNX \(no such operation\); try torch\.export"
    with pytest.raises(HypercolumnsError, match=message):
        export_onnx(segmenter, tmp_path / "model.onnx")


def test_unknown_input_and_output_are_refused(segmenter, tmp_path):
    with pytest.raises(HypercolumnsError, match=r"^input=bytes is not known; choose one of uint8, float"):
        export_torch(segmenter, tmp_path / "model.pt2", input="bytes")
    with pytest.raises(HypercolumnsError, match=r"^output=mask is not known; choose one of labels, logits"):
        export_torch(segmenter, tmp_path / "model.pt2", output="mask")


def test_irregular_cell_centres_are_refused(segmenter, tmp_path):
    tap = segmenter.backbone.taps[0]
    segmenter.backbone.taps = (type(tap)(tap.name, tap.channels, (tap.axes[0], object())), *segmenter.backbone.taps[1:])
    with pytest.raises(HypercolumnsError, match=r"tap features\.0 can't be exported: .* alignment=half_pixel"):
        export_torch(segmenter, tmp_path / "model.pt2")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_package_error_names_the_extra(segmenter, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HypercolumnsError, match=rf"needs {package}, .*hypercolumns\[onnx\].*--extra onnx"):
        export_onnx(segmenter, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Could not guard on data-dependent expression Eq(u0, 1)"),
        TypeError("Proxy(add_1) can't be converted to a number\nFrom the code of the network"),
        AssertionError(),
    ],
)
def test_words_of_the_tracer_are_not_quoted(segmenter, error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch.export, "export", fail)
    reason = r"\(what its layers do depends on the size of the images, or on their number\)"
    message = (
        rf"can't be exported {reason}; set export_size=\[height,width\] to export it for images of one size, or try"
    )
    with pytest.raises(HypercolumnsError, match=message):
        export_torch(segmenter, tmp_path / "model.pt2")
    with pytest.raises(HypercolumnsError, match=rf"can't be exported {reason}; try other taps or another network$"):
        export_torch(segmenter, tmp_path / "model.pt2", size=(30, 40))


def test_difference_at_larger_images_is_found():
    """Pooling to a number of cells that depends on the size, for example, is exported with the number of the trace."""
    segmenter = MODELS["linear"]()

    def run(images):
        logits = segmenter(images)
        return logits if images.shape[2] <= 100 else logits.flip(1)

    with pytest.raises(HypercolumnsError, match=r"model\.pt2 was not written: .*; set export_size=\[height,width\]"):
        torch_export.check_agreement(segmenter, run, "uint8", "logits", "model.pt2")
    assert torch_export.check_agreement(segmenter, run, "uint8", "logits", "model.pt2", (100, 40)).logits == 0


def test_file_that_fails_at_a_size_is_refused():
    def run(_):
        raise RuntimeError("shapes do not match\nat node 7")

    message = (
        r"^model\.onnx was not written: the exported program fails on 2 images of 83x61 pixels \(shapes do not match\)"
    )
    with pytest.raises(HypercolumnsError, match=message):
        onnx.check_agreement(MODELS["linear"](), run, "uint8", "logits", "model.onnx")


@pytest.mark.parametrize("format", ["torch", slow("onnx")])
def test_file_for_one_size_equals_model(format, tmp_path):
    path, segmenter = tmp_path / "model", MODELS["linear"]()
    WRITERS[format](segmenter, path, output="logits", size=[21, 34])
    run, images = load(path, format), torch.randint(0, 256, (4, 3, 21, 34), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(run(images), segmenter(images))
    if format == "onnx":
        assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == ["batch", 3, 21, 34]


@pytest.mark.parametrize("size", [[21], 21, [0, 5], "21x34"])
def test_size_that_is_none_is_refused(segmenter, size, tmp_path):
    with pytest.raises(HypercolumnsError, match=r"^size=.* must be \[height,width\] in pixels, or null"):
        export_torch(segmenter, tmp_path / "model.pt2", size=size)


@pytest.mark.slow
def test_rewrites_of_onnx_are_not_logged(tmp_path, caplog):
    quiet_libraries()
    with caplog.at_level(logging.INFO):  # the level that Hydra sets in commands
        export_onnx(MODELS["linear"](), tmp_path / "model.onnx")
    assert not [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("format", "name"), [("onnx", "model.onnx"), slow("torch", "model.pt2")])
def test_export_page_runs_without_this_package(exported, format, name, tmp_path):
    """Run the code block of docs/export.md as it is printed, where importing the project fails."""
    page = (ROOT / "docs" / "export.md").read_text()
    (text,) = [block for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if name in block]
    path, _ = exported("plain", format, "uint8", "labels")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / name).symlink_to(path)
    (tmp_path / "hypercolumns.py").write_text("raise ImportError('the project is not installed here')")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 44, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    process = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stderr) == (0, "")
    mask = Image.open(tmp_path / "photo_labels.png")
    assert mask.mode == "P"
    assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert (np.asarray(mask) == SegmentationPredictor(MODELS["plain"]()).predict(tmp_path / "photo.jpg").labels).all()
    assert set(process.stdout.split()) <= {"ground", "cat", "dog"}
