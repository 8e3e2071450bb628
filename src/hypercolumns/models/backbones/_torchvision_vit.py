"""torchvision's vision transformers, for images of any size and with the maps of their blocks."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

POSITIONS = "encoder.pos_embedding"


class TorchvisionTransformer(nn.Module):
    """A vision transformer of torchvision (`vit_b_16`) with timm's interface for maps.

    Its tensors have torchvision's names. torchvision's own network takes images of one size. Here the position
    embeddings are interpolated for other sizes as torchvision interpolates those of weights
    (`torchvision.models.vision_transformer.interpolate_embeddings`: bicubic, from corner to corner).

    Args:
        network: torchvision's network; its parts are used, not copied.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv_proj: nn.Conv2d = network.conv_proj
        self.class_token: nn.Parameter = network.class_token
        self.encoder: Any = network.encoder
        width, patch = self.conv_proj.out_channels, self.conv_proj.stride[0]
        self.feature_info = [
            {"module": f"encoder.layers.{name}", "num_chs": width, "reduction": patch}
            for name, _ in self.encoder.layers.named_children()
        ]
        self.grad_checkpointing = False

    def fit_positions(self, state: Mapping[str, Tensor]) -> int | None:
        """Give the position embeddings the grid of those in weights, such as weights for larger images.

        The embeddings are interpolated to the patches of each image, so any square grid does.

        Args:
            state: the weights, which the caller loads afterwards.

        Returns:
            The number of patches along a side of the weights' grid; None if the grid is the network's own, or if the
            weights do not fit in another way.
        """
        own, given = self.encoder.pos_embedding, state.get(POSITIONS)
        if given is None or given.ndim != 3 or given.shape == own.shape:
            return None
        side = math.isqrt(max(given.shape[1] - 1, 0))
        if side == 0 or given.shape != (1, 1 + side * side, own.shape[2]):
            return None
        self.encoder.pos_embedding = nn.Parameter(own.new_empty(given.shape))
        return side

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Choose whether the backward pass computes the activations in the blocks again, in place of holding them."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> tuple[nn.Module, ...]:
        """Return the layers of the classifier: none, because the network has only the layers that maps need."""
        return ()

    def prune_intermediate_layers(self, indices: Sequence[int], prune_norm: bool, prune_head: bool) -> None:
        """Remove the blocks after the last one of `indices`.

        Args:
            indices: the positions of the blocks whose outputs are wanted.
            prune_norm: whether the last normalisation layer is removed too.
            prune_head: not used; there is no head.
        """
        self.encoder.layers = self.encoder.layers[: max(indices) + 1]  # `del` would rename the blocks
        if prune_norm:
            self.encoder.ln = nn.Identity()

    def forward_intermediates(self, images: Tensor, indices: Sequence[int], norm: bool, **_: object) -> list[Tensor]:
        """Return the outputs of some blocks as maps.

        Args:
            images: (B, N, H, W), normalised; H and W are multiples of the patches' side p.
            indices: the positions of the blocks, rising.
            norm: whether the last normalisation layer is applied to each output.

        Returns:
            Maps (B, C, H / p, W / p).
        """
        patches = self.conv_proj(images)
        # `len(images)` would fix the number of images in an export.
        tokens = torch.cat(
            [self.class_token.expand(images.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
        )
        tokens = self.encoder.dropout(tokens + self._positions(patches.shape[2], patches.shape[3]))
        maps = []
        for number, block in enumerate(self.encoder.layers[: max(indices) + 1]):
            run = functools.partial(_run_block, block)
            tokens = checkpoint(run, tokens, use_reentrant=False) if self.grad_checkpointing else run(tokens)
            if number in indices:
                kept = self.encoder.ln(tokens) if norm else tokens
                maps.append(kept[:, 1:].transpose(1, 2).unflatten(2, (patches.shape[2], patches.shape[3])))
        return maps

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings of the class token and of a grid of patches: (1, 1 + rows * columns, C)."""
        embedding: Tensor = self.encoder.pos_embedding
        side = math.isqrt(embedding.shape[1] - 1)
        if (rows, columns) == (side, side):
            return embedding
        grid = embedding[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=True)
        return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _run_block(block: Any, tokens: Tensor) -> Tensor:
    """Compute the output (B, tokens, C) of a block, as the block itself does, with less memory.

    `nn.MultiheadAttention` makes a matrix of all pairs of tokens on a CPU. The fused operation does not.

    Args:
        block: torchvision's `EncoderBlock`.
        tokens: (B, tokens, C).

    Returns:
        (B, tokens, C).
    """
    attention: nn.MultiheadAttention = block.self_attention
    merged = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = merged.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    dropout = attention.dropout if attention.training else 0.0
    attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    tokens = tokens + block.dropout(attention.out_proj(attended.transpose(1, 2).flatten(2)))
    added: Tensor = block.mlp(block.ln_2(tokens))
    return tokens + added
