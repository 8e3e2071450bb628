"""Sweeps, started as from the command line in this process."""

import csv
import io
import json
import subprocess
import sys
from threading import Thread

import pytest
from helpers.paths import ROOT
from helpers.small_runs import RGB, config
from rich.console import Console

from hypercolumns.cli.paths import move_flags
from hypercolumns.errors import MissingInputError
from hypercolumns.reports import plain_tables
from hypercolumns.runs.run import Run
from hypercolumns.settings.machine import origin
from hypercolumns.settings.schema import taken
from hypercolumns.sweeps import callback, jobs, table
from hypercolumns.sweeps.jobs import (
    DONE,
    FAILED,
    PRUNED,
    JobRecord,
    one_by_one,
    read_records,
    refuse_several_processes,
)

TINY = (
    "data=shapes data.train_images=6 data.val_images=2 cnn=rgb trainer.max_epochs=1 trainer.accelerator=cpu "
    "bootstrap_samples=20 sampler.n=30 num_workers=0 classifier.hidden=4 ~callbacks.prediction_panels"
).split()


CHOICES = (("squeezenet1_1", "0.000316"), ("resnet50", "0.001"))


@pytest.fixture
def sweep(run_script, tmp_path):
    def start(*arguments):
        stage = next((text.partition("=")[2] for text in arguments if text.startswith("stage=")), "all")
        return run_script("train.py", "-m", *taken(stage, TINY), *arguments, cwd=tmp_path)

    return start


def only(place):
    (found,) = place.glob("runs/sweeps/[!.]*")
    return found


