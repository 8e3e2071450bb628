"""Files of models, run by what they are for, against the model itself."""

import functools
import json
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, make_segmenter, vgg_weights
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor
from hypercolumns.export import export_onnx, export_torch, onnx
from hypercolumns.export.graph import ExportableSegmenter
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

# Of networks that need 9 or 16 pixels a side too; images at once, height, width.
SIZES = [(1, 1, 1), (1, 1, 40), (2, 40, 1), (1, 5, 90), (3, 33, 47), (1, 64, 40), (1, 22, 21), (1, 101, 77)]
WRITERS = {"torch": export_torch, "onnx": export_onnx}
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def of(network, taps, head=MLPClassifier, alignment="exact", resize=None, **settings):
    torch.manual_seed(4)
    backbone = Backbone(network, taps, vgg_weights() if network == "vgg11" else None, seed=4)
    classifier = head(backbone.channels, 3, **settings)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    return Segmenter(HypercolumnExtractor(backbone, alignment, resize), classifier, ["a", "b", "c"]).eval()


SQN = ["features.0", "features.3.expand1x1", "features.7.expand1x1"]
MODELS = {
    "plain": lambda: make_segmenter("plain"),
    "placed": lambda: make_segmenter("placed"),
    "linear": lambda: of("rgb", ["image"], hidden=[]),
    "where": lambda: of("rgb", ["image", "coordinates"], GridClassifier, size=2, hidden=8),
    "deep": lambda: of("vgg11", ["features.0", "features.3", "features.8"], hidden=[8, 6], dropout=0.5),
    "normed": lambda: of("resnet18", ["layer1", "layer3", "pyramid:3"], hidden=8),
    "corners": lambda: of("squeezenet1_0", [*SQN, "pyramid:2"], alignment="corners", hidden=8),
    "half_pixel": lambda: of("squeezenet1_0", SQN, GridClassifier, alignment="half_pixel", hidden=[]),
    "resized": lambda: of("squeezenet1_0", [*SQN, "local_mean:3", "coordinates"], resize=(40, 56), hidden=8),
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The file of a model, and what its writer said of it."""

    @functools.cache
    def write(model, format, inputs, outputs):
        path = tmp_path_factory.mktemp("exported") / ("model.pt2" if format == "torch" else "model.onnx")
        return path, WRITERS[format](MODELS[model](), path, inputs, outputs)

    return write


def load(path, format):
    """As others would run it."""
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
        # What is written as ONNX is the program that is written as .pt2.
        slow("onnx", "linear", "uint8", "logits"),
        slow("onnx", "where", "float", "logits"),
        slow("onnx", "deep", "uint8", "logits"),
        slow("onnx", "normed", "float", "labels"),
        slow("onnx", "corners", "float", "logits"),
        slow("onnx", "half_pixel", "uint8", "logits"),
        slow("onnx", "resized", "uint8", "logits"),
    ],
)
def test_a_file_does_what_the_model_does_at_every_size(exported, format, model, inputs, outputs):
    path, said = exported(model, format, inputs, outputs)
    run, segmenter = load(path, format), MODELS[model]()
    same = total = 0
    for count, *size in SIZES:
        images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
        found = run(images if inputs == "uint8" else images / 255)
        with torch.inference_mode():
            logits = segmenter(images)
        if outputs == "logits":
            assert found.dtype == torch.float32
            assert found.shape == (count, 3, *size)
            assert (found - logits).abs().max() <= 1e-4 * (logits.max() - logits.min())
            continue
        assert found.dtype == torch.uint8
        assert found.shape == (count, *size)
        same, total = same + int((found == logits.argmax(1)).sum()), total + found.numel()
    assert outputs == "logits" or same >= 0.9999 * total
    assert said.labels > 0.999
    assert (said.logits is None) == (outputs == "labels")
    assert said.logits is None or 0 < said.logits < 1e-5 or model == "linear"


def test_the_names_and_colours_of_classes_are_in_the_file(exported):
    expected = {"classes": ["ground", "cat", "dog"], "palette": [[0, 0, 0], [128, 0, 0], [0, 128, 0]]}
    path, _ = exported("plain", "onnx", "uint8", "labels")
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in about.items()} == expected
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", "height", "width"]
    about = dict.fromkeys(expected, "")
    torch.export.load(exported("plain", "torch", "uint8", "labels")[0], extra_files=about)
    assert {name: json.loads(text) for name, text in about.items()} == expected


def test_nothing_of_the_hidden_layer_is_as_large_as_the_image():
    """Its width is one that nothing else in the graph has."""
    graph = onnx.make_program(of("squeezenet1_0", SQN[:2], hidden=29), "uint8", "labels").graph
    shapes = [node.meta["val"].shape for node in graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    height, width = next(shape for shape in shapes if len(shape) == 4)[2:]
    wide = [shape for shape in shapes if 29 in shape]
    assert wide
    assert not any(height in shape or width in shape for shape in wide)


def test_grids_are_nested_where_cells_are_centred_on_cells():
    assert [nested for _, nested in ExportableSegmenter(of("squeezenet1_0", SQN), "labels").groups] == [
        True,
        True,
        False,
    ]
    resnet = of("resnet18", ["layer1", "layer2", "coordinates"])
    assert ExportableSegmenter(resnet, "labels").groups == [([2], False), ([1], True), ([0], False)]
    vgg = of("vgg11", ["features.0", "features.3", "features.8"])
    assert not any(nested for _, nested in ExportableSegmenter(vgg, "labels").groups)


@pytest.mark.parametrize("format", ["torch", slow("onnx")])
def test_what_does_something_else_is_not_written(format, tmp_path, monkeypatch):
    head = MLPClassifier.head
    monkeypatch.setattr(
        ExportableSegmenter, "_head", lambda self, *seen: head(self.classifier, *seen).argmin(-1, True).byte()
    )
    path = tmp_path / "model"
    path.write_text("what was there")
    with pytest.raises(HypercolumnsError, match=r"model was not written: what would have been does something else"):
        WRITERS[format](MODELS["linear"](), path)
    assert path.read_text() == "what was there"
    assert [*tmp_path.iterdir()] == [path]


def test_what_torch_can_not_export_is_refused(segmenter, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such operation\nand much more")

    monkeypatch.setattr(torch.export, "export", fail)
    message = r"^squeezenet1_0 with these taps can't be exported \(no such operation\); try other taps or"
    with pytest.raises(HypercolumnsError, match=message):
        export_torch(segmenter, tmp_path / "model.pt2")


def test_what_onnx_lacks_is_refused(segmenter, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such\noperation")

    monkeypatch.setattr(onnx, "make_program", lambda *_: None)
    monkeypatch.setattr(torch.onnx, "export", fail)
    message = r"^squeezenet1_0 can't be written as ONNX \(no such operation\); try torch\.export"
    with pytest.raises(HypercolumnsError, match=message):
        export_onnx(segmenter, tmp_path / "model.onnx")


def test_settings_that_are_not_known_are_refused(segmenter, tmp_path):
    with pytest.raises(HypercolumnsError, match=r"^input=bytes is not known; choose one of uint8, float"):
        export_torch(segmenter, tmp_path / "model.pt2", input="bytes")
    with pytest.raises(HypercolumnsError, match=r"^output=mask is not known; choose one of labels, logits"):
        export_torch(segmenter, tmp_path / "model.pt2", output="mask")


def test_cells_whose_places_must_be_measured_are_refused(segmenter, tmp_path):
    tap = segmenter.backbone.taps[0]
    segmenter.backbone.taps = (type(tap)(tap.name, tap.channels, (tap.axes[0], object())), *segmenter.backbone.taps[1:])
    with pytest.raises(HypercolumnsError, match=r"tap features\.0 can't be exported: .* alignment=half_pixel"):
        export_torch(segmenter, tmp_path / "model.pt2")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_packages_the_error_names_the_extra(segmenter, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HypercolumnsError, match=rf"needs {package}, .*hypercolumns\[onnx\].*--extra onnx"):
        export_onnx(segmenter, tmp_path / "model.onnx")


@pytest.mark.parametrize(("format", "name"), [("onnx", "model.onnx"), slow("torch", "model.pt2")])
def test_the_page_on_serving_runs_as_it_stands_without_this_package(exported, format, name, tmp_path):
    page = (ROOT / "docs" / "serving.md").read_text()
    (text,) = [block for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if name in block]
    path, _ = exported("plain", format, "uint8", "labels")
    (tmp_path / name).symlink_to(path)
    (tmp_path / "hypercolumns.py").write_text("raise ImportError('this package is not here')")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 44, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "street.png", exif=exif)
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    mask = Image.open(tmp_path / "street_labels.png")
    assert mask.mode == "P"
    assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert (np.asarray(mask) == SegmentationPredictor(MODELS["plain"]()).predict(tmp_path / "street.png").labels).all()
    assert set(done.stdout.split()) <= {"ground", "cat", "dog"}
