"""The MLP classifier, and the standardisation that all classifiers share."""

import pytest
import torch
import torch.nn.functional as F

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.classifiers import MLPClassifier, standardize

ANYWHERE = PixelCoordinates(torch.tensor(0.5), torch.tensor(0.5))


@pytest.mark.parametrize("hidden", [7, [], [7, 5]])
def test_forward_and_folding_equal_definition(hidden):
    torch.manual_seed(0)
    classifier = MLPClassifier(10, 4, hidden).double()
    mean, std = torch.randn(10).double(), torch.rand(10).double()
    classifier.set_statistics(mean, std)
    x = torch.randn(6, 10).double()
    y = F.linear((x - mean) / (std + 1e-5), classifier.first.weight, classifier.first.bias)
    for layer in list(classifier.rest)[1::2]:
        y = F.linear(y.relu(), layer.weight, layer.bias)
    assert y.shape == (6, 4)
    assert torch.allclose(classifier(x, ANYWHERE), y)
    weight, bias = classifier.folded_first_layer()
    assert torch.allclose(classifier.head(F.linear(x, weight, bias), ANYWHERE), y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_standardize_keeps_input_and_rounds_once(dtype):
    torch.manual_seed(0)
    features, mean, std = torch.randn(6, 10).to(dtype), torch.randn(10), torch.rand(10)
    before = features.clone()
    standard = standardize(features, mean, std)
    assert torch.equal(features, before)
    assert torch.equal(standard, (before - mean) / (std + 1e-5))


def test_constant_channel_gets_average_std():
    """Otherwise, an update of the channel's filter would be divided by 1e-5."""
    classifier = MLPClassifier(3, 4, []).double()
    classifier.set_statistics(torch.zeros(3).double(), torch.tensor([2.0, 0.0, 4.0]).double())
    assert torch.allclose(
        classifier.folded_first_layer()[0], classifier.first.weight / torch.tensor([2.0, 3.0, 4.0]), rtol=1e-4
    )
    classifier.set_statistics(torch.zeros(3).double(), torch.zeros(3).double())
    assert torch.allclose(classifier.folded_first_layer()[0], classifier.first.weight, rtol=1e-4)


def test_logits_can_be_negative():
    torch.manual_seed(0)
    assert (MLPClassifier(10, 4)(torch.randn(100, 10), ANYWHERE) < 0).any()


def test_settings_rebuild_classifier():
    classifier = MLPClassifier(10, 4, [7, 5], dropout=0.25)
    twin = MLPClassifier(10, 4, **classifier.settings())
    assert str(twin) == str(classifier)


def test_mean_and_std_are_saved_but_not_trained():
    classifier = MLPClassifier(10, 4)
    assert {"mean", "std"} <= classifier.state_dict().keys()
    assert not {"mean", "std"} & dict(classifier.named_parameters()).keys()
