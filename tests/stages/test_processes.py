"""Several processes give the results of one process."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.small_runs import RGB, config, run
from lightning_utilities.core.rank_zero import rank_zero_only

from hypercolumns import HypercolumnsError
from hypercolumns.runtime import distributed, processes
from hypercolumns.settings.machine import machine
from hypercolumns.settings.schema import taken
from hypercolumns.settings.training import announce_batches, loss

SETTINGS = [setting for setting in RGB if "_images" not in setting]
SETTINGS += ["data.train_images=7", "data.val_images=7", "sampler.n=7", "trainer.max_epochs=2"]
STAGES = ("extract", "pretrain", "train")
ONE = [sys.executable, str(ROOT / "train.py")]
WAYS = {
    "two": (ONE, ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]),
    "torchrun": (
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *ONE[1:]],
        ["trainer=ddp", "trainer.accelerator=cpu"],
    ),
}


def command(way, stage, *settings):
    start, trainer = WAYS[way]
    named = [text for text in taken(stage, SETTINGS) if stage != "train" or not text.startswith("sampler")]
    return [*start, f"stage={stage}", *named, *trainer, f"runs={way}", *settings]


def history(run_folder):
    with (run_folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in ("val/loss", "train/epoch_loss")}


@pytest.mark.slow(seconds=75)
def test_two_processes_give_the_results_of_one(tmp_path, monkeypatch):
    """Two processes share odd numbers of samples and images; a batch that is too small is refused."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    settings = ["batch_size=6", "class_weights=batch"]  # 7 images: one process has none of the second batch
    for stage in STAGES:
        run(stage, "runs=one", *taken(stage, settings), base=SETTINGS)
    for way in WAYS:
        done = subprocess.run(command(way, "all", *settings), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        assert done.stdout.count("2 processes share batches of 6") == 2
    folders = {way: tmp_path / way / "shapes/rgb" for way in ("one", *WAYS)}
    for other in WAYS:
        for name in ("train-00000.safetensors", "val-00000.safetensors"):
            ours, theirs = (next(folders[way].glob(f"samples/*/{name}")).read_bytes() for way in ("one", other))
            assert ours == theirs
        for stage in ("pretrain", "train"):
            ours, theirs = (folders[way] / stage / "latest" for way in ("one", other))
            with np.load(ours / "images.npz") as counts, np.load(theirs / "images.npz") as others:
                assert counts["all_pixels"].sum() > 0
                assert all(np.array_equal(counts[name], others[name]) for name in counts.files)
            fingerprints = [json.loads((path / "run.json").read_text())["fingerprint"] for path in (ours, theirs)]
            assert fingerprints[0].keys() == fingerprints[1].keys()
            assert fingerprints[0]["trainer"] == fingerprints[1]["trainer"]
            curves, other_curves = history(ours), history(theirs)
            for name, values in curves.items():
                assert values == pytest.approx(other_curves[name], rel=1e-5)
    done = subprocess.run(command("two", "train", "batch_size=1"), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: batch_size=1 is too small: 2 processes share each batch, ")


@pytest.mark.slow(seconds=75)
def test_two_processes_resume_after_one_signal(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    settings = ["batch_size=64", "classifier.dropout=0.5", "trainer.max_epochs=30", "val_images=0"]
    run("extract", "runs=two", base=SETTINGS)
    (tmp_path / "log").touch()

    def start(*more):
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(command("two", "pretrain", *settings, *more), stdout=log, stderr=log)

    assert start().wait() == 0
    model = (tmp_path / "two/shapes/rgb/pretrain/latest").resolve() / "model.safetensors"
    whole = model.read_bytes()
    stopped = start("overwrite=true")
    while not (model.parent / "checkpoints/last.ckpt").is_file() or model.is_file():
        assert stopped.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait() == 128 + signal.SIGTERM
    assert not model.is_file()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert start().wait() == 0
    assert model.read_bytes() == whole


STOPPED_TOGETHER = """
import atexit, signal, time
from hypercolumns.cli import app
from hypercolumns.runtime import distributed

def main():
    distributed.launch(distributed.Machine("cpu", 2, strategy="ddp"))
    if distributed.is_rank_zero():
        atexit.register(time.sleep, 7)  # Lightning looks at the child process every 5 seconds
    raise KeyboardInterrupt(signal.SIGTERM)

if __name__ == "__main__":
    app.run(main)
"""


@pytest.mark.slow(seconds=20)
def test_exit_code_is_kept_if_a_child_ends_first(tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED_TOGETHER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr[-3000:]


def test_cluster_variables_set_devices_and_nodes(monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    alone = config("train", "trainer=ddp").trainer
    assert (alone.devices, alone.num_nodes) == ("auto", 1)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    slurm = config("train", "trainer=ddp").trainer
    assert (slurm.devices, slurm.num_nodes) == (8, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    torchrun = config("train", "trainer=ddp").trainer
    assert (torchrun.devices, torchrun.num_nodes) == (4, 3)


def test_torchrun_without_ddp_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    with pytest.raises(HypercolumnsError, match=r"torchrun started 4 processes, but trainer\.devices=1 .* trainer=ddp"):
        distributed.launch(machine(config("train", "trainer.accelerator=cpu")))


def test_single_process_ignores_the_cluster_rank(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    distributed.launch(machine(config("train", "trainer.accelerator=cpu")))
    assert distributed.is_rank_zero()
    assert not distributed.is_distributed()
    assert rank_zero_only.rank == 0


def test_child_processes_end_with_their_parent(monkeypatch):
    monkeypatch.setattr(processes, "EXIT_TIMEOUT", 0.1)
    started = [subprocess.Popen(["sleep", "60"]), subprocess.Popen(["true"])]
    processes.end_processes(started)
    assert [process.wait() for process in started] == [-signal.SIGKILL, 0]


def test_batch_smaller_than_world_size_is_refused(monkeypatch):
    cfg = config("train", "stage=pretrain", "batch_size=3", "trainer=ddp", "trainer.accelerator=cpu")
    with pytest.raises(HypercolumnsError, match="batch_size=3 is too small: 4 processes share each batch, "):
        announce_batches(cfg, type("Trainer", (), {"world_size": 4, "accumulate_grad_batches": 1})())


@pytest.mark.parametrize("kind", ["ohem", "cross_entropy_lovasz"])
def test_loss_that_is_no_sum_is_refused_with_ddp(monkeypatch, kind):
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    cfg = config("train", "stage=train", f"loss={kind}")
    with pytest.raises(HypercolumnsError, match=r"loss=\w+ is not a sum over pixels, .* use trainer\.devices=1"):
        loss(cfg, lambda: torch.ones(3))
    assert loss(config("train", "stage=train"), lambda: torch.ones(3)).supports_ddp


def test_devices_do_not_make_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(distributed, "launch", lambda cfg: None)
    run("extract")
    run("pretrain", "val_images=0")
    run("pretrain", "val_images=0", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1")
    assert len([path for path in (tmp_path / "runs/shapes/rgb/pretrain").iterdir() if not path.is_symlink()]) == 1


def test_half_precision_nearly_keeps_the_miou(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HypercolumnsError, match=r"trainer\.precision=16-mixed is for GPUs; on a CPU use bf16-mixed or"):
        run("extract", "trainer.precision=16-mixed")
    short = ["data.train_images=12", "trainer.max_epochs=1"]
    run("extract", *taken("extract", short))
    for stage in ("pretrain", "train"):
        assert run(stage, *short, "trainer.precision=bf16-mixed") == pytest.approx(run(stage, *short), abs=0.03)


def test_bf16_on_a_gpu_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(HypercolumnsError, match=r"trainer\.precision=bf16-mixed: this GPU does not support bf16; use"):
        distributed.check_precision("bf16-mixed", torch.device("cuda"))


def test_torchrun_world_size_must_match_devices(monkeypatch):
    by_torchrun = {"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in by_torchrun.items():
        monkeypatch.setenv(name, value)
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.num_nodes=1"]
    with pytest.raises(HypercolumnsError, match=r"invalid trainer settings: .* match the world size \(3\)"):
        distributed.launch(machine(config("train", *settings)))


def test_exit_without_a_signal_keeps_its_code():
    with pytest.raises(SystemExit) as raised, distributed.interruptible(None):
        sys.exit(3)
    assert raised.value.code == 3
