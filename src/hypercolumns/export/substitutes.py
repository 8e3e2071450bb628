"""Layers that a trace would fix to one size or one number of images, and substitutes that compute the same.

Only the exported copy of a network gets substitutes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def substitute_layers(network: nn.Module) -> None:
    """Replace the layers of a network that a trace would fix, in place. The network's outputs stay the same."""
    for name, layer in list(network.named_modules()):
        if type(layer) is nn.MultiheadAttention and SelfAttention.suits(layer):
            network.set_submodule(name, SelfAttention(layer))
        # The type belongs to timm, which need not be installed. For `xy`, its versions disagree about the coordinates.
        elif type(layer).__name__ == "RotaryEmbeddingDinoV3" and layer.grid_indexing == "ij":
            network.set_submodule(name, RotaryEmbedding(layer))


class SelfAttention(nn.Module):
    """The self-attention of an `nn.MultiheadAttention` in evaluation mode, for any number of images.

    torch traces `nn.MultiheadAttention` for the number of images and tokens that it sees.

    Args:
        layer: the layer; its parameters are used, not copied. `suits` must be true for it.
    """

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.dropout = layer.num_heads, layer.dropout  # torchvision's blocks read these, too
        self.in_proj_weight, self.in_proj_bias = layer.in_proj_weight, layer.in_proj_bias
        self.out_proj = layer.out_proj

    @staticmethod
    def suits(layer: nn.MultiheadAttention) -> bool:
        """Whether this class can take the place of a layer: it is a plain one on tensors (B, tokens, C)."""
        return layer.batch_first and layer._qkv_same_embed_dim and layer.bias_k is None and not layer.add_zero_attn

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """Mix the tokens of each image, as `nn.MultiheadAttention` does.

        Args:
            query: (B, tokens, C).
            key: the same tensor.
            value: the same tensor.
            need_weights: must be false.

        Returns:
            (B, tokens, C), and None in place of the weights.

        Raises:
            NotImplementedError: if the layer is called for anything but self-attention without weights.
        """
        if need_weights or key is not query or value is not query:
            raise NotImplementedError("an attention layer that compares two inputs or returns its weights")
        parts = F.linear(query, self.in_proj_weight, self.in_proj_bias).unflatten(2, (3, self.num_heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


class RotaryEmbedding(nn.Module):
    """The rotary position embedding of DINOv3 (Siméoni et al., arXiv:2508.10104) for a grid of patches of any size.

    timm divides the patches' coordinates by a Python number, which a trace fixes to that of the traced size.

    Args:
        layer: timm's `RotaryEmbeddingDinoV3`, whose augmentations are not used.
    """

    periods: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.register_buffer("periods", layer.periods, persistent=False)
        self.normalize_coords: str = layer.normalize_coords
        self.grid_offset: float = layer.grid_offset
        self.rotate_half: bool = layer.rotate_half

    def get_embed(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the sines and cosines of a grid of patches, (rows * columns, 2 * channels of an attention head).

        Args:
            shape: (rows, columns) of the grid.
            dtype: the type of the result; None: that of the periods.
        """
        sides = [torch.full((), side, dtype=torch.float32) for side in shape]
        if self.normalize_coords != "separate":
            sides = [(torch.maximum if self.normalize_coords == "max" else torch.minimum)(*sides)] * 2
        axes = [
            (torch.arange(count).float() + 0.5 + self.grid_offset) / side
            for count, side in zip(shape, sides, strict=True)
        ]
        places = 2.0 * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1) - 1.0
        angles = (2 * math.pi * places[:, :, None].to(self.periods.dtype) / self.periods).flatten(1)
        waves = [angles.sin(), angles.cos()]
        expanded = [
            torch.cat([wave, wave], dim=-1) if self.rotate_half else wave.repeat_interleave(2, -1) for wave in waves
        ]
        return torch.cat(expanded, dim=-1).to(dtype or self.periods.dtype)
