"""The stages on a tiny set, in this process; the hypercolumn is the pixel's colour, to be quick."""

import csv
import json
import re
import shutil
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from PIL import Image
from small_runs import RGB, TINY, config, only, run

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.callbacks import MetricsCSV
from hypercolumns.cli.messages import error_line
from hypercolumns.data import Augmentation, shapes
from hypercolumns.data.index import read_example
from hypercolumns.io.files import write_json
from hypercolumns.io.images import read_image, read_mask
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.runs.run import Run
from hypercolumns.runtime import randomness
from hypercolumns.settings import compose, training
from hypercolumns.settings.data import image_index
from hypercolumns.settings.identity import shared_settings
from hypercolumns.settings.model import backbone
from hypercolumns.settings.schema import taken
from hypercolumns.settings.stage_inputs import find_store
from hypercolumns.settings.value_checks import check_number_of_images
from hypercolumns.stages import all as all_stages
from hypercolumns.stages import run_stage
from hypercolumns.stages.train import _average_with_initial
from hypercolumns.store import SampleStore, StoreWriter
from hypercolumns.tasks import PixelClassificationTask, SegmentationTask

FEW = ["data.train_images=6", "data.val_images=1"]  # for stage train, which needs no store to train from scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def extracted_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("extract")
    return folder


@pytest.fixture(scope="module")
def pretrained_once(extracted_once, tmp_path_factory):
    folder = copied(extracted_once, tmp_path_factory.mktemp("pretrained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run("pretrain")


@pytest.fixture
def extracted(extracted_once, place):
    """This folder, in which stage extract was run."""
    return copied(extracted_once, place)


@pytest.fixture
def pretrained(pretrained_once, place):
    """The mIoU of stage pretrain, run in this folder after stage extract."""
    folder, miou = pretrained_once
    copied(folder, place)
    return miou


def copied(folder, place):
    return shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)


def contents(folder):
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: path.read_bytes() for path in files if path.name != "config.yaml"}


def pretrain_identity(place):
    return json.loads((place / "runs/shapes/rgb/pretrain/latest/run.json").read_text())["identity"]


