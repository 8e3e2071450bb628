"""The original method: upsample all feature maps, concatenate, standardise, and apply 1x1 convolutions.

This is the slow and obvious reference. It takes the weights of a segmenter and shares no code with the package.
"""

from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from hypercolumns.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from hypercolumns.models.segmenter import Segmenter


class Original(nn.Module):
    """A segmenter computed by the original method, with `alignment=corners`."""

    def __init__(self, segmenter: Segmenter) -> None:
        """Copy the weights of a segmenter."""
        super().__init__()
        network: Any = torchvision.models.get_model(segmenter.backbone.network)
        network.load_state_dict(segmenter.backbone.body.state_dict(), strict=False)
        self.network = network.features.eval().requires_grad_(False)
        for layer in self.network.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.tapped: dict[str, Tensor] = {}
        self.taps = [[name.removeprefix("features.") for name in names] for names in segmenter.backbone.tap_modules]
        for name in (name for names in self.taps for name in names):
            self.network.get_submodule(name).register_forward_hook(self._keep(name))
        classifier = segmenter.classifier
        first, last = classifier_layers(segmenter)
        self.mean, self.std = classifier.get_buffer("mean"), classifier.get_buffer("std") + 1e-5
        self.first = nn.Conv2d(segmenter.backbone.channels, first.out_features, 1)
        self.last = nn.Conv2d(first.out_features, len(segmenter.classes), 1)
        for ours, theirs in ((self.first, first), (self.last, last)):
            ours.weight.data = theirs.weight.data[:, :, None, None].contiguous()
            ours.bias = theirs.bias

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.tapped[name] = output

        return hook

    def hypercolumns(self, images: Tensor) -> Tensor:
        """Return the hypercolumns (B, D, H, W) of images (B, 3, H, W) in [0, 1]."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        self.network((images - mean) / std)
        size = images.shape[-2:]
        maps = [torch.cat([self.tapped[name] for name in names], dim=1) for names in self.taps]
        return torch.cat([F.interpolate(each, size, mode="bilinear", align_corners=True) for each in maps], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes, H, W) of images (B, 3, H, W) in [0, 1]."""
        standardised = (self.hypercolumns(images) - self.mean[:, None, None]) / self.std[:, None, None]
        logits: Tensor = self.last(self.first(standardised).relu())
        return logits


def classifier_layers(segmenter: Segmenter) -> tuple[nn.Linear, nn.Linear]:
    """Return the first and the last layer of a segmenter's classifier."""
    first, rest = segmenter.classifier.first, segmenter.classifier.rest
    assert isinstance(first, nn.Linear)
    assert isinstance(rest, nn.Sequential)
    last = rest[-1]
    assert isinstance(last, nn.Linear)
    return first, last