def listed(place):
    with (only(place) / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def times_of(place, pattern):
    """Return the modification time of each matching file outside the folders `latest`."""
    return {path: path.stat().st_mtime_ns for path in place.glob(pattern) if path.parent.name != "latest"}


def test_sweep_writes_table_and_repeats_no_job(sweep, tmp_path):
    arguments = ["stage=pretrain", "classifier.hidden=4,0,8", "optimizer.lr=1e-3,0.1"]
    result = sweep(*arguments)
    assert result.returncode == 1
    rows = listed(tmp_path)
    assert [row["status"] for row in rows] == ["done"] * 4 + ["failed"] * 2
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    figures = [float(row["miou"]) for row in rows[:4]]
    assert figures == sorted(figures, reverse=True)
    for row in rows[:4]:
        metrics = json.loads((tmp_path / row["run"] / "metrics.json").read_text())
        assert float(row["miou"]) == metrics["miou"]
        assert float(row["miou_present"]) == metrics["miou_present"]
        assert [float(row["miou_low"]), float(row["miou_high"])] == metrics["intervals"]["miou"]
        config = json.loads((tmp_path / row["run"] / "run.json").read_text())["fingerprint"]
        assert config["classifier"]["hidden"] == int(row["classifier.hidden"])
        assert config["optimizer"]["lr"] == float(row["optimizer.lr"])
        assert float(row["seconds"]) > 0
    assert {row["classifier.hidden"] for row in rows[4:]} == {"0"}
    reason = "classifier.hidden=0 must be a whole number of at least 1"
    assert {row["reason"] for row in rows[4:]} == {reason}
    assert f"job 2 failed: {reason}\n" in result.stderr
    job = tmp_path / "runs/shapes/rgb/pretrain/latest/environment.json"
    assert json.loads(job.read_text())["sweep"] == str(only(tmp_path))
    assert "6 jobs" in result.stdout
    assert "tensorboard --logdir runs/shapes/rgb/events " in result.stdout
    markdown = (only(tmp_path) / "table.md").read_text().splitlines()
    assert markdown[0] == "|  | hidden | lr | mIoU | 95% interval | boundary | seconds | run |"
    assert len(markdown) == 8
    assert f"| 5 | 0 | 0.001 |  |  |  |  | failed: {reason} |" in markdown
    assert len(times_of(tmp_path, "runs/shapes/rgb/samples/*/index.json")) == 1

    work = "runs/shapes/rgb/*/*/[!ce]*.[jns]*"  # config.yaml and environment.json change with each try of a failed job
    before = times_of(tmp_path, work)
    assert len(before) > 12
    again = sweep("optimizer.lr=1e-3,0.1", *arguments[:2], "num_workers=0")
    assert again.returncode == 1
    assert "epoch 1" not in again.stdout
    assert times_of(tmp_path, work) == before
    assert sorted((row["miou"], row["seconds"]) for row in listed(tmp_path)) == sorted(
        (row["miou"], row["seconds"]) for row in rows
    )


def test_each_job_uses_its_own_samples_and_start(sweep, tmp_path):
    result = sweep("stage=train", "sampler.n=5,6", "batch_size=6", "augment.crop=32", "trainer.limit_train_batches=1")
    assert result.returncode == 0, result.stderr
    assert {row["sampler.n"] for row in listed(tmp_path)} == {"5", "6"}
    samples, starts = [
        [
            str(json.loads(path.read_text())["fingerprint"][key])
            for path in times_of(tmp_path, f"runs/*/*/{stage}/*/run.json")
        ]
        for stage, key in (("pretrain", "samples"), ("train", "start"))
    ]
    assert len(set(samples)) == len(set(starts)) == 2


@pytest.mark.slow
def test_jobs_without_sampler_share_one_store(sweep, tmp_path):
    quick = ("batch_size=6", "augment.crop=32", "trainer.limit_train_batches=1")
    assert sweep("stage=train", "optimizer.lr=0.1,0.2", *quick).returncode == 0
    for record in ("samples/*/index.json", "pretrain/*/run.json"):
        assert len(times_of(tmp_path, f"runs/shapes/rgb/{record}")) == 1
    assert len({row["run"] for row in listed(tmp_path)}) == 2


def test_bug_fails_one_job_with_a_traceback(sweep, tmp_path, monkeypatch):
    def broken(cfg):
        if cfg.seed == 1:
            raise KeyError("a bug | of\nours")
        return tmp_path

    monkeypatch.setattr("hypercolumns.stages.stage_function", {"extract": broken}.get)
    result = sweep("stage=extract", "seed=0,1,2")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert [(row["status"], row["seed"]) for row in listed(tmp_path)] == [
        ("done", "0"),
        ("done", "2"),
        ("failed", "1"),
    ]
    last = (only(tmp_path) / "table.md").read_text().splitlines()[-1]
    assert last == r"| 3 | 1 |  |  |  | failed: KeyError: 'a bug \| of\\nours' |"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stopping_a_job_stops_the_sweep(sweep, tmp_path, monkeypatch, stop):
    seen = []

    def stopped(cfg):
        seen.append(cfg.seed)
        raise stop(3)

    monkeypatch.setattr("hypercolumns.stages.stage_function", {"extract": stopped}.get)
    result = sweep("stage=extract", "seed=0,1")
    assert result.returncode == (128 + 3 if stop is KeyboardInterrupt else 3)
    assert seen == [0]
    assert not read_records(only(tmp_path))


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (80, True), (200, True), (60, False)])
def test_narrow_table_keeps_metrics_and_reasons(tmp_path, monkeypatch, width, terminal):
    screen = Console(width=width, force_terminal=terminal, color_system=None, file=io.StringIO())
    for module in (plain_tables, table):
        monkeypatch.setattr(module, "console", screen)
    overrides = [[f"cnn={cnn}", "classifier.hidden=256", f"optimizer.lr={lr}"] for cnn, lr in CHOICES]
    settings = {"interval": [0.401, 0.423], "level": 0.95, "boundary_miou": 0.317, "seconds": 12.3}
    records = [
        JobRecord(0, overrides[0], DONE, miou=0.412, folder="runs/shapes/rgb/pretrain/0123456789", **settings),
        JobRecord(1, overrides[1], FAILED, "no file of that name; give one that there is, or none at all"),
    ]
    table.show_sweep(records, tmp_path)
    text = "".join(screen.file.getvalue().split())
    for shown in ("0.412", "0.000316", "0123456789", "squeezenet1_1", "failed:nofileofthatname;giveonethatthereis"):
        assert shown in text
    assert ("0.401to0.423" in text) == (width > 60 or not terminal)
    assert ("12.3" in text) == (width > 80 or not terminal)


