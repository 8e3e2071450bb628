"""Stage clean: what it lists and deletes in hand-made folders, and that it lists no file of real runs."""

import json
import os
import time

import pytest
from filelock import FileLock
from helpers.small_runs import config, run

from hypercolumns.data.mask_survey import SURVEY
from hypercolumns.data.quarantine import CHECKS
from hypercolumns.io.files import short_hash
from hypercolumns.runs.leftovers import CACHES, Wanted, find_leftovers, foreign_files
from hypercolumns.runs.run import Run
from hypercolumns.settings.machine import origin

OLD, KEY = 7200, "0123456789"
GROUP = "runs/shapes/rgb"


def write(path, size=0, age=0, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * size if content is None else json.dumps(content))
    set_age(path, age)
    return path


def set_age(path, age):
    when = time.time() - age
    os.utime(path, (when, when), follow_symlinks=False)


def make_run(folder, finished=None, age=0, **settings):
    return write(folder / "run.json", age=age, content={"fingerprint": {"seed": 0, **settings}, "finished": finished})


def make_store(parent, age=0, finished=True, **settings):
    fingerprint = {"data": "d", "cnn": "c", "seed": 0, **settings}
    folder = parent / short_hash(fingerprint)
    write(folder / "fingerprint.json", age=age, content=fingerprint)
    write(folder / "train-00000.safetensors", 500, age)
    if finished:
        write(folder / "index.json", age=age, content={})
    return folder


def found(place, **wanted):
    runs = place / "runs"
    return {str(one.path.relative_to(runs)): one.bytes for one in find_leftovers(runs, Wanted(**wanted))}


