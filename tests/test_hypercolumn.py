import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypercolumns.errors import HypercolumnsError
from hypercolumns.hypercolumn import Hypercolumn, cell_coordinates
from hypercolumns.taps import Tap

TAPS = (
    Tap("fine", 3, (1.0, 1.0), (0.0, 0.0)),
    Tap("middle", 4, (4.0, 4.0), (5.0, 5.0)),
    Tap("middle too", 2, (4.0, 4.0), (5.0, 5.0)),
    Tap("deep", 5, (16.0, 8.0), (7.5, 3.5)),
)
SIZES = [(37, 53), (5, 3), (1, 1), (16, 64)]  # odd, smaller than the deepest stride, one pixel, whole strides
ALIGNMENTS = ["exact", "half_pixel", "corners"]


def make_maps(size, dtype=torch.float64, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(
            batch,
            tap.channels,
            *(max(int(side // stride), 1) for side, stride in zip(size, tap.stride, strict=True)),
            generator=generator,
            dtype=dtype,
        ).requires_grad_()
        for tap in TAPS
    ]


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        # 3 cells over 10 pixels, centred at 2, 6 and 10
        ("exact", [0.0, 0.25, 1.0, 1.75]),
        ("half_pixel", [0.0, 3.5 * 0.3 - 0.5, 6.5 * 0.3 - 0.5, 2.0]),
        ("corners", [0.0, 3 * 2 / 9, 6 * 2 / 9, 2.0]),
    ],
)
def test_cell_coordinates_by_hand(alignment, expected):
    pixels = torch.tensor([0.0, 3.0, 6.0, 9.0], dtype=torch.float64)
    coordinates = cell_coordinates(pixels, cells=3, size=10, stride=4, offset=2, alignment=alignment)
    assert coordinates.tolist() == pytest.approx(expected)


def test_exact_alignment_gives_each_pixel_its_own_coordinate_back():
    """Of maps whose cells hold the coordinate of their centre, inside the outermost centres."""
    tap = Tap("ramp", 1, (8.0, 8.0), (9.0, 9.0))
    centres = 9 + 8 * torch.arange(6, dtype=torch.float64)
    cells = centres[None, None, :, None].expand(1, 1, 6, 6)
    rows = Hypercolumn((tap,)).dense([cells], (60, 60))[0, 0]
    assert torch.allclose(rows[9:50], torch.arange(9.0, 50.0, dtype=torch.float64)[:, None].expand(-1, 60))
    assert (rows[:9] == 9).all()
    assert (rows[50:] == 49).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("alignment", "corners"), [("corners", True), ("half_pixel", False)])
