"""The bounded sample of labelled pixels."""

import pytest
import torch

from hypercolumns.annotation.learning.labelled_pixels import LabelledPixels
from hypercolumns.samplers.quotas import allocate_evenly


def add(pixels, image, label, count, first=0):
    numbers = torch.arange(first, first + count)
    pixels.add(image, numbers, label, torch.stack([numbers.float() % 7, numbers * 0.0 + label], 1))


def groups(pixels):
    pairs = zip(pixels.labels.tolist(), pixels.images.tolist(), strict=True)
    counts = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("sizes", "excess", "expected"),
    [
        ([10, 2, 6], 0, [10, 2, 6]),
        ([10, 2, 6], 3, [7, 2, 6]),
        ([10, 2, 6], 6, [5, 2, 5]),
        ([10, 2, 6], 5, [6, 2, 5]),
        ([4, 4], 8, [0, 0]),
        ([3], 1, [2]),
    ],
)
def test_largest_groups_are_lowered(sizes, excess, expected):
    assert allocate_evenly(sizes, sum(sizes) - excess) == expected


def test_sample_is_balanced_over_groups():
    pixels = LabelledPixels(2, 40, seed=0)
    add(pixels, image=0, label=0, count=30)
    add(pixels, image=0, label=1, count=6)
    add(pixels, image=1, label=0, count=30, first=50)
    assert pixels.count == 40
    assert groups(pixels) == {(0, 0): 17, (1, 0): 6, (0, 1): 17}
    assert torch.equal(pixels.hypercolumns[:, 0].long(), pixels.pixels % 7)  # rows stay together
    assert torch.equal(pixels.hypercolumns[:, 1].long(), pixels.labels)


def test_memory_is_bounded_over_many_strokes():
    pixels = LabelledPixels(2, 100, seed=0)
    for stroke in range(200):
        add(pixels, image=stroke % 3, label=stroke % 5, count=30, first=30 * stroke)
        assert len(pixels.table) <= 256
    assert pixels.count == 100
    assert set(pixels.labels.bincount().tolist()) == {20}


def test_pixels_are_forgotten_by_image():
    pixels = LabelledPixels(2, 100, seed=0)
    add(pixels, image=0, label=0, count=5)
    add(pixels, image=1, label=1, count=5)
    pixels.forget(1, torch.tensor([0, 3, 9]))
    assert sorted(pixels.pixels[pixels.images == 1].tolist()) == [1, 2, 4]
    pixels.forget(0)
    assert pixels.images.tolist() == [1, 1, 1]


def test_only_the_last_rows_move_to_free_places():
    """Moving all rows would make each stroke take longer, the more pixels are held."""
    pixels = LabelledPixels(2, 100, seed=0)
    add(pixels, image=0, label=0, count=8)
    pixels.forget(0, torch.tensor([1, 2, 6]))
    assert pixels.pixels.tolist() == [0, 5, 7, 3, 4]
    assert pixels.hypercolumns[:, 0].tolist() == [0, 5, 0, 3, 4]  # modulo 7


def test_same_seed_keeps_the_same_pixels():
    samples = []
    for _ in range(2):
        pixels = LabelledPixels(2, 10, seed=5)
        add(pixels, image=0, label=0, count=30)
        samples.append((pixels.pixels, pixels.choose(torch.arange(100))))
    assert torch.equal(samples[0][0], samples[1][0])
    assert torch.equal(samples[0][1], samples[1][1])
