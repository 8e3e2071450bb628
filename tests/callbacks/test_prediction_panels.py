"""The choice of logged val images, tested with stand-ins for the trainer and the task."""

from types import SimpleNamespace

import pytest
import torch

from hypercolumns.callbacks import PredictionPanels
from hypercolumns.labels import voc_palette
from hypercolumns.loggers import ImageTensorBoardLogger
from hypercolumns.tasks.running_metrics import confusion_metric


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Return a function that validates images of 10 pixels, given each image's number of wrong pixels (None: all void).

    The function returns the captions of the drawn images and the names of the logged pictures.
    """
    captions, added = [], []

    def draw(rows, classes, palette, columns, side):
        captions.extend(row.caption for row in rows)
        return torch.zeros(2, 3, 3).byte()

    def validate(wrong, fixed, worst):
        logger = ImageTensorBoardLogger(tmp_path, name="", version="")
        monkeypatch.setattr(logger, "log_picture", lambda name, picture, step: added.append(name))
        trainer = SimpleNamespace(
            num_val_batches=[len(wrong)], loggers=[logger], is_global_zero=True, global_step=5, current_epoch=0
        )
        task = SimpleNamespace(classes=("a", "b"), palette=voc_palette(2), confusion=confusion_metric(2))
        callback = PredictionPanels(fixed, worst, draw)
        callback.on_validation_epoch_start(trainer, task)
        for index, errors in enumerate(wrong):
            mask = torch.zeros(1, 2, 5, dtype=torch.int64)
            labels = (torch.arange(10) < (errors or 0)).reshape(1, 2, 5).long()
            mask = mask + 255 if errors is None else mask
            task.confusion.update(labels, mask)
            batch = (torch.rand(1, 3, 2, 5), mask, [f"image{index}"], torch.zeros(1, 4))
            callback.on_validation_batch_end(trainer, task, labels.byte(), batch, index)
        callback.on_validation_epoch_end(trainer, task)
        return captions, added

    return validate


def test_fixed_and_worst_images_are_logged(shown):
    captions, added = shown([1, 9, None, 3, 0, 8], fixed=3, worst=2)
    assert [caption.split()[0] for caption in captions] == ["image0", "image2", "image5", "image1", "image5"]
    assert captions[3] == "image1   mIoU 0.050"  # 0.1 of class a, 0 of b
    assert added == [
        "val_images/confusion",
        "val_images/fixed_1",
        "val_images/fixed_2",
        "val_images/fixed_3",
        "val_images/worst_1",
        "val_images/worst_2",
    ]


def test_fewer_images_than_requested(shown):
    captions, _ = shown([1, 2], fixed=5, worst=5)
    assert [caption.split()[0] for caption in captions] == ["image0", "image1", "image1", "image0"]


def test_no_images_logs_only_confusion_matrix(shown):
    assert shown([1, 2], fixed=0, worst=0) == ([], ["val_images/confusion"])
