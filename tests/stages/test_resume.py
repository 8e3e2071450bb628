"""Training that is interrupted at any moment and resumed."""

import csv
import shutil
import signal

import pytest
import torch
from helpers import small_runs

from hypercolumns import HypercolumnsError
from hypercolumns.callbacks import MetricsCSV, resume_point
from hypercolumns.callbacks.pruning import search_trial
from hypercolumns.callbacks.resume_checkpoint import max_over_ranks
from hypercolumns.tasks import EvaluationTask, PixelClassificationTask, SegmentationTask

CHANCE = ["classifier.dropout=0.5", "checkpoint_minutes=0", "trainer.max_epochs=2"]
PER_CLASS = ["sampler=per_class", "sampler.n=7"]
FEW = ["init_from=scratch", "data.train_images=10", "data.val_images=1", "batch_size=2"]  # 5 steps in an epoch
CASES = {
    "pretrain": (PixelClassificationTask, []),
    "pretrain groups": (  # the epochs differ in their number of steps
        PixelClassificationTask,
        ["images_per_batch=7", "batch_size=90", *PER_CLASS, "scheduler=cosine", "num_workers=1"],
    ),
    "pretrain limited": (
        PixelClassificationTask,
        ["trainer.limit_train_batches=5", "trainer.check_val_every_n_epoch=2"],
    ),
    "pretrain momentum": (PixelClassificationTask, ["optimizer=sgd", "trainer.accumulate_grad_batches=2"]),
    "pretrain average": (PixelClassificationTask, ["ema=0.9", "loss=ohem", "optimizer.no_decay_norm_and_bias=true"]),
    "train": (SegmentationTask, [*FEW, "augment.color_jitter=0.5", "augment.flip=0.5"]),
    "train points": (SegmentationTask, [*FEW, "pixels=50", "num_workers=1"]),
    "train alone": (  # batches of one image, as in the recipes: an epoch of 10 makes two steps of 4 and one of 2
        SegmentationTask,
        [
            *[*FEW, "batch_size=1", "trainer.accumulate_grad_batches=4", "trainer.gradient_clip_val=1.0", "ema=0.9"],
            *["scheduler.warmup_fraction=0.2", "pixels=50"],
        ],
    ),
    "train layers": (
        SegmentationTask,
        [
            *["init_from=scratch", "cnn=squeezenet1_1", "cnn.weights=null", "cnn.trainable=all", "pixels=50"],
            *["cnn.taps=[features.0,features.3.expand3x3]", "data.train_images=8", "data.val_images=1", "batch_size=2"],
            *["augment.crop=48", "augment.gaussian_blur=0.5", "augment.grayscale=0.5"],
            *["ema=0.9", "optimizer.backbone_lr=1e-4", "optimizer.layer_decay=0.8"],
            "optimizer.no_decay_norm_and_bias=true",
        ],
    ),
}


