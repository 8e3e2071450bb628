"""Pixels of strokes and polygons against obvious references."""

import math
import random

import numpy as np
import pytest

HEIGHT, WIDTH = 40, 60


def to_mask(runs, height=HEIGHT, width=WIDTH):
    mask = np.zeros(height * width, int)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] += 1
    return mask.reshape(height, width)


def draw(page, function, *arguments):
    script = "async ([name, values]) => (await import('./page/raster.js'))[name](...values)"
    return page.evaluate(script, [function, list(arguments)])


def stroke(page, start, end, diameter):
    return to_mask(draw(page, "segmentRuns", start, end, diameter, HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("diameter", "rows"),
    [
        (1, ["1"]),
        (2, ["11", "11"]),
        (3, ["111", "111", "111"]),
        (4, ["0110", "1111", "1111", "0110"]),
        (5, ["01110", "11111", "11111", "11111", "01110"]),
        (7, ["0011100", "0111110", "1111111", "1111111", "1111111", "0111110", "0011100"]),
    ],
)
def test_disc_is_as_drawn_by_hand(modules, diameter, rows):
    expected = np.array([[int(pixel) for pixel in row] for row in rows])
    mask = stroke(modules, [30, 20], [30, 20], diameter)
    top, left = 20 - diameter // 2, 30 - diameter // 2
    assert np.array_equal(mask[top : top + diameter, left : left + diameter], expected)
    assert mask.sum() == expected.sum()


def test_thin_line_is_as_drawn_by_hand(modules):
    mask = stroke(modules, [2, 3], [7, 5], 1)
    assert np.argwhere(mask).tolist() == [[3, 2], [3, 3], [4, 4], [4, 5], [5, 6], [5, 7]]


def test_stroke_is_near_its_segment(modules):
    """A pixel well inside the swept disc is painted, one well outside is not; the rest may be rounded."""
    rng = random.Random(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(12):
        (x1, y1), (x2, y2) = start, end = [[rng.randrange(-5, WIDTH + 5), rng.randrange(HEIGHT)] for _ in range(2)]
        diameter = rng.randrange(1, 12)
        length = max((x2 - x1) ** 2 + (y2 - y1) ** 2, 1)
        along = np.clip(((columns - x1) * (x2 - x1) + (rows - y1) * (y2 - y1)) / length, 0, 1)
        distance = np.hypot(columns - x1 - along * (x2 - x1), rows - y1 - along * (y2 - y1))
        mask = stroke(modules, start, end, diameter)
        assert mask.max() <= 1, "runs overlap"
        assert mask[distance < diameter / 2 - 1.5].all()
        assert not mask[distance > diameter / 2 + 1.5].any()


def test_strokes_end_at_the_borders(modules):
    mask = stroke(modules, [-20, 2], [80, 2], 3)
    assert np.argwhere(mask.any(axis=1)).ravel().tolist() == [1, 2, 3]
    assert mask.sum() == 3 * WIDTH
    assert not stroke(modules, [70, -9], [90, -9], 5).any()


def test_polygon_follows_the_even_odd_rule(modules):
    rng = random.Random(7)
    shapes = [
        [[rng.uniform(-8, WIDTH + 8), rng.uniform(-8, HEIGHT + 8)] for _ in range(count)] for count in (3, 4, 5, 9)
    ]
    for vertices in [*shapes, [[2, 2], [8, 2], [8, 5], [2, 5]]]:  # the last one on whole numbers: 6 x 3 pixels
        expected = [[inside(vertices, column + 0.5, row + 0.5) for column in range(WIDTH)] for row in range(HEIGHT)]
        mask = to_mask(draw(modules, "polygonRuns", vertices, HEIGHT, WIDTH))
        assert np.array_equal(mask, np.array(expected, int)), vertices
    assert mask.sum() == 18


def inside(vertices, x, y):
    """Count the edges that a ray to the left crosses."""
    crossed = 0
    for (x1, y1), (x2, y2) in zip(vertices, [*vertices[1:], vertices[0]], strict=True):
        if min(y1, y2) <= y < max(y1, y2) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x:
            crossed += 1
    return crossed % 2 == 1


def test_merged_runs_cover_each_pixel_once(modules):
    rng = random.Random(3)
    runs = [number for _ in range(60) for number in (rng.randrange(HEIGHT * WIDTH - 40), rng.randrange(1, 40))]
    merged = draw(modules, "mergeRuns", runs)
    assert np.array_equal(to_mask(merged), np.minimum(to_mask(runs), 1))
    ends = [start + length for start, length in zip(merged[::2], merged[1::2], strict=True)]
    assert all(end < start for end, start in zip(ends, merged[2::2], strict=False))


def test_subtracted_runs_leave_the_other_pixels(modules):
    rng = random.Random(5)
    for count in (0, 1, 4, 30):
        parts = [
            [number for _ in range(many) for number in (rng.randrange(HEIGHT * WIDTH - 40), rng.randrange(1, 40))]
            for many in (20, count)
        ]
        runs, others = (draw(modules, "mergeRuns", part) for part in parts)
        left = to_mask(draw(modules, "subtractRuns", runs, others))
        assert np.array_equal(left, to_mask(runs) * (1 - to_mask(others)))


def test_small_label_maps_keep_thin_strokes(modules):
    """A cell of a level is labelled where one of its pixels is; edits and their undo reach all levels."""
    levels = modules.evaluate(
        """async () => {
            const { LabelMap } = await import("./page/labels.js");
            const map = new LabelMap(700, 1001, new Uint8Array(700 * 1001).fill(255));
            map.apply([300 * 1001 + 7, 3, 301 * 1001 + 51, 1, 699 * 1001 + 1000, 1], 4);
            const count = () => map.levels.map(({ values }) => values.filter((value) => value === 4).length);
            const before = count();
            map.apply([300 * 1001 + 7, 3], 255);
            return [before, count(), [1, 0.5, 0.3, 0.1].map((scale) => map.level(scale).step)];
        }"""
    )
    assert levels == [[5, 4, 4], [2, 2, 2], [1, 2, 2, 4]]
    assert math.ceil(1001 / 4) <= 256
