"""The order of what the worker does, with a trainer that only records it."""

import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import torch

from hypercolumns.annotation import TrainingState, View
from hypercolumns.annotation.labels.pixel_runs import Change
from hypercolumns.annotation.learning.suggestions import Readiness, Region
from hypercolumns.annotation.serving.screen import Lines, Screen
from hypercolumns.annotation.serving.worker import TrainingWorker
from hypercolumns.errors import HypercolumnsError

SIZE = (4, 6)
STROKE = Change(1, np.array([[0, 3]]))


class RecordingTrainer:
    """Record the calls; the training converges 8 calls after the last label."""

    def __init__(self):
        self.calls, self.left, self.gate, self.parts = [], 0, threading.Event(), {}
        self.labelled, self.readiness = {}, Readiness.READY
        self.gate.set()

    def prepare_in_parts(self, key, image):
        for part in range(self.parts.get(key, 0)):
            self.calls.append(("part", key, part))
            time.sleep(0.001)
            yield
        self.calls.append(("prepare", key))

    def label(self, key, rows, columns, value):
        self.calls.append(("label", key, rows.tolist(), columns.tolist(), value))
        self.left = 8

    def label_mask(self, key, mask):
        for value in mask.unique().tolist():
            if value != 255:
                self.label(key, *(mask == value).nonzero(as_tuple=True), value)

    def train(self, steps):
        self.gate.wait(10)
        self.calls.append(("train",))
        self.left -= 1
        return TrainingState(steps, 0.5, self.left <= 0)

    def view(self, key, rows, columns):
        self.calls.append(("view", key, len(rows), len(columns)))
        size = len(rows), len(columns)
        return View(torch.ones(size, dtype=torch.uint8), torch.full(size, 0.5))

    def mean_margin(self, key):
        self.calls.append(("margin", key))
        return {"0": 0.9, "1": 0.2, "2": 0.6}[key]

    def suggest_region(self, key, labelled):
        self.labelled[key] = labelled.clone()
        return Region(1, 0.2, 1, 2, torch.ones(2, 3, dtype=torch.bool)) if key == "1" else None

    @property
    def segmenter(self):
        return "the model"


class Pictures:
    def __init__(self):
        self.of = {number: np.full(SIZE, 255, np.uint8) for number in range(3)}

    def pixels(self, number):
        if number == 7:
            raise HypercolumnsError("the image is broken")
        return torch.zeros(3, *SIZE, dtype=torch.uint8)

    def labels(self, number):
        return self.of[number]


@pytest.fixture
def world(tmp_path):
    """A worker that is not started yet, its trainer, the images and what it saved and refused."""

    class World:
        trainer, pictures, saved, refused = RecordingTrainer(), Pictures(), [], {}

        def make(self, labelled=(), saved=None):
            self.worker = TrainingWorker(
                *(self.trainer, self.pictures, labelled, range(3), self.save, lambda: None),
                self.refused.__setitem__,
                saved,
            )
            return self.worker

        def save(self, model):
            self.saved.append(model)
            return tmp_path / "model"

        def wait(self, condition):
            for _ in range(500):
                if condition():
                    return
                time.sleep(0.01)
            raise AssertionError(self.trainer.calls)

        def names(self):
            return [call[0] for call in self.trainer.calls]

    world = World()
    yield world
    world.trainer.gate.set()
    world.worker.stop()


def screen(image):
    return Screen(image, Lines(0, 1, 4), Lines(0, 1, 6))


def test_a_label_is_trained_and_then_shown(world):
    worker = world.make()
    world.pictures.of[0].flat[:3] = 1
    shown = worker.show(screen(0), -1)
    worker.change(0, [STROKE], 6)
    worker.start()
    assert shown.result(5).labels.tolist() == [[1] * 6] * 4
    assert world.trainer.calls[:4] == [
        ("prepare", "0"),
        ("label", "0", [0, 0, 0], [0, 1, 2], 1),
        ("train",),
        ("view", "0", 4, 6),
    ]


def test_a_label_comes_between_parts_of_maps(world):
    """The maps of a large image, which nobody looks at, must not keep a stroke waiting."""
    world.trainer.parts["1"] = 10_000
    worker = world.make(labelled=[1])
    worker.start()
    world.wait(lambda: "part" in world.names())
    worker.change(0, [STROKE], 6)
    assert worker.show(screen(0), -1).result(5).screen == screen(0)
    assert ("prepare", "1") not in world.trainer.calls


