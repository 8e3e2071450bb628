"""Shapes of maps that are remembered, against those of every function in turn."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypercolumns.models.backbones.remembered_shapes import RememberedShapes


class Mixed(nn.Module):
    """Joins, reorders and normalises maps, with an offset that depends on values."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.layer_norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 12)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        x = F.relu(self.norm(self.first(x))) * self.scale
        x = torch.cat([x, F.interpolate(F.max_pool2d(x, 2, ceil_mode=True), x.shape[2:])], 1)
        first, second = x.chunk(2, 1)
        x = (first + second).permute(0, 2, 3, 1)
        x = F.gelu(self.linear(self.layer_norm(x))).softmax(-1).view(len(x), -1, 12)
        x = x.transpose(1, 2)[..., int(torch.tensor([1]).item()) :]
        x.unsqueeze_(1)
        return x


@pytest.mark.parametrize("side", [9, 16, 33])
def test_shapes_and_strides_are_those_of_torch(side):
    network = Mixed().to("meta").eval()
    image = torch.empty(1, 3, side, side + 3, device="meta")
    with torch.no_grad():
        expected = network(image)
        with RememberedShapes():
            for found in (network(image), network(image)):
                assert (found.shape, found.stride()) == (expected.shape, expected.stride())


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.InstanceNorm2d(3), (1, 3, 1, 1)), (nn.LayerNorm([3, 8, 8]), (1, 3, 6, 8))]
)
def test_sizes_that_torch_refuses_stay_refused(layer, shape):
    image = torch.empty(shape, device="meta")
    with RememberedShapes(), pytest.raises((RuntimeError, ValueError)):
        layer.to("meta").eval()(image)


def test_result_changed_in_place_is_no_input():
    image = torch.empty(1, 3, 8, 8, device="meta")
    with RememberedShapes():
        for changed in (F.relu(image), image * 2, image + image):
            changed.unsqueeze_(0)
    assert image.shape == (1, 3, 8, 8)


def test_functions_of_known_shapes_run_once():
    calls = []

    class Counted(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **(kwargs or {}))

    image = torch.empty(1, 3, 8, 8, device="meta")
    layer = nn.Conv2d(3, 4, 3).to("meta")
    with torch.no_grad(), Counted(), RememberedShapes():
        shapes = [layer(image[..., :width]).shape[3] for width in (8, 8, 6, 8, 6)]
    assert shapes == [6, 6, 4, 6, 4]
    assert calls.count(torch.conv2d) == 2


def test_functions_of_values_run_every_time():
    with RememberedShapes():
        numbers = [torch.tensor(number).add(1).item() for number in (1, 2, 1)]
    assert numbers == [2, 3, 2]
