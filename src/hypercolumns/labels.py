"""Where the labels of a mask change."""

import torch.nn.functional as F
from torch import Tensor


def boundary_band(mask: Tensor, width: int) -> Tensor:
    """The pixels (H, W) bool within `width` pixels, diagonals included, of one with another label; void is a label too.

    It is the trimap of Kohli et al., Robust Higher Order Potentials (IJCV 2009), that boundaries are judged in.
    """
    labels, width = mask[None].float(), min(width, max(mask.shape))
    tall, wide = (2 * width + 1, 1), (1, 2 * width + 1)
    highest, lowest = (
        sign * F.max_pool2d(F.max_pool2d(sign * labels, tall, 1, (width, 0)), wide, 1, (0, width)) for sign in (1, -1)
    )
    return (highest != lowest)[0]
