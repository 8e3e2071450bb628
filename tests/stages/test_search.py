"""Searches with Optuna, started as from the command line in this process."""

import csv
import gc
import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from helpers.paths import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pytorch_lightning import LightningModule, Trainer
from torch import nn, zeros
from torch.optim import SGD

from hypercolumns.callbacks.pruning import PrunedError, SearchPruning, search_trial
from hypercolumns.errors import HypercolumnsError
from hypercolumns.sweeps import search as search_module
from hypercolumns.sweeps.search import distributions, examples

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
TINY = (
    "data=shapes data.train_images=6 data.val_images=2 cnn=rgb trainer.max_epochs=4 trainer.accelerator=cpu "
    "bootstrap_samples=0 sampler.n=30 num_workers=0 classifier.hidden=4 stage=pretrain"
).split()

HOLD = (
    "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); "
    "lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


def parse(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


class Stage:
    """A stand-in for a stage that records the settings of its jobs and gives each job a mIoU without training.

    Tests set `then` to a function of the job's config, which each job calls before it ends.
    """

    def __init__(self):
        self.seen, self.then = [], lambda cfg: None

    def __call__(self, cfg):
        self.seen.append((cfg.optimizer.lr, cfg.classifier.hidden))
        self.then(cfg)
        return FinishedRun(1 / cfg.optimizer.lr)


class FinishedRun:
    def __init__(self, miou):
        self.miou = miou


@pytest.fixture
def stage(monkeypatch):
    """The stand-in for stage pretrain: with it a search of many jobs takes a second."""
    stage = Stage()
    monkeypatch.setattr("hypercolumns.stages.stage_function", {"pretrain": stage}.get)
    monkeypatch.setattr("hypercolumns.sweeps.jobs.job_metrics", lambda run: {"miou": run.miou} if run else {})
    return stage


@pytest.fixture
def search(run_script, tmp_path):
    def start(trials, *arguments):
        settings = [f"search.trials={trials}", LR, "classifier.hidden=4,8", *arguments]
        return run_script(
            "train.py", "-m", *TINY, "~callbacks.prediction_panels", "search=optuna", *settings, cwd=tmp_path
        )

    return start


def only(place):
    (found,) = place.glob("runs/sweeps/[!.]*")
    return found


def study(place):
    folder = only(place)
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")


def statuses(place):
    with (only(place) / "table.csv").open(newline="") as file:
        return [row["status"] for row in csv.DictReader(file)]


def test_sweep_overrides_become_distributions():
    space = distributions(
        parse(
            "seed=1",
            "cnn=sqn,vgg",
            "classifier.hidden=int(tag(log,interval(4,64)))",
            "batch_size=int(interval(1,9))",
            "optimizer.lr=tag(log,interval(1e-4,1e-2))",
            "+optimizer.weight_decay=interval(0,1)",
            "patience=range(1,8,3)",
            "augment.flip=range(0.0,0.5,0.25)",
            "classifier=choice(mlp,grid)",
        )
    )
    assert space == {
        "cnn": CategoricalDistribution(["sqn", "vgg"]),
        "classifier.hidden": IntDistribution(4, 64, log=True),
        "batch_size": IntDistribution(1, 9),
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "+optimizer.weight_decay": FloatDistribution(0, 1),
        "patience": IntDistribution(1, 7, step=3),
        "augment.flip": FloatDistribution(0, 0.25, step=0.25),
        "classifier": CategoricalDistribution(["mlp", "grid"]),
    }


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=1", "search=optuna needs at least one setting with several values to choose from, for example"),
        ("optimizer.lr=tag(log,interval(0,1))", r"optimizer.lr=tag\(log,interval\(0,1\)\): Optuna can't choose from"),
        ("optimizer.lr=interval(2,1)", r"optimizer.lr=interval\(2,1\): Optuna can't choose from"),
        ("seed=range(5,5)", r"seed=range\(5,5\): Optuna can't choose from .* \(the range is empty\)"),
        (
            "seed=tag(log,range(1,9))",
            r"choose from these values \(tag\(log, ...\) works only with interval\(...\), not with range\(...\)\)",
        ),
    ],
)
def test_overrides_without_a_choice_are_refused(override, line):
    with pytest.raises(HypercolumnsError, match=line):
        distributions(parse(override))


def test_examples_cover_each_value_and_each_end():
    assert examples(parse("a=x,y", "b=1", "c=interval(0,1)")) == [
        ["b=1", "a=x", "c=0.0"],
        ["b=1", "a=y", "c=0.0"],
        ["b=1", "a=x", "c=0.0"],
        ["b=1", "a=x", "c=1.0"],
    ]


