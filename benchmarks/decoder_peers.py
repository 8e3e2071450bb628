"""The decoders that `decoders.py` compares with ours, on SqueezeNet as an ordinary encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn
from torchvision.models import squeezenet1_0
from torchvision.models.segmentation.lraspp import LRASPPHead

from hypercolumns.labels import Palette
from hypercolumns.models.backbones import Backbone

STAGES = (slice(0, 2), slice(2, 6), slice(6, 11), slice(11, 13))  # of SqueezeNet's `features`, one for each stride
CHANNELS = (3, 96, 256, 512, 512)  # of the image and of the maps of strides 2, 4, 8 and 16
STRIDE = 16
FIRST_TRAINED = 4  # features.4 is the first layer that experiment=finetune trains


class SqueezeNetEncoder(nn.Module):
    """SqueezeNet 1.0 as decoders expect an encoder: map l has 1 / 2^l of the rows and columns of the image.

    SqueezeNet pads neither its first convolution nor its poolings, so its maps are a few cells smaller than that, and
    decoders could not add or concatenate them. Here, the convolution is padded by 3 pixels and each pooling by 1 cell,
    as in a ResNet, whose layers have the same sizes of kernels and strides. The weights stay the same. An image whose
    sides are no multiples of 16 is continued at its right and lower edge by its last column and row.

    Args:
        weights: the value of `cnn.weights`: a file, a name of torchvision's, or None for random weights.
        first_trained: the index of the first layer that is trained; None: no layer is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | None, first_trained: int | None) -> None:
        super().__init__()
        source = Backbone("squeezenet1_0", ["features.12"], weights=weights)
        features = squeezenet1_0().features[: STAGES[-1].stop]
        given = {name.removeprefix("features."): value for name, value in source.body.state_dict().items()}
        features.load_state_dict(given)
        features[0].padding = (3, 3)
        for index, layer in enumerate(features):
            if isinstance(layer, nn.MaxPool2d):
                features[index] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        features.requires_grad_(False)
        if first_trained is not None:
            features[first_trained:].requires_grad_(True)
        self.stages = nn.ModuleList(features[stage] for stage in STAGES)
        self.register_buffer("mean", source.get_buffer("mean").clone())
        self.register_buffer("std", source.get_buffer("std").clone())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of images (B, 3, H, W), uint8 or float in [0, 1].

        Returns:
            Five tensors: the normalised and padded images, and the maps of strides 2, 4, 8 and 16.
        """
        values = images / 255 if images.dtype == torch.uint8 else images
        values = ((values - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        bottom, right = (-side % STRIDE for side in images.shape[-2:])
        maps = [F.pad(values, (0, right, 0, bottom), mode="replicate")]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class EncoderDecoder(nn.Module):
    """A segmentation network with the interface of `Segmenter` that `SegmentationTask` and the scoring use.

    Args:
        encoder: maps images to a list of maps.
        decoder: maps this list to logits (B, classes, h, w) of any size, which are stretched to that of the image.
        classes: the names of the classes.
        palette: the colours of the classes.
    """

    def __init__(
        self, encoder: SqueezeNetEncoder, decoder: nn.Module, classes: Sequence[str], palette: Palette
    ) -> None:
        super().__init__()
        self.backbone, self.classifier = encoder, decoder
        self.classes, self.palette = tuple(classes), palette
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Compute the logits (B, classes, H, W) of images (B, 3, H, W); crop boxes make no difference."""
        maps = self.backbone(images)
        logits: Tensor = self.classifier(maps)
        if logits.shape[-2:] != maps[0].shape[-2:]:
            logits = F.interpolate(logits, maps[0].shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., : images.shape[-2], : images.shape[-1]]

    def labels(self, images: Tensor) -> Tensor:
        """Predict the class indices (B, H, W) uint8 of images (B, 3, H, W), without gradients."""
        with torch.no_grad():
            labels: Tensor = self(images).argmax(1).byte()
        return labels


class LRASPP(nn.Module):
    """torchvision's head of LR-ASPP, on the maps of strides 8 and 16 as in MobileNetV3, with its 128 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = LRASPPHead(CHANNELS[-2], CHANNELS[-1], classes, inter_channels=128)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute logits of stride 8 from the maps of an encoder."""
        logits: Tensor = self.head({"low": maps[-2], "high": maps[-1]})
        return logits


class LinearProbe(nn.Module):
    """A 1x1 convolution on the deepest map."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(CHANNELS[-1], classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute logits of stride 16 from the maps of an encoder."""
        logits: Tensor = self.layer(maps[-1])
        return logits


def with_head(decoder: nn.Module, channels: int, **head: Any) -> Callable[[int], nn.Module]:
    """Add the last layer of segmentation-models-pytorch to a decoder, and initialise both as the library does.

    Args:
        decoder: the decoder.
        channels: the number of its output channels.
        head: further arguments of `SegmentationHead`.

    Returns:
        A function that takes the number of classes and returns the decoder with its last layer.
    """

    def complete(classes: int) -> nn.Module:
        last = SegmentationHead(channels, classes, **head)
        initialize_decoder(decoder)
        initialize_head(last)
        return nn.Sequential(decoder, last)

    return complete


def unet(classes: int) -> nn.Module:
    """Build the decoder of a U-Net with its default channels, down to the stride 16 of the encoder."""
    return with_head(UnetDecoder(CHANNELS, (256, 128, 64, 32), n_blocks=4), 32, kernel_size=3)(classes)


def fpn(classes: int) -> nn.Module:
    """Build the decoder of an FPN with its default channels."""
    return with_head(FPNDecoder([*CHANNELS], encoder_depth=4), 128, kernel_size=1, upsampling=4)(classes)


def deeplabv3plus(classes: int) -> nn.Module:
    """Build the decoder of DeepLabV3+ with its default channels and rates, at output stride 16."""
    decoder = DeepLabV3PlusDecoder(CHANNELS, 4, 256, (12, 24, 36), 16, aspp_separable=True, aspp_dropout=0.5)
    return with_head(decoder, 256, kernel_size=1, upsampling=4)(classes)


DECODERS: dict[str, Callable[[int], nn.Module]] = {
    "unet": unet,
    "fpn": fpn,
    "deeplabv3plus": deeplabv3plus,
    "lraspp": LRASPP,
    "linear": LinearProbe,
}
MIN_BATCH = {"deeplabv3plus": 2}  # images in a step: it normalises the mean of a whole map over the images
FROZEN_ENCODER = ("linear",)  # a probe says what the given maps tell


def make_peer(name: str, weights: str | None, classes: Sequence[str], palette: Palette) -> EncoderDecoder:
    """Build a network of an untrained decoder and SqueezeNet.

    Args:
        name: a key of `DECODERS`.
        weights: the weights of SqueezeNet, see `SqueezeNetEncoder`.
        classes: the names of the classes.
        palette: the colours of the classes.

    Returns:
        The network. It trains the layers of SqueezeNet that experiment=finetune trains, except the linear probe.
    """
    encoder = SqueezeNetEncoder(weights, None if name in FROZEN_ENCODER else FIRST_TRAINED)
    return EncoderDecoder(encoder, DECODERS[name](len(classes)), classes, palette)
