"""Log the confusion matrix, and predictions for some val images, during a training."""

import heapq
import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from PIL import Image
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.errors import check_int
from hypercolumns.evaluation.metrics import confusion, metrics_from_confusion
from hypercolumns.io.images import encode_png
from hypercolumns.labels import Palette
from hypercolumns.loggers import log_picture, takes_pictures
from hypercolumns.visualization.panels import LabelledImage, evenly_spaced, panels, shrink
from hypercolumns.visualization.plots import confusion_picture

PanelDrawer = Callable[..., Image.Image]  # such as `visualization.panels.panels`
PANEL_SIDE = 300  # maximum width and height of a picture, in pixels; a TensorBoard card is about 400 pixels wide


class LabellingTask(Protocol):
    """The attributes that `PredictionPanels` reads from the task, the Lightning module that is trained."""

    classes: tuple[str, ...]
    palette: Palette  # the colours of the classes; needed only if the validation step returns labels
    confusion: MulticlassConfusionMatrix  # of the current validation; the task resets it when the validation ends


class PredictionPanels(pl.Callback):
    """Log the confusion matrix and pictures of some val images after each validation.

    For the pictures, the task's validation step must return the predicted labels (B, H, W). If it returns None, only
    the confusion matrix is logged. With several ranks, the pictures show only images of rank zero. Loggers that take
    no pictures get none, see `loggers.log_picture`.

    Args:
        fixed: the number of val batches to show, with all their images. The batches are evenly spaced in the val split,
            and are the same after every validation. 0: none.
        worst: the number of images to show for their low mIoU: the images with the lowest mIoU in the validation. They
            may include images of the fixed batches. 0: none.
        draw: a function that draws an image next to its true and its predicted labels. It has the arguments of
            `visualization.panels.panels`.

    Raises:
        ArgumentError: if `fixed` or `worst` is negative or not an integer.
    """

    def __init__(self, fixed: int = 4, worst: int = 4, draw: PanelDrawer = panels) -> None:
        check_int("fixed", fixed, minimum=0)
        check_int("worst", worst, minimum=0)
        self.fixed, self.worst, self.draw = fixed, worst, draw

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fixed: list[LabelledImage] = []
        # A heap of (-mIoU, id, image). Its first entry has the highest mIoU.
        self._worst: list[tuple[float, str, LabelledImage]] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is None or not trainer.is_global_zero:
            return
        task = cast(LabellingTask, pl_module)
        fixed = batch_idx in evenly_spaced(int(sum(trainer.num_val_batches)), self.fixed)
        for image, mask, id, _, labels in zip(*batch, outputs, strict=True):
            miou = float(metrics_from_confusion(confusion(labels, mask, len(task.classes)))["miou"])
            bad = self.worst and not math.isnan(miou)
            full = len(self._worst) == self.worst
            if fixed or (bad and (not full or -miou > self._worst[0][0])):
                whole = LabelledImage(image.cpu(), mask.cpu(), labels.cpu(), f"{id}   mIoU {miou:.3f}")
                labelled = shrink(whole, PANEL_SIDE)
                if fixed:
                    self._fixed.append(labelled)
                if bad:
                    (heapq.heappushpop if full else heapq.heappush)(self._worst, (-miou, id, labelled))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning calls this hook before the task's hook, which resets the confusion matrix.
        task = cast(LabellingTask, pl_module)
        counts = task.confusion.compute()  # summed over all ranks, so every rank must call it
        loggers = [logger for logger in trainer.loggers if takes_pictures(logger)]
        if not trainer.is_global_zero or not loggers:
            return
        classes = task.classes
        pictures = {"confusion": confusion_picture(counts.reshape(len(classes), -1), classes)}
        for number, labelled in enumerate(self._fixed, 1):
            pictures[f"fixed_{number}"] = self._picture(labelled, task)
        for number, (_, _, labelled) in enumerate(sorted(self._worst, key=lambda entry: -entry[0]), 1):
            pictures[f"worst_{number}"] = self._picture(labelled, task)
        for name, picture in pictures.items():
            encoded = encode_png(picture)
            for logger in loggers:
                log_picture(logger, f"val_images/{name}", encoded, trainer.global_step)

    def _picture(self, labelled: LabelledImage, task: LabellingTask) -> NDArray[np.uint8]:
        return np.asarray(self.draw([labelled], task.classes, task.palette, columns=2, side=PANEL_SIDE))
