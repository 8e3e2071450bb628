"""The second pass against loops over cells and windows, and its training on labels that only the surroundings tell."""

import pytest
import torch
import torch.nn.functional as F

from hypercolumns import AdaptiveSettings, Backbone, HypercolumnExtractor, HypercolumnsError, MLPClassifier, Segmenter
from hypercolumns import TestTimeAugmentation as Views
from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.classifiers import GridClassifier
from hypercolumns.models.second_pass import SecondPass, cell_pixels, features_at, window_means
from hypercolumns.tasks.second_pass_training import train_second_pass

CLASSES = 3
NOWHERE = PixelCoordinates(torch.empty(0), torch.empty(0))


def models(head=MLPClassifier, taps=("features.0", "features.3.squeeze", "features.7"), **settings):
    """A segmenter with a second pass, and the same one without it."""
    torch.manual_seed(3)
    extractor = HypercolumnExtractor(Backbone("squeezenet1_0", taps, seed=3))
    classifier = head(extractor.backbone.channels, CLASSES, hidden=8, **settings)
    second = SecondPass(CLASSES, hidden=6)
    second.classifier.set_statistics(torch.randn(CLASSES * 16), torch.rand(CLASSES * 16) + 0.5)
    names = ["a", "b", "c"]
    both = Segmenter(extractor, classifier, names, second_pass=second).eval()
    for parameter in both.parameters():
        parameter.data *= 2  # classes differ from pixel to pixel
    return both, Segmenter(extractor, classifier, names).eval()


def nearest(index, count):
    return min(max(index, 0), count - 1)


