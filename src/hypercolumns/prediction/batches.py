"""From frames to what is predicted of them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.prediction.outputs import ImagePrediction, PredictionKind
from hypercolumns.prediction.sources import Frame


@dataclass(frozen=True)
class PredictOptions:
    """How images are predicted: see `Segmenter.labels` and `Segmenter.predict_pixels`.

    Attributes:
        needs: what is wanted of each.
        adaptive: for labels alone.
        views: that are averaged over.
        bf16: whether to compute in it.
        batch_size: the most images of one size that are predicted together.
    """

    needs: PredictionKind = "labels"
    adaptive: AdaptiveSettings | None = None
    views: TestTimeAugmentation = NO_TTA
    bf16: bool = False
    batch_size: int = 1


def predict_batches(segmenter: Segmenter, frames: Iterable[Frame], how: PredictOptions) -> Iterator[ImagePrediction]:
    """What is predicted of frames that were read, in order; those that follow each other and have one size together."""
    place = segmenter.backbone.device
    for _, group in itertools.groupby(frames, lambda frame: frame.pixels.shape):
        while batch := list(itertools.islice(group, how.batch_size)):
            images = torch.stack([frame.pixels for frame in batch]) if len(batch) > 1 else batch[0].pixels[None]
            images = images.to(place)
            with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=how.bf16):
                if how.needs == "labels":
                    found = [segmenter.labels(images, how.adaptive, how.views)]
                else:
                    decided = segmenter.predict_pixels(images, how.views, probabilities=how.needs == "probabilities")
                    found = [one for one in decided if one is not None]
            yield from map(ImagePrediction, batch, *(one.cpu().numpy() for one in found))
