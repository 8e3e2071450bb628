"""Group input images of equal size into batches, and predict a batch."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hypercolumns.models.segmenter import Segmenter
from hypercolumns.prediction.options import PredictOptions
from hypercolumns.prediction.outputs import ImagePrediction
from hypercolumns.prediction.probabilities import ProbabilityMap
from hypercolumns.prediction.sources import Frame


def batch_frames(frames: Iterable[Frame], batch_size: int) -> Iterator[list[Frame]]:
    """Group consecutive frames into batches. All images of a batch have the same height and width.

    Args:
        frames: the input images, in order. A frame that was skipped or can't be read has no image (`image` is None).
        batch_size: the maximum number of frames in a batch.

    Yields:
        Each batch, as a list of frames. A batch ends when it has `batch_size` frames, when an image of another size
        follows, or after the last frame. A frame without an image is yielded alone, as a list of one frame. It does not
        end the current batch, which is yielded later.
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


def predict_batch(
    segmenter: Segmenter, batch: Sequence[Frame], options: PredictOptions, folder: Path
) -> Iterator[ImagePrediction]:
    """Predict images of one size together, on the segmenter's device.

    Args:
        segmenter: the model, in evaluation mode.
        batch: at least one frame. All frames have images (N, H, W) of the same size.
        options: `detail` decides which parts of the prediction are computed; `adaptive`, `tta` and `bf16` decide how.
            The other options are not used.
        folder: the folder for temporary files, see `ProbabilityMap`.

    Returns:
        An iterator over the predictions, one for each frame, in the order of the batch.
    """
    device = segmenter.backbone.device
    images = torch.stack([frame.pixels for frame in batch]) if len(batch) > 1 else batch[0].pixels[None]
    images = images.to(device)
    maps: list[ProbabilityMap] = []
    if options.detail == "probabilities":
        shape = len(segmenter.classes), images.shape[-2], images.shape[-1]
        maps = [ProbabilityMap(shape, folder) for _ in batch]

    def store(rows: slice, columns: slice, probabilities: Tensor) -> None:
        for each, part in zip(maps, probabilities, strict=True):
            each.write(rows, columns, part)

    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
        if options.detail == "labels":
            parts = [segmenter.labels(images, options.adaptive, options.tta)]
        else:
            decided = segmenter.predict_pixels(images, options.tta, store=store if maps else None)
            parts = [decided.labels, decided.confidence, decided.entropy]
    return map(ImagePrediction, batch, *(part.cpu().numpy() for part in parts), *([maps] if maps else []))
