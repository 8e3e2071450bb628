"""From frames to what is predicted of them."""

from collections.abc import Iterable, Iterator, Sequence

import torch

from hypercolumns.models.segmenter import Segmenter
from hypercolumns.prediction.options import PredictOptions
from hypercolumns.prediction.outputs import ImagePrediction
from hypercolumns.prediction.sources import Frame


def batch_frames(frames: Iterable[Frame], batch_size: int) -> Iterator[list[Frame]]:
    """Group frames for prediction.

    Args:
        frames: with an image, or without one.
        batch_size: the most images of a batch.

    Yields:
        Batches of images of one size that follow each other, as soon as they are complete; and each frame without an
        image alone, at once: it does not end a batch.
    """
    batch: list[Frame] = []
    for frame in frames:
        if frame.image is None:
            yield [frame]
            continue
        if batch and frame.image.shape != batch[0].pixels.shape:
            yield batch
            batch = []
        batch.append(frame)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def predict_batch(segmenter: Segmenter, batch: Sequence[Frame], options: PredictOptions) -> Iterator[ImagePrediction]:
    """Predict images of one size together, on the segmenter's device.

    Args:
        segmenter: in evaluation mode.
        batch: at least one frame, each with an image.
        options: see `Segmenter.labels` and `Segmenter.predict_pixels`; which one is asked depends on the outputs.

    Returns:
        The prediction of each frame, in order, on the CPU.
    """
    device = segmenter.backbone.device
    images = torch.stack([frame.pixels for frame in batch]) if len(batch) > 1 else batch[0].pixels[None]
    images = images.to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
        if options.detail == "labels":
            parts = [segmenter.labels(images, options.adaptive, options.tta)]
        else:
            probabilities = options.detail == "probabilities"
            decided = segmenter.predict_pixels(images, options.tta, probabilities=probabilities)
            parts = [part for part in decided if part is not None]
    return map(ImagePrediction, batch, *(part.cpu().numpy() for part in parts))