def run(stage, *settings):
    """Run a stage; stage pretrain gets a batch size that makes seven steps an epoch."""
    return small_runs.run(stage, *(["batch_size=256"] if stage == "pretrain" else []), *settings)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    place = tmp_path_factory.mktemp("resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
        run("extract", *PER_CLASS)
    return place


@pytest.fixture(autouse=True)
def place(extracted, tmp_path, monkeypatch):
    monkeypatch.chdir(extracted)
    return extracted


def cut_at(monkeypatch, task, epoch, batch):
    """Raise an error before one step, the first time that it is reached; return the list of (epoch, batch) begun."""
    step, steps = task.training_step, []

    def cut_step(self, *arguments):
        here = (self.current_epoch, arguments[1])
        if here == (epoch, batch) and here not in steps:
            steps.append(here)
            raise RuntimeError("power cut")
        steps.append(here)
        return step(self, *arguments)

    monkeypatch.setattr(task, "training_step", cut_step)
    return steps


@pytest.mark.parametrize(
    ("case", "epoch", "batch"),
    [
        ("pretrain", 0, 3),
        ("pretrain groups", 1, 2),
        ("pretrain limited", 1, 1),
        ("pretrain momentum", 0, 3),
        ("pretrain average", 1, 2),
        ("train", 0, 3),
        ("train", 1, 2),
        ("train points", 0, 3),
        ("train alone", 1, 6),
        ("train layers", 1, 2),
    ],
)
def test_resume_after_power_cut_is_bitwise_equal(place, monkeypatch, case, epoch, batch):
    task, settings = CASES[case]
    stage = case.split()[0]
    settings = [*settings, *CHANCE]
    run(stage, *settings)
    run_folder = (place / f"runs/shapes/{'squeezenet1_1' if 'layers' in case else 'rgb'}/{stage}/latest").resolve()
    whole = (run_folder / "model.safetensors").read_bytes()
    steps = cut_at(monkeypatch, task, epoch, batch)
    with pytest.raises(RuntimeError, match="power cut"):
        run(stage, *settings, "overwrite=true")
    done = list(steps)
    run(stage, *settings)
    assert (run_folder / "model.safetensors").read_bytes() == whole
    batches_per_step = small_runs.config("train", *small_runs.RGB, *settings).trainer.accumulate_grad_batches
    assert steps[len(done)] == (epoch, batch - batch % batches_per_step)


def whole_run(place, *settings):
    run("pretrain", *settings, "overwrite=true")  # another test may have run it; `latest` must lead to this run
    folder = (place / "runs/shapes/rgb/pretrain/latest").resolve()
    return folder, (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_stops_after_the_current_step(place, monkeypatch, number, capsys):
    settings = ["classifier.dropout=0.5", "val_images=0"]
    folder, whole = whole_run(place, *settings)
    step, steps, before = PixelClassificationTask.training_step, [], signal.getsignal(number)

    def signalled_step(self, batch, batch_idx):
        here = (self.current_epoch, batch_idx)
        if here == (1, 1) and here not in steps:
            signal.raise_signal(number)
        steps.append(here)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PixelClassificationTask, "training_step", signalled_step)
    with pytest.raises(KeyboardInterrupt) as raised:
        run("pretrain", *settings, "overwrite=true")
    assert raised.value.args == (number,)
    assert steps[-1] == (1, 1)
    assert signal.getsignal(number) is before
    assert "the training stops after this step; a second signal stops it at once" in capsys.readouterr().out
    run("pretrain", *settings)
    assert steps[-4:].count((1, 1)) == 0
    assert (folder / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("epochs", [1, 2])
def test_signal_in_last_step_stops_after_epoch(place, monkeypatch, epochs):
    """The train metrics of the epoch are logged first, and a search that would stop the trial does not hide it."""
    steps, step = [], PixelClassificationTask.training_step

    def signalled_step(self, batch, batch_idx):
        if batch_idx == self.trainer.num_training_batches - 1:
            signal.raise_signal(signal.SIGTERM)
        steps.append(self.current_epoch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PixelClassificationTask, "training_step", signalled_step)
    with pytest.raises(KeyboardInterrupt) as raised, search_trial("pretrain", lambda *_: True):
        run("pretrain", "val_images=0", f"trainer.max_epochs={epochs}", "logger=csv")
    assert raised.value.args == (signal.SIGTERM,)
    folder = max(place.glob("runs/shapes/rgb/pretrain/*/checkpoints"), key=lambda path: path.stat().st_mtime_ns)
    assert torch.load(folder / "last.ckpt", weights_only=True)["SampleDataModule"] == {"epoch": 1, "batches": 0}
    assert set(steps) == {0}
    table = place / f"runs/shapes/rgb/events/pretrain-{folder.parent.name}/csv/metrics.csv"
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/epoch_loss"]]
    assert [row["epoch"] for row in rows] == ["0"]


def test_signal_twice_or_in_validation_stops_now(place, monkeypatch):
    step, scoring = PixelClassificationTask.training_step, PixelClassificationTask.validation_step

    def twice(self, batch, batch_idx):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PixelClassificationTask, "training_step", twice)
    with pytest.raises(KeyboardInterrupt):
        run("pretrain", "val_images=0", "overwrite=true")
    monkeypatch.setattr(PixelClassificationTask, "training_step", step)
    monkeypatch.setattr(
        PixelClassificationTask, "validation_step", lambda *arguments: signal.raise_signal(signal.SIGUSR1)
    )
    with pytest.raises(KeyboardInterrupt):
        run("pretrain", "val_images=0", "overwrite=true")
    monkeypatch.setattr(PixelClassificationTask, "validation_step", scoring)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_while_scoring_stops_at_once(place, monkeypatch, number):
    scoring = EvaluationTask.test_step
    monkeypatch.setattr(EvaluationTask, "test_step", lambda *arguments: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt) as raised:
        run("pretrain", "overwrite=true")
    assert raised.value.args == (number,)
    monkeypatch.setattr(EvaluationTask, "test_step", scoring)


def test_killed_overwrite_leaves_no_half_run(place, monkeypatch):
    settings = ["val_images=0", "optimizer.lr=0.02"]
    folder, whole = whole_run(place, *settings)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: (path / "metrics.json").unlink(missing_ok=True) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("pretrain", *settings, "overwrite=true")
    run("pretrain", *settings)
    assert (folder / "metrics.json").is_file()
    assert (folder / "model.safetensors").read_bytes() == whole


def test_max_over_ranks_in_one_process():
    assert max_over_ranks(15, 0, device=torch.device("cpu")) == [15, 0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "both"])
