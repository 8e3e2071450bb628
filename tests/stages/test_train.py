"""Stage train on a tiny data set; the features are the colours of the pixels."""

import csv
import json
from importlib.metadata import version

import pytest
import torch
from helpers.small_runs import TINY, only, run
from hydra.errors import InstantiationException
from PIL import Image

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.callbacks import MetricsCSV
from hypercolumns.data import shapes
from hypercolumns.io.images import read_image
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.settings import training
from hypercolumns.settings.value_checks import check_number_of_images
from hypercolumns.stages.train import average_with_initial
from hypercolumns.tasks import PixelClassificationTask, SegmentationTask

pytestmark = pytest.mark.usefixtures("place")
FEW = ["data.train_images=6", "data.val_images=1"]


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
def test_interrupted_run_ends_with_same_model(extracted, monkeypatch, stage, task, overrides):
    run(stage, *overrides)
    model = only(extracted, f"runs/shapes/rgb/{stage}/*") / "model.safetensors"
    whole = model.read_bytes()
    step, epochs = task.training_step, []

    def fail_in_last_epoch(self, batch, batch_idx):
        if self.current_epoch == 2:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    def record_epoch(self, batch, batch_idx):
        epochs.append(self.current_epoch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(task, "training_step", fail_in_last_epoch)
    with pytest.raises(RuntimeError, match="power cut"):
        run(stage, *overrides, "overwrite=true")
    assert not model.exists()
    (extracted / "elsewhere").mkdir()
    (extracted / "runs").rename(extracted / "elsewhere" / "runs")  # the run must resume in a moved folder too
    monkeypatch.setattr(task, "training_step", record_epoch)
    run(stage, *overrides, "runs=elsewhere/runs")
    assert set(epochs) == {2}
    assert (extracted / "elsewhere" / model.relative_to(extracted)).read_bytes() == whole


def test_run_folder_records_how_it_was_made(place, monkeypatch):
    monkeypatch.setattr(training, "MetricsCSV", MetricsCSV)  # the fixture `quick` leaves out the curves
    run("train", "init_from=scratch", "trainer.max_epochs=2", *FEW, "batch_size=2")
    folder = only(place, "runs/shapes/rgb/train/*")
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["command"].startswith("python train.py")
    assert environment["versions"]["torch"] == version("torch")
    assert environment["device"]["type"] == "cpu"
    with Image.open(folder / "curves.png") as picture:
        assert picture.size == (1650, 420)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert all(float(row["train/images_per_second"]) > 0 for row in rows)
    assert float(rows[-1]["train/learning_rate"]) < float(rows[0]["train/learning_rate"])
    best = max(float(row["val/miou"]) for row in rows)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["miou"] == pytest.approx(best)
    assert metrics["miou_present"] in [pytest.approx(float(row["val/miou_present"])) for row in rows]


def test_monitor_may_be_miou_of_present_classes(place):
    run(
        "train",
        "init_from=scratch",
        "monitor=val/miou_present",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=1",
    )
    folder = place / "runs/shapes/rgb/train/latest"
    with (folder / "metrics.csv").open(newline="") as file:
        values = [float(row["val/miou_present"]) for row in csv.DictReader(file)]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["best_epoch"] == values.index(max(values))
    assert metrics["miou_present"] == pytest.approx(max(values))


def test_from_scratch_standardises_by_pixels(place):
    run("train", "init_from=scratch", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    model = Segmenter.load(place / "runs/shapes/rgb/train/latest/model.safetensors")
    pairs = shapes("data", train_images=40, val_images=3).splits["train"]
    pixels = torch.cat([model.backbone(read_image(pair.image)[None] / 255)[0][0].flatten(1) for pair in pairs], dim=1)
    assert torch.allclose(model.classifier.mean, pixels.mean(1), atol=0.2)
    assert torch.allclose(model.classifier.std, pixels.std(1), atol=0.2)


def test_val_without_labels_has_no_score(extracted):
    for mask in extracted.glob("data/*/VOCdevkit/VOC2012/SegmentationClass/val*.png"):
        with Image.open(mask) as image:
            image.load()
        image.paste(255, (0, 0, *image.size))
        image.save(mask)
    assert run("train", "init_from=scratch", "trainer.max_epochs=1") is None
    with pytest.raises(HypercolumnsError, match="no samples of the val split: all pixels"):
        run("extract")


def test_hidden_sizes_must_match_the_start(pretrained):
    with pytest.raises(HypercolumnsError, match=r"classifier\.hidden is 8, this command has 9"):
        run("train", "classifier.hidden=9")


def test_init_from_brings_its_own_backbone(segmenter, extracted):
    """The weights of cnn.weights are neither looked up nor loaded."""
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


def test_train_starts_from_pretrained_weights(pretrained):
    start = Segmenter.load("runs/shapes/rgb/pretrain/latest/model.safetensors")
    still = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    run("train", *still)
    end = Segmenter.load("runs/shapes/rgb/train/latest/model.safetensors")
    for name, value in start.state_dict().items():
        assert torch.equal(end.state_dict()[name], value)


def test_wise_ft_averages_with_initial_weights(pretrained):
    ends = []
    for alpha in ("null", 0.75):
        run("train", "trainer.max_epochs=1", "optimizer.lr=0.1", f"wise_ft_alpha={alpha}")
        ends.append(Segmenter.load("runs/shapes/rgb/train/latest/model.safetensors").state_dict())
    for name, initial in Segmenter.load("runs/shapes/rgb/pretrain/latest").state_dict().items():
        assert torch.allclose(ends[1][name], 0.75 * ends[0][name] + 0.25 * initial, atol=1e-6), name
    assert not torch.allclose(*(end["classifier.first.weight"] for end in ends), atol=1e-3)


def test_wise_ft_skips_integer_buffers():
    extractor = HypercolumnExtractor(Backbone("resnet18", ["layer1"], trainable="all"))
    segmenter = Segmenter(extractor, MLPClassifier(64, 2, 4), ["a", "b"])
    initial = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    for tensor in segmenter.state_dict().values():
        tensor.add_(2)
    average_with_initial(segmenter, initial, 0.75)
    for name, tensor in segmenter.state_dict().items():
        expected = initial[name] + (1.5 if tensor.is_floating_point() else 2)
        assert torch.allclose(tensor, expected), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("wise_ft_alpha=2", "wise_ft_alpha=2 must be a number from 0 to 1"),
        ("wise_ft_alpha=0.5", r"wise_ft_alpha=0\.5 averages the trained weights with those .*; use wise_ft_alpha=null"),
        ("pixels=some", "pixels=some must be all, sampler, or a number of pixels per image"),
        (
            "class_weights=heavy",
            "class_weights=heavy must be none, balanced, batch, or a number",
        ),
        ("class_weights=1.5", "class_weights=1.5 must be a number from 0 to 1"),
        (
            ["loss=lovasz", "class_weights=batch"],
            "class_weights=batch can't be combined with loss=lovasz, which always weighs all classes equally",
        ),
        ("loss.label_smoothing=2", r"loss\.label_smoothing=2 must be a number from 0 to 1"),
        ("resize=5", r"resize=5 must be \[height,width\]"),
        ("init_from=nowhere", "init_from=nowhere is not a file"),
        ("augment.crop=null", "can't form one batch; crop or resize them to one size, or use"),
        ("resize=[32,32]", "resize can't be combined with augment.crop or augment.scale"),
        ("batch_size=0", "batch_size=0 must be a whole number of at least 1"),
        ("optimizer.lr=fast", "optimizer.lr=fast must be a number of at least 0"),
        ("optimizer.lr=1e38", r"optimizer\.lr=1e\+38 must be a number of at least 0 and below 1e\+30"),
        (["optimizer.lr=1e29", "optimizer.weight_decay=1e29"], r"the loss is (nan|inf) in epoch 1, .*; lower opt"),
        ("optimizer.weight_decay=x", r"optimizer\.weight_decay=x must be a number of at least 0"),
        (["optimizer=sgd", "optimizer.momentum=x"], r"optimizer\.momentum=x must be a number of at least 0"),
        ("+optimizer.betas=[2,2]", r"optimizer: the settings are invalid \(.*betas=\[2, 2\], "),
        ("trainer.limit_train_batches=x", r"trainer\.limit_train_batches=x must be a number of batches"),
        ("trainer.limit_val_batches=-1", r"trainer\.limit_val_batches=-1 must be a number of batches"),
        ("classifier.hidden=-5", "classifier.hidden=-5 must be a whole number"),
        ("classifier.dropout=2", "classifier.dropout=2 must be a number from 0 to 1"),
        ("augment.flip=2", "augment.flip=2 must be a number from 0 to 1"),
        ("augment.scale=1.5", r"augment\.scale=1\.5 must be \[low,high\]"),
        ("cnn.trainable=true", "cnn.trainable=True must be a number of taps"),
        ("trainer.max_epochs=0", r"trainer\.max_epochs=0 must be a whole number of at least 1"),
        ("trainer.max_epochs=abc", r"trainer\.max_epochs=abc must be a whole number of at least 1"),
        ("trainer.limit_val_batches=0", r"trainer\.limit_val_batches=0 must be a number of batches"),
        (
            ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=3"],
            r"trainer\.max_epochs=4 must be a multiple of trainer\.check_val_every_n_epoch=3, because ",
        ),
        ("num_workers=many", "num_workers=many must be a whole number of at least 0"),
        ("monitor=null", "monitor must not be null; set it to the validation metric"),
        ("monitor=miou", "monitor=miou must be a validation metric"),
        ("monitor=val/iou", "val/iou is not a metric of stage train; .* val/miou, val/miou_present, val/pixel_acc"),
        ("monitor=val/sample_miou", "monitor=val/sample_miou is not a metric of stage train; choose one of val/miou"),
    ],
)
def test_wrong_settings_are_refused(place, override, message):
    overrides = ["data.train_images=16", *([override] if isinstance(override, str) else override)]
    overrides += [] if overrides[1].startswith("init_from") else ["init_from=scratch"]
    with pytest.raises((HypercolumnsError, InstantiationException), match=message):
        run("train", *overrides)


