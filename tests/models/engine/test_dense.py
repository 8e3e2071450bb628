"""Dense classification compared with upsampling, concatenating and classifying: values, gradients and memory."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from helpers.maps import ALIGNMENTS, NESTED, PYRAMID, SIZES, TAPS, Anywhere, everywhere, make_classifier, make_maps
from torch import nn

from hypercolumns.models.alignment import FeatureMap, at, dense, locate_maps
from hypercolumns.models.classifiers.pointwise import Pointwise, ReLU
from hypercolumns.models.engine import classify
from hypercolumns.models.engine import dense as dense_module


def naive(placed, rows, columns, weight, bias, rest):
    """Compute the reference: upsample all maps, concatenate them, and apply the layers to every pixel."""
    return rest(F.linear(dense(placed, rows, columns).permute(0, 2, 3, 1), weight, bias))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_classify_equals_concatenate_and_classify(size, alignment, hidden):
    """Values and all gradients are equal for every size of blocks and tiles."""
    check_classify(TAPS, size, alignment, hidden)


@pytest.mark.parametrize("size", [*SIZES, (90, 120)])
def test_nested_maps_are_classified_exactly(size):
    """Maps whose cells are centred on those of finer maps are added there; the last size has maps that are coarse."""
    check_classify(NESTED, size, "exact", [6])


def check_classify(taps, size, alignment, hidden):
    """Compare values and all gradients with the reference, for several sizes of blocks and tiles."""
    maps = make_maps(size, pyramid=True, taps=taps)
    placed = locate_maps((*taps, PYRAMID), maps, size, alignment)
    weight, bias, rest = make_classifier(hidden, channels=sum(tap.channels for tap in (*taps, PYRAMID)))
    tensors = [*maps, weight, bias, *rest.parameters()]

    reference = naive(placed, *everywhere(size), weight, bias, rest)
    factor = torch.randn(reference.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((reference * factor).sum(), tensors)
    for block, tile in [(None, None), ((7, 9), 20), ((16, 64), 1), ((1000, 1000), 10**6)]:
        ours = classify(placed, *everywhere(size), weight, bias, rest, list(rest.parameters()), block, tile)
        assert torch.allclose(ours, reference, atol=1e-10)
        for mine, theirs in zip(torch.autograd.grad((ours * factor).sum(), tensors), gradients, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-9)


def test_fractional_rows_and_columns():
    size = (20, 30)
    placed = locate_maps(TAPS, make_maps(size), size, "exact")
    weight, bias, rest = torch.randn(4, 14).double(), torch.randn(4).double(), Anywhere()
    rows, columns = torch.tensor([0.0, 3.25, 19.0]), torch.tensor([0.5, 29.0])
    chosen = classify(placed, rows, columns, weight, bias, rest)
    points = torch.cartesian_prod(rows, columns)[None].expand(2, -1, -1)
    assert torch.allclose(chosen.flatten(1, 2), at(placed, points) @ weight.T + bias)


def test_head_gets_rows_and_columns_of_pixels():
    size = (37, 53)
    placed = locate_maps(TAPS, make_maps(size), size, "exact")
    weight, bias, _ = make_classifier([6])
    rows, columns = torch.arange(5, 30), torch.arange(2, 50)
    here = classify(
        placed, rows, columns, weight, bias, lambda h, r, c: h + (100 * r + c)[..., None], block=(7, 9), tile=20
    )
    plain = classify(placed, rows, columns, weight, bias, Anywhere())
    assert torch.allclose(here - plain, (100.0 * rows[:, None] + columns)[None, :, :, None].double())


@pytest.mark.parametrize("tap", [0, 1])
def test_one_tap_in_either_order(tap):
    """Tap 0 is projected after the interpolation, tap 1 before it."""
    size = (20, 30)
    placed = locate_maps(TAPS[tap : tap + 1], make_maps(size)[tap : tap + 1], size, "exact")
    weight, bias, rest = make_classifier([6], channels=TAPS[tap].channels)
    reference = naive(placed, *everywhere(size), weight, bias, rest)
    assert torch.allclose(classify(placed, *everywhere(size), weight, bias, rest), reference, atol=1e-10)


def test_labels_are_computed_tile_by_tile():
    size = (20, 30)
    placed = locate_maps(TAPS, make_maps(size), size, "exact")
    weight, bias, rest = make_classifier([6])
    shapes = []

    def labels(hidden, rows, columns):
        shapes.append(hidden.shape[1:3])
        return rest(hidden).argmax(-1, keepdim=True).to(torch.uint8)

    result = classify(placed, *everywhere(size), weight, bias, labels, block=(8, 16), tile=32)
    assert result.dtype == torch.uint8
    assert torch.equal(result[..., 0].long(), naive(placed, *everywhere(size), weight, bias, rest).argmax(-1))
    assert max(height * width for height, width in shapes) <= 32


def test_dropout_is_the_same_in_the_backward_pass():
    """With the same units dropped, the output is linear in the last layer's weight, so gradient . weight = output."""
    torch.manual_seed(0)
    size = (20, 30)
    placed = locate_maps(TAPS, make_maps(size), size, "exact")
    weight, bias, _ = make_classifier([6])
    rest = Anywhere(ReLU(), nn.Dropout(0.5), Pointwise(6, 1, bias=False)).double()
    output = classify(placed, *everywhere(size), weight, bias, rest, list(rest.parameters()), (8, 8), 16).sum()
    before = torch.get_rng_state()
    (gradient,) = torch.autograd.grad(output, rest[2].weight)
    assert torch.allclose((gradient * rest[2].weight).sum(), output)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradient_of_weight_alone():
    size = (20, 30)
    placed = locate_maps(TAPS, [m.detach() for m in make_maps(size)], size, "exact")
    weight, bias, _ = make_classifier([6])
    output = classify(placed, *everywhere(size), weight, bias.detach(), Anywhere())
    reference = naive(placed, *everywhere(size), weight, bias, Anywhere())
    (ours,), (theirs,) = (torch.autograd.grad(result.sum(), weight) for result in (output, reference))
    assert torch.allclose(ours, theirs, atol=1e-9)


