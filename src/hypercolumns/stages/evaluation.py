"""Scoring a model on images, at their own resolution."""

import torch
from torch.utils.data import DataLoader

from hypercolumns.data import Example
from hypercolumns.metrics import Scores, confusion_metric, scores
from hypercolumns.progress import track
from hypercolumns.segmenter import Segmenter


def evaluate(segmenter: Segmenter, loader: DataLoader[Example], device: torch.device) -> Scores:
    """The figures of all images that the loader gives, in batches of one."""
    confusion = confusion_metric(len(segmenter.classes)).to(device)
    segmenter.to(device).eval()
    with torch.inference_mode():
        for images, masks, _ in track(loader, "score images", len(loader)):
            confusion.update(segmenter.labels(images.to(device)).long(), masks.to(device))
    return scores(confusion.compute())