def test_a_large_image_keeps_none_waiting(world):
    """Its maps are made in parts, between which other images are labelled and shown."""
    world.trainer.parts["1"] = 10_000
    worker = world.make()
    worker.change(1, [STROKE], 6)
    worker.start()
    world.wait(lambda: "part" in world.names())
    worker.change(0, [STROKE], 6)
    assert worker.show(screen(0), -1).result(5).screen == screen(0)
    assert worker.find_region(0, 1, 1).result(5)[0] == 1
    assert ("prepare", "1") not in world.trainer.calls


def test_a_label_in_a_large_image_is_learned(world):
    world.trainer.parts["1"] = 5
    world.pictures.of[1].flat[:3] = 1
    worker = world.make()
    worker.change(1, [STROKE], 6)
    worker.change(0, [STROKE], 6)
    worker.start()
    world.wait(lambda: worker.state["trained"] and ("label", "1", [0, 0, 0], [0, 1, 2], 1) in world.trainer.calls)
    assert world.trainer.calls.count(("part", "1", 4)) == 1


def test_another_image_is_shown_between_parts(world):
    world.trainer.parts["1"] = 10_000
    worker = world.make()
    worker.change(0, [STROKE], 6)
    worker.start()
    world.wait(lambda: worker.state["trained"])
    large = worker.show(screen(1), -1)
    world.wait(lambda: "part" in world.names())
    large.cancel()
    assert worker.show(screen(0), -1).result(5).screen == screen(0)


def test_a_new_label_comes_before_more_training(world):
    worker = world.make()
    worker.change(0, [STROKE], 6)
    world.trainer.gate.clear()
    worker.start()
    time.sleep(0.1)
    worker.change(0, [Change(0, np.array([[7, 2]]))], 6)  # while the trainer trains
    shown = worker.show(screen(0), -1)
    world.trainer.gate.set()
    shown.result(5)
    calls = world.trainer.calls
    label = calls.index(("label", "0", [1, 1], [1, 2], 0))
    assert [call[0] for call in calls[label - 1 : label + 2]] == ["train", "label", "view"]


def test_others_are_measured_after_the_training(world):
    worker = world.make()
    world.pictures.of[1][2, 3] = 0
    worker.change(0, [STROKE], 6)
    worker.start()
    world.wait(lambda: len(worker.margins()) == 3 and worker.suggestion["image"] is not None)
    assert worker.margins() == {0: 0.9, 1: 0.2, 2: 0.6}
    assert world.trainer.labelled["1"].nonzero().tolist() == [[2, 3]]  # which is not suggested
    names = world.names()
    assert names.index("margin") > len(names) - 1 - names[::-1].index("train")
    assert worker.suggestion == {
        "image": 1,
        "value": 1,
        "runs": [8, 3, 14, 3],
        "box": [1, 2, 3, 5],
        "margin": 0.2,
    }


def test_labels_on_the_disk_are_read_one_by_one(world):
    for number in (0, 2):
        world.pictures.of[number][1, 2] = number
    worker = world.make(labelled=[0, 2])
    worker.start()
    world.wait(lambda: worker.state["trained"])
    labels = [call for call in world.trainer.calls if call[0] == "label"]
    assert labels == [("label", "0", [1], [2], 0), ("label", "2", [1], [2], 2)]
    first, second = (world.trainer.calls.index(call) for call in labels)
    assert ("train",) in world.trainer.calls[first:second]


def test_a_region_needs_all_pixels(world):
    worker = world.make()
    worker.start()
    with pytest.raises(HypercolumnsError, match="no prediction of this image yet"):
        worker.find_region(0, 1, 1).result(5)
    worker.change(0, [STROKE], 6)
    world.wait(lambda: worker.state["trained"])
    value, runs = worker.find_region(0, 1, 1).result(5)
    assert (value, runs.tolist()) == (1, [[0, 24]])


def test_a_region_waits_for_labels_of_the_start(world):
    """After a restart, a page asks for the region of a fill before there is a model."""
    world.pictures.of[2][1, 2] = 1
    worker = world.make(labelled=[2])
    world.trainer.gate.clear()
    region = worker.find_region(0, 1, 1)
    given_up = worker.find_region(0, 1, 2)
    given_up.cancel()
    worker.start()
    world.wait(lambda: "label" in world.names())
    time.sleep(0.1)
    assert not region.done()
    world.trainer.gate.set()
    assert region.result(5)[0] == 1
    assert worker.state["trained"], "a model of some of the labels would fill other regions"


def test_a_region_waits_for_the_first_model(world):
    worker = world.make()
    worker.start()
    world.wait(lambda: worker._caught_up)
    world.trainer.gate.clear()
    worker.change(0, [STROKE], 6)
    region = worker.find_region(0, 1, 1)
    world.trainer.gate.set()
    assert region.result(5)[0] == 1