def test_second_process_waits_for_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cfg, order = config("train", *RGB, "stage=pretrain"), []

    def second():
        with Run.begin(tmp_path / "pretrain", {}, origin(cfg)) as run:
            order.append(run.finished is not None)

    with Run.begin(tmp_path / "pretrain", {}, origin(cfg)) as run:
        other = Thread(target=second)
        other.start()
        other.join(0.5)
        assert not order
        run.mark_finished({"miou": None})
    other.join()
    assert order == [True]
    assert "waiting for another process that works on" in capsys.readouterr().out
    assert not list((tmp_path / "pretrain").glob(".*"))


def test_several_devices_are_refused_before_jobs(sweep, tmp_path):
    result = sweep("stage=pretrain", "trainer.devices=2", "cnn=rgb,sqn", "seed=range(0,2)", "data.name='it s'")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "trainer.devices=2 asks for 2 processes; give trainer=default trainer.devices=1, " in result.stderr
    assert "or run the jobs without -m: for s1 in" in result.stderr
    assert not list(tmp_path.iterdir())


def test_several_nodes_are_refused():
    cfg = config("train", "+trainer.num_nodes=2", "trainer.accelerator=cpu")
    with pytest.raises(
        Exception, match=r"num_nodes=2 asks for 2 processes; give trainer=default .*: python train.py seed=0$"
    ):
        refuse_several_processes(cfg, ["seed=0"])


