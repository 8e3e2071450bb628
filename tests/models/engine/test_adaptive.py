import pytest
import torch
from maps import TAPS, everywhere, make_classifier, make_maps

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.alignment import locate_maps
from hypercolumns.models.engine import AdaptiveSettings, adaptive_labels, classify
from hypercolumns.models.engine.adaptive import _subdivide
from hypercolumns.models.engine.points import PointClassifier


def of_scene(scene, looked_at=None):
    """A function that gives confident logits of a scene of labels (H, W), continued beyond its border."""

    def logits(rows, columns):
        if looked_at is not None:
            looked_at.extend(zip(rows.tolist(), columns.tolist(), strict=True))
        rows, columns = rows.clamp(max=scene.shape[0] - 1), columns.clamp(max=scene.shape[1] - 1)
        return torch.nn.functional.one_hot(scene[rows, columns].long(), 5).float() * 10

    return logits


def lengths(size, start):
    return [max(-(-(side - 1) // start), 1) * start + 1 for side in size]


def test_it_looks_closer_at_edges_only():
    """By hand: 9x9 pixels, a grid of distance 4, and an edge at column 6."""
    scene = torch.zeros(9, 9)
    scene[:, 6:] = 1
    looked_at = []
    labels = _subdivide(of_scene(scene, looked_at), (9, 9), AdaptiveSettings(4, 0.0))
    assert torch.equal(labels, scene.to(torch.uint8))
    assert len(looked_at) == len(set(looked_at))
    # The blocks of columns 4 to 8 are split, then those of columns 4 to 6: never columns 1, 2, 3 and 7.
    assert {column for _, column in looked_at} == {0, 4, 5, 6, 8}
    assert [sum(column == c for _, c in looked_at) for column in (0, 4, 5, 6, 8)] == [3, 9, 9, 9, 5]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (37, 53), (64, 65)])
@pytest.mark.parametrize("start", [1, 2, 8])
def test_large_regions_are_found_whole(size, start):
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    scene = ((rows + 2 * columns) // 40) % 5
    labels = _subdivide(of_scene(scene), lengths(size, start), AdaptiveSettings(start, 0.0))[: size[0], : size[1]]
    assert torch.equal(labels.long(), scene)


def test_a_close_decision_is_looked_at():
    """An island between the grid's pixels is found only where one of these was in doubt."""
    scene = torch.zeros(17, 17)
    scene[3:6, 3:6] = 1

    def logits(rows, columns):
        found = of_scene(scene)(rows, columns)
        found[(rows == 8) & (columns == 8), 2] = 9.7  # ahead by 0.3
        return found

    assert not _subdivide(logits, (17, 17), AdaptiveSettings(8, 0.2)).any()
    assert torch.equal(_subdivide(logits, (17, 17), AdaptiveSettings(8, 0.4)), scene.to(torch.uint8))


@pytest.mark.parametrize("size", [(37, 53), (5, 3), (1, 1), (16, 64)])
@pytest.mark.parametrize("classes", [1, 3])
def test_an_endless_margin_gives_the_dense_labels(size, classes):
    """Every pixel is then looked at, by the points' way."""
    maps = make_maps(size, batch=1)
    placed = locate_maps(TAPS, maps, size, "exact")
    weight, bias, rest = make_classifier([6], classes=classes)
    with torch.no_grad():
        dense = classify(placed, *everywhere(size), weight, bias, rest)[0].argmax(-1)
        labels = adaptive_labels(
            placed, slice(0, size[0]), slice(0, size[1]), weight, bias, rest, AdaptiveSettings(8, float("inf"))
        )
    assert torch.equal(labels.long(), dense)


def test_points_are_the_same_whichever_way_they_are_projected():
    """Few points are gathered first; when all have been asked for, all taps but the finest are projected first."""
    size = (37, 53)
    placed = locate_maps(TAPS, make_maps(size, batch=1), size, "exact")
    weight, bias, rest = make_classifier([6])
    with torch.no_grad():
        dense = classify(placed, *everywhere(size), weight, bias, rest)[0]
        points = PointClassifier(placed, *everywhere(size), weight, bias, rest)
        projected = []
        for count in (2, 10, 300, 1000, 5000):
            rows, columns = torch.randint(0, 37, (count,)), torch.randint(0, 53, (count,))
            assert torch.allclose(points(rows, columns), dense[rows, columns], atol=1e-10)
            projected.append([len(group.grid.rows) for group in points.projected])
    # The maps of 2x6, 9x13 and 37x53 cells, of which the second is two.
    assert projected == [[], [], [9, 2], [9, 2], [9, 2, 37]]


def test_points_are_told_where_they_are():
    """Their rows and columns, not their positions among those."""
    size = (37, 53)
    placed = locate_maps(TAPS, make_maps(size, batch=1), size, "exact")
    weight, bias, rest = make_classifier([6])
    down, across = torch.arange(5, 30), torch.arange(2, 50)
    rows, columns = torch.randint(0, 25, (5000,)), torch.randint(0, 48, (5000,))
    with torch.no_grad():
        plain = PointClassifier(placed, down, across, weight, bias, rest)(rows, columns)
        here = PointClassifier(placed, down, across, weight, bias, lambda h, r, c: rest(h) + (100 * r + c)[:, None])
        assert torch.allclose(here(rows, columns) - plain, (100.0 * (rows + 5) + columns + 2)[:, None].double())


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
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        AdaptiveSettings(**settings)
