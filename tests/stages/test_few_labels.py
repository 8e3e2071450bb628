"""Sparse masks: a few labelled points of each class, or none, and the ignore index elsewhere."""

import numpy as np
import pytest
import torch
from helpers.small_runs import RGB, config, only, run
from PIL import Image

from hypercolumns import Segmenter
from hypercolumns.data import shapes
from hypercolumns.io.images import read_image
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.runs.run import Run
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.data import image_data, image_index
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.loggers import run_loggers
from hypercolumns.settings.model import backbone
from hypercolumns.stages.train import new_classifier, train_model
from hypercolumns.store import SampleStore

BASE = [*RGB, "data.train_images=5", "data.val_images=2", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The folder of the set, and the sparse mask of each train image by id; the first two masks have no labels."""
    root = tmp_path_factory.mktemp("data")
    random, sparse = np.random.default_rng(0), {}
    for number, pair in enumerate(shapes(root, train_images=5, val_images=2).splits["train"]):
        with Image.open(pair.mask) as mask:
            labels = np.array(mask)
        points = np.full_like(labels, IGNORE_INDEX)
        for label in np.unique(labels[labels != IGNORE_INDEX]) if number > 1 else []:
            chosen = random.choice(np.flatnonzero(labels == label), size=6)
            points.flat[chosen] = label
        Image.fromarray(points).save(pair.mask)
        sparse[pair.id] = points
    return root, sparse


def test_only_labelled_pixels_are_extracted(labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = [*BASE, f"data.root={labelled[0]}"]
    run("extract", base=base)
    run("pretrain", "class_weights=batch", "images_per_batch=1", base=base)
    model = only(tmp_path, "runs/shapes/rgb/pretrain/*") / "model.safetensors"
    assert all(value.isfinite().all() for value in Segmenter.load(model).state_dict().values())
    run("extract", "sampler=uncertainty", "sampler.n=40", f"model={model}", base=base)
    stores = list(tmp_path.glob("runs/shapes/rgb/samples/*"))
    assert len(stores) == 2
    for folder in stores:
        for image in SampleStore(folder).split("train").images():
            rows, columns = image.positions.long().T.numpy()
            stored = np.full_like(labelled[1][image.id], IGNORE_INDEX)
            stored[rows, columns] = image.labels
            assert (stored == labelled[1][image.id]).all()


def test_every_pixel_choice_trains_the_same_model(labelled, tmp_path):
    """All pixels, a fixed number and a sampler give the same model, because each takes every labelled pixel.

    A step has one image, and some images have no labelled pixel.
    """
    plain = [*BASE, f"data.root={labelled[0]}", "stage=train", "batch_size=1", "augment={flip:0,crop:64}"]
    states = []
    for choice in (["pixels=all"], ["pixels=60"], ["pixels=sampler", "sampler=uncertainty"]):
        cfg = config("train", *plain, *choice, "class_weights=batch")
        check_settings(cfg)
        quiet_libraries()
        finished = Run(tmp_path / choice[0])
        finished.folder.mkdir()
        finished.save(train_model(cfg, image_index(cfg), backbone(cfg), None, finished, run_loggers(cfg, finished, {})))
        states.append(Segmenter.load(finished.model).state_dict())
    assert all(value.isfinite().all() for value in states[0].values())
    for other in states[1:]:
        assert all(torch.allclose(value, states[0][name], atol=1e-4) for name, value in other.items())


def test_statistics_include_unlabelled_pixels(labelled):
    cfg = config("train", *BASE, f"data.root={labelled[0]}", "stage=train")
    images, network = image_index(cfg), backbone(cfg)
    classifier = new_classifier(cfg, network, image_data(cfg, images))
    colours = [network(read_image(pair.image)[None] / 255)[0][0].flatten(1) for pair in images.splits["train"]]
    assert torch.allclose(classifier.mean, torch.cat(colours, 1).mean(1), atol=0.2)
    assert torch.allclose(classifier.std, torch.cat(colours, 1).std(1), atol=0.2)
