"""Maps of the stand-in, which keep no copies of repeated values, against the values themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypercolumns.models.backbones.stand_in import ConstantsOnMeta, MeanPropagation, whole


def ramp(height=12, width=20):
    """Return a map (1, 3, height, width) whose values are the columns of the cells."""
    return torch.arange(float(width), dtype=torch.float64).expand(1, 3, height, width).clone()


def propagated(function, x):
    with torch.no_grad(), ConstantsOnMeta():
        return whole(function(x.as_subclass(MeanPropagation)))


SETTINGS = [(2, 2, 0, 0, 1), (3, 2, 1, 1, 1), (4, 2, 1, 0, 1), (5, 3, 2, 2, 1), (3, 1, 1, 0, 2), (3, 3, 2, 1, 2)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "output_padding", "dilation"), SETTINGS)
def test_transposed_convolution_is_centroid(kernel, stride, padding, output_padding, dilation):
    """The reference is the centroid of the gradient of each cell, for filters that are 1 everywhere."""
    settings = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    with torch.device("meta"):
        layer = nn.ConvTranspose2d(3, 4, kernel, **settings)
    found = propagated(layer, ramp())
    image = ramp().requires_grad_()
    result = F.conv_transpose2d(image, torch.ones(3, 4, kernel, kernel, dtype=torch.float64), **settings)
    assert found.shape == result.shape
    row = result.shape[2] // 2
    margin = kernel * dilation  # the zeros beyond the border draw the centroids inwards
    for column in range(margin, result.shape[3] - margin):
        (gradient,) = torch.autograd.grad(result[0, 0, row, column], image, retain_graph=True)
        assert found[0, 0, row, column] == pytest.approx(float((gradient * ramp()).sum() / gradient.sum()))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x, 2 * x], 1)[:, 3:],
        lambda x: torch.cat([x, 2 * x], axis=1).mean(1, keepdim=True),
        lambda x: F.max_pool2d(torch.cat([x, 2 * x], 1), 3, 2, 1, ceil_mode=True),
        lambda x: x.max(1, keepdim=True).values + x,
        lambda x: x.permute(0, 2, 3, 1).reshape(1, 240, 3).roll(2, 1).transpose(1, 2),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
        lambda x: F.pad(x.flatten(2), (0, 0, 0, 2)).unflatten(2, (12, 20)),
        lambda x: F.adaptive_avg_pool2d(x, 3).view(1, 3, -1),
    ],
)
def test_known_repetitions_are_those_of_values(function):
    """Every function acts on a filtered map, which repeats along the channels, and on one that does not."""
    with torch.device("meta"):
        layer = nn.Conv2d(3, 3, 3, padding=1)
    for x in (propagated(layer, ramp()), ramp().as_subclass(MeanPropagation)):
        found = whole(function(x))
        assert isinstance(found, MeanPropagation)
        values = found.as_subclass(torch.Tensor)
        assert found.thin is None or torch.equal(found.thin.as_subclass(torch.Tensor).expand(values.shape), values)
        clone = x.as_subclass(torch.Tensor).clone().as_subclass(MeanPropagation)
        assert torch.allclose(values, whole(function(clone)).as_subclass(torch.Tensor))


def test_concatenated_maps_change_in_place():
    def layers(x):
        joined = torch.cat([x, x], 1)
        joined[:, 2:4] = 7
        return joined

    found = propagated(layers, ramp())
    assert torch.equal(found[0, 2].as_subclass(torch.Tensor), torch.full((12, 20), 7, dtype=torch.float64))
    assert torch.equal(found[0, 1].as_subclass(torch.Tensor), ramp()[0, 0])


def test_kernel_larger_than_map_raises():
    with pytest.raises(ValueError, match="a kernel of 15 cells is larger than its map of 12 cells"):
        propagated(nn.MaxPool2d(15), ramp())


def test_products_change_in_place():
    def layers(x):
        product = x @ x.transpose(2, 3)
        product[..., 1:] = x[..., :11]
        return product

    found = propagated(layers, ramp()).as_subclass(torch.Tensor)
    assert torch.equal(found[..., 0], torch.zeros(1, 3, 12, dtype=torch.float64))
    assert torch.equal(found[..., 1:], ramp()[..., :11])