def everything(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


@pytest.fixture
def clean(run_script, place):
    def start(*arguments):
        result = run_script("train.py", "stage=clean", *arguments, cwd=place)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return start


def make_leftovers(place):
    """Make one leftover of each kind that no setting is needed for. Their sizes sum to 1 + 2 + 4 + ... + 128 = 255."""
    group = place / GROUP
    make_run(group / "train" / KEY, "2026-05-04T12:00:00+00:00")
    write(group / "train" / KEY / ".metrics.json.0a1b2c3d.tmp", 1, OLD)
    write(group / "train" / KEY / "checkpoints" / "last.damaged", 2)
    write(group / "train" / KEY / "checkpoints" / "new.ckpt", 4)
    write(group / "train" / ".abcdefabcd.old" / "model.safetensors", 8)
    write(group / "events" / "train-fedcba9876" / "events.out.tfevents.1.vm.2.3", 16)
    write(group / "samples" / KEY / ".train-00000.safetensors.0a1b2c3dd.tmp" / "tensors", 32, OLD)
    write(group / "samples" / KEY / ".train-00000.lock", 0, OLD)
    write(place / "runs" / "sweeps" / "a" / "sweep.json")
    write(place / "runs" / "sweeps" / "a" / ".table.csv.0a1b2c3d.tmp", 64, OLD)
    write(place / "runs" / "sweeps" / "a" / "7.lock", 0, OLD)
    write(place / "runs" / "shapes" / "validate" / ".masks.json.0a1b2c3d.tmp", 128, OLD)


def test_leftovers_are_listed_with_their_sizes(place, clean):
    make_leftovers(place)
    before = everything(place)
    assert found(place) == {
        f"shapes/rgb/train/{KEY}/.metrics.json.0a1b2c3d.tmp": 1,
        f"shapes/rgb/train/{KEY}/checkpoints/last.damaged": 2,
        f"shapes/rgb/train/{KEY}/checkpoints/new.ckpt": 4,
        "shapes/rgb/train/.abcdefabcd.old": 8,
        "shapes/rgb/events/train-fedcba9876": 16,
        f"shapes/rgb/samples/{KEY}/.train-00000.safetensors.0a1b2c3dd.tmp": 32,
        f"shapes/rgb/samples/{KEY}/.train-00000.lock": 0,
        "sweeps/a/.table.csv.0a1b2c3d.tmp": 64,
        "sweeps/a/7.lock": 0,
        "shapes/validate/.masks.json.0a1b2c3d.tmp": 128,
    }
    assert "nothing was deleted; dry_run=false deletes these 255 bytes\n" in clean()
    assert everything(place) == before


def test_cleaning_deletes_what_was_listed(place, clean):
    make_leftovers(place)
    listed = found(place)
    kept = {f"runs/shapes/rgb/train/{KEY}/run.json", "runs/sweeps/a/sweep.json"}
    assert clean("dry_run=false").endswith("255 bytes were freed\n")
    assert {name for name in everything(place) if (place / name).is_file()} == kept
    assert not any((place / "runs" / name).exists() for name in listed)
    assert clean("dry_run=false") == "runs holds nothing that can be deleted with these settings\n"


def test_files_of_others_are_no_leftovers(place):
    """Files whose names look like those of this program, in folders that it has not made, or with contents."""
    runs = place / "runs"
    make_run(place / GROUP / "train" / KEY, "2026-05-04T12:00:00+00:00")
    write(runs / "sweeps" / "a" / "sweep.json")
    for name in ("12.lock", ".photo.7.tmp", "study.lock", f".{KEY}.lock", f".{KEY}.old/a.txt", "checkpoints/new.ckpt"):
        for folder in ("other", "other/deeper", "photos/set/train/mine", "sweeps/mine", "shapes/rgb/notes"):
            write(runs / folder / name, 0, OLD)
    for path in (f"shapes/rgb/train/.{KEY}.lock", "sweeps/a/12.lock", "sweeps/.a.lock"):
        write(runs / path, 1, OLD)
    for name in ("12.lock", ".photo.7.tmp"):
        write(runs / "shapes/rgb/train" / KEY / name, 0, OLD)
        write(runs / "shapes/validate" / name, 0, OLD)
    assert found(place) == {}
    for path in (f"shapes/rgb/train/.{KEY}.lock", "sweeps/a/12.lock", "sweeps/.a.lock"):
        write(runs / path, 0, OLD)
    assert len(found(place)) == 3


def test_young_temporary_files_stay(place):
    write(place / GROUP / "train" / KEY / ".metrics.json.0a1b2c3d.tmp", 1, age=60)
    write(place / GROUP / "train" / f".{KEY}.lock", 0, age=60)
    assert found(place) == {}


def test_what_a_command_uses_stays(place, clean):
    make_leftovers(place)
    folder = place / GROUP
    with FileLock(folder / "train" / f".{KEY}.lock"), FileLock(folder / "train" / ".abcdefabcd.lock"):
        with FileLock(folder / "samples" / KEY / ".train-00000.lock"), FileLock(place / "runs/sweeps/a/7.lock"):
            assert found(place) == {
                "shapes/rgb/events/train-fedcba9876": 16,
                "shapes/validate/.masks.json.0a1b2c3d.tmp": 128,
            }


def test_folder_locked_since_the_listing_stays(place, clean, monkeypatch):
    make_leftovers(place)
    monkeypatch.setattr("hypercolumns.runs.leftovers.is_locked", lambda lock: False)
    with FileLock(place / GROUP / "train" / ".abcdefabcd.lock"):
        output = clean("dry_run=false")
    assert "shapes/rgb/train/.abcdefabcd.old stays: a running command uses it\n" in output
    assert output.endswith("247 bytes were freed\n")
    assert (place / GROUP / "train" / ".abcdefabcd.old" / "model.safetensors").is_file()


def test_files_of_others_keep_their_folder(place, clean):
    make_leftovers(place)
    write(place / GROUP / "train" / ".abcdefabcd.old" / "thesis.txt", 3)
    write(place / GROUP / "events" / "train-fedcba9876" / "mine" / "notes.md", 3)
    output = clean("dry_run=false")
    assert "train/.abcdefabcd.old stays, because this program did not write thesis.txt: an overwritten" in output
    assert "train-fedcba9876 stays, because this program did not write mine/notes.md: event files of" in output
    assert output.endswith(f"{255 - 8 - 16} bytes were freed\n")
    assert (place / GROUP / "train" / ".abcdefabcd.old" / "model.safetensors").is_file()


def test_files_of_loggers_go_with_their_folder(place, clean):
    events = place / GROUP / "events" / "train-fedcba9876"
    for name in ("mlflow.db", "mlflow_artifacts/1/a.png", "wandb/run-1/files/x", "csv/metrics.csv", "hparams.yaml"):
        write(events / name, 3)
    (events / "wandb" / "latest-run").symlink_to("run-1")
    write(place / GROUP / "train" / ".abcdefabcd.old" / "wandb" / "x", 3)
    output = clean("dry_run=false")
    assert "did not write wandb/x" in output
    assert not events.exists()


def test_links_are_never_followed(place, clean):
    outside = place / "outside"
    make_leftovers(outside)
    for name in ("checkpoints", "notes"):
        write(outside / name / "last.damaged", 4)
    group = place / GROUP
    make_run(group / "train" / KEY, "2026-05-04T12:00:00+00:00")
    (group / "train" / KEY / "checkpoints").symlink_to(outside / "checkpoints")
    (group / "vgg").parent.mkdir(exist_ok=True)
    (group.parent / "vgg").symlink_to(outside / GROUP)
    (place / "runs" / "voc").symlink_to(outside / "runs" / "shapes")
    (group / "events").mkdir()
    (group / "events" / "train-fedcba9876").symlink_to(outside / GROUP / "events" / "train-fedcba9876")
    link = group / "train" / ".latest.12.tmp"
    link.symlink_to(outside / "notes")
    set_age(link, OLD)
    before = everything(outside)
    settings = ["clean.checkpoints=true", "clean.stores=true", "clean.caches=true", "clean.unfinished_days=0"]
    clean("dry_run=false", *settings)
    assert everything(outside) == before
    assert not link.is_symlink()
    assert (group / "train" / KEY / "checkpoints").is_symlink()


def test_link_inside_a_folder_keeps_it(place, clean):
    write(place / "outside.txt", 3)
    folder = place / GROUP / "train" / ".abcdefabcd.old"
    write(folder / "model.safetensors", 8)
    (folder / "run.json").symlink_to(place / "outside.txt")
    assert "stays, because this program did not write run.json" in clean("dry_run=false")
    assert (place / "outside.txt").is_file()
    assert (folder / "model.safetensors").is_file()


def test_checkpoints_of_finished_runs_by_choice(place, clean):
    for key, finished in (("a" * 10, "2026-05-04T12:00:00+00:00"), ("b" * 10, None)):
        folder = place / GROUP / "train" / key
        make_run(folder, finished)
        write(folder / "model.safetensors", 7)
        for name, size in (("best.ckpt", 1), ("last.ckpt", 2), ("previous.ckpt", 4), ("fitted", 0)):
            write(folder / "checkpoints" / name, size)
    assert found(place) == {}
    assert list(found(place, checkpoints=True).values()) == [1, 2, 4]
    assert clean("dry_run=false", "clean.checkpoints=true").endswith("7 bytes were freed\n")
    left = {
        path.relative_to(place / GROUP / "train").as_posix() for path in place.glob(f"{GROUP}/train/*/checkpoints/*")
    }
    names = ("best.ckpt", "fitted", "last.ckpt", "previous.ckpt")
    assert left == {f"{'a' * 10}/checkpoints/fitted", *(f"{'b' * 10}/checkpoints/{name}" for name in names)}


def test_replaced_stores_are_a_choice(place, clean):
    samples = place / GROUP / "samples"
    replaced, read = make_store(samples, age=300, seed=1), make_store(samples, age=200, seed=2)
    other, newest = make_store(samples, age=400, data="e"), make_store(samples, age=100, seed=3)
    unfinished = make_store(samples, age=500, seed=4, finished=False)
    make_run(place / GROUP / "pretrain" / KEY, samples=read.name)
    assert found(place) == {}
    assert list(found(place, stores=True)) == [f"shapes/rgb/samples/{replaced.name}"]
    clean("dry_run=false", "clean.stores=true")
    assert {path.name for path in samples.iterdir()} == {path.name for path in (read, other, newest, unfinished)}
    (place / GROUP / "pretrain" / KEY / "run.json").write_text("{")  # any store could be the one that this run reads
    make_store(samples, age=300, seed=1)
    assert found(place, stores=True) == {}


def test_idle_unfinished_work_is_a_choice(place, clean):
    days = 86400
    group = place / GROUP
    make_run(group / "train" / ("a" * 10), age=9 * days)
    make_run(group / "train" / ("b" * 10), "2026-05-04T12:00:00+00:00", age=9 * days)
    make_run(group / "train" / ("c" * 10), age=9 * days)
    write(group / "train" / ("c" * 10) / "metrics.csv", age=2 * days)
    write(group / "events" / f"train-{'a' * 10}" / "hparams.yaml", age=9 * days)
    old = make_store(group / "samples", age=9 * days, finished=False)
    make_store(group / "samples", age=9 * days, seed=1)
    for name, jobs in (("idle", 0), ("done", 1)):
        write(place / "runs" / "sweeps" / name / "sweep.json", age=9 * days, content={"sweep": {}})
        for number in range(jobs):
            write(
                place / "runs" / "sweeps" / name / "jobs" / f"{number}.json", age=9 * days, content={"status": "done"}
            )
    assert found(place) == found(place, unfinished_days=10) == {}
    listed = ["events/train-" + "a" * 10, f"samples/{old.name}", "train/" + "a" * 10]
    assert list(found(place, unfinished_days=3)) == [*(f"shapes/rgb/{name}" for name in listed), "sweeps/idle"]
    reasons = [one.reason for one in find_leftovers(place / "runs", Wanted(unfinished_days=3))]
    assert reasons[0] == f"event files of the unfinished run {'a' * 10}, unchanged for 3 days"
    assert reasons[3] == "sweep without any finished job, unchanged for 3 days"
    assert find_leftovers(place / "runs", Wanted(unfinished_days=0))[-1].reason == "sweep without any finished job"
    clean("dry_run=false", "clean.unfinished_days=3")
    assert found(place, unfinished_days=3) == {}
    assert {path.name for path in (group / "train").iterdir()} == {"b" * 10, "c" * 10}


def test_interrupted_cleaning_leaves_no_half_run(place, clean, monkeypatch):
    make_run(place / GROUP / "train" / KEY, age=OLD)
    write(place / GROUP / "train" / KEY / "metrics.csv", 5, OLD)

    def interrupted(path):
        raise OSError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr("hypercolumns.stages.clean.remove", interrupted)
        assert "stays: the power failed" in clean("dry_run=false", "clean.unfinished_days=0")
    assert not (place / GROUP / "train" / KEY).exists()
    assert list(found(place)) == [f"shapes/rgb/train/.{KEY}.old"]


def test_caches_are_a_choice(place):
    write(place / "runs" / "shapes" / "validate" / "masks.json", 5)
    write(place / "runs" / "shapes" / "validate" / "quarantine.csv", 5)
    assert found(place) == {}
    assert found(place, caches=True) == {"shapes/validate/masks.json": 5}
    assert set(CACHES) == {CHECKS, SURVEY}


def test_real_runs_have_no_leftovers(pretrained, place):
    run("train", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    run("rank_taps")
    for folder in place.glob("runs/shapes/rgb/[!e]*/*"):
        assert list(foreign_files(folder)) == [], folder
    for folder in place.glob("runs/shapes/rgb/events/*"):
        assert list(foreign_files(folder)) == [], folder
    assert found(place, stores=True, unfinished_days=0) == {}
    with Run.begin(place / "runs/shapes/rgb/train", {}, origin(config("train", "stage=train"))):
        assert found(place, unfinished_days=0) == {}


def test_missing_folder_says_so(clean):
    assert clean() == "runs does not exist, so no stage has written to it; runs=FOLDER names another one\n"


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("dry_run=maybe", "error: dry_run=maybe must be true or false"),
        ("clean.stores=x", "error: clean.stores=x must be true or false"),
        ("clean.unfinished_days=x", "error: clean.unfinished_days=x must be a number"),
        ("clean=5", "error: clean=5 must be a group of settings"),
        ("data=shapes", "error: data is not a setting of stage=clean"),
    ],
)
def test_wrong_settings_are_refused(run_script, place, argument, line):
    result = run_script("train.py", "stage=clean", argument, cwd=place)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(line)
