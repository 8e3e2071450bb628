"""Layers that act on the channels of each pixel separately."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VECTOR = 8  # number of floats in a vector register of AVX2
FEW_CHANNELS = 128  # of the factors of a sum of products, see `add_pointwise`


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `x @ weight.T + bias` over the last dimension of `x`.

    On a CPU, the product is computed as a convolution, because torch computes convolutions with oneDNN. torch computes
    `F.linear` with MKL, which can be half as fast on AMD's processors. The weight is filled up with rows of zeros to a
    multiple of 8 rows: with 21 rows, oneDNN takes 1.4 times as long as with 24. The pixels lie along the width: along
    the height, with several threads, the backward pass took four times as long for 1,019 or 1,021 pixels.

    Args:
        x: (..., C) float.
        weight: (K, C) float.
        bias: (K,) float; None: no bias.

    Returns:
        (..., K) float.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting() or not x.numel():
        return F.linear(x, weight, bias)
    outputs, missing = len(weight), -len(weight) % VECTOR
    if missing:
        weight = F.pad(weight, (0, 0, 0, missing))
        bias = None if bias is None else F.pad(bias, (0, missing))
    columns = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(columns, weight[:, :, None, None], bias)
    return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))[..., :outputs]


def add_pointwise(total: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `total + x @ weight.T + bias`, in the memory of `total`. Call this function under `torch.no_grad()`.

    On a CPU, the product of few channels is added while it is computed, so that the memory of `total` is read and
    written once. MKL computes such sums. With many channels, the product itself takes most of the time, and oneDNN
    computes it, see `pointwise`.

    Args:
        total: (B, N, K) float, which is overwritten; None: 0.
        x: (B, N, C) float.
        weight: (K, C) float.
        bias: (K,) float; None: no bias.

    Returns:
        (B, N, K) float.
    """
    if total is None:
        return pointwise(x, weight, bias)
    same = total.dtype == x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type)
    if x.device.type != "cpu" or not same or x.shape[-1] > FEW_CHANNELS:
        return total.add_(pointwise(x, weight, bias))
    for image, values in zip(total, x, strict=True):
        image.addmm_(values, weight.T)
    return total if bias is None else total.add_(bias)


class Pointwise(nn.Linear):
    """A linear layer like `nn.Linear`, computed by the function `pointwise`."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to (..., in_features), and return (..., out_features)."""
        return pointwise(input, self.weight, self.bias)


class ReLU(nn.Module):
    """A ReLU that overwrites its input with its output, unless the input needs a gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply ReLU to a tensor of any shape."""
        return F.relu(input, inplace=not input.requires_grad)