def test_damaged_checkpoint_gives_way_to_previous(place, monkeypatch, damage, capsys):
    settings = ["classifier.dropout=0.5", "val_images=0", "checkpoint_minutes=0"]
    folder, whole = whole_run(place, *settings)
    steps = cut_at(monkeypatch, PixelClassificationTask, 1, 3)
    with pytest.raises(RuntimeError, match="power cut"):
        run("pretrain", *settings, "overwrite=true")
    done, checkpoints = len(steps), folder / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    for path in [checkpoints / "last.ckpt"] + ([checkpoints / "previous.ckpt"] if damage == "both" else []):
        if damage == "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            small_runs.damage(path)
    run("pretrain", *settings)
    assert steps[done] == ((0, 0) if damage == "both" else (1, 2))
    assert (folder / "model.safetensors").read_bytes() == whole
    set_aside = {path.name for path in checkpoints.glob("*.damaged")}
    assert set_aside == ({"last.damaged", "previous.damaged"} if damage == "both" else {"last.damaged"})
    assert "checkpoints/last.ckpt is damaged (" in " ".join(capsys.readouterr().out.split())


def test_full_disk_keeps_written_checkpoints(place, monkeypatch):
    save, settings = torch.save, ["val_images=0", "optimizer.lr=0.01"]
    folder, whole = whole_run(place, *settings)

    def full_disk(checkpoint, file):
        if checkpoint["epoch"] == 2:
            file.write(b"half")
            try:
                raise OSError(28, "No space left on device")
            finally:
                raise RuntimeError("unexpected pos 576 vs 534")  # torch.save raises this after a failed write
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(
        HypercolumnsError, match=r"(best|new)\.ckpt can't be written .*No space left.*no existing file has changed"
    ):
        run("pretrain", *settings, "overwrite=true")
    monkeypatch.setattr(torch, "save", save)
    assert torch.load(resume_point(folder / "checkpoints"), weights_only=True)["epoch"] == 1
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]
    run("pretrain", *settings)
    assert (folder / "model.safetensors").read_bytes() == whole


def test_exhausted_patience_survives_a_kill(place, monkeypatch):
    """The kill comes between the decision to stop and the end of the training."""
    settings = ["val_images=0", "patience=1", "optimizer.lr=0", "trainer.max_epochs=9"]
    folder, whole = whole_run(place, *settings)

    def killed(self, trainer, *arguments):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(MetricsCSV, "on_train_end", killed)
        with pytest.raises(RuntimeError, match="power cut"):
            run("pretrain", *settings, "overwrite=true")
    steps = cut_at(monkeypatch, PixelClassificationTask, 99, 0)
    run("pretrain", *settings)
    assert not steps
    assert (folder / "model.safetensors").read_bytes() == whole
