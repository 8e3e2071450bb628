"""Plots of confusion matrices and training curves: sizes and brightness."""

import numpy as np
import pytest
import torch
from PIL import Image

from hypercolumns.visualization.plots import confusion_picture, save_curves


def test_larger_fraction_is_drawn_darker():
    """The first class is always predicted correctly, the second one mostly as the first."""
    picture = confusion_picture(torch.tensor([[10, 0], [9, 1]]), ["a", "b"]).astype(float).mean(-1)
    flat = picture[picture < 254]
    assert picture.shape == (500, 500)
    assert flat.min() < 90
    mirrored = confusion_picture(torch.tensor([[10, 0], [1, 9]]), ["a", "b"]).astype(float).mean(-1)
    assert picture[300:400, 150:200].mean() < mirrored[300:400, 150:200].mean() - 50


@pytest.mark.parametrize("classes", [1, 21, 150])
def test_confusion_picture_size_is_bounded(classes):
    names = [f"class ${label}" for label in range(classes)]
    height, width, _ = confusion_picture(torch.eye(classes).long() * 5, names).shape
    assert height == width
    assert 500 <= width <= 2400


def test_curves_have_an_axes_per_group_of_metrics(tmp_path):
    rows = [
        {"epoch": "0", "train/epoch_loss": "2.0", "val/loss": "1.5", "val/miou": "0.1", "val_iou/a $b": "0.2"},
        {
            "epoch": "1",
            "train/epoch_loss": "1.0",
            "val/loss": "",
            "val/miou": "0.3",
            "val_iou/a $b": "",
            "val_iou/c": "1",
        },
    ]
    save_curves(tmp_path / "all.png", rows)
    save_curves(tmp_path / "losses.png", [{"epoch": "0", "train/epoch_loss": "2.0"}])
    with Image.open(tmp_path / "all.png") as whole, Image.open(tmp_path / "losses.png") as part:
        assert (whole.width, part.width) == (1650, 550)
        assert len(np.unique(np.asarray(whole).reshape(-1, whole.mode.count("A") + 3), axis=0)) > 50


def test_no_curves_without_metrics(tmp_path):
    save_curves(tmp_path / "none.png", [{"epoch": "0"}])
    assert not (tmp_path / "none.png").exists()
