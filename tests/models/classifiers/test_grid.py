"""The grid classifier compared with single MLPs, whose logits are interpolated by `grid_sample`."""

import pytest
import torch
import torch.nn.functional as F

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier


def make(size, hidden, dropout=0.0):
    torch.manual_seed(0)
    classifier = GridClassifier(5, 3, size, hidden, dropout).double()
    classifier.set_statistics(torch.randn(5).double(), torch.rand(5).double() + 0.5)
    return classifier


def slow(classifier, x, y_places, x_places):
    """Compute the logits of each pixel by itself, from one MLP for each of the K x K last layers."""
    size, logits = classifier.size, []
    mlps = []
    for number in range(size * size):
        mlp = MLPClassifier(5, 3, classifier.hidden).double()
        state = dict(classifier.state_dict())
        last = f"rest.linear{len(classifier.hidden)}" if classifier.hidden else "first"
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = state[name][number * 3 : number * 3 + 3]
        mlp.load_state_dict(state)
        mlps.append(mlp)
    for pixel, y, x_ in zip(x, y_places, x_places, strict=True):
        grid = torch.stack([mlp(pixel, PixelCoordinates(y, x_)) for mlp in mlps], 1).view(1, 3, size, size)
        where = torch.stack([2 * x_ - 1, 2 * y - 1]).double().view(1, 1, 1, 2)
        logits.append(F.grid_sample(grid, where, padding_mode="border", align_corners=False).flatten())
    return torch.stack(logits)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("hidden", [[], [7], [7, 6]])
def test_logits_equal_interpolated_mlps(size, hidden):
    classifier = make(size, hidden)
    x, y_places, x_places = torch.randn(200, 5).double(), torch.rand(200), torch.rand(200)
    y_places[:4], x_places[:4] = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    y_places[4], x_places[4] = -0.3, 1.4  # a point outside of the image
    expected = slow(classifier, x, y_places, x_places)
    assert torch.allclose(classifier(x, PixelCoordinates(y_places, x_places)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_image_and_gradients_equal_single_pixels(size):
    classifier = make(size, [7])
    x = torch.randn(2, 9, 11, 5).double().requires_grad_()
    y_places, x_places = torch.rand(2, 9, 1), torch.rand(2, 1, 11)
    of_image = classifier(x, PixelCoordinates(y_places, x_places))
    expanded = PixelCoordinates(*(places.expand(2, 9, 11).flatten() for places in (y_places, x_places)))
    one_by_one = [
        classifier(x.flatten(0, 2)[n : n + 1], PixelCoordinates(*(places[n : n + 1] for places in expanded)))
        for n in range(2 * 9 * 11)
    ]
    assert torch.allclose(of_image.flatten(0, 2), torch.cat(one_by_one))
    tensors = [x, *classifier.parameters()]
    factor = torch.randn(of_image.shape).double()
    ours = torch.autograd.grad((of_image * factor).sum(), tensors)
    theirs = torch.autograd.grad((torch.cat(one_by_one) * factor.flatten(0, 2)).sum(), tensors)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other)


def test_size_one_equals_mlp():
    grid, mlp = make(1, [7]), MLPClassifier(5, 3, [7]).double()
    mlp.load_state_dict(grid.state_dict())
    x, anywhere = torch.randn(20, 5).double(), PixelCoordinates(torch.rand(20), torch.rand(20))
    assert torch.allclose(grid(x, anywhere), mlp(x, anywhere))


def test_no_pixels_give_no_logits():
    nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))
    assert make(3, [7])(torch.empty(0, 5).double(), nowhere).shape == (0, 3)


@pytest.mark.parametrize(
    "kind", [lambda: MLPClassifier(5, 3, [7, 6]), lambda: MLPClassifier(5, 3, []), lambda: GridClassifier(5, 3, 3, [7])]
)
def test_heads_can_be_exported(kind):
    """torch.export accepts any number of pixels: control flow does not depend on the input's values."""
    classifier = kind().eval()
    points = torch.export.Dim("points")
    arguments = torch.randn(6, 5), PixelCoordinates(torch.rand(6), torch.rand(6))
    shapes = ({0: points}, PixelCoordinates({0: points}, {0: points}))
    exported = torch.export.export(classifier, arguments, dynamic_shapes=shapes).module()
    others = torch.randn(41, 5), PixelCoordinates(torch.rand(41), torch.rand(41))
    assert torch.allclose(exported(*others), classifier(*others), atol=1e-6)


def test_settings_rebuild_classifier():
    classifier = make(4, [7, 5], dropout=0.25)
    assert str(GridClassifier(5, 3, **classifier.settings())) == str(classifier.float())
    with pytest.raises(HypercolumnsError, match=r"^size=0 must be a whole number of at least 1"):
        GridClassifier(5, 3, 0)
