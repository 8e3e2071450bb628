"""Parts of images as a backbone sees them, compared with the whole images resized by torch."""

import pytest
import torch
import torch.nn.functional as F

from hypercolumns import Backbone
from hypercolumns.models import seen_images
from hypercolumns.models.seen_images import SeenImages, resize_images, resized_crop

SIZES = [((40, 50), (31, 77)), ((7, 300), (20, 90)), ((300, 1), (90, 3)), ((11, 13), (11, 26)), ((64, 64), (16, 9))]


def reference(images, size):
    return F.interpolate(images / 255, size, mode="bilinear", antialias=True)


def noise(size):
    return torch.randint(256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "new"), SIZES)
def test_crop_equals_part_of_resized_image(size, new):
    images = noise(size)
    for rows in (slice(0, new[0]), slice(new[0] // 3, new[0] // 3 + 2)):
        for columns in (slice(0, new[1]), slice(new[1] - 1, new[1])):
            crop = resized_crop(images, new, rows, columns)
            torch.testing.assert_close(crop, reference(images, new)[..., rows, columns], rtol=0, atol=1e-5)


@pytest.mark.parametrize("held", [True, False])
def test_small_sides_are_padded_in_parts_too(monkeypatch, held):
    backbone = Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])
    monkeypatch.setattr(seen_images, "MAX_RESIZED", 10**6 if held else 0)
    images = noise((2, 60))
    seen = SeenImages(images, (3, 90), backbone)
    assert seen.size == (backbone.min_side, 90)
    rows = torch.arange(backbone.min_side).clamp(max=2)
    expected = reference(images, (3, 90))[:, :, rows]
    crop = seen.crop(slice(1, backbone.min_side), slice(5, 90))
    torch.testing.assert_close(crop, expected[:, :, 1:, 5:], rtol=0, atol=1e-5)


def test_columns_of_a_tall_strip_come_first(monkeypatch):
    """Torch would resize each of the 3,000 rows to 40 pixels first: 120,000 pixels, of 6,000 before and 1,200 after."""
    images, shapes = noise((3000, 2)), []
    expected, real = reference(images, (30, 40)), F.interpolate

    def interpolate(values, size, **how):
        shapes.append((values.shape[2] * size[1], values.shape[2] * values.shape[3]))
        return real(values, size, **how)

    monkeypatch.setattr(seen_images, "MAX_RESIZED", 100)
    monkeypatch.setattr(F, "interpolate", interpolate)
    torch.testing.assert_close(resize_images(images, (30, 40)), expected, rtol=0, atol=1e-6)
    assert shapes == [(2 * 30, 6000)]


@pytest.mark.parametrize("size", [(3, 2000), (2000, 3)])
@pytest.mark.parametrize("factor", [0.3, 1.25])
def test_part_of_a_strip_needs_few_weights(monkeypatch, size, factor):
    """The weights of a whole axis would be more than a million. Torch computes them in float32, hence the tolerance."""
    images, new = torch.rand(1, 3, *size), tuple(max(round(side * factor), 2) for side in size)
    counts, weights = [], seen_images.antialias_weights

    def spy(*args):
        used, result = weights(*args)
        counts.append(result.numel())
        return used, result

    monkeypatch.setattr(seen_images, "antialias_weights", spy)
    monkeypatch.setattr(seen_images, "MAX_WEIGHTS", 1000)
    part = resized_crop(images, new, slice(0, new[0]), slice(0, new[1]))
    torch.testing.assert_close(part, resize_images(images, new), rtol=0, atol=2e-4)
    assert max(counts) <= 1500  # a few more at the edges of a part
