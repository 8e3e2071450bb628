"""Regions that the trainer suggests to label."""

import torch

from hypercolumns.annotation.learning.suggestions import (
    grid_lines,
    least_sure_region,
    mean_over_classes,
    suggestion_grid,
)
from hypercolumns.annotation.learning.views import View


def scene():
    """A grid of 40x60 pixels of class 0, with a sure square of class 1 and an unsure one of class 2."""
    labels, margins = torch.zeros(40, 60, dtype=torch.uint8), torch.full((40, 60), 0.9)
    labels[5:15, 5:15], margins[5:15, 5:15] = 1, 0.8
    labels[20:30, 30:40], margins[20:30, 30:40] = 2, 0.2
    margins[25, 50], labels[25, 50] = 0.01, 1  # too small to be of use
    return View(labels, margins)


def test_least_sure_square_is_suggested():
    rows, columns = torch.arange(40) * 3 + 1, torch.arange(60) * 3 + 1
    region = least_sure_region(scene(), rows, columns, torch.zeros(40, 60, dtype=torch.bool), (120, 180))
    assert (region.value, round(region.margin, 5), region.top, region.left) == (2, 0.2, 60, 90)
    assert region.mask.shape == (30, 30)
    assert region.mask.all()


def test_labelled_pixels_are_left_out():
    labelled = torch.zeros(40, 60, dtype=torch.bool)
    labelled[20:30, 30:40] = True
    region = least_sure_region(scene(), torch.arange(40), torch.arange(60), labelled, (40, 60))
    assert (region.value, region.top, region.left, tuple(region.mask.shape)) == (1, 5, 5, (10, 10))


def test_no_region_of_useful_size_gives_none():
    view = View(torch.zeros(40, 60, dtype=torch.uint8), torch.ones(40, 60))
    assert least_sure_region(view, torch.arange(40), torch.arange(60), torch.zeros(40, 60).bool(), (40, 60)) is None


def test_grid_lines_are_centres_of_equal_parts():
    assert grid_lines(12, 4).tolist() == [1, 4, 7, 10]
    assert grid_lines(3, 8).tolist() == [0, 1, 2]
    assert [len(lines) for lines in suggestion_grid((300, 600))] == [60, 120]


def test_each_predicted_class_counts_alike():
    margins = torch.tensor([0.9, 0.7, 0.8, 0.1])
    assert abs(mean_over_classes(torch.tensor([4.0, 4.0, 4.0, 1.0]), margins) - (0.8 + 0.1) / 2) < 1e-6
