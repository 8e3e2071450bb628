"""Layers that act on each pixel's channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `x @ weight.T + bias` on the last dimension.

    On a CPU, the product is computed as a convolution, for which torch calls oneDNN. For `F.linear`, torch calls MKL,
    which is half as fast on AMD's processors.

    Args:
        x: (..., C).
        weight: (K, C).
        bias: (K,); None: no bias.

    Returns:
        (..., K).
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting() or not x.numel():
        return F.linear(x, weight, bias)
    columns = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(columns, weight[:, :, None, None], bias)
    return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class Pointwise(nn.Linear):
    """`nn.Linear` computed by `pointwise`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return pointwise(input, self.weight, self.bias)


class ReLU(nn.Module):
    """`nn.ReLU` that overwrites its input, unless the input needs a gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply ReLU to a tensor of any shape."""
        return F.relu(input, inplace=not input.requires_grad)
