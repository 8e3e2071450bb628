"""From frames to what is predicted of them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from hypercolumns.models.engine import Adaptive
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import ONE, Views
from hypercolumns.prediction.outputs import Needs, Predicted
from hypercolumns.prediction.sources import Frame


@dataclass(frozen=True)
class How:
    """How images are predicted: see `Segmenter.labels` and `Segmenter.decisions`.

    Attributes:
        needs: what is wanted of each.
        adaptive: for labels alone.
        views: that are averaged over.
        bf16: whether to compute in it.
        batch_size: the most images of one size that are predicted together.
    """

    needs: Needs = "labels"
    adaptive: Adaptive | None = None
    views: Views = ONE
    bf16: bool = False
    batch_size: int = 1


def predicted(segmenter: Segmenter, frames: Iterable[Frame], how: How) -> Iterator[Predicted]:
    """What is predicted of frames that were read, in order; those that follow each other and have one size together."""
    place = segmenter.backbone.get_buffer("mean").device
    for _, group in itertools.groupby(frames, lambda frame: frame.pixels.shape):
        while batch := list(itertools.islice(group, how.batch_size)):
            images = torch.stack([frame.pixels for frame in batch]) if len(batch) > 1 else batch[0].pixels[None]
            images = images.to(place)
            with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=how.bf16):
                if how.needs == "labels":
                    found = [segmenter.labels(images, how.adaptive, how.views)]
                else:
                    decided = segmenter.decisions(images, how.views, probabilities=how.needs == "probabilities")
                    found = [one for one in decided if one is not None]
            yield from map(Predicted, batch, *(one.cpu().numpy() for one in found))