class TestExtract:
    def test_samples_are_the_colours_and_labels_at_their_positions(self, place):
        run("extract", "sampler.n=4")
        store = SampleStore(only(place, "runs/shapes/rgb/samples/*"))
        images = shapes("data", train_images=40, val_images=3)
        for split in ("train", "val"):
            found = list(store.split(split).images())
            assert [image.id for image in found] == [pair.id for pair in images.splits[split]]
            for image, pair in zip(found, images.splits[split], strict=True):
                mask = read_mask(pair.mask, images.palette, 6)
                assert image.size == tuple(mask.shape)
                rows, columns = image.positions.T.long()
                assert torch.equal(image.labels, mask[rows, columns])
                with Image.open(pair.image) as picture:
                    red = torch.from_numpy(np.array(picture))[rows, columns, 0] / 255
                assert torch.allclose(image.features[:, 0].float(), (red - 0.485) / 0.229, atol=2e-3)

    def test_views_of_train_images_differ_in_their_colours_alone(self, place):
        plain = ["data.train_images=2", "data.val_images=1", "sampler.n=4"]
        run("extract", *plain, "samples=plain")
        run(
            "extract",
            *plain,
            "extract.augmentations=2",
            "extract.grayscale=0",
            "extract.gaussian_blur=0",
            "samples=views",
        )
        unchanged, store = (SampleStore(place / name) for name in ("plain", "views"))
        assert torch.equal(*(one.split("val").fetch(torch.arange(4))[0] for one in (unchanged, store)))
        images = shapes("data", train_images=2, val_images=1)
        change = Augmentation(color_jitter=0.5)
        for found, pair in zip(store.split("train").images(), images.splits["train"], strict=True):
            image, mask = read_example(pair, images.palette, 6)
            half = len(found.positions) // 2
            assert not torch.equal(found.positions[:half], found.positions[half:])
            for number, part in enumerate((slice(None, half), slice(half, None))):
                rows, columns = found.positions[part].T.long()
                assert torch.equal(found.labels[part], mask[rows, columns])
                view, _, _ = change(image, mask, randomness.derive_seed(0, number, pair.id))
                expected = (view[0, rows, columns] / 255 - 0.485) / 0.229
                assert torch.allclose(found.features[part, 0].float(), expected, atol=2e-3)

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("extract=2", "extract=2 is a group of settings; set one of them, extract.<name>=..."),
            ("extract.augmentations=-1", r"extract\.augmentations=-1 must be a whole number of at least 0"),
            ("extract.grayscale=2", r"extract\.grayscale=2 must be a number from 0 to 1"),
        ],
    )
    def test_views_that_can_not_be(self, place, override, message):
        with pytest.raises(HypercolumnsError, match=message):
            run("extract", override)

    def test_who_names_views_means_the_samples_with_them(self, place, monkeypatch):
        """And with extract.augmentations=0 those without any, whichever are newer."""
        few = ["data.train_images=2", "data.val_images=1", "sampler.n=4"]
        for order in ((0, 2), (2, 0)):
            for number in order:
                run("extract", *few, f"extract.augmentations={number}", "overwrite=true")
            for number in order:
                override = f"extract.augmentations={number}"
                monkeypatch.setattr(compose, "overrides", lambda override=override: [override])
                cfg = config("train", *RGB, *few, "stage=pretrain", override)
                images = image_index(cfg)
                store = find_store(cfg, images, shared_settings(cfg, images, backbone(cfg)))
                assert ("augmentation" in store.fingerprint) == (number == 2)
        assert len(list(place.glob("runs/shapes/rgb/samples/*/index.json"))) == 2

    def test_interrupted_it_goes_on_and_ends_the_same(self, extracted, place):
        folder = only(place, "runs/shapes/rgb/samples/*")
        whole = contents(folder)
        assert sum(name.endswith(".safetensors") for name in whole) == 3
        kept = folder / "train-00001.safetensors"
        before = kept.stat().st_mtime_ns
        for name in ("index.json", "train-00000.json", "train-00000.safetensors", "val-00000.json"):
            (folder / name).unlink()
        run("extract")
        assert contents(folder) == whole
        assert kept.stat().st_mtime_ns == before

    def test_workers_change_nothing(self, extracted, place):
        folder = only(place, "runs/shapes/rgb/samples/*")
        alone = contents(folder)
        run("extract", "num_workers=2", "overwrite=true")
        assert contents(folder) == alone

    def test_a_finished_store_is_left_alone_and_other_settings_make_another(self, place):
        few = "data.train_images=6"
        run("extract", few)
        folder = only(place, "runs/shapes/rgb/samples/*")
        before = (folder / "index.json").stat().st_mtime_ns
        run("extract", few)
        assert (folder / "index.json").stat().st_mtime_ns == before
        for setting in ("sampler.n=2", "seed=1", "alignment=corners", "sampler=uniform", "resize=[32,32]"):
            run("extract", few, setting)
        assert len(list(place.glob("runs/shapes/rgb/samples/*/index.json"))) == 6

    def test_overwrite_makes_it_again(self, extracted, place):
        folder = only(place, "runs/shapes/rgb/samples/*")
        whole, before = contents(folder), (folder / "train-00000.safetensors").stat().st_mtime_ns
        (folder / "notes.txt").write_text("mine")
        run("extract", "overwrite=true")
        assert contents(folder) == whole | {"notes.txt": b"mine"}
        assert (folder / "train-00000.safetensors").stat().st_mtime_ns != before

    def test_a_finished_store_that_lost_a_shard_is_completed(self, extracted, place):
        folder = only(place, "runs/shapes/rgb/samples/*")
        whole = contents(folder)
        (folder / "train-00001.safetensors").unlink()
        with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors has 0 bytes, not ") as caught:
            run("pretrain")
        assert re.search(r"has 0 bytes, not .*run stage=extract", error_line(caught.value))
        run("extract")
        assert contents(folder) == whole

    def test_a_folder_that_is_named(self, place):
        run("extract", "samples=my samples")
        whole = contents(place / "my samples")
        run("extract")
        assert contents(only(place, "runs/shapes/rgb/samples/*")) == whole
        (place / "my samples" / "index.json").unlink()
        with pytest.raises(
            HypercolumnsError, match=r"samples=my samples does not fit: sampler\.n is 30, this command has 4"
        ):
            run("extract", "samples=my samples", "sampler.n=4")
        (place / "my samples" / "val-00000.json").unlink()
        run("extract", "samples=my samples")
        assert contents(place / "my samples") == whole
        run("extract", "samples=my samples", "sampler.n=4", "overwrite=true")
        assert SampleStore(place / "my samples").fingerprint["sampler"]["n"] == 4

    @pytest.mark.parametrize("kept", [["train-00000.safetensors", ".train-00000.lock"], ["embedding"], []])
    def test_a_folder_that_is_named_and_was_hardly_begun(self, place, kept):
        run("extract", "samples=mine", "embedding=20")
        whole = contents(place / "mine")
        (place / "mine" / ".train-00000.lock").touch()
        for path in (place / "mine").iterdir():
            if path.is_file() and path.name not in [*kept, "fingerprint.json", "config.yaml"]:
                path.unlink()
        run("extract", "samples=mine")
        assert contents(place / "mine") == whole

    def test_another_store_that_is_odd_is_passed_over(self, extracted, place):
        odd = place / "runs/shapes/rgb/samples/0123456789"
        odd.mkdir()
        for text in ("{", "{}"):
            (odd / "index.json").write_text(text)
            (odd / "fingerprint.json").write_text(text)
            run("pretrain", "val_images=0", "trainer.max_epochs=1", "overwrite=true")

    def test_a_folder_of_other_things_is_refused(self, place):
        (place / "photos").mkdir()
        (place / "photos" / "cat.jpg").write_bytes(b"a cat")
        for overwrite in ("overwrite=false", "overwrite=true"):
            with pytest.raises(HypercolumnsError, match="samples=photos holds other files; name a new folder"):
                run("extract", "samples=photos", overwrite)
        assert [path.name for path in (place / "photos").iterdir()] == ["cat.jpg"]

    @pytest.mark.parametrize("stage", ["extract", "pretrain"])
    def test_a_url_is_refused(self, place, stage):
        with pytest.raises(
            HypercolumnsError, match=r"samples=s3://bucket/store is a URL; .* copy the folder to a disk"
        ):
            run(stage, "samples=s3://bucket/store")

    def test_it_waits_for_shards_that_another_process_writes(self, extracted, place, capsys, monkeypatch):
        folder = only(place, "runs/shapes/rgb/samples/*")
        whole = contents(folder)
        fingerprint = SampleStore(folder).fingerprint
        for name in ("index.json", "val-00000.json", "val-00000.safetensors"):
            (folder / name).unlink()
        other = StoreWriter(folder, fingerprint, {"train": 40, "val": 3})
        (shard,) = other.claims("val")

        def the_other_one_ends(seconds):
            for name in ("val-00000.safetensors", "val-00000.json"):
                (folder / name).write_bytes(whole[name])
            other._give_back(shard)

        monkeypatch.setattr(time, "sleep", the_other_one_ends)
        run("extract")
        assert "extract val: waiting for other processes to write 1 shards" in capsys.readouterr().out
        assert contents(folder) == whole

    def test_a_model_says_where_it_is_unsure(self, place):
        """Of all pixels as candidates, those are taken whose two highest logits are closest."""
        few = ["data.train_images=1", "data.val_images=1"]
        settings = [
            *few,
            "sampler=uncertainty",
            "sampler.n=20",
            "sampler.oversample_ratio=10000",
            "sampler.importance_sample_ratio=1",
        ]
        images = shapes("data", train_images=1, val_images=1)
        torch.manual_seed(0)
        for name in "ab":
            classifier = MLPClassifier(3, 6, hidden=8)
            Segmenter(HypercolumnExtractor(backbone(config("train", *RGB))), classifier, images.classes).save(
                place / name
            )
            run("extract", *settings, f"model={name}", f"samples=by {name}")
        found = next(SampleStore(place / "by b").split("val").images())
        segmenter, pair = Segmenter.load(place / "b"), images.splits["val"][0]
        highest = SegmentationPredictor(segmenter).logits(pair.image).topk(2, dim=0).values
        margins = (highest[0] - highest[1]).where(read_mask(pair.mask, images.palette, 6) != 255, torch.inf)
        taken = margins[tuple(found.positions.long().T)]
        assert taken.max() <= margins.flatten().sort().values[19] + 1e-5

        message = r"samples=by a does not fit: model is \"\w+\", this command has \"\w+\""
        with pytest.raises(HypercolumnsError, match=message):
            run("extract", *settings, "model=b", "samples=by a")
        run("extract", *few, "model=a", "samples=of no model")  # which other samplers don't ask
        assert "model" not in SampleStore(place / "of no model").fingerprint

    def test_a_sampler_that_asks_a_model_needs_one_that_fits(self, place, segmenter):
        with pytest.raises(HypercolumnsError, match=r"sampler=uncertainty asks a model .*; give model=<the model\.s"):
            run("extract", "data.train_images=1", "sampler=uncertainty")
        with pytest.raises(HypercolumnsError, match="model=nowhere is not a file"):
            run("extract", "data.train_images=1", "sampler=uncertainty", "model=nowhere")
        segmenter.save(place / "other")
        with pytest.raises(HypercolumnsError, match="model=other has the classes ground, cat, dog, data shapes backgr"):
            run("extract", "data.train_images=1", "sampler=uncertainty", "model=other")
        assert not (place / "runs").exists()

    def test_what_is_not_finite_names_image_and_tap(self, place):
        state = {"features.0.weight": torch.full((96, 3, 7, 7), 1e6), "features.0.bias": torch.zeros(96)}
        torch.save(state, place / "weights.pth")
        overrides = ["cnn=sqn", "cnn.taps=[features.0]", f"cnn.weights={place}/weights.pth"]
        with pytest.raises(HypercolumnsError, match=r"image train_00000: tap features\.0 gives values .* float16"):
            run("extract", *overrides, base=TINY)


