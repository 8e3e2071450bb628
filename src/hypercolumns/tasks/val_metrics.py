"""The metrics that the training tasks log over all val images or val samples. `monitor` may name each of them."""

from collections.abc import Mapping

import pytorch_lightning as pl

from hypercolumns.evaluation.metrics import SegmentationMetrics

VAL_LOSS = "val/loss"
# The names of the metrics in logs, with their names in `SegmentationMetrics`. The first is the default of `monitor`.
OF_IMAGES = {"val/miou": "miou", "val/miou_present": "miou_present", "val/pixel_accuracy": "pixel_accuracy"}
OF_SAMPLES = {
    "val/sample_miou": "miou",
    "val/sample_miou_present": "miou_present",
    "val/sample_accuracy": "pixel_accuracy",
}
VAL_METRICS = {"pretrain": (*OF_SAMPLES, VAL_LOSS), "train": (*OF_IMAGES, VAL_LOSS)}  # by the stage


def log_val_metrics(task: pl.LightningModule, names: Mapping[str, str], metrics: SegmentationMetrics) -> None:
    """Log metrics over all val images or val samples; the progress bar shows the mIoU.

    Args:
        task: the task whose `log` is called.
        names: `OF_IMAGES` or `OF_SAMPLES`.
        metrics: the metrics. None is logged as 0, so that it can't choose the best epoch.
    """
    for name, field in names.items():
        task.log(name, getattr(metrics, field) or 0.0, prog_bar=field == "miou")
