"""Samplers: their arguments, their seeds, and the exact probability of each pixel."""

from math import comb

import pytest
import torch
from helpers.small_runs import config

from hypercolumns.errors import HypercolumnsError
from hypercolumns.samplers import (
    BalancedSampler,
    BoundarySampler,
    PerClassSampler,
    UncertaintySampler,
    UniformSampler,
)
from hypercolumns.settings.model import sampler

VOID = 255
MASK = torch.tensor([[0, 0, 0, 1], [0, VOID, 1, 1], [2, VOID, VOID, 1]], dtype=torch.uint8)
# Difference of a pixel's two highest logits: 1 to 9 for labelled pixels, 0 for void.
MARGINS = torch.tensor([[7.0, 3, 5, 1], [8, 0, 2, 6], [4, 0, 0, 9]])
EDGE = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, VOID]], dtype=torch.uint8)
NEAR = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0]])  # 7 pixels next to another label, 6 not
SINGLE_CLASS = torch.zeros(2, 7, dtype=torch.uint8)
KINDS = [BalancedSampler, BoundarySampler, PerClassSampler, UncertaintySampler, UniformSampler]


def draw(sampler, seed=0, mask=MASK):
    def logits(points):
        margins = MARGINS[points[:, 0], points[:, 1]]
        return torch.stack([0 * margins, -margins - 5, margins], dim=1)

    return sampler(mask, torch.Generator().manual_seed(seed), logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, -1, 1.5, "many"])
def test_invalid_n_is_refused(kind, n):
    with pytest.raises(HypercolumnsError, match=f"^n={n} must be a whole number of at least 1"):
        kind(n)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (BoundarySampler, {"share": 2}, "^share=2 must be a number from 0 to 1"),
        (BoundarySampler, {"width": 0}, "^width=0 must be a whole number of at least 1"),
        (
            UncertaintySampler,
            {"importance_sample_ratio": -1},
            "^importance_sample_ratio=-1 must be a number from 0 to 1",
        ),
        (UncertaintySampler, {"oversample_ratio": 0.5}, "^oversample_ratio=0.5 must be a whole number of at least 1"),
    ],
)
def test_other_invalid_argument_is_refused(kind, settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        kind(**settings)


def test_error_of_setting_has_full_name():
    with pytest.raises(HypercolumnsError, match=r"^sampler\.share=2 must be a number from 0 to 1"):
        sampler(config("train", "sampler=boundary", "sampler.share=2"))


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_same_pixels(kind):
    sampler = kind(2)
    assert torch.equal(draw(sampler, 1), draw(sampler, 1))
    assert any(not torch.equal(draw(sampler, 1), draw(sampler, seed)) for seed in range(2, 5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [9, 100])
def test_all_labelled_pixels_if_n_is_not_smaller(kind, n):
    points = draw(kind(n))
    assert points.dtype == torch.int64
    assert sorted(map(tuple, points.tolist())) == sorted(map(tuple, (MASK != VOID).nonzero().tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_void_image_gives_no_pixels(kind):
    assert draw(kind(3), mask=torch.full((4, 4), VOID)).shape == (0, 2)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("kind", [BalancedSampler, BoundarySampler, UncertaintySampler, UniformSampler])
def test_n_pixels_are_different(kind, n):
    assert len(draw(kind(n)).unique(dim=0)) == n


def test_per_class_takes_n_of_each_class():
    points = draw(PerClassSampler(2))
    assert MASK[points[:, 0], points[:, 1]].tolist() == [0, 0, 1, 1, 2]


def test_uncertainty_with_single_class_is_uniform():
    points = UncertaintySampler(3)(MASK, torch.Generator().manual_seed(0), lambda points: torch.rand(len(points), 1))
    assert len(points) == 3


def by_class(*probabilities):
    return torch.tensor([*probabilities, *[0.0] * 253])[MASK.long()]


def by_nearness(near, far):
    return torch.where(EDGE == VOID, 0, torch.where(NEAR == 1, near, far))


def of_candidates(candidates):
    """Return each pixel's probability if the 2 least certain candidates are taken, then 1 of the other pixels.

    A labelled pixel with margin m is among the 2 least certain if at most one of the m - 1 pixels with a smaller margin
    is a candidate too.
    """
    by_margin = [0.0] + [
        sum(comb(before, j) * comb(8 - before, candidates - 1 - j) for j in range(2)) / comb(9, candidates)
        for before in range(9)
    ]
    uncertain = torch.tensor(by_margin)[MARGINS.long()]
    return torch.where(MASK == VOID, 0, uncertain + (1 - uncertain) / 7)


@pytest.mark.parametrize(
    ("sampler", "mask", "probabilities"),
    [
        (UniformSampler(3), MASK, by_class(3 / 9, 3 / 9, 3 / 9)),
        (PerClassSampler(1), MASK, by_class(1 / 4, 1 / 4, 1)),
        (BalancedSampler(6), MASK, by_class(2 / 4, 3 / 4, 1)),
        (BalancedSampler(2), MASK, by_class(1 / 4, 1 / 4, 0)),
        (BoundarySampler(6, share=0.5, width=1), EDGE, by_nearness(3 / 7, 3 / 6)),
        (BoundarySampler(6, share=1 / 3, width=1), EDGE, by_nearness(2 / 7, 4 / 6)),
        (BoundarySampler(10, share=0, width=1), EDGE, by_nearness(4 / 7, 1)),  # not enough pixels far from the boundary
        (BoundarySampler(10, share=1, width=1), EDGE, by_nearness(1, 3 / 6)),
        (BoundarySampler(10, share=1, width=1), SINGLE_CLASS, torch.full(SINGLE_CLASS.shape, 10 / 14)),  # no boundary
        # With 9 candidates the two least certain pixels are always taken.
        (UncertaintySampler(3, 3, importance_sample_ratio=2 / 3), MASK, of_candidates(9)),
        (UncertaintySampler(3, 2, importance_sample_ratio=2 / 3), MASK, of_candidates(6)),
        (UncertaintySampler(3, 3, importance_sample_ratio=0), MASK, by_class(3 / 9, 3 / 9, 3 / 9)),
    ],
)
def test_probability_of_each_pixel(sampler, mask, probabilities):
    """The fraction of 2,000 draws that contain a pixel equals its probability within 5 standard deviations."""
    draws, counts = 2000, torch.zeros(mask.shape)
    for seed in range(draws):
        rows, columns = draw(sampler, seed, mask).T
        counts[rows, columns] += 1
    deviation = (probabilities * (1 - probabilities) / draws).clamp(min=0).sqrt()
    assert ((counts / draws - probabilities).abs() <= 5 * deviation + 1e-6).all()