def slow_means(probabilities):
    """The means of windows, cell by cell: probabilities (K, n, m), result (15 K, n, m)."""
    _, rows, columns = probabilities.shape
    result = []
    for side in (3, 9, 27):
        for down, across in ((0, 0), (-side, 0), (side, 0), (0, -side), (0, side)):
            means = torch.empty_like(probabilities)
            for row in range(rows):
                for column in range(columns):
                    y, x = nearest(row + down, rows), nearest(column + across, columns)
                    top, left = (max(at - side // 2, 0) for at in (y, x))
                    window = probabilities[:, top : y + side // 2 + 1, left : x + side // 2 + 1]
                    means[:, row, column] = window.mean((1, 2))
            result.append(means)
    return torch.cat(result)


@torch.no_grad()
def slow_logits(both, first, images):
    """The logits of the second pass from the logits of all pixels of the first one, without projecting anything."""
    logits, size = first(images), images.shape[-2:]
    rows, columns = (cell_pixels(length) for length in size)
    probabilities = logits[:, :, rows][..., columns].softmax(1)
    around = torch.stack([slow_means(image) for image in probabilities])
    features = torch.cat([logits, F.interpolate(around, size, mode="bilinear")], dim=1)
    return both.second_pass.classifier(features.movedim(1, -1), NOWHERE).movedim(-1, 1)


def test_cells_are_at_most_eight_pixels():
    assert cell_pixels(8).tolist() == [4]
    assert cell_pixels(9).tolist() == [2, 6]
    assert cell_pixels(32).tolist() == [4, 12, 20, 28]
    assert cell_pixels(1).tolist() == [0]


@pytest.mark.parametrize("size", [(1, 1), (4, 30), (12, 7)])
def test_means_are_those_of_loops(size):
    torch.manual_seed(0)
    probabilities = torch.rand(2, CLASSES, *size)
    expected = torch.stack([slow_means(image) for image in probabilities])
    torch.testing.assert_close(window_means(probabilities), expected)


@pytest.mark.parametrize("size", [(60, 91), (20, 24)])
@pytest.mark.parametrize(("head", "settings"), [(MLPClassifier, {}), (GridClassifier, {"size": 2})])
def test_logits_are_those_of_the_definition(head, settings, size):
    both, first = models(head, **settings)
    images = torch.rand(2, 3, *size)
    expected = slow_logits(both, first, images)
    with torch.no_grad():
        found = both(images)
    assert not torch.allclose(found, first(images), atol=1.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    points = torch.tensor([[0.0, 0.0], [size[0] - 1, size[1] - 1], [7, 11]]).expand(2, -1, -1)
    at = torch.stack([expected[:, :, int(y), int(x)] for y, x in points[0]], dim=1)
    torch.testing.assert_close(both.predict_logits_at(images, points), at, rtol=1e-4, atol=1e-3)
    seen: list[torch.Tensor] = []
    both.visit_logits(images, lambda rows, columns, values: seen.append(values))
    torch.testing.assert_close(torch.cat(seen, dim=1).movedim(-1, 1), expected, rtol=1e-4, atol=1e-3)


def test_windows_give_the_whole_image():
    both, first = models()
    images = torch.rand(1, 3, 90, 131)
    expected = slow_logits(both, first, images)
    both.extractor.max_window_pixels = 4000
    with torch.no_grad():
        torch.testing.assert_close(both(images), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(both.class_probabilities(images), expected.softmax(1), rtol=1e-4, atol=1e-3)


def test_each_view_has_its_surroundings():
    both, first = models()
    images = torch.rand(2, 3, 45, 60)
    mirrored = slow_logits(both, first, images.flip(-1)).flip(-1)
    expected = (slow_logits(both, first, images).softmax(1) + mirrored.softmax(1)) / 2
    torch.testing.assert_close(both.class_probabilities(images, Views(flip=True)), expected, rtol=1e-4, atol=1e-3)


def test_adaptive_labels_of_a_batch():
    both, first = models()
    images = torch.rand(2, 3, 41, 57)
    expected = slow_logits(both, first, images).argmax(1)
    assert expected[0].unique().numel() > 1
    everywhere = AdaptiveSettings(stride=2, margin=1e9)  # each square is split
    assert torch.equal(both.labels(images, everywhere).long(), expected)
    assert torch.equal(both.labels(images).long(), expected)


def test_file_holds_the_second_pass(tmp_path):
    both, first = models()
    images = torch.rand(1, 3, 40, 50)
    both.save(tmp_path / "model.safetensors")
    loaded = Segmenter.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(images), both(images))
    assert loaded.header() == both.header()
    assert "second_pass" not in first.header()


def test_crops_are_refused():
    both, _ = models()
    box = torch.tensor([[0.0, 0, 80, 80]])
    with pytest.raises(HypercolumnsError, match="takes whole images"):
        both(torch.rand(1, 3, 40, 50), box)
    with pytest.raises(HypercolumnsError, match="takes whole images"):
        both.logits_at(torch.rand(1, 3, 40, 50), torch.zeros(1, 1, 2), box)


def test_logits_have_no_gradients():
    both, _ = models()
    images = torch.rand(1, 3, 40, 50)
    assert not both(images).requires_grad
    assert not both.logits_at(images, torch.zeros(1, 1, 2)).requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    both, _ = models()
    images, points = torch.rand(2, 3, 40, 50), torch.tensor([[[7.0, 11.0]]]).expand(2, -1, -1)
    expected = both(images)
    both, images = both.to(dtype), images.to(dtype)
    near = {"rtol": 0.1, "atol": float(expected.std()) / 10}
    torch.testing.assert_close(both(images).float(), expected, **near)
    torch.testing.assert_close(both.predict_logits_at(images, points)[:, 0], expected[:, :, 7, 11], **near)
    assert (both.labels(images) == expected.argmax(1)).double().mean() > 0.97


def test_hidden_is_one_number():
    for hidden in ([6], 0, "x"):  # building many layers of a forged file would take minutes
        with pytest.raises(HypercolumnsError, match="hidden"):
            SecondPass(CLASSES, hidden)


def test_other_classes_are_refused():
    _, first = models()
    with pytest.raises(HypercolumnsError, match="the second pass has 4 classes, but the model has 3; pass one"):
        Segmenter(first.extractor, first.classifier, first.classes, second_pass=SecondPass(4, hidden=6))


def test_features_are_not_projected():
    both, first = models()
    images, points = torch.rand(1, 3, 40, 50), torch.tensor([[[3.0, 4.0], [20.0, 49.0]]])
    with torch.no_grad():
        features = features_at(both.extractor, both.classifier, images, points)
        logits = first(images)[0, :, [3, 20], [4, 49]].T
    assert features.shape == (1, 2, CLASSES * 16)
    torch.testing.assert_close(features[0, :, :CLASSES], logits, rtol=1e-4, atol=1e-3)
    sums = features[0, :, CLASSES:].reshape(2, 15, CLASSES).sum(-1)
    torch.testing.assert_close(sums, torch.ones(2, 15))  # each window has probabilities


def trained(seed=0, **changes):
    """A second pass for pixels whose logits say nothing, and whose class is the likeliest of the widest window."""
    generator = torch.Generator().manual_seed(1)
    around = torch.rand(6000, 15, CLASSES, generator=generator).softmax(-1)
    labels = around[:, 10].argmax(-1)
    features = torch.cat([torch.randn(6000, CLASSES, generator=generator), around.flatten(1)], dim=1)
    losses: list[float] = []
    settings = {"hidden": 32, "steps": 120, "lr": 1e-2, "weight_decay": 0.0, "class_weights": 0.3} | changes
    second = train_second_pass(
        features, labels, CLASSES, **settings, seed=seed, report=lambda step, loss: losses.append(loss)
    )
    with torch.no_grad():
        right = (second(features, NOWHERE).argmax(-1) == labels).double().mean().item()
    return second, right, losses


def test_training_learns_from_surroundings():
    _, right, losses = trained()
    assert right > 0.9
    assert len(losses) == 5
    assert losses[-1] < losses[0] * 0.6


def test_training_depends_on_the_seed_alone():
    first, again, other = (trained(seed, steps=3)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["classifier.first.weight"], other["classifier.first.weight"])
