"""Test-time augmentation compared with predictions of single views."""

import pytest
import torch

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.models import dense_prediction, pixel_prediction, view_average
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation


def at_size(segmenter, size):
    """Return a segmenter with the same weights whose backbone sees every image at this size."""
    other = Segmenter(HypercolumnExtractor(segmenter.backbone, resize=size), segmenter.classifier, segmenter.classes)
    return other.eval()


def images(height=37, width=53):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def predict(segmenter, image, *how, **more):
    return SegmentationPredictor(segmenter).predict(image, *how, **more).labels


def test_views_by_hand():
    assert list(NO_TTA.of((10, 20))) == [((10, 20), False)]
    assert list(TestTimeAugmentation((0.5, 1.5), flip=True).of((10, 21))) == [
        ((5, 10), False),
        ((5, 10), True),
        ((15, 32), False),
        ((15, 32), True),
    ]
    assert list(TestTimeAugmentation((0.01,)).of((10, 20))) == [((1, 1), False)]


@torch.no_grad()
def test_probabilities_are_mean_over_views(segmenter):
    """The reference predicts each view alone: resized by the model's own `resize`, flipped, and flipped back."""
    pictures, expected = images(), []
    for size in ((28, 40), (37, 53)):
        single = at_size(segmenter, size)
        expected += [single(pictures).softmax(1), single(pictures.flip(3)).flip(3).softmax(1)]
    tta = TestTimeAugmentation((0.75, 1.0), flip=True)
    probabilities = segmenter.class_probabilities(pictures, tta)
    torch.testing.assert_close(probabilities, torch.stack(expected).mean(0))
    assert torch.equal(segmenter.labels(pictures, tta=tta), probabilities.argmax(1).byte())


@torch.no_grad()
def test_scales_multiply_resize_of_extractor(segmenter):
    fixed, pictures = at_size(segmenter, (32, 32)), images()
    expected = at_size(segmenter, (64, 64))(pictures).softmax(1)
    torch.testing.assert_close(fixed.class_probabilities(pictures, TestTimeAugmentation((2.0,))), expected)


@torch.no_grad()
def test_views_in_windows_equal_whole_views(segmenter):
    pictures, tta = images(90, 120), TestTimeAugmentation((1.5,), flip=True)
    whole = segmenter.class_probabilities(pictures, tta)
    segmenter.extractor.max_window_pixels = 8000
    torch.testing.assert_close(segmenter.class_probabilities(pictures, tta), whole, rtol=1e-4, atol=1e-5)


def test_symmetric_image_gets_symmetric_labels(segmenter):
    half = images(40, 30)[:1]
    labels = predict(segmenter, torch.cat([half, half.flip(3)], 3)[0], tta=TestTimeAugmentation(flip=True))
    assert (labels == labels[:, ::-1]).all()


def test_no_tta_equals_plain_prediction(segmenter):
    picture = images()[0]
    assert (predict(segmenter, picture, tta=NO_TTA) == predict(segmenter, picture)).all()


def test_adaptive_with_tta_raises(segmenter):
    with pytest.raises(HypercolumnsError, match="adaptive can't be combined with tta"):
        predict(segmenter, images()[0], AdaptiveSettings(), TestTimeAugmentation(flip=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, r"^scales=\[\] must be a list of numbers"),
        ({"scales": (1.0, 0)}, r"^scales=\[1\.0, 0\] must"),
        ({"scales": (9,)}, "at most 8"),
        ({"scales": ("big",)}, r"such as \[0\.75,1,1\.25\]"),
        ({"scales": (1, 1.0)}, "names a scale twice"),
        ({"flip": "yes"}, r"^flip=yes must be true or false"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        TestTimeAugmentation(**settings)


@torch.no_grad()
@pytest.mark.parametrize("size", [(90, 120), (5, 700), (700, 5)])
def test_average_in_parts_equals_whole(segmenter, monkeypatch, size):
    """No part has more than 900 probabilities: 300 pixels of 3 classes."""
    pictures, tta, parts = images(*size)[:1], TestTimeAugmentation((0.5, 1.3), flip=True), []
    whole = segmenter.class_probabilities(pictures, tta)
    monkeypatch.setattr(view_average, "MAX_AVERAGED", 0)
    monkeypatch.setattr(view_average, "PART_VALUES", 900)
    monkeypatch.setattr(pixel_prediction, "MAX_PIXELS", 100)
    prediction = segmenter.predict_pixels(
        pictures, tta, probabilities=True, store=lambda rows, columns, values: parts.append((rows, columns, values))
    )
    torch.testing.assert_close(prediction.probabilities.float(), whole, rtol=1e-2, atol=1e-3)
    stored = torch.full((1, *size, 3), torch.nan)
    for rows, columns, values in parts:
        assert values.numel() <= 900
        assert stored[:, rows, columns].isnan().all()
        stored[:, rows, columns] = values.float()
    assert torch.equal(stored.movedim(-1, 1), prediction.probabilities.float())
    clear = whole.topk(2, dim=1).values.diff(dim=1)[:, 0] < -1e-4
    assert torch.equal(segmenter.labels(pictures, tta=tta)[clear], whole.argmax(1).byte()[clear])


@torch.no_grad()
def test_adaptive_parts_of_a_window_keep_labels(segmenter, monkeypatch):
    """With stride 1, each pixel is classified, and no part has more than 500 pixels."""
    fixed, pictures = at_size(segmenter, (32, 32)), images(90, 120)
    expected = fixed.labels(pictures)
    monkeypatch.setattr(dense_prediction, "MAX_ADAPTIVE", 500)
    assert (fixed.labels(pictures, AdaptiveSettings(stride=1)) == expected).float().mean() > 0.999