@pytest.mark.slow
def test_longer_search_continues_a_shorter_one(search, stage, tmp_path, monkeypatch):
    guided = "+search.sampler.n_startup_trials=3"  # the results of these guide the later trials
    assert search(2, guided).returncode == 0
    assert search(2, guided).returncode == 0
    assert len(stage.seen) == 2
    assert search(5, guided).returncode == 0
    assert len(stage.seen) == len(set(stage.seen)) == 5
    assert [trial.state for trial in study(tmp_path).trials] == [TrialState.COMPLETE] * 5
    assert study(tmp_path).best_params["optimizer.lr"] == min(lr for lr, _ in stage.seen)
    assert all(1e-4 <= lr <= 1e-1 and hidden in (4, 8) for lr, hidden in stage.seen)
    in_parts, stage.seen = stage.seen, []
    assert search(5, guided, "runs=others").returncode == 0
    assert stage.seen == in_parts
    assert statuses(tmp_path) == ["done"] * 5


@pytest.mark.slow
def test_failed_trial_counts_and_is_listed(search, stage, tmp_path):
    def fail(cfg):
        if len(stage.seen) == 2:
            raise HypercolumnsError("too bold")

    stage.then = fail
    result = search(3)
    assert result.returncode == 1
    assert "job 1 failed: too bold" in result.stderr
    assert statuses(tmp_path) == ["done"] * 2 + ["failed"]
    assert search(3).returncode == 1
    assert len(stage.seen) == 3


@pytest.mark.slow(seconds=80)
def test_interrupted_trial_is_tried_again(search, stage, tmp_path):
    def interrupt(cfg):
        if len(stage.seen) == 3:
            raise KeyboardInterrupt

    stage.then = interrupt
    result = search(4)
    assert result.returncode == 130
    assert "the same command resumes from here" in result.stderr
    assert [trial.state for trial in study(tmp_path).trials][2] == TrialState.RUNNING
    result = search(4)
    assert result.returncode == 0
    assert "job 2 was interrupted; its settings are tried again" in result.stdout
    assert stage.seen[3] == stage.seen[2]
    assert len(stage.seen) == 5
    assert statuses(tmp_path) == ["done"] * 4
    states = [trial.state for trial in study(tmp_path).trials]
    assert states == [*[TrialState.COMPLETE] * 2, TrialState.FAIL, *[TrialState.COMPLETE] * 2]