class TestAll:
    """In this process the stages have no command line, so stage all has only what the config says."""

    def test_a_store_that_is_named_is_made_once_and_then_read(self, place, monkeypatch):
        overrides = [*RGB, "stage=all", "samples=mine", "trainer.max_epochs=1", "data.train_images=6"]
        monkeypatch.setattr(compose, "overrides", lambda: overrides)
        monkeypatch.setattr(
            all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs)
        )
        run_stage(config("train", *overrides))
        before = {path: path.stat().st_mtime_ns for path in (place / "mine").iterdir()}
        assert (place / "mine" / "index.json").is_file()
        assert not (place / "runs/shapes/rgb/samples").exists()
        overrides.append("sampler.n=5")  # of the making of a store, which is done
        run_stage(config("train", *overrides))
        assert {path: path.stat().st_mtime_ns for path in (place / "mine").iterdir()} == before

    def test_it_can_end_before_stage_train(self, place, monkeypatch):
        overrides = [*RGB, "stage=all", "last_stage=pretrain", "trainer.max_epochs=1", "data.train_images=12"]
        monkeypatch.setattr(compose, "overrides", lambda: overrides)
        monkeypatch.setattr(
            all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs)
        )
        miou = run_stage(config("train", *overrides))
        assert miou == json.loads((place / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())["miou"]
        assert not (place / "runs/shapes/rgb/train").exists()
        with pytest.raises(HypercolumnsError, match=r"last_stage=extract must be pretrain or train"):
            run_stage(config("train", *overrides, "last_stage=extract"))


def compose_stage(overrides, stage, inputs):
    others = [override for override in overrides if not override.startswith("stage=")]
    composed = config("train", *taken(stage, others), f"stage={stage}")
    composed.update(inputs)
    return composed


class TestVerify:
    def test_a_store_as_it_was_written(self, extracted, place, capsys):
        folder = only(place, "runs/shapes/rgb/samples/*")
        assert run_stage(config("train", *RGB, "stage=verify")) is None
        assert run_stage(config("train", "stage=verify", f"samples={folder}")) is None
        rows = sum(len(SampleStore(folder).split(split)) for split in ("train", "val"))
        assert capsys.readouterr().out.count(f"verify: {rows:,} samples in") == 2

    def test_a_damaged_store(self, extracted, place):
        folder = only(place, "runs/shapes/rgb/samples/*")
        data = bytearray((folder / "train-00001.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "train-00001.safetensors").write_bytes(data)
        message = r"is damaged: train-00001\.safetensors has changed .*; remove the shard and its sidecar .*run stage"
        with pytest.raises(HypercolumnsError, match="is damaged: ") as caught:
            run_stage(config("train", *RGB, "stage=verify"))
        assert re.search(message, error_line(caught.value))


class TestPretrainAndTrain:
    def test_from_store_to_model(self, pretrained, place):
        folder = only(place, "runs/shapes/rgb/pretrain/*")
        names = {path.name for path in folder.iterdir()}
        assert {"model.safetensors", "metrics.json", "panels.png", "config.yaml", "run.json", "checkpoints"} <= names
        figures = json.loads((folder / "metrics.json").read_text())
        assert figures["miou"] == pretrained
        assert figures["images"] == 3
        assert 0 < figures["sample_miou"] < 1
        assert (folder.parent / "latest").resolve() == folder

        trained = run("train", "trainer.max_epochs=1")
        folder = only(place, "runs/shapes/rgb/train/*")
        figures = json.loads((folder / "metrics.json").read_text())
        assert figures["miou"] == trained

    def test_figures_are_those_of_the_model_at_full_size(self, pretrained):
        """Against a plain count of what the saved model predicts."""
        segmenter = Segmenter.load("runs/shapes/rgb/pretrain/latest/model.safetensors")
        both, either = np.zeros(6), np.zeros(6)
        for pair in shapes("data", train_images=40, val_images=3).splits["val"]:
            truth = read_mask(pair.mask, segmenter.palette, 6).numpy()
            predicted = SegmentationPredictor(segmenter).predict(pair.image).labels
            for label in range(6):
                both[label] += ((truth == label) & (predicted == label)).sum()
                either[label] += (((truth == label) | (predicted == label)) & (truth != 255)).sum()
        assert pretrained == pytest.approx(np.mean(both[either > 0] / either[either > 0]))

    def test_done_once(self, pretrained, place):
        folder = only(place, "runs/shapes/rgb/pretrain/*")
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        assert run("pretrain", "num_workers=1") == pretrained
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        run("pretrain", "overwrite=true")
        assert (folder / "model.safetensors").stat().st_mtime_ns != before[folder / "model.safetensors"]
        run("pretrain", "optimizer.lr=0.1", "trainer.max_epochs=1")
        assert len(list(place.glob("runs/shapes/rgb/pretrain/*/metrics.json"))) == 3  # and latest

    def test_a_run_from_before_counts_were_kept_is_scored_again(self, pretrained, place):
        folder = only(place, "runs/shapes/rgb/pretrain/*")
        figures = json.loads((folder / "metrics.json").read_text())
        old = {name: value for name, value in figures.items() if "boundary" not in name and name != "intervals"}
        (folder / "metrics.json").write_text(json.dumps(old))
        (folder / "images.npz").unlink()
        before = (folder / "model.safetensors").stat().st_mtime_ns
        assert run("pretrain") == pretrained
        assert json.loads((folder / "metrics.json").read_text()) == figures
        assert (folder / "model.safetensors").stat().st_mtime_ns == before

    def test_another_width_of_boundaries_is_scored_again(self, pretrained, place):
        folder = only(place, "runs/shapes/rgb/pretrain/*")
        before = json.loads((folder / "metrics.json").read_text())
        trained = (folder / "model.safetensors").stat().st_mtime_ns
        assert run("pretrain", "boundary_width=7") == pretrained
        after = json.loads((folder / "metrics.json").read_text())
        assert (before["boundary_width"], after["boundary_width"]) == (3, 7)
        assert after["boundary_pixels"] > before["boundary_pixels"]
        assert (folder / "model.safetensors").stat().st_mtime_ns == trained

    def test_scoring_more_images_does_not_train_again(self, extracted):
        assert run("pretrain", "trainer.max_epochs=1", "val_images=0") is None
        model = only(extracted, "runs/shapes/rgb/pretrain/*") / "model.safetensors"
        before = model.stat().st_mtime_ns
        assert run("pretrain", "trainer.max_epochs=1", "val_images=2") > 0
        assert json.loads(model.with_name("metrics.json").read_text())["evaluated"]["ids"] == ["val_00000", "val_00002"]
        assert model.stat().st_mtime_ns == before
        figures = model.with_name("metrics.json").read_text()
        assert run("pretrain", "trainer.max_epochs=1", "val_images=0") > 0
        assert model.with_name("metrics.json").read_text() == figures

    @pytest.mark.parametrize(
        ("stage", "task", "overrides"),
        [
            ("pretrain", PixelClassificationTask, ["classifier.dropout=0.5"]),
            ("train", SegmentationTask, [*FEW, "batch_size=3", "init_from=scratch", "augment.color_jitter=0.5"]),
            (
                "train",
                SegmentationTask,
                [*FEW, "batch_size=3", "init_from=scratch", "pixels=50", "classifier.dropout=0.5"],
            ),
        ],
    )
    def test_interrupted_it_goes_on_and_ends_the_same(self, extracted, monkeypatch, stage, task, overrides):
        run(stage, *overrides)
        model = only(extracted, f"runs/shapes/rgb/{stage}/*") / "model.safetensors"
        whole = model.read_bytes()
        step, epochs = task.training_step, []

        def fail_in_the_last_epoch(self, batch, batch_idx):
            if self.current_epoch == 2:
                raise RuntimeError("power cut")
            return step(self, batch, batch_idx)

        def note_the_epoch(self, batch, batch_idx):
            epochs.append(self.current_epoch)
            return step(self, batch, batch_idx)

        monkeypatch.setattr(task, "training_step", fail_in_the_last_epoch)
        with pytest.raises(RuntimeError, match="power cut"):
            run(stage, *overrides, "overwrite=true")
        assert not model.exists()
        (extracted / "elsewhere").mkdir()
        (extracted / "runs").rename(extracted / "elsewhere" / "runs")  # a moved folder changes nothing
        monkeypatch.setattr(task, "training_step", note_the_epoch)
        run(stage, *overrides, "runs=elsewhere/runs")
        assert set(epochs) == {2}
        assert (extracted / "elsewhere" / model.relative_to(extracted)).read_bytes() == whole

    @pytest.mark.parametrize("cut", [None, 3])
    def test_the_best_epoch_is_kept_and_the_last_one_continued(self, extracted, monkeypatch, cut):
        """With scores that peak in epoch 1, cut in epoch 3 or not, and weights that move in every epoch."""
        from hypercolumns.tasks import pixel_classification

        real, scored, weights = pixel_classification.segmentation_metrics, [0.2, 0.9, 0.5, 0.4, 0.3], {}
        monkeypatch.setattr(
            pixel_classification,
            "segmentation_metrics",
            lambda confusion: replace(real(confusion), miou=scored[task_epoch[0]]),
        )
        task_epoch = [0]
        step, end = PixelClassificationTask.training_step, PixelClassificationTask.on_validation_epoch_end

        def cut_step(self, batch, batch_idx):
            if self.current_epoch == cut and not weights.get("cut"):
                weights["cut"] = True
                raise RuntimeError("power cut")
            return step(self, batch, batch_idx)

        def remember(self):
            task_epoch[0] = self.current_epoch
            weights[self.current_epoch] = self.classifier.first.weight.detach().clone()
            end(self)

        monkeypatch.setattr(PixelClassificationTask, "training_step", cut_step)
        monkeypatch.setattr(PixelClassificationTask, "on_validation_epoch_end", remember)
        arguments = ("trainer.max_epochs=5", "val_images=0")
        if cut:
            with pytest.raises(RuntimeError, match="power cut"):
                run("pretrain", *arguments)
        run("pretrain", *arguments)
        figures = json.loads((extracted / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())
        assert (figures["best_epoch"], figures["sample_miou"]) == (1, pytest.approx(0.9))
        model = Segmenter.load(extracted / "runs/shapes/rgb/pretrain/latest/model.safetensors")
        assert torch.equal(model.classifier.first.weight, weights[1])
        assert not torch.equal(weights[1], weights[4])
        with (extracted / "runs/shapes/rgb/pretrain/latest/metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == list("01234")
        assert float(rows[1]["val/sample_miou"]) == pytest.approx(0.9)

    def test_the_folder_tells_how_the_run_was_made(self, place, monkeypatch):
        monkeypatch.setattr(training, "MetricsCSV", MetricsCSV)  # with its curves
        run("train", "init_from=scratch", "trainer.max_epochs=2", *FEW, "batch_size=2")
        folder = only(place, "runs/shapes/rgb/train/*")
        found = json.loads((folder / "environment.json").read_text())
        assert found["command"].startswith("python train.py")
        assert found["versions"]["torch"] == version("torch")
        assert found["device"]["type"] == "cpu"
        with Image.open(folder / "curves.png") as picture:
            assert picture.size == (1650, 420)
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == [3, 6]
        assert all(float(row["train/images_per_second"]) > 0 for row in rows)
        assert float(rows[-1]["train/learning_rate"]) < float(rows[0]["train/learning_rate"])
        best = max(float(row["val/miou"]) for row in rows)
        assert json.loads((folder / "metrics.json").read_text())["miou"] == pytest.approx(best)

    def test_patience_ends_a_training_early(self, extracted):
        run("pretrain", "trainer.max_epochs=30", "patience=1", "optimizer.lr=0", "val_images=0")
        last = torch.load(
            only(extracted, "runs/shapes/rgb/pretrain/*") / "checkpoints" / "last.ckpt", weights_only=True
        )
        assert last["epoch"] == 1

    def test_a_loss_is_best_when_it_is_least(self, extracted):
        run("pretrain", "monitor=val/loss", "val_images=0")
        assert json.loads((extracted / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())["best_epoch"] == 2

    def test_epochs_see_the_samples_in_different_orders(self, extracted, monkeypatch):
        seen, step = [], PixelClassificationTask.training_step

        def note(self, batch, batch_idx):
            if batch_idx == 0:
                seen.append(batch[0][:, 0].clone())
            return step(self, batch, batch_idx)

        monkeypatch.setattr(PixelClassificationTask, "training_step", note)
        run("pretrain", "val_images=0")
        assert len(seen) == 3
        assert not torch.equal(seen[0], seen[1])

    def test_one_changed_mask_is_another_data_set(self, extracted):
        mask = next(extracted.glob("data/*/VOCdevkit/VOC2012/SegmentationClass/train_00003.png"))
        with Image.open(mask) as image:
            image.load()
        image.putpixel((0, 0), 3)
        image.save(mask)
        with pytest.raises(HypercolumnsError, match=r"the newest one, .*: data\.train is "):
            run("pretrain")

    def test_standardised_by_the_samples(self, pretrained, place):
        model = Segmenter.load(place / "runs/shapes/rgb/pretrain/latest/model.safetensors")
        mean, std = SampleStore(only(place, "runs/shapes/rgb/samples/*")).split("train").statistics()
        assert torch.allclose(model.classifier.mean, mean.float())
        assert torch.allclose(model.classifier.std, std.float())

    def test_from_scratch_standardised_by_pixels_of_the_images(self, place):
        run("train", "init_from=scratch", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
        model = Segmenter.load(place / "runs/shapes/rgb/train/latest/model.safetensors")
        pairs = shapes("data", train_images=40, val_images=3).splits["train"]
        pixels = torch.cat(
            [model.backbone(read_image(pair.image)[None] / 255)[0][0].flatten(1) for pair in pairs], dim=1
        )
        assert torch.allclose(model.classifier.mean, pixels.mean(1), atol=0.2)
        assert torch.allclose(model.classifier.std, pixels.std(1), atol=0.2)

    def test_nothing_to_score_in_val(self, extracted):
        for mask in extracted.glob("data/*/VOCdevkit/VOC2012/SegmentationClass/val*.png"):
            with Image.open(mask) as image:
                image.load()
            image.paste(255, (0, 0, *image.size))
            image.save(mask)
        assert run("train", "init_from=scratch", "trainer.max_epochs=1") is None
        with pytest.raises(HypercolumnsError, match="no samples of the val split: all pixels"):
            run("extract")

    def test_a_stage_whose_input_is_missing_says_which_command_makes_it(self, place):
        with pytest.raises(
            HypercolumnsError, match=r"no samples in runs/.*/samples that fits; .*train\.py stage=extract"
        ):
            run("pretrain")
        with pytest.raises(HypercolumnsError, match=r"no pretrained model .*; make it first: .*stage=pretrain"):
            run("train")

    def test_an_input_that_does_not_fit_names_both_values(self, pretrained, place):
        message = 'alignment is "exact", this command has "corners"'
        with pytest.raises(HypercolumnsError, match=message):
            run("pretrain", "alignment=corners")
        store = only(place, "runs/shapes/rgb/samples/*")
        with pytest.raises(HypercolumnsError, match=f"samples={store} does not fit: {message}"):
            run("pretrain", "alignment=corners", f"samples={store}")
        with pytest.raises(HypercolumnsError, match=message):
            run("train", "alignment=corners")
        model = place / "runs/shapes/rgb/pretrain/latest/model.safetensors"
        with pytest.raises(HypercolumnsError, match=f"init_from={model} does not fit: {message}"):
            run("train", "alignment=corners", f"init_from={model}")

    def test_pretrain_takes_the_newest_store_whatever_its_sampler(self, extracted):
        run("extract", "sampler=uniform", "sampler.n=7")
        run("pretrain", "val_images=0", "trainer.max_epochs=1")
        identity = json.loads((only(extracted, "runs/shapes/rgb/pretrain/*") / "run.json").read_text())["identity"]
        newest = max(extracted.glob("runs/shapes/rgb/samples/*/index.json"), key=lambda path: path.stat().st_mtime)
        assert identity["samples"] == newest.parent.name

    def test_a_seed_that_is_named_chooses_the_store(self, extracted, monkeypatch):
        own = only(extracted, "runs/shapes/rgb/samples/*")
        run("extract", "seed=1")
        monkeypatch.setattr(compose, "overrides", lambda: ["seed=0"])
        run("pretrain", "seed=0", "val_images=0", "trainer.max_epochs=1")
        assert pretrain_identity(extracted)["samples"] == own.name

    def test_a_sampler_that_is_named_chooses_the_store(self, pretrained, place, monkeypatch):
        """Also where stage extract was given a model, which stage pretrain is not."""
        model = place / "runs/shapes/rgb/pretrain/latest/model.safetensors"
        run("extract", "sampler=uncertainty", "sampler.n=5", f"model={model}")
        parent = place / "runs/shapes/rgb/samples"
        own = max(parent.glob("*/index.json"), key=lambda path: path.stat().st_mtime).parent
        run("extract", "sampler=uniform", "sampler.n=5")
        monkeypatch.setattr(compose, "overrides", lambda: ["sampler=uncertainty", "sampler.n=5"])
        run("pretrain", "sampler=uncertainty", "sampler.n=5", "val_images=0", "trainer.max_epochs=1")
        assert pretrain_identity(place)["samples"] == own.name

    def test_training_keeps_to_the_hidden_layers_of_what_it_starts_from(self, pretrained):
        with pytest.raises(HypercolumnsError, match=r"classifier\.hidden is 8, this command has 9"):
            run("train", "classifier.hidden=9")

    def test_init_from_brings_its_own_backbone(self, segmenter, extracted):
        """Whatever weights cnn.weights would mean, which are not even looked at."""
        images = shapes("data", train_images=40, val_images=3)
        segmenter.classes, segmenter.palette = images.classes, images.palette
        segmenter.classifier = MLPClassifier(224, 6, 8)
        segmenter.save(extracted / "start.safetensors")
        taps = "cnn.taps=[features.0,[features.3.expand1x1,features.3.expand3x3]]"
        still = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
        run("train", "cnn=sqn", taps, "init_from=start.safetensors", *still, base=TINY)
        end = Segmenter.load("runs/shapes/sqn/train/latest/model.safetensors")
        for name, value in segmenter.state_dict().items():
            assert torch.equal(end.state_dict()[name], value), name

    def test_training_goes_on_from_the_pretrained_classifier(self, pretrained):
        start = Segmenter.load("runs/shapes/rgb/pretrain/latest/model.safetensors")
        still = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
        run("train", *still)
        end = Segmenter.load("runs/shapes/rgb/train/latest/model.safetensors")
        for name, value in start.state_dict().items():
            assert torch.equal(end.state_dict()[name], value)

    def test_a_share_of_what_training_began_with_stays(self, pretrained):
        ends = []
        for alpha in ("null", 0.75):
            run("train", "trainer.max_epochs=1", "optimizer.lr=0.1", f"wise_ft_alpha={alpha}")
            ends.append(Segmenter.load("runs/shapes/rgb/train/latest/model.safetensors").state_dict())
        for name, begun in Segmenter.load("runs/shapes/rgb/pretrain/latest").state_dict().items():
            assert torch.allclose(ends[1][name], 0.75 * ends[0][name] + 0.25 * begun, atol=1e-6), name
        assert not torch.allclose(*(end["classifier.first.weight"] for end in ends), atol=1e-3)

    def test_it_is_a_share_of_all_weights_and_statistics_but_of_no_count(self):
        extractor = HypercolumnExtractor(Backbone("resnet18", ["layer1"], trainable="all"))
        segmenter = Segmenter(extractor, MLPClassifier(64, 2, 4), ["a", "b"])
        begun = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
        for tensor in segmenter.state_dict().values():
            tensor.add_(2)
        _average_with_initial(segmenter, begun, 0.75)
        for name, tensor in segmenter.state_dict().items():
            expected = begun[name] + (1.5 if tensor.is_floating_point() else 2)
            assert torch.allclose(tensor, expected), name

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("wise_ft_alpha=2", "wise_ft_alpha=2 must be a number from 0 to 1"),
            ("wise_ft_alpha=0.5", r"wise_ft_alpha=0\.5 averages with the weights .*; use wise_ft_alpha=null"),
            ("pixels=some", "pixels=some must be all, a number of pixels an image, or sampler"),
            (
                "class_weights=heavy",
                "class_weights=heavy is not known; choose one of none, balanced, batch, or a number",
            ),
            ("class_weights=1.5", "class_weights=1.5 must be a number from 0 to 1"),
            (["loss=lovasz", "class_weights=batch"], "class_weights=batch: in loss=lovasz all classes count alike"),
            ("loss.label_smoothing=2", r"loss\.label_smoothing=2 must be a number from 0 to 1"),
            ("resize=5", r"resize=5 must be \[height,width\]"),
            ("init_from=nowhere", "init_from=nowhere is not a file"),
            ("augment.crop=null", "can't be one batch; crop or resize them, or use batches of one image"),
            ("resize=[32,32]", "resize and augment.crop or augment.scale don't go together"),
            ("batch_size=0", "batch_size=0 must be a whole number of at least 1"),
            ("optimizer.lr=fast", "optimizer.lr=fast must be a number of at least 0"),
            ("optimizer.lr=1e38", r"optimizer\.lr=1e\+38 must be a number of at least 0 and below 1e\+30"),
            (["optimizer.lr=1e29", "optimizer.weight_decay=1e29"], r"the loss is (nan|inf) in epoch 1, .*; lower opt"),
            ("optimizer.weight_decay=x", r"optimizer\.weight_decay=x must be a number of at least 0"),
            (["optimizer=sgd", "optimizer.momentum=x"], r"optimizer\.momentum=x must be a number of at least 0"),
            ("+optimizer.betas=[2,2]", r"optimizer: its settings are not right \(.*betas=\[2, 2\], "),
            ("trainer.limit_train_batches=x", r"trainer\.limit_train_batches=x must be a number of at least 0"),
            ("trainer.limit_val_batches=-1", r"trainer\.limit_val_batches=-1 must be a number of at least 0"),
            ("classifier.hidden=-5", "classifier.hidden=-5 must be a whole number"),
            ("classifier.dropout=2", "classifier.dropout=2 must be a number from 0 to 1"),
            ("augment.flip=2", "augment.flip=2 must be a number from 0 to 1"),
            ("augment.scale=1.5", r"augment\.scale=1\.5 must be \[least,most\]"),
            ("cnn.trainable=true", "cnn.trainable=True must be a number of taps"),
            ("trainer.max_epochs=0", r"trainer\.max_epochs=0 must be a whole number of at least 1"),
            ("trainer.max_epochs=abc", r"trainer\.max_epochs=abc must be a whole number of at least 1"),
            ("trainer.limit_val_batches=0", "no epoch was scored"),
            (
                ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=3"],
                r"trainer\.max_epochs=4 must be a multiple of trainer\.check_val_every_n_epoch=3: ",
            ),
            ("num_workers=many", "num_workers=many must be a whole number of at least 0"),
            ("monitor=null", "monitor=null: a training needs a figure"),
            ("monitor=miou", "monitor=miou must be a figure of the val images"),
        ],
    )
    def test_wrong_settings(self, place, override, message):
        overrides = ["data.train_images=16", *([override] if isinstance(override, str) else override)]
        overrides += [] if overrides[1].startswith("init_from") else ["init_from=scratch"]
        with pytest.raises((HypercolumnsError, InstantiationException), match=message):
            run("train", *overrides)

    @pytest.mark.parametrize("images", ["some", -1, 0.5])
    def test_a_number_of_images_to_score_that_is_none(self, images):
        with pytest.raises(
            HypercolumnsError, match=rf"val_images={images} must be all, or a number of images \(0 for none"
        ):
            check_number_of_images("val_images", images)

    def test_a_start_of_another_network_does_not_fit(self, sqn):
        message = r"init_from=mine does not fit: cnn\.network is squeezenet1_0, this command has rgb; choose another"
        with pytest.raises(HypercolumnsError, match=message):
            backbone(config("train", *RGB, "stage=train", "init_from=mine"), sqn)

    def test_a_start_that_has_a_deviation_of_0_is_standardised_like_the_others(self, pretrained, place):
        start = Segmenter.load(place / "runs/shapes/rgb/pretrain/latest")
        start.classifier.get_buffer("std")[:] = torch.tensor([2.0, 0.0, 4.0])
        start.save(place / "old.safetensors")
        run("train", "init_from=old.safetensors", "trainer.max_epochs=1")
        made = Segmenter.load(place / "runs/shapes/rgb/train/latest")
        assert made.classifier.get_buffer("std").tolist() == [2.0, 3.0, 4.0]

    def test_where_the_latest_run_is_can_not_be_said_if_a_folder_is_in_the_way(self, place, capsys):
        made = Run(place / "0123")
        (place / "latest").mkdir()
        write_json(made.folder / "run.json", {"identity": {}, "finished": None})
        made.mark_finished({"miou": 0.5})
        assert made.miou == 0.5
        assert made.finished
        assert re.search(rf"^latest does not lead to {made.folder}\s\(.*Is a directory", capsys.readouterr().out)
        assert sorted(path.name for path in place.iterdir()) == ["0123", "latest"]

    def test_class_weights_raise_the_rare_classes(self, extracted):
        found = {}
        for weights in ("none", "balanced", "batch"):
            run("train", "init_from=scratch", "optimizer.lr=0.01", f"class_weights={weights}")
            figures = json.loads((extracted / "runs/shapes/rgb/train/latest/metrics.json").read_text())
            found[weights] = figures["per_class_accuracy"]["background"]
        assert found["balanced"] < found["none"]
        assert found["batch"] < found["none"]