@pytest.mark.parametrize("images", ["some", -1, 0.5])
def test_wrong_val_images_is_refused(images):
    with pytest.raises(
        HypercolumnsError, match=rf"val_images={images} must be all, or a number of images \(0 for none"
    ):
        check_number_of_images("val_images", images)


def test_zero_std_of_start_becomes_the_mean_std(pretrained, place):
    start = Segmenter.load(place / "runs/shapes/rgb/pretrain/latest")
    start.classifier.get_buffer("std")[:] = torch.tensor([2.0, 0.0, 4.0])
    start.save(place / "old.safetensors")
    run("train", "init_from=old.safetensors", "trainer.max_epochs=1")
    trained = Segmenter.load(place / "runs/shapes/rgb/train/latest")
    assert trained.classifier.get_buffer("std").tolist() == [2.0, 3.0, 4.0]


def test_class_weights_favour_rare_classes(extracted):
    accuracy = {}
    for weights in ("none", "balanced", "batch"):
        run("train", "init_from=scratch", "optimizer.lr=0.01", f"class_weights={weights}")
        figures = json.loads((extracted / "runs/shapes/rgb/train/latest/metrics.json").read_text())
        accuracy[weights] = figures["per_class_accuracy"]["background"]
    assert accuracy["balanced"] < accuracy["none"]
    assert accuracy["batch"] < accuracy["none"]
