"""The evaluation that a training's validation keeps in the checkpoint of the best epoch."""

import numpy as np
import pytest
import torch
from helpers.small_runs import RGB, only, run

from hypercolumns import Segmenter
from hypercolumns.callbacks import ValidationCounts, evaluation_of
from hypercolumns.evaluation import Evaluation
from hypercolumns.runs.file_names import COUNTS
from hypercolumns.runs.score import Scorer

pytestmark = pytest.mark.usefixtures("without_pictures")
SMALL = ["data.train_images=6", "init_from=scratch", "callbacks={}"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scorings(monkeypatch):
    """The number of images in each scoring of a model."""
    calls, score = [], Scorer.score

    def count(self, labeller, dataset, classes):
        calls.append(len(dataset))
        return score(self, labeller, dataset, classes)

    monkeypatch.setattr(Scorer, "score", count)
    return calls


def forget_counts(folder):
    """Remove the counts from the best checkpoint, and the results, so that the next command scores the model."""
    path = folder / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["callbacks"]["ValidationCounts"]
    torch.save(checkpoint, path)
    for name in ("metrics.json", COUNTS):
        (folder / name).unlink()


@pytest.mark.parametrize("more", [[], ["ema=0.5"], ["classifier=grid"], ["data.val_images=70", "trainer.max_epochs=1"]])
def test_best_model_is_not_scored_again(place, scorings, more):
    run("train", *SMALL, *more)
    assert scorings == []
    folder = only(place, "runs/shapes/rgb/train/*")
    reused = Evaluation.load(folder / COUNTS)
    forget_counts(folder)
    run("train", *SMALL, *more)
    scored = Evaluation.load(folder / COUNTS)
    assert scorings == [len(scored.ids)]
    assert reused.ids == scored.ids
    assert reused.classes == scored.classes
    assert torch.equal(reused.all_pixels, scored.all_pixels)
    assert torch.equal(reused.boundary, scored.boundary)


def test_validation_of_fewer_is_scored_again(place, scorings):
    run("train", *SMALL, "trainer.limit_val_batches=2")
    folder = only(place, "runs/shapes/rgb/train/*")
    assert scorings == [3]
    assert len(Evaluation.load(folder / COUNTS).ids) == 3


def test_averaged_model_is_scored_again(place, scorings):
    run("extract", base=[*RGB, "data.train_images=6"])
    run("pretrain", "data.train_images=6", "val_images=0", "trainer.max_epochs=1")
    run("train", "data.train_images=6", "wise_ft_alpha=0.5", "trainer.max_epochs=1")
    assert scorings == [3]


def test_counts_belong_to_these_weights(place):
    run("train", *SMALL)
    folder = only(place, "runs/shapes/rgb/train/*")
    checkpoint = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    segmenter = Segmenter.load(folder)
    assert evaluation_of(checkpoint, segmenter) is not None
    with torch.no_grad():
        next(segmenter.classifier.parameters()).view(-1)[0] += 1e-3
    assert evaluation_of(checkpoint, segmenter) is None


def test_counts_equal_a_plain_count(segmenter):
    classes = len(segmenter.classes)
    generator = torch.Generator().manual_seed(0)
    callback = ValidationCounts(segmenter, 1)
    callback.on_validation_epoch_start(None, None)
    masks = torch.randint(0, classes, (3, 7, 9), generator=generator)
    labels = torch.randint(0, classes, (3, 7, 9), generator=generator).byte()
    masks[0, :2] = 255
    for index, id in enumerate("cab"):
        batch = None, masks[index, None], [id], None
        callback.on_validation_batch_end(None, None, labels[index, None], batch, index)
    callback.on_validation_epoch_end(None, None)
    evaluation = evaluation_of({"callbacks": {"ValidationCounts": callback.state_dict()}}, segmenter)
    assert evaluation.ids == ("a", "b", "c")
    for id, matrix in zip(evaluation.ids, evaluation.all_pixels.numpy(), strict=True):
        index = "cab".index(id)
        expected = np.zeros((classes, classes), int)
        for true, predicted in zip(masks[index].flatten().tolist(), labels[index].flatten().tolist(), strict=True):
            if true != 255:
                expected[true, predicted] += 1
        assert (matrix == expected).all()
    assert evaluation.of_images("ba") is None
    assert evaluation.of_images("bca").ids == ("b", "c", "a")
