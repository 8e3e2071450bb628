from collections import Counter

import pytest
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.samplers import PerClass, Uniform

VOID = 255
MASK = torch.tensor([[0, 0, 0, 1], [0, VOID, 1, 1], [2, VOID, VOID, 1]], dtype=torch.uint8)


def draw(sampler, seed=0, mask=MASK):
    return sampler(mask, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [PerClass, Uniform])
@pytest.mark.parametrize("n", [0, -1, 1.5, "many"])
def test_wrong_numbers_are_refused(kind, n):
    with pytest.raises(HypercolumnsError, match=f"sampler.n={n} must be a whole number of at least 1"):
        kind(n)


@pytest.mark.parametrize("sampler", [PerClass(2), Uniform(5)])
def test_same_seed_same_pixels(sampler):
    assert torch.equal(draw(sampler, 1), draw(sampler, 1))
    assert any(not torch.equal(draw(sampler, 1), draw(sampler, seed)) for seed in range(2, 5))


@pytest.mark.parametrize("sampler", [PerClass(100), Uniform(100)])
def test_all_pixels_but_void_where_there_are_fewer(sampler):
    points = draw(sampler)
    assert points.dtype == torch.int64
    assert sorted(map(tuple, points.tolist())) == sorted(map(tuple, (MASK != VOID).nonzero().tolist()))


def test_per_class_takes_n_of_each_class():
    points = draw(PerClass(2))
    assert MASK[points[:, 0], points[:, 1]].tolist() == [0, 0, 1, 1, 2]


def test_uniform_takes_n():
    assert len(draw(Uniform(5))) == 5


@pytest.mark.parametrize("sampler", [PerClass(3), Uniform(3)])
def test_nothing_of_an_image_that_is_void(sampler):
    assert draw(sampler, mask=torch.full((4, 4), VOID)).shape == (0, 2)


@pytest.mark.parametrize(
    ("sampler", "probability"),
    [(Uniform(3), dict.fromkeys((0, 1, 2), 3 / 9)), (PerClass(1), {0: 1 / 4, 1: 1 / 4, 2: 1.0})],
)
def test_probability_of_each_pixel(sampler, probability):
    """Of 4000 draws, each pixel's share; the tolerance is 5 standard deviations."""
    draws = 4000
    counts = Counter(tuple(p) for seed in range(draws) for p in draw(sampler, seed).tolist())
    assert not any(MASK[pixel] == VOID for pixel in counts)
    for pixel in (MASK != VOID).nonzero().tolist():
        expected = probability[int(MASK[tuple(pixel)])]
        deviation = (expected * (1 - expected) / draws) ** 0.5
        assert abs(counts[tuple(pixel)] / draws - expected) <= 5 * deviation
