"""Which sweeps share a folder: those that run the same jobs, wherever their settings were given."""

import csv
import itertools
import json

import pytest
from filelock import FileLock

from hypercolumns.runs.inventory import lock_of, sweeps
from hypercolumns.runs.leftovers import Wanted, find_leftovers
from hypercolumns.sweeps.identity import one_at_a_time

SWEPT = "# @package _global_\nhydra: {{sweeper: {{params: {{{}}}}}}}\n"


@pytest.fixture
def sweep(run_script, tmp_path, monkeypatch):
    """A function that runs a sweep whose jobs do nothing, and returns the folder it used and the seeds of its jobs."""
    seen = []
    monkeypatch.setattr("hypercolumns.stages.stage_function", {"extract": seen.append, "pretrain": seen.append}.get)

    def start(*arguments, stage="extract"):
        seen.clear()
        before = times(tmp_path)
        result = run_script("train.py", "-m", f"stage={stage}", "data=shapes", "cnn=rgb", *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        (folder,) = {path.parent for path, when in times(tmp_path).items() if before.get(path) != when}
        return folder.name, [cfg.seed for cfg in seen]

    return start


def times(place):
    return {path: path.stat().st_mtime_ns for path in place.glob("*/sweeps/*/table.csv")}


def write(place, name, text):
    path = place / "own" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return f"--config-dir={place / 'own'}"


def test_same_sweep_has_the_same_folder(sweep):
    first = sweep("seed=0,1", "sampler.n=5")
    assert sweep("sampler.n=5", "seed=0,1", "num_workers=1", "overwrite=true") == first
    assert first[1] == [0, 1]
    assert len({first[0], sweep("seed=0,1")[0], sweep("seed=0,2", "sampler.n=5")[0]}) == 3
    assert sweep("seed=0,1", "num_workers=0,1")[0] != sweep("seed=0,1", "num_workers=0,2")[0]


def test_order_of_values_names_no_other_folder(sweep, run_script, tmp_path):
    folder, seeds = sweep("seed=0,1,2", "sampler.n=5,6")
    assert seeds == [0, 0, 1, 1, 2, 2]
    assert sweep("sampler.n=6,5", "seed=2,0,1") == (folder, [2, 0, 1, 2, 0, 1])
    place = tmp_path / "runs/sweeps" / folder
    with (place / "table.csv").open(newline="") as file:  # although each number was that of another job before
        rows = {(int(row["job"]), row["seed"], row["sampler.n"]) for row in csv.DictReader(file)}
    assert rows == {(n, seed, size) for n, (size, seed) in enumerate(itertools.product("65", "201"))}
    arguments = ["-m", "stage=extract", "data=shapes", "cnn=rgb", "seed=1,0,2", "sampler.n=5,6"]
    with FileLock(lock_of(place)):
        result = run_script("train.py", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "another process runs this sweep with its values in another order" in result.stderr


@pytest.mark.slow
def test_values_in_a_yaml_name_the_folder(sweep, tmp_path):
    own = write(tmp_path, "experiment/mine.yaml", SWEPT.format("seed: '3,4'"))
    first = sweep(own, "experiment=mine")
    assert first[1] == [3, 4]
    assert sweep(own, "experiment=mine") == first
    write(tmp_path, "experiment/mine.yaml", SWEPT.format("seed: '3,5'"))
    second = sweep(own, "experiment=mine")
    assert (second[0] != first[0], second[1]) == (True, [3, 5])


@pytest.mark.slow
def test_yaml_of_a_swept_option_names_folder(sweep, tmp_path):
    own = write(tmp_path, "sampler/mine.yaml", "defaults: [uniform]\nn: 5\n")
    arguments = [own, "sampler=uniform,mine"]
    first = sweep(*arguments)[0]
    assert sweep(*arguments)[0] == first
    write(tmp_path, "sampler/mine.yaml", "defaults: [uniform]\nn: 6\n")
    assert sweep(*arguments)[0] != first


@pytest.mark.slow
def test_yaml_of_an_earlier_stage_names_folder(sweep, tmp_path):
    own = write(tmp_path, "experiment/mine.yaml", "# @package _global_\n")
    write(tmp_path, "experiment/mine/extract.yaml", "# @package _global_\nresize: [32, 32]\n")
    arguments = [own, "experiment=mine", "seed=0,1"]
    first = sweep(*arguments, stage="pretrain")[0]
    write(tmp_path, "experiment/mine/extract.yaml", "# @package _global_\nresize: [32, 48]\n")
    assert sweep(*arguments, stage="pretrain")[0] != first


@pytest.mark.slow
def test_environment_variable_names_the_folder(sweep, tmp_path, monkeypatch):
    own = write(tmp_path, "experiment/mine.yaml", "# @package _global_\nsampler: {n: '${oc.decode:${oc.env:COUNT}}'}\n")
    monkeypatch.setenv("COUNT", "5")
    first = sweep(own, "experiment=mine", "seed=0,1")[0]
    monkeypatch.setenv("COUNT", "6")
    assert sweep(own, "experiment=mine", "seed=0,1")[0] != first
    monkeypatch.setenv("COUNT", "5")
    assert sweep(own, "experiment=mine", "seed=0,1")[0] == first


@pytest.mark.slow
def test_primary_config_names_the_folder(sweep, tmp_path):
    own = write(tmp_path, "mine.yaml", "defaults: [train, _self_]\nresize: [32, 32]\n")
    first = sweep(own, "--config-name=mine", "seed=0,1")[0]
    assert first not in (sweep("seed=0,1")[0], sweep(own, "seed=0,1")[0])
    write(tmp_path, "mine.yaml", "defaults: [train, _self_]\nresize: [32, 48]\n")
    assert sweep(own, "--config-name=mine", "seed=0,1")[0] != first


def test_folder_named_by_the_user_holds_one_sweep(sweep, run_script, tmp_path):
    name = "hydra.job.name=mine"
    assert sweep(name, "seed=0,1")[0] == sweep(name, "seed=0,1")[0] == "mine"
    result = run_script("train.py", "-m", "stage=extract", "data=shapes", "cnn=rgb", name, "seed=0,2", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        'error: runs/sweeps/mine is the folder of another sweep (swept is ["seed=0,1"], this command has '
        '["seed=0,2"]); give this sweep another hydra.job.name, leave it out, or remove the folder\n'
    )
    sweep("hydra.sweep.dir=runs/sweeps/own", "seed=0,1")
    arguments = ["-m", "stage=extract", "data=shapes", "cnn=rgb", "hydra.sweep.dir=runs/sweeps/own", "seed=0,2"]
    assert "give this sweep another hydra.sweep.dir," in run_script("train.py", *arguments, cwd=tmp_path).stderr


@pytest.mark.slow
def test_record_has_the_command_and_job_count(sweep, tmp_path):
    own = write(tmp_path, "sampler/mine.yaml", "defaults: [uniform]\nn: 5\n")
    name, _ = sweep(own, "seed=0,1", "sampler=mine,uniform", "sampler.n=range(1,4)")
    record = json.loads((tmp_path / "runs/sweeps" / name / "sweep.json").read_text())
    assert record["jobs"] == 2 * 2 * 3
    swept = "seed=0,1 sampler=mine,uniform 'sampler.n=range(1,4)'"
    assert record["command"] == f"python train.py {own} -m stage=extract data=shapes cnn=rgb {swept}"
    assert record["directory"] == str(tmp_path)


def test_damaged_record_is_one_line(sweep, run_script, tmp_path):
    sweep("hydra.job.name=mine", "seed=0,1")
    (tmp_path / "runs/sweeps/mine/sweep.json").write_text("{")
    arguments = ["-m", "stage=extract", "data=shapes", "cnn=rgb", "hydra.job.name=mine", "seed=0,1"]
    result = run_script("train.py", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "runs/sweeps/mine/sweep.json can't be read" in result.stderr


def test_running_sweep_is_not_idle(run_script, tmp_path, monkeypatch):
    """While the first job runs, status says so, and clean leaves the folder without any finished job."""
    seen = []

    def job(cfg):
        idle = find_leftovers(tmp_path / "runs", Wanted(unfinished_days=0))
        seen.append((sweeps(tmp_path / "runs")[0].running, idle))

    monkeypatch.setattr("hypercolumns.stages.stage_function", {"extract": job}.get)
    arguments = ["-m", "stage=extract", "data=shapes", "cnn=rgb", "hydra.job.name=mine", "seed=0,1"]
    assert run_script("train.py", *arguments, cwd=tmp_path).returncode == 0
    assert seen == [(True, []), (True, [])]
    assert not sweeps(tmp_path / "runs")[0].running
    assert not list(tmp_path.glob("runs/sweeps/.*"))
    with FileLock(tmp_path / "runs/sweeps/.mine.lock"):  # another process runs the same sweep
        assert run_script("train.py", *arguments, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_order_of_group_sweeps_changes_nothing(sweep):
    first, second = "sampler=uniform,balanced", "data=shapes,voc"
    names = {sweep(*order, "data.root=data")[0] for order in ([first, second], [second, first])}
    assert len(names | {sweep(first, "data.root=data")[0]}) == 2


def test_each_option_is_composed_alone():
    assert one_at_a_time({}) == [{}]
    jobs = one_at_a_time({"a": ["1", "2", "3"], "b": ["4", "5"]})
    assert jobs == [{"a": "1", "b": "4"}, {"a": "2", "b": "4"}, {"a": "3", "b": "4"}, {"a": "1", "b": "5"}]


def test_impossible_sweep_writes_nothing(run_script, tmp_path):
    own = write(tmp_path, "experiment/mine.yaml", SWEPT.format("no_setting: '3,4'"))
    arguments = ["-m", own, "experiment=mine", "stage=extract", "data=shapes", "cnn=rgb"]
    result = run_script("train.py", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "no_setting" in result.stderr
    assert not sweeps(tmp_path / "runs")


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ("seed: '0,(1'", "in hydra.sweeper.params: seed=0,(1 can't be read: quote the value, as in "),
        ("data.root: 'a,b[,]'", "in hydra.sweeper.params: data.root=a,b[,]: in a sweep (-m), a comma separates values"),
    ],
)
def test_errors_name_the_params_of_the_sweeper(run_script, tmp_path, params, line):
    own = write(tmp_path, "experiment/mine.yaml", SWEPT.format(params))
    result = run_script("train.py", "-m", own, "experiment=mine", "stage=extract", "data=voc", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"error: {line}")


def test_params_are_quoted_like_arguments(sweep, tmp_path):
    own = write(tmp_path, "experiment/mine.yaml", SWEPT.format("data.root: 'a (b)', seed: '3,4'"))
    assert sweep(own, "experiment=mine")[1] == [3, 4]


def test_params_on_the_command_line_are_one_line(run_script, tmp_path):
    arguments = ["-m", "stage=extract", "data=shapes", "cnn=rgb", "hydra.sweeper.params.seed=3"]
    assert run_script("train.py", *arguments, cwd=tmp_path).stderr == (
        "error: hydra.sweeper.params.seed: hydra.sweeper.params is for YAML files; on the command line, give seed=...\n"
    )


@pytest.mark.parametrize("stage", ["status", "clean", "extract,clean"])
def test_stages_about_all_runs_are_no_jobs(run_script, tmp_path, stage):
    result = run_script("train.py", "-m", f"stage={stage}", cwd=tmp_path)
    name = stage.rpartition(",")[2]
    assert (result.returncode, result.stderr) == (
        2,
        f"error: stage={name} is about the whole folder runs, so it can't be a job of a sweep; leave out -m\n",
    )
    assert not any(tmp_path.rglob("*.*"))


def test_shell_loop_has_the_values_of_the_yaml(run_script, tmp_path):
    own = write(tmp_path, "experiment/mine.yaml", SWEPT.format("seed: '3,4'"))
    arguments = [own, "experiment=mine", "stage=pretrain", "data=shapes", "cnn=rgb", "trainer.devices=2"]
    result = run_script("train.py", "-m", *arguments, cwd=tmp_path)
    assert "for s1 in seed=3 seed=4; do python train.py " in result.stderr
    assert f" {own} " in result.stderr
