"""Substitutes for layers that a trace would fix to one size, against the layers themselves."""

import pytest
import timm
import torch
from torch import nn

from hypercolumns.export.substitutes import RotaryEmbedding, SelfAttention, substitute_layers


@pytest.mark.parametrize("coordinates", ["separate", "max", "min"])
def test_rotary_angles_equal_those_of_timm(coordinates):
    layer = timm.layers.RotaryEmbeddingDinoV3(32, normalize_coords=coordinates, grid_offset=0.25, rotate_half=False)
    half = timm.layers.RotaryEmbeddingDinoV3(32)
    for original in (layer, half):
        for grid in ((5, 7), (1, 1), (3, 40)):
            assert torch.equal(RotaryEmbedding(original).get_embed(grid), original.get_embed(grid))


def test_attention_equals_that_of_torch():
    layer, tokens = nn.MultiheadAttention(24, 3, batch_first=True).eval(), torch.randn(2, 7, 24)
    nn.init.normal_(layer.in_proj_bias)
    nn.init.normal_(layer.out_proj.bias)
    with torch.no_grad():
        expected, _ = layer(tokens, tokens, tokens, need_weights=False)
        mixed, weights = SelfAttention(layer)(tokens, tokens, tokens)
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)
    assert weights is None


def test_attention_of_two_inputs_is_refused():
    layer, tokens = SelfAttention(nn.MultiheadAttention(24, 3, batch_first=True)), torch.randn(2, 7, 24)
    with pytest.raises(NotImplementedError, match="compares two inputs"):
        layer(tokens, tokens.clone(), tokens)


def test_layers_of_other_kinds_stay():
    layers = nn.Sequential(
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.MultiheadAttention(8, 2),
        nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True),
        nn.Linear(8, 8),
    )
    kept = [*layers][1:]
    substitute_layers(layers)
    assert isinstance(layers[0], SelfAttention)
    assert [*layers][1:] == kept
