"""Each choice of loggers, in the stages on a tiny data set."""

import csv

import pytest
import yaml
from helpers import fake_loggers
from helpers.small_runs import only, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hypercolumns import HypercolumnsError
from hypercolumns.callbacks import PredictionPanels
from hypercolumns.settings import loggers
from hypercolumns.settings.loggers import PACKAGES
from hypercolumns.tasks import PixelClassificationTask, SegmentationTask

SHORT = ["trainer.max_epochs=2", "trainer.log_every_n_steps=1"]
TRAIN = [*SHORT, "init_from=scratch", "data.train_images=10"]
FAKE = ["logger=none", "+logger.wandb._target_=helpers.fake_loggers.FakeWandbLogger"]


@pytest.fixture(autouse=True)
def calls(extracted, monkeypatch):
    fake_loggers.CALLS.clear()
    monkeypatch.setattr(loggers, "PACKAGES", {})  # the fake loggers need no package
    return fake_loggers.CALLS


def rows(place, stage):
    with only(place, f"runs/shapes/rgb/events/{stage}-*/csv/metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(place):
    return {path for path in place.rglob("*") if path.is_file()}


def test_csv_has_steps_epochs_and_final_values(extracted):
    miou = run("pretrain", *SHORT, "logger=csv")
    table = rows(extracted, "pretrain")
    steps = [row["step"] for row in table if row["train/loss"]]
    assert steps == [str(step) for step in range(len(steps))]
    assert len(steps) % 2 == 0  # two epochs
    assert len(steps) > 2
    assert [row["epoch"] for row in table if row["val/loss"]] == ["0", "1"]
    assert float(table[-1]["final/miou"]) == miou
    assert "val_sample_iou/background" in table[0]
    settings = yaml.safe_load((only(extracted, "runs/shapes/rgb/events/*/csv") / "hparams.yaml").read_text())
    assert (settings["stage"], settings["epochs"]) == ("pretrain", 2)
    assert not list(extracted.rglob("events.out*"))


def test_no_logger_writes_only_the_run(extracted):
    before = files_of(extracted)
    assert run("pretrain", *SHORT, "logger=none", "+callbacks.time._target_=pytorch_lightning.callbacks.Timer") > 0
    folder = only(extracted, "runs/shapes/rgb/pretrain/*")
    assert {folder} <= {parent for path in files_of(extracted) - before for parent in path.parents}
    assert not (extracted / "runs/shapes/rgb/events").exists()


def test_two_loggers_get_the_same(extracted):
    miou = run("train", *TRAIN, "logger=[tensorboard,csv]")
    events = EventAccumulator(str(only(extracted, "runs/shapes/rgb/events/train-*"))).Reload()
    assert events.Scalars("final/miou")[-1].value == pytest.approx(miou)
    assert float(rows(extracted, "train")[-1]["final/miou"]) == miou
    assert "final_images/panels" in events.Tags()["images"]


@pytest.mark.parametrize(("stage", "task"), [("pretrain", PixelClassificationTask), ("train", SegmentationTask)])
def test_resumed_training_continues_each_run(extracted, monkeypatch, calls, stage, task):
    step, cuts = task.training_step, []

    def cut_step(self, batch, batch_idx):
        if self.current_epoch == 1 and not cuts:
            cuts.append(batch_idx)
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(task, "training_step", cut_step)
    settings = [*(TRAIN if stage == "train" else SHORT), *FAKE, "logger=[csv]"]
    settings.remove("logger=none")
    with pytest.raises(RuntimeError, match="power cut"):
        run(stage, *settings)
    run(stage, *settings)
    folder = only(extracted, f"runs/shapes/rgb/events/{stage}-*")
    assert [call for call in calls if call[0] == "wandb"] == [
        ("wandb", folder.name, id, str(folder.relative_to(extracted))) for id in (None, "new id")
    ]
    assert [call for call in calls if call[0] == "finish"] == [("finish", 1), ("finish", 0)]
    assert [row["epoch"] for row in rows(extracted, stage) if row["val/loss"]] == ["0", "1"]
    run(stage, *settings, "overwrite=true")
    assert [call[2] for call in calls if call[0] == "wandb"] == [None, "new id", None]


def test_pictures_go_where_the_logger_takes_them(extracted, calls):
    panels = "+callbacks.panels._target_=hypercolumns.callbacks.PredictionPanels"
    assert PredictionPanels().fixed == 4
    run("train", *TRAIN, *FAKE, panels, "+callbacks.panels.fixed=1", "+callbacks.panels.worst=0")
    pictures = [(call[1], call[3]) for call in calls if call[0] == "image"]
    steps = sorted({step for _, step in pictures} - {0})
    assert pictures == [
        *[(f"val_images/{name}", step) for step in steps for name in ("confusion", "fixed_1")],
        ("final_images/confusion", 0),
        ("final_images/panels", 0),
    ]
    assert len(steps) == 2


def test_evaluate_logs_its_scores(pretrained, calls):
    model = "model=runs/shapes/rgb/pretrain/latest/model.safetensors"
    miou = run("evaluate", model, *FAKE)
    assert [call[1]["final/miou"] for call in calls if call[0] == "metrics"] == [miou]
    columns = next(call[1] for call in calls if call[0] == "hyperparameters")
    assert (columns["stage"], columns["split"]) == ("evaluate", "val")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["logger=wandb"], r"^logger=wandb needs wandb; install it with: uv sync --extra wandb, or pip install '\.\["),
        (["logger=[csv,mlflow]"], r"^logger=mlflow needs mlflow; install it with: uv sync --extra mlflow"),
        (["+logger.csv=3", "logger=none"], r"^logger\.csv=3 must be a group of settings with the class of the logger"),
        (
            ["+logger.mine._target_=nowhere.Logger"],
            r"^logger\.mine\._target_=nowhere\.Logger can't be imported \(No module named 'nowhere'\); give the path",
        ),
        (
            ["+logger.mine._target_=torch.nn.Linear"],
            r"^logger\.mine\._target_=torch\.nn\.Linear is no logger of Lightn",
        ),
        (
            ["+logger.mine._target_=pytorch_lightning.loggers.CSVLogger", "+logger.mine.nmae=a"],
            r"^logger\.mine\.nmae is no argument of CSVLogger, which takes save_dir, name, .*; leave out logger\.mine",
        ),
    ],
)
@pytest.mark.parametrize("stage", ["pretrain", "evaluate"])
def test_wrong_logger_is_found_before_work(extracted, monkeypatch, caplog, stage, settings, message):
    monkeypatch.setattr(loggers, "PACKAGES", PACKAGES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    before = files_of(extracted)
    with pytest.raises(HypercolumnsError, match=message):
        run(stage, *settings)
    assert files_of(extracted) == before
    assert not caplog.records  # Hydra logs some of the errors, too


def test_failing_logger_is_found_before_a_step(extracted, monkeypatch):
    """It leaves no run, which stage status would list."""
    monkeypatch.setattr(PixelClassificationTask, "training_step", None)
    before = files_of(extracted)
    with pytest.raises(HypercolumnsError, match=r"^logger\.wandb: no API key configured; change the settings logger"):
        run("pretrain", *FAKE, "+logger.wandb.project=broken")
    assert files_of(extracted) == before
    with pytest.raises(HypercolumnsError, match=r"^logger\.mine: no key; change the settings logger\.mine"):
        run("pretrain", *FAKE, "+logger.mine._target_=helpers.fake_loggers.FailingLogger")


def test_stage_all_checks_later_stages_first(place, monkeypatch):
    from helpers.small_runs import config

    from hypercolumns.stages import all as stage_all

    monkeypatch.setattr(stage_all, "compose_stage", lambda stage, **_: config("train", f"stage={stage}", *BROKEN))
    monkeypatch.setattr(stage_all, "extract", None)
    with pytest.raises(HypercolumnsError, match="LearningRateFinder can't be used in a training"):
        stage_all.run_all(config("train", "stage=all", *BROKEN))


BROKEN = ["data=shapes", "+callbacks.mine._target_=pytorch_lightning.callbacks.LearningRateFinder"]
