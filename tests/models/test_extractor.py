"""The hypercolumn extractor: windows of large images equal whole images, and dense equals points."""

import copy
import itertools

import pytest
import torch
from helpers.maps import ALIGNMENTS
from helpers.networks import SQN

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models import memory_check, windows
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

CUT = 150 * 150  # pixels; most images below are larger, so they are cut into windows


@pytest.fixture(scope="module")
def narrow():
    """SqueezeNet with one tap at each stride and a third of the channels; tests must not change it."""
    return Backbone("squeezenet1_0", ["features.0", *(f"features.{index}.expand1x1" for index in (3, 7, 12))])


def cut(backbone, limit=CUT):
    """Create an extractor whose backbone sees at most `limit` pixels at once."""
    return HypercolumnExtractor(backbone, max_window_pixels=limit)


def make_segmenter(backbone, alignment="exact", resize=None):
    torch.manual_seed(0)
    return Segmenter(
        HypercolumnExtractor(backbone, alignment, resize), MLPClassifier(backbone.channels, 3, 8), ["a", "b", "c"]
    ).eval()


def assert_windows_are_the_whole_image(segmenter, size, count=2):
    """Compare logits, labels and hypercolumns at points, also at some outside the image."""
    images, points = torch.rand(count, 3, *size), torch.rand(count, 40, 2) * torch.tensor(size) * 1.2 - 3
    with torch.inference_mode():
        logits, hypercolumns = segmenter(images), segmenter.extractor.at(images, points)
        segmenter.extractor.max_window_pixels = CUT
        assert len(list(segmenter.extractor.windows(images))) > 1
        cut = segmenter(images)
        assert (cut - logits).abs().max() <= 1e-5 * (logits.max() - logits.min())
        assert torch.equal(segmenter.labels(images).long(), cut.argmax(1))
        assert torch.allclose(segmenter.extractor.at(images, points), hypercolumns, atol=1e-5)
        everywhere = AdaptiveSettings(stride=4, margin=float("inf"))
        assert (segmenter.labels(images, everywhere) == cut.argmax(1)).float().mean() > 0.999


LONG, SQUARE = ((70, 533), (733, 41), (15, 3000)), (301, 260)
FAST = {  # the other cases are marked slow
    *(("sqn", alignment, (70, 533)) for alignment in ALIGNMENTS),
    *(("sqn", "exact", size) for size in (*LONG, SQUARE)),
    ("vgg", "exact", (70, 533)),
}


@pytest.mark.parametrize(
    ("name", "alignment", "size"),
    [
        pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow)
        for case in itertools.product(("sqn", "vgg"), ALIGNMENTS, (*LONG, SQUARE))
    ],
)
def test_windows_equal_whole_image(name, alignment, size, request):
    count = {"sqn": 2, "vgg": 1}[name]  # images; vgg is slow
    assert_windows_are_the_whole_image(make_segmenter(request.getfixturevalue(name), alignment), size, count)


@pytest.mark.parametrize("size", [(301, 260), (70, 533)])
def test_windows_with_context_taps_and_grid_head(size):
    """Global taps see the whole image, and a grid head gets coordinates in the whole image."""
    backbone = Backbone("squeezenet1_0", [*SQN["taps"][:4], "pyramid:1", "pyramid:3", "local_mean:3", "coordinates"])
    head = GridClassifier(backbone.channels, 3, 2, 8)
    assert_windows_are_the_whole_image(Segmenter(HypercolumnExtractor(backbone), head, ["a", "b", "c"]).eval(), size)


def test_windows_of_a_resized_crop_use_its_box():
    """The backbone sees the crop at another size, so its box must be scaled."""
    backbone = Backbone("squeezenet1_0", [*SQN["taps"][:2], "pyramid:2", "coordinates"])
    extractor = HypercolumnExtractor(backbone, resize=(230, 310))
    segmenter = Segmenter(extractor, GridClassifier(backbone.channels, 3, 2, 8), ["a", "b", "c"]).eval()
    image, box = torch.rand(1, 3, 120, 440), torch.tensor([[-30.0, -50.0, 400.0, 800.0]])
    with torch.inference_mode():
        logits = segmenter(image, box)
        segmenter.extractor.max_window_pixels = CUT
        cut = segmenter(image, box)
        assert (cut - logits).abs().max() <= 1e-5 * (logits.max() - logits.min())
        assert not torch.allclose(segmenter(image), cut, atol=1e-3)


def test_windows_of_a_resized_image(sqn):
    segmenter = make_segmenter(sqn, resize=(230, 310))
    image = torch.randint(0, 256, (1, 3, 120, 440), dtype=torch.uint8)
    with torch.inference_mode():
        logits = segmenter(image)
        segmenter.extractor.max_window_pixels = CUT
        assert len(list(segmenter.extractor.windows(image))) > 1
        assert (segmenter(image) - logits).abs().max() <= 1e-5 * (logits.max() - logits.min())


def test_windows_cover_image_once_within_limit(sqn):
    seen = []
    handle = sqn.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-2:]))
    covered = torch.zeros(1000, 1200, dtype=torch.int64)
    limit = 500 * 500
    try:
        for rows, columns, _ in cut(sqn, limit).windows(torch.rand(1, 3, 1000, 1200)):
            covered[rows, columns] += 1
    finally:
        handle.remove()
    assert (covered == 1).all()
    assert max(height * width for height, width in seen) <= limit


