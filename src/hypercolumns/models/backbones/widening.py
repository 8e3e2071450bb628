"""Adapt networks and weights for RGB images to images with another number of channels.

The first three channels of an image take the place of red, green and blue. A network for RGB knows nothing about
further channels, so each of them begins with the mean of the three colours.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import networks


def widen_filters(weight: Tensor, channels: int) -> Tensor:
    """Turn the filters of a first convolution for RGB into filters for images with `channels` channels.

    The first three channels get the filters of red, green and blue. Each further channel gets their mean, as in Wang et
    al., Temporal Segment Networks (ECCV 2016; cross-modality pre-training). All filters are then multiplied by
    3 / `channels`, as timm's function `adapt_input_conv` does. The sum over the channels therefore stays the same:
    (r + g + b + (channels - 3) * (r + g + b) / 3) * 3 / channels = r + g + b. An image whose normalised channels are
    all equal hence gives the response of a grey image in the network for RGB. Without the factor, 13 channels would
    give more than four times this response, which the next layers, often frozen, and the statistics of BatchNorm do not
    fit. With one or two channels, filters are left out, and the sum is kept only approximately.

    Args:
        weight: (out, 3, h, w).
        channels: the number of channels of the images.

    Returns:
        (out, channels, h, w) in the dtype of `weight`; for three channels, `weight` itself.
    """
    if channels == RGB:
        return weight
    filters = weight.float()
    further = filters.mean(1, keepdim=True).expand(-1, max(channels - RGB, 0), -1, -1)
    return (torch.cat([filters[:, :channels], further], dim=1) * (RGB / channels)).to(weight.dtype)


def widen_network(name: str, body: nn.Module, channels: int) -> None:
    """Let the first convolution of a network take images with `channels` channels, in place.

    Its filters are drawn again, with a variance by which its response keeps its size, unless they have no values.
    Weights that are loaded afterwards replace them.

    Args:
        name: the name of the network, for the error message.
        body: the network. Networks of timm, which are built for the number of channels, are left unchanged.
        channels: the number of channels of the images.

    Raises:
        ArgumentError: if the first convolution treats red, green and blue separately.
    """
    for path in _first_convolutions(body):
        layer: nn.Module = body.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        if layer.in_channels == channels:
            continue
        if layer.groups != 1:
            raise networks.unusable(name, f"{path} treats red, green and blue separately, but images have {channels}")
        weight = layer.weight.detach().new_empty(layer.out_channels, channels, *layer.kernel_size)
        if not weight.is_meta:
            weight.normal_(0, float(layer.weight.detach().std()) * math.sqrt(layer.in_channels / channels))
        layer.in_channels, layer.weight = channels, nn.Parameter(weight)


def widen_weights(body: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a state dict whose filters for RGB fit the first convolution of a network for more or fewer channels.

    Args:
        body: the network.
        state: the state dict, by the names of the tensors in `body`. All that already fits or is not a filter for RGB
            is returned unchanged.
    """
    widened = {}
    for path in _first_convolutions(body):
        filters, wanted = state.get(f"{path}.weight"), body.get_submodule(path).get_parameter("weight")
        if filters is not None and filters.ndim == 4 and filters.shape[1] == RGB:
            widened[f"{path}.weight"] = widen_filters(filters, wanted.shape[1])
    return {**state, **widened}


def _first_convolutions(body: nn.Module) -> list[str]:
    """Return the paths of the convolutions that read the image itself; a network without layers has none.

    The graph may call a whole block, such as a convolution with its normalisation. It counts by its first convolution.
    """
    if not isinstance(body, GraphModule):
        return []  # timm builds networks that are read by their blocks for the number of channels
    image = next(node for node in body.graph.nodes if node.op == "placeholder")
    readers = dict.fromkeys(str(user.target) for user in image.users if user.op == "call_module")
    paths = []
    for reader in readers:
        layers = body.get_submodule(reader).named_modules(prefix=reader)
        paths += [path for path, layer in layers if isinstance(layer, nn.Conv2d)][:1]
    return paths
