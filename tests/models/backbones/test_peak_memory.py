"""The estimated peak memory, against sums worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.peak_memory import peak_bytes

FLOAT = 4  # bytes


def empty(*size, **settings):
    return torch.empty(*size, device="meta", **settings)


def test_freed_tensors_do_not_count():
    """Of the three steps, the second holds its input of 10 and its output of 30 numbers; views take no memory."""

    def run():
        values = empty(10)
        values = values.repeat(3)
        values = values.view(5, 6)[:2].sum(0)
        return values

    assert peak_bytes(run, []) == (10 + 30) * FLOAT


def test_weights_do_not_count_but_kept_outputs_do():
    layer = nn.Linear(8, 100, device="meta")

    def run():
        kept = [layer(empty(2, 8)) for _ in range(3)]
        return [values.relu_() for values in kept]

    with torch.no_grad():
        assert peak_bytes(run, layer.parameters()) == (3 * 200 + 16) * FLOAT


@pytest.mark.parametrize("masked", [False, True])
def test_attention_makes_no_matrix_of_all_pairs(masked):
    """Query, key, value and output of 1000 tokens take 8 numbers each, and the sums of the exponentials 2."""
    mask = empty(1000, 1000) if masked else None

    def run():
        query, key, value = (empty(1, 2, 1000, 4) for _ in range(3))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    present = [] if mask is None else [mask]
    assert peak_bytes(run, present) == pytest.approx((4 * 8 + 2) * 1000 * FLOAT, rel=0.01)


def test_training_keeps_what_the_gradients_need():
    frozen, trained = (Backbone("resnet18", ["layer1"], trainable=count) for count in (0, "all"))
    with torch.no_grad():
        assert trained.tapped.peak_bytes(1, 256, 256) == frozen.tapped.peak_bytes(1, 256, 256)
    assert trained.tapped.peak_bytes(1, 256, 256) > 1.5 * frozen.tapped.peak_bytes(1, 256, 256)


def test_peak_of_a_network_grows_with_its_images():
    backbone = Backbone("resnet18", ["layer1"])
    one, two, large = (
        backbone.tapped.peak_bytes(1, 128, 128),
        backbone.tapped.peak_bytes(2, 128, 128),
        backbone.tapped.peak_bytes(1, 256, 128),
    )
    assert two == pytest.approx(2 * one, rel=0.01)
    assert large == pytest.approx(2 * one, rel=0.01)
    # The stem holds its input of 3 and its output of 64 channels, a quarter of the pixels each, and the image itself.
    assert one >= (2 * 3 + 64 / 4) * 128 * 128 * FLOAT