@pytest.mark.slow
def test_trial_killed_after_its_end_is_not_rerun(search, stage, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("hypercolumns.sweeps.search.Trials.end", lambda *_: sys.exit(9))
        assert search(2).returncode == 9
    assert search(2).returncode == 0
    assert len(stage.seen) == 2
    assert [trial.state for trial in study(tmp_path).trials] == [TrialState.COMPLETE] * 2


@pytest.mark.slow
def test_trial_of_another_process_is_left_alone(search, stage, tmp_path, monkeypatch):
    stage.then = lambda cfg: sys.exit(9)
    assert search(2).returncode == 9
    stage.then = lambda cfg: None
    gc.collect()  # frees the trial's lock
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(only(tmp_path) / "0.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    waits = []

    def wait(seconds):  # the first wait ends the other process
        waits.append(seconds)
        other.communicate()

    monkeypatch.setattr("hypercolumns.sweeps.search.time.sleep", wait)
    assert search(2).returncode == 0
    assert len(waits) == 1
    assert stage.seen[0] == stage.seen[2] != stage.seen[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["hydra/launcher=joblib"], "error: search=optuna runs its jobs one at a time, so hydra/launcher can't"),
        (["search.trials=0"], "error: search.trials=0 must be a whole number of at least 1"),
        (
            ["overwrite=true"],
            "error: overwrite=true can't be combined with search=optuna; to start a new",
        ),
        (["search.storage=nothing://x"], "error: search.storage=nothing://x can't be used"),
        (["search.sampler.colour=red"], "error: search.sampler.colour is not a setting"),
        (["cnn=rgb,nothing"], "error: cnn=nothing is not known; choose one of"),
        (
            ["trainer.devices=2"],
            "error: -m runs each job in one process, but trainer.devices=2 asks for 2 processes; give trainer",
        ),
    ],
)
def test_wrong_search_settings_are_refused(search, arguments, line):
    result = search(2, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert "without -m" not in result.stderr


def test_missing_optuna_names_install_command(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = search(2)
    assert result.returncode == 2
    assert result.stderr == (
        "error: search=optuna needs optuna; install it with: uv sync --extra search, or pip install '.[search]'\n"
    )


def test_values_that_conflict_fail_only_their_job(search, stage, tmp_path, monkeypatch):
    """Before the first job Hydra composes each value with the first values of the other settings only."""

    def refuse(launch):
        def launch_or_refuse(job, number):
            if stage.seen and "classifier.hidden=8" in job:
                raise HydraException("8 does not go\nwith that")
            return launch(job, number)

        return launch_or_refuse

    real = search_module.search
    monkeypatch.setattr(search_module, "search", lambda cfg, given, launch: real(cfg, given, refuse(launch)))
    assert search(4).returncode == 1
    assert 0 < len(stage.seen) < 4
    assert statuses(tmp_path) == ["done"] * len(stage.seen) + ["failed"] * (4 - len(stage.seen))
    assert "8 does not go with that" in (only(tmp_path) / "table.csv").read_text()


def test_job_without_a_record_ends_the_search(search, stage, monkeypatch):
    monkeypatch.setattr("hypercolumns.sweeps.jobs.JobRecord.write", lambda *_: None)
    result = search(2)
    assert result.returncode == 2
    assert "error: job 0 left no record in " in result.stderr
    assert len(stage.seen) == 1


@pytest.mark.slow
def test_job_without_a_miou_ends_the_search(search, stage, monkeypatch):
    monkeypatch.setattr("hypercolumns.sweeps.jobs.job_metrics", lambda run: {})
    result = search(3)
    assert result.returncode == 2
    assert "a search needs the mIoU of its jobs" in result.stderr
    assert len(stage.seen) == 1


class Falling(LightningModule):
    """A module with a val/miou of 1, 1/2, 1/3, ..."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(zeros(1))

    def training_step(self, batch):
        return self.weight.sum()

    def validation_step(self, batch):
        self.log("val/miou", 1 / (self.current_epoch + 1), batch_size=1)

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)


def fit(folder, stage="train", minimise=False):
    settings = {"enable_model_summary": False, "enable_progress_bar": False, "logger": False}
    settings |= {"enable_checkpointing": False}
    trainer = Trainer(max_epochs=4, accelerator="cpu", num_sanity_val_steps=0, default_root_dir=folder, **settings)
    trainer.callbacks.append(SearchPruning(stage, "val/miou", minimise))
    trainer.fit(Falling(), [0], [0])
    return trainer


@pytest.mark.filterwarnings("ignore:.*(does not have many workers|LeafSpec)")
def test_pruning_reports_metric_of_each_epoch(tmp_path):
    reports = []

    def judge(epoch, figure):
        reports.append((epoch, figure))
        return figure < 0.4

    with (
        search_trial("train", judge),
        pytest.raises(PrunedError, match=r"stopped by the search after epoch 3 with val/miou 0\.333$"),
    ):
        fit(tmp_path)
    assert reports == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    reports.clear()
    with (
        search_trial("train", judge),
        pytest.raises(PrunedError, match=r"stopped by the search after epoch 1 with val/miou 1\.000$"),
    ):
        fit(tmp_path, minimise=True)
    assert reports == [(0, -1.0)]
    reports.clear()
    with search_trial("train", judge):
        fit(tmp_path, stage="pretrain")
    fit(tmp_path)
    assert reports == []


@pytest.mark.slow
def test_pruned_run_keeps_its_checkpoints(search, tmp_path):
    """The pruner stops every run below its threshold; the samples are extracted once, and the checkpoints stay."""
    threshold = "_target_=optuna.pruners.ThresholdPruner", "n_warmup_steps=0"
    settings = [*(f"search.pruner.{setting}" for setting in threshold), "+search.pruner.lower=0.999"]
    result = search(2, "~search.pruner.n_startup_trials", *settings)
    assert result.returncode == 0, result.stderr
    assert statuses(tmp_path) == ["pruned"] * 2
    records = [json.loads(path.read_text()) for path in (only(tmp_path) / "jobs").iterdir()]
    assert all(
        record["reason"].startswith("stopped by the search after epoch 1 with val/sample_miou 0.") for record in records
    )
    assert [trial.state for trial in study(tmp_path).trials] == [TrialState.PRUNED] * 2
    assert len(list(tmp_path.glob("runs/shapes/rgb/samples/*/index.json"))) == 1
    assert len(list(tmp_path.glob("runs/shapes/rgb/pretrain/*/checkpoints/last.ckpt"))) == 2


@pytest.mark.slow(seconds=50)
def test_killed_search_resumes_from_checkpoint(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, "trainer.max_epochs=40", "search=optuna", LR]
    command += ["search.trials=3", "search.pruner=null"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    # [!l] leaves out the link `latest`
    while len(list(tmp_path.glob("runs/shapes/rgb/pretrain/[!l]*/checkpoints/last.ckpt"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    models = tmp_path.glob("runs/shapes/rgb/pretrain/[!l]*/model.safetensors")
    done = {path: path.stat().st_mtime_ns for path in models}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "job 1 was interrupted" in result.stdout
    assert statuses(tmp_path) == ["done"] * 3
    assert result.stdout.count("epoch 1/40") == 1
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