def test_windows_give_gradients_of_whole_image():
    backbone = Backbone(**SQN, trainable="all").double()
    segmenter = make_segmenter(backbone).double()
    image, factor = torch.rand(1, 3, 190, 230).double(), torch.rand(1, 3, 190, 230).double()
    points = torch.randint(0, 190, (1, 20, 2))
    parameters = [parameter for parameter in segmenter.parameters() if parameter.requires_grad]
    gradients = []
    for limit in (10**6, CUT):
        segmenter.extractor.max_window_pixels = limit
        total = (segmenter(image) * factor).sum() + segmenter.logits_at(image, points).square().sum()
        gradients.append(torch.autograd.grad(total, parameters))
    for whole, in_windows in zip(*gradients, strict=True):
        assert torch.allclose(in_windows, whole, rtol=1e-6, atol=1e-9)


def test_network_that_cannot_be_cut_warns(monkeypatch):
    monkeypatch.setattr(memory_check, "ANNOUNCED_SHARE", 0)
    backbone = Backbone("mobilenet_v3_large", ["features.0", "features.6.add"])
    image = torch.rand(1, 3, 100, 120)
    with pytest.warns(
        UserWarning,
        match="mobilenet_v3_large can't process an image of 120x100 pixels in windows, because its maps",
    ):
        (window,) = cut(backbone, 64 * 64).windows(image)
    assert torch.equal(window.maps[1].values, backbone(image)[1])


def test_batch_norm_in_training_is_not_cut(monkeypatch):
    monkeypatch.setattr(memory_check, "ANNOUNCED_SHARE", 0)
    backbone = Backbone("resnet18", ["bn1", "layer1.0.add"], trainable="all")
    image = torch.rand(1, 3, 200, 200)
    assert len(list(cut(backbone.eval()).windows(image))) > 1
    with pytest.warns(UserWarning, match="can't process an image of .* in windows"):
        assert len(list(cut(backbone.train()).windows(image))) == 1


def test_points_between_windows_equal_whole_image(sqn):
    """Some points lie exactly where windows meet: half a pixel below the last row of a window."""
    edges = [
        [rows.stop - 0.5 + shift, columns.stop - 0.5 - shift]
        for rows, columns, _ in cut(sqn).windows(torch.rand(1, 3, 300, 400))
        for shift in (-0.01, 0.0, 0.01)
    ]
    points = torch.tensor([[[0, 0], [299, 399], [150, 200], [0, 399], *edges]])
    image = torch.rand(1, 3, 300, 400)
    whole, in_windows = (cut(sqn, limit).at(image, points) for limit in (10**6, CUT))
    assert torch.allclose(in_windows, whole, atol=1e-5)


def test_points_of_wrong_shape_raise(sqn):
    with pytest.raises(HypercolumnsError, match=r"^points must have the shape \(1, N, 2\) for 1 images, not \(2"):
        HypercolumnExtractor(sqn).at(torch.rand(1, 3, 40, 40), torch.zeros(2, 5, 2))


@pytest.mark.parametrize(("width", "limit"), [(133, 10**6), (533, CUT)])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_dense_hypercolumns_equal_points(narrow, alignment, width, limit):
    extractor = HypercolumnExtractor(narrow, alignment, max_window_pixels=limit)
    images = torch.rand(1, 3, 50, width)
    points = torch.cartesian_prod(torch.arange(50), torch.arange(width))[None]
    with torch.inference_mode():
        assert (len(list(extractor.windows(images))) > 1) == (limit == CUT)
        hypercolumns = extractor(images)
        assert hypercolumns.shape == (1, narrow.channels, 50, width)
        assert torch.allclose(hypercolumns.flatten(2).transpose(1, 2), extractor.at(images, points), atol=1e-5)


def test_unknown_alignment_raises(sqn):
    with pytest.raises(HypercolumnsError, match=r"^alignment=none is not known; choose one of exact, half_pixel, corn"):
        HypercolumnExtractor(sqn, "none")


def test_segmenter_and_extractor_share_backbone(sqn):
    """The state dict holds the backbone once; a deep copy has its own backbone, shared in the same way."""
    segmenter = make_segmenter(sqn)
    assert segmenter.extractor.backbone is segmenter.backbone
    assert {name.partition(".")[0] for name in segmenter.state_dict()} == {"backbone", "classifier"}
    twin = copy.deepcopy(segmenter).double()
    assert twin.extractor.backbone is twin.backbone is not segmenter.backbone
    assert twin.extractor.backbone.device == twin.backbone.get_buffer("mean").device
    assert {parameter.dtype for parameter in twin.extractor.parameters()} == {torch.float64}
    assert {parameter.dtype for parameter in segmenter.extractor.parameters()} == {torch.float32}


def test_each_window_begins_with_returned_memory(narrow, monkeypatch):
    returned = []
    monkeypatch.setattr(windows, "return_freed_memory", returned.append)
    extractor = cut(narrow)
    for count, _ in enumerate(extractor.windows(torch.rand(1, 3, 160, 400)), start=1):
        assert len(returned) == count
    assert count > 1
    returned.clear()
    assert len([*extractor.windows(torch.rand(1, 3, 100, 100))]) == 1
    assert not returned  # a small image takes little memory
