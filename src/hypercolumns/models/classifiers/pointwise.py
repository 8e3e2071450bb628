"""Layers on the channels of every pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` on the last dimension: (..., C) to (..., K).

    On a CPU it is computed as a convolution, which torch gives to oneDNN: MKL, to which it gives `linear`, is half as
    fast on AMD's processors.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting() or not x.numel():
        return F.linear(x, weight, bias)
    columns = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(columns, weight[:, :, None, None], bias)
    return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class Pointwise(nn.Linear):
    """`nn.Linear`, by `pointwise`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return pointwise(input, self.weight, self.bias)


class ReLU(nn.Module):
    """`nn.ReLU` that overwrites its input where no gradient will ask for it."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        return F.relu(input, inplace=not input.requires_grad)