def test_model_is_saved_on_request_and_at_the_end(world):
    worker = world.make()
    worker.start()
    worker.change(0, [STROKE], 6)
    world.wait(lambda: worker.state["trained"])
    worker.save().result(5)
    worker.stop()
    assert world.saved == ["the model"]
    again = world.make()
    again.start()
    again.change(0, [STROKE], 6)
    world.wait(lambda: again.state["trained"])
    again.stop()
    assert world.saved == ["the model"] * 2


def test_half_a_training_replaces_no_model(world, tmp_path, monkeypatch):
    """Of ten labelled images, the first ones are read, and the next one is so large that it takes a while."""
    monkeypatch.setattr("hypercolumns.annotation.serving.worker.SAVE_AFTER", 0.0)
    world.trainer.parts["2"] = 10_000
    for number in range(3):
        world.pictures.of[number][1, 2] = 1
    worker = world.make(labelled=range(3), saved=tmp_path / "model")
    worker.start()
    world.wait(lambda: worker.state["trained"] and ("part", "2", 20) in world.trainer.calls)
    assert not worker.stop()
    assert world.saved == []
    first = world.make(labelled=[0, 2])
    first.start()
    world.wait(lambda: first.state["steps"])
    assert first.stop()
    assert world.saved == ["the model"]


def test_model_is_saved_once_all_is_learned(world, tmp_path, monkeypatch):
    monkeypatch.setattr("hypercolumns.annotation.serving.worker.SAVE_AFTER", 0.0)
    world.pictures.of[0][1, 2] = world.pictures.of[1][1, 2] = 1
    worker = world.make(labelled=range(2), saved=tmp_path / "model")
    steps = []
    monkeypatch.setattr(world, "saved", steps)
    monkeypatch.setattr(worker, "_write", lambda model: steps.append(world.names().count("train")) or tmp_path)
    worker.start()
    world.wait(lambda: worker.state["trained"] and steps)
    assert worker.stop()
    labels = [number for number, name in enumerate(world.names()) if name == "label"]
    assert steps == [world.names().count("train")]
    assert len(labels) == 2


def test_an_image_that_fails_is_refused_alone(world):
    worker = world.make()
    worker.start()
    with pytest.raises(HypercolumnsError, match="the image is broken"):
        worker.show(screen(7), -1).result(5)
    assert world.refused == {7: "the image is broken"}
    worker.change(0, [STROKE], 6)
    assert worker.show(screen(0), -1).result(5).version >= 1


@pytest.mark.parametrize("error", [HypercolumnsError("no such size"), OSError("the disk is gone")])
@pytest.mark.parametrize("method", ["label", "view", "suggest_region"])
def test_a_failure_of_one_image_does_not_end_all(world, monkeypatch, method, error):
    works = getattr(world.trainer, method)

    def fail(key, *others):
        if key == "1":
            raise error
        return works(key, *others)

    monkeypatch.setattr(world.trainer, method, fail)
    world.pictures.of[1][1, 2] = 1
    worker = world.make(labelled=[1])
    worker.start()
    worker.change(0, [STROKE], 6)
    worker.change(1, [STROKE], 6)
    with suppress(HypercolumnsError):
        worker.show(screen(1), -1).result(5)
    assert worker.show(screen(0), -1).result(5).screen == screen(0)
    world.wait(lambda: world.refused)
    assert world.refused == {1: str(error)}
    assert worker.find_region(0, 1, 1).result(5)[0] == 1
    if method == "view":
        with pytest.raises(HypercolumnsError, match=str(error)):
            worker.find_region(1, 1, 1).result(5)


def test_unreadable_labels_refuse_the_image(world, monkeypatch):
    def labels(number):
        if number == 1:
            raise HypercolumnsError("the mask has another size")
        return world.pictures.of[number]

    monkeypatch.setattr(world.pictures, "labels", labels)
    worker = world.make(labelled=[1])
    worker.start()
    worker.change(0, [STROKE], 6)
    assert worker.show(screen(0), -1).result(5).version >= 1
    assert world.refused == {1: "the mask has another size"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_training_is_reported(world, monkeypatch):
    monkeypatch.setattr(world.trainer, "train", lambda steps: 1 / 0)
    worker = world.make()
    worker.start()
    waiting = worker.show(screen(0), 99)
    worker.change(0, [STROKE], 6)
    with pytest.raises(HypercolumnsError, match="training has stopped"):
        waiting.result(5)
    assert "training has stopped" in worker.failed
    for later in (worker.show(screen(0), -1), worker.find_region(0, 1, 1), worker.save()):
        with pytest.raises(HypercolumnsError, match="training has stopped"):
            later.result(5)
