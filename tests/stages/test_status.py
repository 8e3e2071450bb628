"""Stage status: the table of hand-made runs, stores and sweeps, and the commands that continue them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock
from helpers.paths import ROOT
from helpers.small_runs import config, only

from hypercolumns.runs import inventory
from hypercolumns.runs.run import Run
from hypercolumns.stages import run_stage

PRETRAIN = "runs/shapes/rgb/pretrain"
COMMAND = "python train.py stage=pretrain seed=1 data=shapes"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def make_run(folder, finished=None, miou=None, command=COMMAND, **settings):
    fingerprint = {"trainer": {"max_epochs": 10}, **settings}
    write(folder / "run.json", {"fingerprint": fingerprint, "finished": finished})
    write(folder / "environment.json", {"command": command, "directory": os.getcwd()})
    if miou is not None:
        write(folder / "metrics.json", {"miou": miou})


@pytest.fixture
def status(run_script, place):
    """A function that runs the stage, and returns its lines with the cells of each row separated by one space."""

    def start(*arguments):
        before = {path: path.lstat().st_mtime_ns for path in place.rglob("*")}
        result = run_script("train.py", "stage=status", *arguments, cwd=place)
        assert (result.returncode, result.stderr) == (0, "")
        assert {path: path.lstat().st_mtime_ns for path in place.rglob("*")} == before  # nothing is written
        return [" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()]

    return start


def row(lines, name):
    (line,) = (line for line in lines if line.startswith(name))
    return line


def test_missing_and_empty_folders_say_so(status, place):
    assert status() == ["runs does not exist, so no stage has written to it; runs=FOLDER names another one"]
    (place / "runs" / "shapes" / "rgb" / "train").mkdir(parents=True)
    write(place / "runs" / "notes.txt", "mine")
    write(place / "runs" / "shapes" / "rgb" / "train" / "mine" / "notes.txt", "mine")
    assert status() == ["runs holds no run, no store and no sweep"]


def test_runs_that_is_a_file_is_refused(run_script, place):
    write(place / "runs", "")
    result = run_script("train.py", "stage=status", cwd=place)
    assert (result.returncode, result.stderr) == (
        2,
        "error: runs=runs is a file; give the folder that the stages wrote to\n",
    )


def test_runs_have_a_state_and_differences(status, place):
    folder = place / PRETRAIN
    make_run(folder / "a", "2026-05-04T12:00:00+00:00", miou=0.51234, seed=0, sampler={"n": 5})
    make_run(folder / "b", seed=1, sampler={"n": 5})
    write(folder / "b" / "checkpoints" / "last.ckpt", "x" * 2000)
    write(folder / "b" / "metrics.csv", "epoch,step\n0,5\n1,10\n2,15\n")
    make_run(folder / "c", seed=2, sampler={"n": 6}, command="python train.py 'x y'")
    write(folder / "d" / "run.json", "{")
    make_run(folder / "e", seed=0)
    write(folder / "e" / "model.safetensors", "")
    (folder / "latest").symlink_to("a", target_is_directory=True)
    lines = status()
    finished = row(lines, "a ")
    assert "a finished 2026-05-04" in finished
    assert " 0.512 " in finished
    assert finished.endswith(" bytes seed=0 sampler.n=5")
    assert row(lines, "b ").startswith("b epoch 3 of 10 ")
    assert row(lines, "b ").endswith(" 2.3 kB seed=1 sampler.n=5")  # 1 kB is 1000 bytes
    assert row(lines, "c ").startswith("c no epoch yet ")
    assert row(lines, "d ").startswith("d damaged: remove run.json, and give the command again ")
    assert row(lines, "e ").startswith("e trained, not scored ")
    assert row(lines, "e ").endswith("seed=0")
    assert not [line for line in lines if "latest" in line]
    assert row(lines, "continue shapes/rgb/pretrain/b ").endswith(f"/b {COMMAND}")
    assert row(lines, "continue shapes/rgb/pretrain/c ").endswith("/c python train.py 'x y'")
    assert row(lines, "continue shapes/rgb/pretrain/d ").endswith("/d (its command is not recorded)")


def test_size_counts_the_run_and_its_event_files(place):
    folder = place / PRETRAIN / "a"
    write(folder / "run.json", '{"fingerprint": {}, "finished": null}')
    write(folder / "checkpoints" / "last.ckpt", "x" * 1000)
    write(place / "runs/shapes/rgb/events/pretrain-a/hparams.yaml", "x" * 100)
    (folder / "link").symlink_to(place / "runs/shapes/rgb/events")
    (entry,) = inventory.entries(place / PRETRAIN)
    assert entry.bytes == 37 + 1000 + 100  # without what the link points to


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "environment.json", "metrics.csv"])
@pytest.mark.parametrize("content", ["", "[]", "null", '{"fingerprint": 3}', '{"miou": "x", "command": 4}', "\0" * 9])
def test_damaged_files_are_no_errors(place, name, content):
    make_run(place / PRETRAIN / "a", miou=0.5)
    write(place / PRETRAIN / "a" / "checkpoints" / "last.ckpt", "")
    write(place / PRETRAIN / "a" / name, content)
    (entry,) = inventory.entries(place / PRETRAIN)
    assert not entry.finished
    assert entry.miou == (None if name in ("run.json", "metrics.json") else 0.5)
    damaged = name == "run.json"
    assert entry.state.startswith("damaged: ") if damaged else entry.state == "epoch 0 of 10"


def test_locked_run_is_running_now(status, place):
    make_run(place / PRETRAIN / "a")
    lock = FileLock(place / PRETRAIN / ".a.lock")
    with lock:
        lines = status()
    assert row(lines, "a ").startswith("a no epoch yet, running now ")
    assert row(lines, "running shapes/rgb/pretrain/a ")
    assert row(status(), "continue shapes/rgb/pretrain/a ")


def test_command_of_another_folder_goes_there(status, place):
    make_run(place / PRETRAIN / "a")
    write(place / PRETRAIN / "a" / "environment.json", {"command": COMMAND, "directory": "/my work"})
    assert row(status(), "continue ").endswith(f"cd '/my work' && {COMMAND}")


def test_stores_count_their_shards(status, place):
    folder = place / "runs/shapes/rgb/samples"
    for name, seed in (("a", 0), ("b", 1)):
        write(folder / name / "fingerprint.json", {"seed": seed})
        write(folder / name / "environment.json", {"command": "python train.py stage=extract", "shards": 3})
        write(folder / name / "train-00000.json", {})
    write(folder / "a" / "index.json", {})
    lines = status()
    assert row(lines, "a ").startswith("a finished ")
    assert row(lines, "b ").startswith("b 1 of 3 shards ")
    assert row(lines, "b ").endswith(" seed=1")
    assert row(lines, "continue ").endswith("samples/b python train.py stage=extract")


def test_sweeps_count_their_jobs(status, place):
    folder = place / "runs" / "sweeps" / "a"
    command = {"command": "python train.py -m seed=0,1,2,3", "directory": os.getcwd()}
    write(folder / "sweep.json", {"sweep": {"values": ["seed=0,1,2,3"]}, "jobs": 4, **command})
    for number, state in enumerate(["done", "failed", "pruned"]):
        write(folder / "jobs" / f"{number}.json", {"status": state, "miou": 0.25 if state == "done" else None})
    lines = status()
    assert row(lines, "a ").startswith("a 3 of 4 jobs, 1 done, 1 failed, 1 pruned ")
    assert row(lines, "continue ") == "continue sweeps/a python train.py -m seed=0,1,2,3"
    for number in (1, 3):
        write(folder / "jobs" / f"{number}.json", {"status": "done", "miou": 0.75})
    lines = status()
    assert row(lines, "a ").startswith("a 4 of 4 jobs, 3 done, 1 pruned ")
    assert " 0.750 " in row(lines, "a ")
    assert not [line for line in lines if line.startswith("continue")]


@pytest.mark.parametrize(("jobs", "names"), [(2, "a job of the sweep a"), (1, "from the finished sweep a")])
def test_interrupted_job_names_its_sweep(status, place, jobs, names):
    sweep, run = place / "runs/sweeps/a", place / PRETRAIN / "x"
    record = {"sweep": {"values": []}, "jobs": jobs, "command": "python train.py -m seed=0,1", "directory": os.getcwd()}
    write(sweep / "sweep.json", record)
    write(sweep / "jobs/0.json", {"status": "pruned"})
    make_run(run)
    write(run / "environment.json", {"command": COMMAND, "directory": os.getcwd(), "sweep": str(sweep)})
    command = record["command"] if jobs == 2 else COMMAND
    assert row(status(), "continue shapes/").endswith(f"/x ({names}) {command}")
    (sweep / "sweep.json").unlink()
    assert row(status(), "continue shapes/").endswith(f"/x {COMMAND}")


def test_listing_imports_no_torch(place):
    make_run(place / PRETRAIN / "a")
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], 'stage=status']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(ROOT / "train.py")]
    result = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_real_runs_and_stores_are_read(pretrained, place):
    run = Run(only(place, "runs/shapes/rgb/pretrain/*"))
    (entry,) = inventory.entries(place / PRETRAIN)
    assert (entry.finished, entry.miou, entry.folder) == (True, run.miou, run.folder)
    assert inventory.events_of(run.folder) == run.events
    assert entry.origin["command"].startswith("python train.py")
    (store,) = inventory.entries(place / "runs/shapes/rgb/samples")
    shards = len(list(store.folder.glob("*.safetensors")))
    assert json.loads((store.folder / "environment.json").read_text())["shards"] == shards == 3
    (store.folder / "index.json").unlink()
    assert inventory.entries(store.folder.parent)[0].state == "3 of 3 shards"
    assert run_stage(config("train", "stage=status")) is None


@pytest.mark.slow(seconds=20)
def test_killed_training_continues_by_command(place):
    settings = "stage=pretrain data=shapes data.train_images=6 data.val_images=2 cnn=rgb num_workers=0".split()
    command = [sys.executable, str(ROOT / "train.py"), *settings, "trainer.max_epochs=60", "classifier.hidden=4"]
    subprocess.run([*command[:2], "stage=extract", *settings[1:]], cwd=place, capture_output=True, check=True)
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL)
    while not list(place.glob(f"{PRETRAIN}/*/checkpoints/previous.ckpt")):
        assert process.poll() is None
        time.sleep(0.02)
    (entry,) = inventory.entries(place / PRETRAIN)
    assert entry.running
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (entry,) = inventory.entries(place / PRETRAIN)
    epoch = int(entry.state.removeprefix("epoch ").removesuffix(" of 60"))
    assert 2 <= epoch < 60
    assert not entry.running
    again = entry.origin["command"].replace("python train.py", f"{sys.executable} {ROOT / 'train.py'}")
    output = subprocess.run(again, shell=True, cwd=place, capture_output=True, text=True, check=True).stdout
    assert "epoch 1/60" not in output
    assert inventory.entries(place / PRETRAIN)[0].state == "finished"
