"""The trainer against the plain way: hypercolumns of all pixels, and the classifier on each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.networks import FIRES

from hypercolumns import AdaptiveSettings, Segmenter
from hypercolumns.annotation import PixelTrainer, Readiness
from hypercolumns.annotation.learning import pixel_trainer
from hypercolumns.errors import HypercolumnsError
from hypercolumns.labels import LabelScheme, voc_palette
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.extractor import HypercolumnExtractor

CLASSES = ("sky", "tree", "road")
SIZE = (60, 90)


@pytest.fixture(scope="module")
def extractor():
    return HypercolumnExtractor(Backbone("squeezenet1_0", ["features.0", FIRES[0]], seed=3)).eval()


def picture(seed=0):
    """Make an image whose left third is dark red, the middle green and the right blue, with noise."""
    random = np.random.default_rng(seed)
    image = np.zeros((3, *SIZE), np.uint8)
    for third in range(3):
        image[third, :, 30 * third : 30 * third + 30] = 160
    return torch.from_numpy(image + random.integers(0, 60, image.shape, dtype=np.uint8))


def stroke(trainer, key, row, column, value, length=12):
    rows, columns = torch.meshgrid(torch.arange(row, row + 3), torch.arange(column, column + length), indexing="ij")
    trainer.label(key, rows.flatten(), columns.flatten(), value)


def painted(extractor, classes=(0, 1, 2), **settings):
    trainer = PixelTrainer(extractor, CLASSES, hidden=16, **settings)
    trainer.prepare("a", picture())
    for value in classes:
        stroke(trainer, "a", 20, 30 * value + 8, value)
    trainer.train(60)
    return trainer


def everything():
    return torch.arange(SIZE[0]), torch.arange(SIZE[1])


def test_three_strokes_segment_the_picture(extractor):
    view = painted(extractor).view("a", *everything())
    truth = torch.arange(SIZE[1]) // 30
    inner = (torch.arange(SIZE[1]) % 30 > 5) & (torch.arange(SIZE[1]) % 30 < 25)
    assert (view.labels == truth)[:, inner].float().mean() > 0.95


def test_view_equals_the_segmenter_on_the_image(extractor, monkeypatch):
    monkeypatch.setattr(pixel_trainer, "SCREEN", AdaptiveSettings(8, float("inf")))  # all pixels are classified
    trainer = painted(extractor)
    rows, columns = torch.arange(3, 60, 4), torch.tensor([0, 1, 7, 30, 89])
    view = trainer.view("a", rows, columns)
    probabilities = trainer.segmenter.class_probabilities(picture()[None])[0][:, rows][:, :, columns]
    best = probabilities.topk(2, dim=0)
    margins = best.values[0] - best.values[1]
    sure = margins > 0.02
    assert torch.equal(view.labels[sure], best.indices[0].byte()[sure])
    torch.testing.assert_close(view.margins, margins, atol=0.02, rtol=0)


def test_labelled_regions_are_not_suggested(extractor):
    trainer = painted(extractor)
    region = trainer.suggest_region("a")
    labelled = torch.zeros(SIZE, dtype=torch.bool)
    height, width = region.mask.shape
    labelled[region.top : region.top + height, region.left : region.left + width] = region.mask
    other = trainer.suggest_region("a", labelled)
    assert other is None or (other.top, other.left, other.value) != (region.top, region.left, region.value)
    assert trainer.suggest_region("a", torch.ones(SIZE, dtype=torch.bool)) is None


def test_readiness_tells_why_nothing_is_suggested(extractor):
    trainer = PixelTrainer(extractor, CLASSES, hidden=16)
    trainer.prepare("a", picture())
    said = [trainer.readiness]
    stroke(trainer, "a", 20, 8, 0)
    said.append(trainer.readiness)
    assert trainer.suggest_region("a") is None
    trainer.train(1)
    said.append(trainer.readiness)
    stroke(trainer, "a", 20, 8, 255)
    said.append(trainer.readiness)
    assert said == [Readiness.NO_LABELS, Readiness.UNTRAINED, Readiness.READY, Readiness.NO_LABELS]


def test_fit_without_images_forgets_all(extractor):
    trainer = painted(extractor).fit([], [])
    with pytest.raises(HypercolumnsError, match="no pixel is labelled yet"):
        _ = trainer.segmenter


def test_parts_of_a_large_image_leave_room(extractor):
    """Between the parts, strokes in another image are learned and shown, as if there were no large image."""
    windowed = HypercolumnExtractor(extractor.backbone, max_window_pixels=3000).eval()
    trainer, alone, large = painted(windowed), painted(windowed), picture(1)
    parts = 0
    for _ in trainer.prepare_in_parts("large", large):
        parts += 1
        for each in (trainer, alone):
            stroke(each, "a", 40, 8 + parts, 0)
            each.train(5)
        assert torch.equal(trainer.view("a", *everything()).labels, alone.view("a", *everything()).labels)
    assert parts > 2
    alone.prepare("large", large)
    assert torch.equal(trainer.view("large", *everything()).margins, alone.view("large", *everything()).margins)


def test_first_image_may_change_between_parts(extractor):
    """Maps are reduced by the first image that is complete, also those of an image that was begun before."""
    windowed = HypercolumnExtractor(extractor.backbone, max_window_pixels=3000).eval()
    trainer, expected = (PixelTrainer(windowed, CLASSES, hidden=16) for _ in range(2))
    parts = trainer.prepare_in_parts("large", picture(1))
    next(parts)
    for each in (trainer, expected):
        each.prepare("a", picture())
        stroke(each, "a", 20, 8, 0)
        stroke(each, "a", 20, 38, 1)
        each.train(20)
    for _ in parts:
        pass
    expected.prepare("large", picture(1))
    assert torch.equal(trainer.view("large", *everything()).margins, expected.view("large", *everything()).margins)


def test_adaptive_view_is_close_to_all_pixels(extractor):
    trainer = painted(extractor)
    view = trainer.view("a", *everything())
    probabilities = trainer.segmenter.class_probabilities(picture()[None])[0]
    best = probabilities.topk(2, dim=0)
    assert (view.labels == best.indices[0]).float().mean() > 0.99
    assert (view.margins - (best.values[0] - best.values[1])).abs().mean() < 0.06


def test_unlabelled_classes_are_never_predicted(extractor):
    trainer = painted(extractor, classes=(0, 2))
    assert set(trainer.view("a", *everything()).labels.unique().tolist()) <= {0, 2}
    random = torch.rand(1, 3, 40, 40)
    assert trainer.segmenter.class_probabilities(random)[0, 1].max() < 1e-5


def test_saved_model_predicts_as_the_trainer_does(extractor, tmp_path):
    trainer = painted(extractor)
    trainer.segmenter.save(tmp_path / "model.safetensors")
    loaded = Segmenter.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.labels(picture()[None]), trainer.segmenter.labels(picture()[None]))


def test_same_calls_give_the_same_weights(extractor):
    one, two = (painted(extractor).segmenter.classifier.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_maps_on_disk_give_the_same_view(extractor, tmp_path):
    trainer = painted(extractor, map_memory=0, map_folder=tmp_path)
    before = trainer.view("a", *everything())
    trainer.prepare("b", picture(1))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    assert torch.equal(trainer.view("a", *everything()).labels, before.labels)


def test_fit_learns_and_keeps_sparse_masks(extractor):
    masks = np.full((2, *SIZE), 255)
    masks[0, 20:23, 8:20], masks[0, 20:23, 38:50], masks[1, 30:33, 68:80] = 0, 1, 2
    trainer = PixelTrainer(extractor, CLASSES, hidden=16).fit([picture(), picture(1)], masks)
    labels = trainer.predict(picture(2)).labels
    assert (labels[:, 10:20] == 0).mean() > 0.95
    assert (labels[:, 70:80] == 2).mean() > 0.95
    masks[0, 20:23, 38:50] = 255
    trainer.partial_fit([picture()], masks[:1])  # replaces the labels of this image
    assert 1 not in trainer.predict(picture(2)).labels


def test_erased_labels_are_forgotten(extractor):
    trainer = painted(extractor, classes=(0,))
    stroke(trainer, "a", 20, 8, 255)
    assert trainer.view("a", *everything()).labels.unique().tolist() == [255]
    with pytest.raises(HypercolumnsError, match="no pixel is labelled"):
        _ = trainer.segmenter


@pytest.mark.parametrize(
    ("key", "row", "value", "message"),
    [("b", 0, 0, "key=b"), ("a", 60, 0, "rows must be from 0 to 59"), ("a", 0, 3, "value=3 must be")],
)
def test_bad_labels_are_refused(extractor, key, row, value, message):
    trainer = painted(extractor)
    with pytest.raises(HypercolumnsError, match=message):
        trainer.label(key, torch.tensor([row]), torch.tensor([0]), value)


def test_segmenter_has_the_rule_of_true_masks(extractor):
    scheme = replace(LabelScheme.of(CLASSES), values={0: 0, 1: 1, 2: 2, 7: 255})
    trainer = painted(extractor, palette=voc_palette(3), scheme=scheme)
    assert trainer.segmenter.scheme == scheme
    with pytest.raises(HypercolumnsError, match="scheme of masks has other classes"):
        PixelTrainer(extractor, ["sky"], scheme=scheme)
