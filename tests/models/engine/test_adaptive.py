"""Adaptive subdivision on scenes with known labels, and the classification of points."""

import pytest
import torch
from helpers.maps import NESTED, TAPS, everywhere, make_classifier, make_maps

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.alignment import locate_maps
from hypercolumns.models.engine import AdaptiveSettings, adaptive_decisions, adaptive_labels, classify
from hypercolumns.models.engine import points as points_module
from hypercolumns.models.engine.adaptive import decide, fill_margins, subdivide
from hypercolumns.models.engine.points import PointClassifier


def of_scene(scene, classified=None):
    """Return a function that computes confident decisions of a scene of labels (H, W), continued beyond its border.

    The function appends the pixels that it is called with to `classified`.
    """

    def decisions(rows, columns, step):
        if classified is not None:
            classified.extend(zip(rows.tolist(), columns.tolist(), strict=True))
        rows, columns = rows.clamp(max=scene.shape[0] - 1), columns.clamp(max=scene.shape[1] - 1)
        return decide(torch.nn.functional.one_hot(scene[rows, columns].long(), 5).float() * 10)

    return decisions


def lengths(size, start):
    return [max(-(-(side - 1) // start), 1) * start + 1 for side in size]


def test_only_blocks_at_edges_are_split():
    """By hand: 9x9 pixels, a grid with stride 4, and an edge at column 6."""
    scene = torch.zeros(9, 9)
    scene[:, 6:] = 1
    classified = []
    labels = subdivide(of_scene(scene, classified), (9, 9), AdaptiveSettings(4, 0.0))[0]
    assert torch.equal(labels, scene.to(torch.uint8))
    assert len(classified) == len(set(classified))
    # The blocks of columns 4 to 8 are split, then the blocks of columns 4 to 6. Columns 1, 2, 3 and 7 are never needed.
    assert {column for _, column in classified} == {0, 4, 5, 6, 8}
    assert [sum(column == c for _, c in classified) for column in (0, 4, 5, 6, 8)] == [3, 9, 9, 9, 5]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (37, 53), (64, 65)])
@pytest.mark.parametrize("start", [1, 2, 8])
def test_large_regions_are_exact(size, start):
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    scene = ((rows + 2 * columns) // 40) % 5
    labels = subdivide(of_scene(scene), lengths(size, start), AdaptiveSettings(start, 0.0))[0][: size[0], : size[1]]
    assert torch.equal(labels.long(), scene)


def test_block_with_small_margin_is_split():
    """An island between the grid's pixels is found only if a corner of its block has a small margin."""
    scene = torch.zeros(17, 17)
    scene[3:6, 3:6] = 1

    def decisions(rows, columns, step):
        confident = of_scene(scene)(rows, columns, step)
        confident[(rows == 8) & (columns == 8), 1] = 0.3  # the margin at this pixel
        return confident

    assert not subdivide(decisions, (17, 17), AdaptiveSettings(8, 0.2))[0].any()
    assert torch.equal(subdivide(decisions, (17, 17), AdaptiveSettings(8, 0.4))[0], scene.to(torch.uint8))


@pytest.mark.parametrize("size", [(37, 53), (5, 3), (1, 1), (16, 64)])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("taps", [TAPS, NESTED])
def test_infinite_margin_equals_dense_labels(size, classes, taps):
    """With an infinite margin, every pixel is classified as a point."""
    maps = make_maps(size, batch=1, taps=taps)
    placed = locate_maps(taps, maps, size, "exact")
    weight, bias, rest = make_classifier([6], classes=classes)
    with torch.no_grad():
        dense = classify(placed, *everywhere(size), weight, bias, rest)[0].argmax(-1)
        labels = adaptive_labels(
            placed, slice(0, size[0]), slice(0, size[1]), weight, bias, rest, AdaptiveSettings(8, float("inf"))
        )
    assert torch.equal(labels.long(), dense)


@pytest.mark.parametrize(
    ("taps", "linear"),
    [
        (TAPS, [1, 4, 1]),  # cells between pixels; at pixels 5 + 4k; at every pixel
        (NESTED, [8, 1, 4, 2]),
    ],
)
def test_point_logits_equal_dense(taps, linear):
    """Some pixels of each grid, also pixels whose corners on the coarser grid have not been requested."""
    rows, columns = torch.arange(-7, 42), torch.arange(-7, 58)
    size = (42, 60)
    placed = locate_maps(taps, make_maps(size, batch=1, taps=taps), size, "exact")
    weight, bias, rest = make_classifier([6])
    with torch.no_grad():
        dense = classify(placed, rows, columns, weight, bias, rest)[0]
        points = PointClassifier(placed, rows, columns, weight, bias, rest, stride=8)
        for step in (8, 4, 2, 1):
            y, x = (line.flatten() for line in torch.meshgrid(torch.arange(49), torch.arange(65), indexing="ij"))
            new = (y % step == 0) & (x % step == 0) & ((y % (2 * step) > 0) | (x % (2 * step) > 0) | (step == 8))
            chosen = new.nonzero().flatten()[:: 1 if step == 8 else 3]
            assert torch.allclose(points(y[chosen], x[chosen], step), dense[y[chosen], x[chosen]], atol=1e-10)
    assert points.linear == linear


def test_levels_are_projected_after_many_points():
    """A level is projected as a whole once more points have been requested than it has cells: 12, 117 and 1961."""
    size = (37, 53)
    placed = locate_maps(TAPS, make_maps(size, batch=1), size, "exact")
    weight, bias, rest = make_classifier([6])
    with torch.no_grad():
        points = PointClassifier(placed, *everywhere(size), weight, bias, rest, stride=1)
        projected = []
        for count in (2, 10, 110, 1800, 100):
            points(torch.randint(0, 37, (count,)), torch.randint(0, 53, (count,)), 1)
            projected.append([level.projected is not None for level in points.levels])
    few, more = [False, False, False], [True, True, False]
    assert projected == [few, few, more, more, [True, True, True]]


@pytest.mark.parametrize(("held", "forgets_at"), [(4000, 0), (3000, 2), (1500, 4), (800, 8)])
def test_labels_are_equal_if_memory_is_short(monkeypatch, held, forgets_at):
    """With less memory, sums are forgotten at an earlier grid, and most pixels of finer grids are classified densely.

    By hand: of 6x8 pixels, 6 sums are held for each of 3 grids (864); then of 11x15 for 2 grids (1980), and then of
    21x29 for 1 grid (3654).
    """
    monkeypatch.setattr(points_module, "MAX_HELD", held)
    size = (41, 57)
    placed = locate_maps(NESTED, make_maps(size, batch=1, taps=NESTED), size, "exact")
    weight, bias, rest = make_classifier([6])
    forgot = 0
    with torch.no_grad():
        dense = classify(placed, *everywhere(size), weight, bias, rest)[0]
        points = PointClassifier(placed, *everywhere(size), weight, bias, rest, stride=8)
        known = torch.zeros(size, dtype=torch.bool)
        for step in (8, 4, 2, 1):
            new = torch.zeros(size, dtype=torch.bool)
            new[::step, ::step] = True
            rows, columns = (new & ~known).nonzero(as_tuple=True)
            known |= new
            assert torch.allclose(points(rows, columns, step), dense[rows, columns], atol=1e-10)
            forgot = forgot or (0 if points.holds else step)
            assert sum(table.numel() for table in points.sums.values()) <= held
    assert forgot == forgets_at


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_dense_only_if_many_are_requested(monkeypatch, share):
    """Without held sums, few pixels of a grid are classified as points, and many by classifying all of them."""
    monkeypatch.setattr(points_module, "MAX_HELD", 0)
    size, classified = (41, 57), []
    placed = locate_maps(TAPS, make_maps(size, batch=1), size, "exact")
    weight, bias, rest = make_classifier([6])

    def head(hidden, rows, columns):
        classified.append(hidden.numel() // 6)
        return rest(hidden)

    with torch.no_grad():
        points = PointClassifier(placed, *everywhere(size), weight, bias, head, stride=2)
        chosen = torch.randperm(41 * 57, generator=torch.Generator().manual_seed(0))[: round(share * 41 * 57)]
        points(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 2)
        classified.clear()
        points(chosen // 57, chosen % 57, 1)
    assert sum(classified) == (41 * 57 if share > 0.4 else len(chosen))


def test_head_gets_rows_and_columns_of_points():
    """The head gets pixel coordinates, not indices into the rectangle."""
    size = (37, 53)
    placed = locate_maps(TAPS, make_maps(size, batch=1), size, "exact")
    weight, bias, rest = make_classifier([6])
    down, across = torch.arange(5, 30), torch.arange(2, 50)
    rows, columns = torch.randint(0, 25, (5000,)), torch.randint(0, 48, (5000,))
    with torch.no_grad():
        plain = PointClassifier(placed, down, across, weight, bias, rest, 1)(rows, columns, 1)
        here = PointClassifier(placed, down, across, weight, bias, lambda h, r, c: rest(h) + (100 * r + c)[:, None], 1)
        assert torch.allclose(here(rows, columns, 1) - plain, (100.0 * (rows + 5) + columns + 2)[:, None].double())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 6}, "^stride=6 must be a power of two"),
        ({"stride": 512}, "^stride=512 must be a power of two, such as 8, up to 256"),
        ({"stride": 0}, "^stride=0 must be a whole number"),
        ({"margin": -1}, "^margin=-1 must be a number of at least 0"),
        ({"margin": "much"}, "^margin=much must be a number"),
        ({"margin": float("nan")}, "^margin=nan must be a number"),
    ],
)
def test_settings_out_of_range_raise(settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        AdaptiveSettings(**settings)


GRIDS = {
    "every pixel": (torch.arange(37), torch.arange(53)),
    "every third": (torch.arange(1, 37, 3), torch.arange(2, 53, 3)),
    "every fourth, at cells": (torch.arange(1, 37, 4), torch.arange(1, 53, 4)),
    "uneven": (torch.tensor([0, 1, 5, 30, 36]), torch.tensor([2, 3, 50])),
    "one pixel": (torch.tensor([7]), torch.tensor([9])),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("taps", [TAPS, NESTED])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_decisions_on_a_grid_equal_dense_ones(grid, taps, dtype):
    """With an infinite margin, every pixel of the grid is classified as a point."""
    precise = make_maps((37, 53), batch=1, taps=taps)
    placed = locate_maps(taps, [values.detach().to(dtype) for values in precise], (37, 53), "exact")
    weight, bias, rest = make_classifier([6], dtype=torch.float32 if dtype == torch.float16 else dtype)
    with torch.no_grad():
        exact = [each._replace(values=each.values.to(weight)) for each in placed]
        dense = decide(classify(exact, *grid, weight, bias, rest)[0])
        labels, margins = adaptive_decisions(
            placed, *grid, weight, bias, lambda h, y, x: decide(rest(h)), AdaptiveSettings(8, float("inf"))
        )
    far = dense[..., 1] > 0.02
    assert torch.equal(labels[far], dense[..., 0][far].to(torch.uint8))
    torch.testing.assert_close(margins, dense[..., 1], atol=0.02 if dtype == torch.float16 else 1e-6, rtol=0)


def test_margins_between_corners_are_interpolated():
    margins = torch.full((5, 5), float("inf"))
    margins[::4, ::4] = torch.tensor([[0.0, 8.0], [16.0, 24.0]])
    margins[2, 2] = 1.0
    filled = fill_margins(margins, 4)
    assert filled[0].tolist() == [0, 2, 4, 6, 8]
    assert filled[2].tolist() == [8, 4.5, 1, 8.5, 16]
    assert filled[:, 4].tolist() == [8, 12, 16, 20, 24]