def test_search_without_m_is_refused(run_script, tmp_path):
    result = run_script("train.py", *TINY, "search=optuna", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "search=optuna needs -m" in result.stderr


def test_one_by_one_command_runs_each_job(tmp_path):
    command = one_by_one(["a=1,2", "b='x y'", "c=range(3,5)"])
    assert command.startswith("for s1 in a=1 a=2; do for s2 in c=3 c=4; do python train.py ")
    shown = command.replace("python train.py", "printf '%s;'").replace("; done; done", "; echo; done; done")
    lines = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [f"a={a};b='x y';c={c};" for a in (1, 2) for c in (3, 4)]
    assert one_by_one(["lr=interval(1,2)"]) is None


def test_flags_move_to_the_front():
    assert move_flags(["a=1"]) == ["a=1"]
    arguments = ["a=1,2", "--config-dir", "conf", "hydra.searchpath=[x]", "--multirun", "b=3", "--config-name=c"]
    assert move_flags(arguments) == [
        *("-m", "--config-dir", "conf", "--config-name=c", "hydra.searchpath=[x]"),
        *("a=1,2", "b=3"),
    ]


def test_jobs_are_ranked_with_differing_columns():
    records = [
        JobRecord(0, ["cnn=vgg", "optimizer.lr=0.00012345678", "+x.lr=1"], FAILED, "why | so"),
        JobRecord(1, ["cnn=vgg", "optimizer.lr=0.1", "+x.lr=2"], PRUNED, "given up"),
        JobRecord(2, ["cnn=vgg", "optimizer.lr=0.1", "+x.lr=1"], DONE, folder="store"),
        JobRecord(3, ["cnn=vgg", "optimizer.lr=0.2", "+x.lr=1"], DONE, miou=0.1, folder="worse"),
        JobRecord(4, ["cnn=vgg", "optimizer.lr=0.3"], DONE, miou=0.2, folder="better"),
    ]
    ranked = table.rank_jobs(records)
    assert [record.number for record in ranked] == [4, 3, 2, 1, 0]
    assert table.differing_settings(ranked)[-1] == {"optimizer.lr": "0.00012345678", "x.lr": "1"}
    header, *rows = table.table_cells(ranked)
    assert header == ["", "optimizer.lr", "x.lr", "mIoU", "boundary", "seconds", "run"]
    assert rows[0] == ["1", "0.3", "", "0.200", "", "", "better"]
    assert rows[-1] == ["5", "0.000123", "1", "", "", "", "failed: why | so"]


def test_second_mean_is_a_column_if_it_differs():
    same = JobRecord(0, ["seed=0", "search.trials=1"], DONE, miou=0.1, miou_present=0.1)
    other = JobRecord(1, ["seed=1", "search.trials=2"], DONE, miou=0.1, miou_present=0.2, boundary_miou=0.3)
    for records, column in (([same, same._replace(number=1)], []), ([same, other], ["mIoU present"])):
        header, *rows = table.table_cells(records)
        assert [name for name in header if name in ("mIoU", "mIoU present", "boundary")] == [
            "mIoU",
            *column,
            "boundary",
        ]
    assert header == ["", "seed", "mIoU", "mIoU present", "boundary", "seconds", "run"]
    assert rows[1][:5] == ["2", "1", "0.100", "0.200", "0.300"]


def test_repeated_jobs_have_a_mean(tmp_path, capsys):
    def record(number, lr, fold, miou):
        overrides = ["data=voc", f"optimizer.lr={lr}", f"data.val_group={fold}", f"seed={number % 2}"]
        return JobRecord(number, overrides, FAILED if miou is None else DONE, None if miou else "so", miou)

    records = [record(0, 0.1, "a", 0.4), record(1, 0.1, "b", 0.5), record(2, 0.1, "c", 0.6)]
    records += [record(3, 0.2, "a", 0.7), record(4, 0.2, "b", 0.6), record(5, 0.2, "c", None)]
    records += [record(6, 0.3, "a", 0.9)]  # a single job has no mean
    table.show_sweep(table.rank_jobs(records), tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[9:] == [
        "",
        "| lr | mean mIoU | deviation | jobs |",
        "| --- | --- | --- | --- |",
        "| 0.2 | 0.650 | 0.071 | 2 of 3 |",
        "| 0.1 | 0.500 | 0.100 | 3 of 3 |",
    ]
    assert "means over data.val_group and seed" in capsys.readouterr().out


def test_jobs_without_repeats_have_no_mean(tmp_path, capsys):
    records = [JobRecord(number, [f"optimizer.lr={number}"], DONE, miou=0.5) for number in range(3)]
    table.show_sweep(records, tmp_path)
    assert "mean" not in capsys.readouterr().out + (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_swept_settings_are_tensorboard_columns(sweep, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    sweep("stage=pretrain", "classifier.hidden=4,8", "optimizer.weight_decay=0.5")
    seen = []
    for events in tmp_path.glob("runs/shapes/rgb/events/*"):
        metadata = EventAccumulator(str(events)).Reload().SummaryMetadata("_hparams_/session_start_info")
        values = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info.hparams
        seen.append((values["classifier.hidden"].number_value, values["optimizer.weight_decay"].number_value))
        assert "bootstrap" not in values
    assert sorted(seen) == [(4, 0.5), (8, 0.5)]


@pytest.mark.slow
def test_joblib_runs_two_jobs_at_once(tmp_path):
    """Run the documented example of a launcher; jobs that need the same input share it."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, "stage=pretrain", "classifier.hidden=4,8,0"]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert [row["status"] for row in listed(tmp_path)] == ["done", "done", "failed"]
    assert len(times_of(tmp_path, "runs/shapes/rgb/samples/*/index.json")) == 1


def test_input_missing_after_its_stage_raises(monkeypatch):
    monkeypatch.setattr(jobs, "compose_stage", lambda stage: config("train", f"stage={stage}"))
    done = []

    def run(cfg):
        done.append(cfg.stage)
        if cfg.stage == "pretrain":
            raise MissingInputError("no samples that fit", "extract")

    with pytest.raises(MissingInputError, match="no samples that fit"):
        jobs.run_with_input(config("train", "stage=pretrain"), run)
    assert done == ["pretrain", "extract", "pretrain"]


def test_input_is_made_with_its_own_monitor(monkeypatch):
    chosen = "monitor=val/miou_present"
    monkeypatch.setattr(jobs, "compose_stage", lambda stage: config("train", f"stage={stage}", chosen))
    done = {}

    def run(cfg):
        if cfg.stage == "train" and not done:
            raise MissingInputError("no model that fits", "pretrain")
        done[cfg.stage] = cfg.monitor

    jobs.run_with_input(config("train", "stage=train", chosen), run)
    assert done == {"pretrain": "val/sample_miou", "train": "val/miou_present"}


def test_bug_in_the_table_ends_the_sweep():
    with pytest.raises(ZeroDivisionError), callback.exit_on_error():
        1 / 0  # noqa: B018
