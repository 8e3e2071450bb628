"""Classifiers that begin with the weights of a classifier for other classes."""

import copy

import pytest
import torch

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.classifiers import ClassTransfer, GridClassifier, MLPClassifier

TRANSFER = ClassTransfer(["road", "tree", "car"], ["sky", "car", "pole", "road"])
WHERE = PixelCoordinates(torch.linspace(0, 1, 6), torch.linspace(1, 0, 6))


@pytest.mark.parametrize("hidden", [[], 7, [7, 5]])
@pytest.mark.parametrize("grid", [False, True])
def test_kept_classes_have_the_same_logits(grid, hidden):
    torch.manual_seed(0)
    kind, more = (GridClassifier, {"size": 3}) if grid else (MLPClassifier, {})
    source, target = kind(10, 3, hidden=hidden, **more), kind(10, 4, hidden=hidden, dropout=0.5, **more)
    source.set_statistics(torch.randn(10), torch.rand(10) + 0.5)
    before = copy.deepcopy(target).eval()
    TRANSFER.copy_weights(source, target.eval())
    x = torch.randn(6, 10)
    old, new = source(x, WHERE), target(x, WHERE)
    assert torch.equal(new[:, [1, 3]], old[:, [2, 0]])
    for name in ("weight", "bias"):
        outputs, own = (
            model.get_parameter(f"{model.output_layer}.{name}").unflatten(0, (-1, 4)) for model in (target, before)
        )
        assert torch.equal(outputs[:, [0, 2]], own[:, [0, 2]])
    assert source.output_layer == {0: "first", 1: "rest.linear1", 2: "rest.linear2"}[len(source.hidden)]


def test_similar_names_are_paired_once():
    old = ["Car", "SignSymbol", "person", "bus", "sky"]
    new = ["cars", "car", "sign_symbol", "persons", "building", "sky"]
    assert ClassTransfer(old, new).similar() == {"car": "Car", "sign_symbol": "SignSymbol", "persons": "person"}
    assert ClassTransfer(["a"], ["b"]).similar() == {}
