"""The metrics that the training tasks log at the end of a validation."""

import pytest
import torch

from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.tasks import VAL_METRICS, PixelClassificationTask, SegmentationTask


@pytest.mark.parametrize("of_samples", [False, True])
def test_both_means_of_the_iou_are_logged(segmenter, monkeypatch, of_samples):
    """Of 8 pixels of class a, one is predicted as class b, which does not occur."""
    logged = {}
    if of_samples:
        task, prefix = PixelClassificationTask(MLPClassifier(4, 3, hidden=2), "abc", None, None), "val/sample_"
    else:
        task, prefix = SegmentationTask(segmenter, None, None), "val/"
    monkeypatch.setattr(task, "log", lambda name, value, **settings: logged.update({name: value}))
    task.confusion.update(torch.tensor([0] * 7 + [1]), torch.zeros(8, dtype=torch.int64))
    task.on_validation_epoch_end()
    assert logged[f"{prefix}miou"] == pytest.approx(7 / 8 / 2)
    assert logged[f"{prefix}miou_present"] == pytest.approx(7 / 8)
    assert logged[f"{prefix}accuracy" if of_samples else f"{prefix}pixel_accuracy"] == pytest.approx(7 / 8)
    named = VAL_METRICS["pretrain" if of_samples else "train"]
    assert {name for name in logged if name.startswith("val/")} | {"val/loss"} == {*named}
