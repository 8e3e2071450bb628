"""Alignment and interpolation: centres by hand, `F.interpolate` as the reference, and dense against points."""

import pytest
import torch
import torch.nn.functional as F
from helpers.maps import ALIGNMENTS, SIZES, TAPS, everywhere, make_maps

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.alignment import (
    FeatureMap,
    at,
    bilinear_neighbours,
    cell_centres,
    check_alignment,
    dense,
    interpolation_matrix,
    locate_maps,
)
from hypercolumns.models.taps import RegularGrid


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        # 3 cells over 10 pixels, with receptive fields centred at 2, 6 and 10
        ("exact", [2.0, 6.0, 10.0]),
        ("half_pixel", [5 / 3 - 0.5, 5.0 - 0.5, 25 / 3 - 0.5]),
        ("corners", [0.0, 4.5, 9.0]),
    ],
)
def test_cell_centres_by_hand(alignment, expected):
    assert cell_centres(RegularGrid(4, 2), 3, 10, alignment).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("alignment", ["half_pixel", "corners"])
@pytest.mark.parametrize(("cells", "size"), [(1, 1), (1, 7), (4, 1)])
def test_one_cell_or_one_pixel_equals_interpolate(alignment, cells, size):
    centres = cell_centres(RegularGrid(4, 2), cells, size, alignment)
    matrix = interpolation_matrix(torch.arange(size), centres)
    ones = torch.eye(cells, dtype=torch.float64)[None]
    reference = F.interpolate(ones, size, mode="linear", align_corners=alignment == "corners")[0].T
    assert torch.allclose(matrix, reference)


def test_neighbours_by_hand():
    """The cells are at unequal distances: 2, 6 and 14."""
    pixels = torch.tensor([-3.0, 2.0, 3.0, 6.0, 8.0, 14.0, 20.0])
    low, high, weight = bilinear_neighbours(pixels, torch.tensor([2.0, 6.0, 14.0], dtype=torch.float64))
    assert low.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert high.tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert weight.tolist() == pytest.approx([0, 0, 0.25, 0, 0.25, 1, 1])


def test_exact_alignment_reproduces_coordinates():
    """The cells hold the coordinates of their centres; interpolation reproduces them between the outermost centres."""
    centres = cell_centres(RegularGrid(8, 9), 6, 60, "exact")
    cells = centres[None, None, :, None].expand(1, 1, 6, 6)
    rows = dense([FeatureMap(cells, centres, centres)], *everywhere((60, 60)))[0, 0]
    assert torch.allclose(rows[9:50], torch.arange(9.0, 50.0, dtype=torch.float64)[:, None].expand(-1, 60))
    assert (rows[:9] == 9).all()
    assert (rows[50:] == 49).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("alignment", "corners"), [("corners", True), ("half_pixel", False)])
def test_stretching_alignments_equal_interpolate(size, alignment, corners):
    maps = make_maps(size)
    reference = torch.cat([F.interpolate(m, size, mode="bilinear", align_corners=corners) for m in maps], dim=1)
    placed = locate_maps(TAPS, maps, size, alignment)
    assert torch.allclose(dense(placed, *everywhere(size)), reference, atol=1e-9)
    single = locate_maps(TAPS, [m.float() for m in maps], size, alignment)
    assert torch.allclose(dense(single, *everywhere(size)), reference.float(), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_dense_and_at_agree_in_value_and_gradient(size, alignment, dtype, tolerance):
    maps = make_maps(size, dtype)
    placed = locate_maps(TAPS, maps, size, alignment)
    generator = torch.Generator().manual_seed(1)
    points = torch.stack([torch.randint(0, side, (2, 20), generator=generator) for side in size], dim=-1)
    sparse = at(placed, points)
    full = dense(placed, *everywhere(size))
    read = torch.stack([full[b, :, points[b, :, 0], points[b, :, 1]].T for b in range(2)])
    assert sparse.dtype == dtype
    assert torch.allclose(sparse, read, atol=tolerance)
    weights = torch.randn(sparse.shape, generator=generator, dtype=dtype)
    for ours, theirs in zip(
        torch.autograd.grad((sparse * weights).sum(), maps),
        torch.autograd.grad((read * weights).sum(), maps),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=20 * tolerance)


@pytest.mark.parametrize("along", [2, 3])
def test_dense_of_a_strip_needs_no_large_matrix(along):
    """The matrix of the whole axis would have 20 billion entries."""
    shape = [1, 2, 3, 3]
    shape[along] = 100_000
    cells, size = torch.rand(shape, dtype=torch.float64), [3, 3]
    size[along - 2] = 200_000
    centres = [cell_centres(RegularGrid(4, 2), shape[axis + 2], size[axis], "half_pixel") for axis in range(2)]
    reference = F.interpolate(cells, size, mode="bilinear")
    assert torch.allclose(dense([FeatureMap(cells, *centres)], *everywhere(size)), reference, atol=1e-9)


def test_at_accepts_no_points():
    placed = locate_maps(TAPS, make_maps((9, 9)), (9, 9), "exact")
    assert at(placed, torch.zeros(2, 0, 2, dtype=torch.int64)).shape == (2, 0, 14)


def test_unknown_alignment_raises():
    with pytest.raises(HypercolumnsError, match="alignment=middle is not known; choose one of exact, half_pixel"):
        check_alignment("middle")
