"""Linear probes against closed-form references, and the forward selection of taps."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.evaluation import tap_ranking
from hypercolumns.evaluation.tap_ranking import (
    LinearProbes,
    ProbeResult,
    SubsetConstraints,
    correlations,
    fit_logistic,
    forward_selection,
    principal_components,
)
from hypercolumns.models.classifiers import standardize
from hypercolumns.store import Samples


def mixed(rows, channels, seed=0):
    """Make features whose channels are correlated."""
    torch.manual_seed(seed)
    return torch.randn(rows, channels) @ torch.randn(channels, channels) * 3 + 50


def statistics(features):
    return features.float().mean(0), features.float().std(0, correction=0)


def samples(*taps, labels):
    return Samples(torch.cat(taps, 1).half(), labels, PixelCoordinates(*torch.zeros(2, len(labels))))


class TestPrincipalComponents:
    def test_correlations_in_chunks_equal_torch(self, monkeypatch):
        monkeypatch.setattr(tap_ranking, "CHUNK", 16)
        monkeypatch.setattr(tap_ranking, "BLOCK", 3)
        features = mixed(100, 7)
        assert torch.allclose(correlations(features, *statistics(features)), torch.corrcoef(features.T), atol=1e-4)

    def test_components_are_the_leading_eigenvectors(self):
        matrix = torch.corrcoef(mixed(500, 60).T)
        components = principal_components(matrix, 5)
        variances, vectors = torch.linalg.eigh(matrix.double())
        leading = (vectors[:, -5:] / variances[-5:].sqrt()).flip(1).float()
        signs = (components * leading).sum(0).sign()
        assert torch.allclose(components * signs, leading, atol=1e-3)

    def test_projected_features_are_white(self):
        features = mixed(500, 60)
        standard = standardize(features, *statistics(features))
        projected = standard @ principal_components(torch.corrcoef(features.T), 20)
        assert torch.allclose(projected.T @ projected / 500, torch.eye(20), atol=1e-3)

    def test_constant_channel_adds_no_variance(self):
        features = mixed(100, 4).index_fill(1, torch.tensor([2]), 7.0)
        projected = standardize(features, *statistics(features)) @ principal_components(
            correlations(features, *statistics(features)), 4
        )
        assert projected.isfinite().all()
        assert torch.allclose(projected.square().mean(0).sum(), torch.tensor(3.0), atol=1e-2)


class TestProbe:
    def test_gradient_is_zero_at_the_optimum(self):
        torch.manual_seed(0)
        # In float32, the loss stops falling before the gradient is below the bound on some processors.
        features, labels = torch.randn(300, 5).double(), torch.randint(0, 3, (300,))
        weight, bias = (parameter.requires_grad_() for parameter in fit_logistic(features, labels, 3, steps=200))
        loss = F.cross_entropy(F.linear(features, weight, bias), labels) + tap_ranking.PENALTY * weight.square().sum()
        for gradient in torch.autograd.grad(loss, [weight, bias]):
            assert gradient.abs().max() < 1e-5

    def test_bias_fits_class_frequencies(self):
        weight, bias = fit_logistic(torch.zeros(10, 1), torch.tensor([0] * 7 + [1] * 3), 2)
        assert torch.allclose(bias.softmax(0), torch.tensor([0.7, 0.3]), atol=1e-4)
        assert not weight.any()

    def test_separable_classes_are_separated(self):
        torch.manual_seed(0)
        labels = torch.randint(0, 4, (200,))
        features = F.one_hot(labels, 4) + 0.1 * torch.randn(200, 4)
        weight, bias = fit_logistic(features, labels, 4)
        assert (F.linear(features, weight, bias).argmax(1) == labels).all()


class TestProbes:
    """The class is 2a + b. The first tap is noise, the second encodes a (3 values), the third encodes b (2 values)."""

    CHANNELS = (6, 3, 8)

    @staticmethod
    def drawn(rows, seed):
        torch.manual_seed(seed)
        a, b = torch.randint(0, 3, (rows,)), torch.randint(0, 2, (rows,))
        first, second = torch.randn(rows, 6), F.one_hot(a, 3) + 0.05 * torch.randn(rows, 3)
        third = (2.0 * b[:, None] + 0.1 * torch.randn(rows, 8)).expand(rows, 8)
        return samples(first, second, third, labels=2 * a + b)

    @classmethod
    def probes(cls, components=8, seed=0, channels=CHANNELS):
        train, val = cls.drawn(600, 1), cls.drawn(300, 2)
        return LinearProbes(train, val, statistics(train.features), channels, 6, components, seed)

    def test_selection_recovers_constructed_ranking(self):
        steps = forward_selection(SubsetConstraints(self.CHANNELS, 3), self.probes().score)
        singles = sorted(steps[0].new, key=lambda result: result.accuracy)
        assert [result.subset for result in singles] == [(0,), (2,), (1,)]
        assert [result.accuracy for result in singles] == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.07)
        assert [step.kept.subset for step in steps] == [(1,), (1, 2), (0, 1, 2)]
        assert steps[1].kept.miou == steps[1].kept.accuracy == 1.0

    def test_metrics_are_those_of_val_samples(self):
        probes = self.probes()
        probes.val = probes.val._replace(labels=(probes.val.labels + 1) % 6)
        assert probes.score((1, 2)).accuracy == 0.0

    def test_constant_tap_gives_most_frequent_class(self):
        drawn = samples(torch.full((100, 3), 7.0), labels=torch.tensor([0] * 30 + [1] * 70))
        result = LinearProbes(drawn, drawn, statistics(drawn.features), [3], 2, 8, 0).score((0,))
        assert (result.accuracy, result.miou) == pytest.approx((0.7, 0.35))

    def test_subsets_are_reduced_to_equal_components(self):
        probes = self.probes(components=5)
        assert {subset: probes.score(subset).components for subset in [(0,), (1,), (1, 2), (0, 1, 2)]} == {
            (0,): 5,
            (1,): 3,
            (1, 2): 5,
            (0, 1, 2): 5,
        }

    def test_repeated_channels_do_not_raise_accuracy(self):
        once = self.probes(components=3).score((1,))
        train, val = (
            samples(*[drawn.features[:, 6:9]] * 5, labels=drawn.labels)
            for drawn in (self.drawn(600, 1), self.drawn(300, 2))
        )
        repeated = LinearProbes(train, val, statistics(train.features), [15], 6, 3, 0).score((0,))
        assert (repeated.components, repeated.accuracy) == (3, pytest.approx(once.accuracy, abs=0.02))

    def test_same_seed_gives_same_result(self):
        assert self.probes(components=4).score((0, 1)) == self.probes(components=4).score((0, 1))


class TestConstraints:
    """Two layers, then local_mean:3 and pyramid:2 of the deepest layer, then coordinates."""

    CONSTRAINTS = SubsetConstraints((4, 8, 8, 8, 2), layers=2, from_deepest=(2, 3))

    def test_context_tap_brings_deepest_layer_along(self):
        assert self.CONSTRAINTS.larger(()) == [(0,), (1,), (1, 2), (1, 3)]
        assert self.CONSTRAINTS.larger((0,)) == [(0, 1), (0, 1, 2), (0, 1, 3), (0, 4)]
        assert not self.CONSTRAINTS.allow((0, 2))

    def test_coordinates_need_a_layer(self):
        assert not self.CONSTRAINTS.allow((4,))
        assert self.CONSTRAINTS.allow((0, 4))

    def test_limits_on_taps_and_channels(self):
        limited = SubsetConstraints(self.CONSTRAINTS.channels, 2, (2, 3), max_taps=2, max_channels=14)
        subsets = itertools.chain.from_iterable(itertools.combinations(range(5), count) for count in range(1, 6))
        assert [subset for subset in subsets if limited.allow(subset)] == [(0,), (1,), (0, 1), (0, 4), (1, 4)]


class TestForwardSelection:
    CONSTRAINTS = SubsetConstraints((4, 2, 2), layers=3)

    @staticmethod
    def selection(constraints, scores):
        scored = []

        def score(subset):
            scored.append(subset)
            return ProbeResult(subset, 1, scores.get(subset, 0.0), 0.0)

        return forward_selection(constraints, score), scored

    def test_goes_on_without_improvement(self):
        steps, scored = self.selection(self.CONSTRAINTS, {(1,): 0.9, (0, 2): 1.0, (0, 1): 0.5, (0, 1, 2): 0.7})
        assert [step.kept.subset for step in steps] == [(1,), (0, 1), (0, 1, 2)]
        assert scored == [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]

    def test_tie_goes_to_fewer_channels(self):
        steps, _ = self.selection(self.CONSTRAINTS, {(0,): 0.5, (2,): 0.5})
        assert steps[0].kept.subset == (2,)

    def test_subset_is_scored_once(self):
        """The pair of a layer and its pyramid is a candidate of the first step and of the second one."""
        constraints = SubsetConstraints((4, 4), layers=1, from_deepest=(1,))
        steps, scored = self.selection(constraints, {(0,): 0.9, (0, 1): 0.8})
        assert scored == [(0,), (0, 1)]
        assert [(len(step.new), step.kept.subset) for step in steps] == [(2, (0,)), (0, (0, 1))]

    def test_selection_stays_within_limits(self):
        steps, _ = self.selection(SubsetConstraints((4, 2, 2), 3, max_taps=2, max_channels=4), {(0,): 0.9})
        assert [step.kept.subset for step in steps] == [(0,)]
        steps, _ = self.selection(SubsetConstraints((4, 2, 2), 3, max_taps=2, max_channels=4), {(1,): 0.9})
        assert [step.kept.subset for step in steps] == [(1,), (1, 2)]