def test_backward_saves_no_full_resolution_hidden():
    """Autograd saves no tensor that is larger than the largest map."""
    size = (40, 60)
    maps = make_maps(size)
    weight, bias, rest = make_classifier([50])
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        classify(locate_maps(TAPS, maps, size, "exact"), *everywhere(size), weight, bias, rest, list(rest.parameters()))
    assert max(saved) <= max(m.numel() for m in maps)


def test_projections_of_dense_cells_are_bounded(monkeypatch):
    """A grid of pixels as far apart as the cells has smaller blocks, so that they have no more cells."""
    cells = []

    def tables(self, *arguments):
        made = project(self, *arguments)
        cells.extend(table.shape[1] for table in made)
        return made

    project = dense_module.Projection.tables
    monkeypatch.setattr(dense_module.Projection, "tables", tables)
    monkeypatch.setattr(dense_module, "CPU_BLOCK", 0)
    monkeypatch.setattr(dense_module, "MIN_BLOCK", 2400)
    placed = [FeatureMap(torch.randn(1, 3, 40, 59).double(), torch.arange(40) * 2.0, torch.arange(59) * 2.0)]
    weight, bias, rest = make_classifier([6], channels=3)
    for spacing, size in ((1, (80, 120)), (2, (40, 60))):
        cells.clear()
        rows, columns = (torch.arange(length) * spacing for length in size)
        ours = classify(placed, rows, columns, weight, bias, rest)
        assert torch.allclose(ours, naive(placed, rows, columns, weight, bias, rest), atol=1e-10)
        assert max(cells) <= 2400 / 4 + 2 * 60  # and those along the edges of a block


def test_maps_are_freed_without_collections():
    """The maps of a window of a large image are in no reference cycle, which would keep those of many windows."""
    size = (40, 60)
    placed = locate_maps(TAPS, make_maps(size), size, "exact")
    weight, bias, rest = make_classifier([6])
    values = [weakref.ref(tap_map.values) for tap_map in placed]
    gc.disable()
    try:
        with torch.no_grad():
            classify(placed, *everywhere(size), weight, bias, rest, block=(8, 16))
        del placed
        assert [value() for value in values] == [None] * len(values)
    finally:
        gc.enable()


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


def on_device(device, size):
    """Return maps and a classifier in single precision on a device."""
    maps = [m.detach().to(device).requires_grad_() for m in make_maps(size, torch.float32)]
    weight, bias, rest = make_classifier([6], dtype=torch.float32)
    weight, bias = (tensor.detach().to(device).requires_grad_() for tensor in (weight, bias))
    return locate_maps(TAPS, maps, size, "exact"), weight, bias, rest.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_single_precision_on_every_device(device, size):
    placed, weight, bias, rest = on_device(device, size)
    tensors = [*(tap_map.values for tap_map in placed), weight, bias, *rest.parameters()]
    reference = naive(placed, *everywhere(size), weight, bias, rest)
    ours = classify(placed, *everywhere(size), weight, bias, rest, list(rest.parameters()))
    assert (ours - reference).abs().max() <= 1e-5 * (reference.max() - reference.min())
    for mine, theirs in zip(
        torch.autograd.grad(ours.mean(), tensors), torch.autograd.grad(reference.mean(), tensors), strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_mixed_precision_is_near_full_precision(device):
    """Under bfloat16 autocast, in both passes; gradients have the parameters' own precision."""
    size = (20, 30)
    placed, weight, bias, rest = on_device(device, size)
    tensors = [*(tap_map.values for tap_map in placed), weight, bias, *rest.parameters()]
    reference = classify(placed, *everywhere(size), weight, bias, rest, list(rest.parameters()))
    with torch.autocast(device, torch.bfloat16):
        mixed = classify(placed, *everywhere(size), weight, bias, rest, list(rest.parameters()))
    assert mixed.dtype == torch.bfloat16
    assert (mixed.float() - reference).abs().max() < 0.05 * reference.abs().max()
    for ours, theirs in zip(
        torch.autograd.grad(mixed.float().mean(), tensors), torch.autograd.grad(reference.mean(), tensors), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.1 * theirs.norm()
