"""Exported transformers at sizes that the trace did not see, against the model itself."""

import onnxruntime
import pytest
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.export import export_onnx, export_torch
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

# (images, height, width): below a patch, odd numbers of patches, and more patches than position embeddings.
SIZES = [(1, 1, 5), (3, 47, 33), (1, 64, 112), (2, 30, 290)]
BLOCKS = ["blocks.0", "blocks.1"]
LAYERS = ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]


def make_segmenter(network, taps):
    """Build a segmenter whose parameters hide nothing: timm's layer scales, for example, begin near 0."""
    own = {"mean": None, "std": None} if network.startswith("timm/") else {}
    backbone = Backbone(network, taps, **own).eval()
    generator = torch.Generator().manual_seed(0)
    for values in backbone.parameters():
        if values.ndim < 2:
            values.detach().uniform_(0.5, 1.5, generator=generator)
    torch.manual_seed(0)
    classifier = MLPClassifier(backbone.channels, 3, hidden=8)
    return Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b", "c"]).eval()


def largest_difference(segmenter, run):
    """Return the largest difference of the logits at `SIZES`, divided by the range of the model's logits."""
    differences = []
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = segmenter(images)
            difference = (run(images) - expected).abs().max() / (expected.max() - expected.min()).clamp(min=1)
        differences.append(float(difference))
    return max(differences)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "taps"), [("timm/vit_small_patch16_dinov3", BLOCKS), ("vit_b_16", LAYERS)])
def test_torch_file_equals_model(network, taps, tmp_path):
    segmenter, path = make_segmenter(network, taps), tmp_path / "model.pt2"
    export_torch(segmenter, path, "float", "logits")
    assert largest_difference(segmenter, torch.export.load(path).module()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("timm/test_vit", BLOCKS),
        ("timm/vit_small_patch14_reg4_dinov2", BLOCKS),
        ("timm/vit_small_patch16_dinov3", BLOCKS),
        ("timm/eva02_tiny_patch14_224", BLOCKS),
        ("timm/vit_base_patch16_siglip_224", BLOCKS[:1]),
        ("timm/test_vit_relpos", BLOCKS),  # takes images of one size, to which others are resized
        ("vit_b_16", LAYERS),
    ],
)
def test_onnx_file_equals_model(network, taps, tmp_path):
    segmenter, path = make_segmenter(network, taps), tmp_path / "model.onnx"
    export_onnx(segmenter, path, "float", "logits")
    session = onnxruntime.InferenceSession(path)

    def run(images):
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    assert largest_difference(segmenter, run) < 1e-4


@pytest.mark.slow
def test_windows_of_swin_need_one_size(tmp_path):
    segmenter, path = make_segmenter("timm/swin_tiny_patch4_window7_224", ["layers.0", "layers.1"]), tmp_path / "model"
    with pytest.raises(HypercolumnsError, match=r"what its layers do depends on .*; set export_size=\[height,width\]"):
        export_torch(segmenter, path, "float", "logits")
    assert not path.exists()
    export_torch(segmenter, path, "float", "logits", size=(45, 70))
    images = torch.rand(3, 3, 45, 70, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, actual = segmenter(images), torch.export.load(path).module()(images)
    assert (actual - expected).abs().max() < 1e-4 * (expected.max() - expected.min())
