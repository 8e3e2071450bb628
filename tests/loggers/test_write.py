"""What each kind of logger gets."""

import numpy as np
import pytest
from helpers import fake_loggers
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hypercolumns.io.images import encode_png
from hypercolumns.loggers import ImageTensorBoardLogger, log_picture, takes_pictures
from hypercolumns.loggers.silent import SilentLogger

PICTURE = encode_png(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))


@pytest.fixture(autouse=True)
def calls():
    fake_loggers.CALLS.clear()
    return fake_loggers.CALLS


@pytest.mark.parametrize("kind", [ImageTensorBoardLogger, TensorBoardLogger])
def test_tensorboard_gets_the_pixels(kind, tmp_path):
    logger = kind(tmp_path, name="", version="")
    log_picture(logger, "val_images/a", PICTURE, 4)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("val_images/a")
    assert (image.step, image.width, image.height) == (4, 3, 2)


def test_wandb_and_mlflow_get_an_image(calls):
    log_picture(fake_loggers.FakeWandbLogger("run", None, "."), "val_images/a", PICTURE, 4)
    log_picture(fake_loggers.FakeMLFlowLogger(), "val_images/b", PICTURE, 5)
    assert calls[1:] == [
        ("image", "val_images/a", [(3, 2)], 4),
        ("image", "number 7", (3, 2), "val_images/b", 5),
    ]


def test_loggers_without_pictures_get_none(tmp_path):
    for logger in (CSVLogger(tmp_path), SilentLogger()):
        log_picture(logger, "val_images/a", PICTURE)
        assert not takes_pictures(logger)
    assert list(tmp_path.iterdir()) == []
