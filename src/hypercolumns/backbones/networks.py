"""Networks by name: torchvision's, and our own."""

from collections import OrderedDict

import torch
import torchvision.models
from torch import nn

from hypercolumns.errors import HypercolumnsError


def rgb() -> nn.Module:
    """No network at all: its one module, `image`, gives the normalised image. The baseline of per-pixel colour."""
    return nn.Sequential(OrderedDict(image=nn.Identity()))


OWN = {"rgb": rgb}


def build(name: str) -> nn.Module:
    """The network of that name with random weights, or HypercolumnsError if there is none."""
    if name in OWN:
        return OWN[name]()
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None)
    except ValueError:
        raise HypercolumnsError(
            f"cnn.network={name} is not known; it must be {', '.join(OWN)} or one of torchvision's models, "
            f"which torchvision.models.list_models() lists"
        ) from None
    return network


def build_empty(name: str) -> nn.Module:
    """The network of that name without values (on the meta device): for shapes, and to load weights into."""
    with torch.device("meta"):
        return build(name)
