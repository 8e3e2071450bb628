"""Masks with a few points of each class, and void elsewhere or everywhere: all that is labelled counts, and no more."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import RGB, config, only, run

from hypercolumns import Segmenter
from hypercolumns.callbacks import history
from hypercolumns.data import shapes
from hypercolumns.images import VOID, read_image
from hypercolumns.stages import build
from hypercolumns.stages.train import _from_scratch
from hypercolumns.store import SampleStore

BASE = [*RGB, "data.train_images=5", "data.val_images=2", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The folder of the set, and of each train image the labels that it keeps; the first two images keep none."""
    root = tmp_path_factory.mktemp("data")
    random, kept = np.random.default_rng(0), {}
    for number, pair in enumerate(shapes(root, train_images=5, val_images=2).splits["train"]):
        with Image.open(pair.mask) as mask:
            labels = np.array(mask)
        points = np.full_like(labels, VOID)
        for label in np.unique(labels[labels != VOID]) if number > 1 else []:
            chosen = random.choice(np.flatnonzero(labels == label), size=6)
            points.flat[chosen] = label
        Image.fromarray(points).save(pair.mask)
        kept[pair.id] = points
    return root, kept


@pytest.fixture
def stage(labelled, tmp_path, monkeypatch):
    """Runs a stage, and gives the folder of what it made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(history, "save_curves", lambda *_: None)  # which takes longer than all the rest

    def stage(name, *overrides, runs="runs"):
        run(name, f"data.root={labelled[0]}", f"runs={runs}", *overrides, base=BASE)
        place = tmp_path / runs / "shapes/rgb"
        return only(place, "samples/*") if name == "extract" else (place / name / "latest").resolve()

    return stage


def test_extract_and_pretrain(stage, labelled):
    first = stage("extract")
    model = stage("pretrain", "class_weights=batch", "images_per_batch=1") / "model.safetensors"
    assert all(value.isfinite().all() for value in Segmenter.load(model).state_dict().values())
    unsure = stage("extract", "sampler=uncertainty", "sampler.n=40", f"model={model}", runs="unsure")
    for folder in (first, unsure):
        for image in SampleStore(folder).split("train").images():
            rows, columns = image.positions.long().T.numpy()
            found = np.full_like(labelled[1][image.id], VOID)
            found[rows, columns] = image.labels
            assert (found == labelled[1][image.id]).all()


def test_training_is_on_the_same_pixels_however_they_are_chosen(stage):
    """One image a step, of some no pixel: all pixels, a number of them, and those of a sampler make the same model."""
    plain = ["init_from=scratch", "batch_size=1", "augment={flip:0,crop:64}", "class_weights=batch", "bootstrap=0"]
    choices = {"all": ["pixels=all"], "some": ["pixels=60"], "chosen": ["pixels=sampler", "sampler=uncertainty"]}
    first, *others = (
        Segmenter.load(stage("train", *plain, *choice, runs=name) / "model.safetensors").state_dict()
        for name, choice in choices.items()
    )
    assert all(value.isfinite().all() for value in first.values())
    for other in others:
        assert all(torch.allclose(value, first[name], atol=1e-4) for name, value in other.items())


def test_mean_and_std_are_those_of_all_pixels_where_few_are_labelled(labelled):
    cfg = config("train", *BASE, f"data.root={labelled[0]}", "stage=train")
    images, backbone = build.image_set(cfg), build.backbone(cfg)
    classifier = _from_scratch(cfg, backbone, build.image_data(cfg, images))
    colours = [backbone(read_image(pair.image)[None] / 255)[0][0].flatten(1) for pair in images.splits["train"]]
    assert torch.allclose(classifier.mean, torch.cat(colours, 1).mean(1), atol=0.2)
    assert torch.allclose(classifier.std, torch.cat(colours, 1).std(1), atol=0.2)