def test_stretching_alignments_equal_interpolate(size, alignment, corners):
    maps = make_maps(size)
    reference = torch.cat([F.interpolate(m, size, mode="bilinear", align_corners=corners) for m in maps], dim=1)
    assert torch.allclose(Hypercolumn(TAPS, alignment).dense(maps, size), reference, atol=1e-9)
    single = [m.float() for m in maps]
    assert torch.allclose(Hypercolumn(TAPS, alignment).dense(single, size), reference.float(), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_dense_and_at_agree_in_value_and_gradient(size, alignment, dtype, tolerance):
    hypercolumn = Hypercolumn(TAPS, alignment)
    maps = make_maps(size, dtype)
    generator = torch.Generator().manual_seed(1)
    points = torch.stack([torch.randint(0, side, (2, 20), generator=generator) for side in size], dim=-1)
    at = hypercolumn.at(maps, points, size)
    dense = hypercolumn.dense(maps, size)
    read = torch.stack([dense[b, :, points[b, :, 0], points[b, :, 1]].T for b in range(2)])
    assert at.dtype == dtype
    assert torch.allclose(at, read, atol=tolerance)
    weights = torch.randn(at.shape, generator=generator, dtype=dtype)
    for ours, theirs in zip(
        torch.autograd.grad((at * weights).sum(), maps), torch.autograd.grad((read * weights).sum(), maps), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=20 * tolerance)


def test_at_takes_no_points():
    assert Hypercolumn(TAPS).at(make_maps((9, 9)), torch.zeros(2, 0, 2, dtype=torch.int64), (9, 9)).shape == (2, 0, 14)


def naive(hypercolumn, maps, size, weight, bias, rest):
    return rest(F.linear(hypercolumn.dense(maps, size).permute(0, 2, 3, 1), weight, bias))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_classify_equals_concatenate_and_classify(size, alignment, hidden):
    """In value and in every gradient, whatever the tiles."""
    torch.manual_seed(0)
    hypercolumn = Hypercolumn(TAPS, alignment)
    maps = make_maps(size)
    widths = [*hidden, 3]
    weight = torch.randn(widths[0], 14, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(widths[0], dtype=torch.float64, requires_grad=True)
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.ReLU(), nn.Linear(a, b))]
    rest = nn.Sequential(*layers).double()
    tensors = [*maps, weight, bias, *rest.parameters()]

    reference = naive(hypercolumn, maps, size, weight, bias, rest)
    factor = torch.randn(reference.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((reference * factor).sum(), tensors)
    for tile in [(16, 64), (7, 9), (1000, 1000)]:
        ours = hypercolumn.classify(maps, size, weight, bias, rest, tile=tile)
        assert torch.allclose(ours, reference, atol=1e-10)
        for mine, theirs in zip(torch.autograd.grad((ours * factor).sum(), tensors), gradients, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-9)


def test_classify_at_rows_and_columns_of_ones_choice():
    hypercolumn, maps, size = Hypercolumn(TAPS), make_maps((20, 30)), (20, 30)
    weight, bias, rest = torch.randn(4, 14).double(), torch.zeros(4).double(), nn.Identity()
    rows, columns = torch.tensor([0.0, 3.25, 19.0]), torch.tensor([0.5, 29.0])
    chosen = hypercolumn.classify(maps, size, weight, bias, rest, rows, columns)
    points = torch.cartesian_prod(rows, columns)[None].expand(2, -1, -1)
    assert torch.allclose(chosen.flatten(1, 2), hypercolumn.at(maps, points, size) @ weight.T)


def test_dropout_is_the_same_in_the_backward_pass():
    """With dropout, the output is linear in the last layer's weight: its gradient says which units were dropped."""
    torch.manual_seed(0)
    hypercolumn, maps, size = Hypercolumn(TAPS), make_maps((20, 30)), (20, 30)
    weight = torch.randn(6, 14, dtype=torch.float64)
    rest = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 1, bias=False)).double()
    output = hypercolumn.classify(maps, size, weight, torch.zeros(6).double(), rest, tile=(8, 8)).sum()
    (gradient,) = torch.autograd.grad(output, rest[2].weight)
    assert torch.allclose((gradient * rest[2].weight).sum(), output)


def test_no_gradient_where_none_is_wanted():
    hypercolumn, size = Hypercolumn(TAPS), (20, 30)
    maps = [m.detach() for m in make_maps(size)]
    weight = torch.randn(6, 14, dtype=torch.float64, requires_grad=True)
    output = hypercolumn.classify(maps, size, weight, torch.zeros(6).double(), nn.Identity())
    reference = naive(hypercolumn, maps, size, weight, torch.zeros(6).double(), nn.Identity())
    assert torch.allclose(
        torch.autograd.grad(output.sum(), weight)[0], torch.autograd.grad(reference.sum(), weight)[0], atol=1e-9
    )


def test_unknown_alignment_is_refused():
    with pytest.raises(HypercolumnsError, match="alignment=middle is not known; choose one of exact, half_pixel"):
        Hypercolumn(TAPS, "middle")


def test_mixed_precision_is_near_full_precision():
    """Forwards and backwards under bfloat16 autocast; gradients in the parameters' own precision."""
    torch.manual_seed(0)
    hypercolumn, size = Hypercolumn(TAPS), (20, 30)
    maps = make_maps(size, torch.float32)
    weight, bias = torch.randn(6, 14, requires_grad=True), torch.zeros(6, requires_grad=True)
    rest = nn.Sequential(nn.ReLU(), nn.Linear(6, 3))
    tensors = [*maps, weight, bias, *rest.parameters()]
    reference = hypercolumn.classify(maps, size, weight, bias, rest)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = hypercolumn.classify(maps, size, weight, bias, rest)
    assert mixed.dtype == torch.bfloat16
    assert (mixed.float() - reference).abs().max() < 0.05 * reference.abs().max()
    for ours, theirs in zip(
        torch.autograd.grad(mixed.float().mean(), tensors), torch.autograd.grad(reference.mean(), tensors), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.1 * theirs.norm()
