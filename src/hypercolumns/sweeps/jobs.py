"""The jobs of a sweep (`python train.py -m`). If the input of a job is missing, the job first makes this input.

    <runs>/sweeps/<name>/jobs/<number>.json   the record of a job, written by the process that ran the job

If a job fails, its record gives the reason, and the sweep continues with the next job.
"""

import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Sweep
from omegaconf import DictConfig

from hypercolumns.callbacks import PrunedError
from hypercolumns.cli.messages import error_line
from hypercolumns.errors import HypercolumnsError, MissingInputError
from hypercolumns.io.files import read_json, write_json
from hypercolumns.overrides import quote_word
from hypercolumns.runs.run import Run
from hypercolumns.runs.trained_run import TrainedRun
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import command_line, compose_stage, without_quotes
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import machine
from hypercolumns.settings.monitor import with_own_monitor
from hypercolumns.settings.schema import stages_named

Stages = Callable[[DictConfig], Any]  # runs the stage that a config names, and returns its result
DONE, PRUNED, FAILED = "done", "pruned", "failed"


class JobRecord(NamedTuple):
    """The result of a job.

    Attributes:
        number: the number of the job in its sweep, from 0.
        overrides: the settings of the job, each as `name=value`, as on the command line.
        status: `done`, `pruned` or `failed`.
        reason: why the job failed or was pruned, in one line; None if the job is done.
        miou: the mIoU on the scored images; None if no images were scored.
        miou_present: the mIoU of the classes in the truth; None if no images were scored.
        interval: the ends [low, high] of the interval of `miou`; None if there is no interval.
        level: the confidence level of the interval, such as 0.95; None if there is no interval.
        boundary_miou: the mIoU near true boundaries; None if no images were scored.
        seconds: the time that all epochs took, including epochs before an interruption; None if the job did not train.
        folder: the folder of the run or, in stage extract, of the store; None if the job is not done.
        model: the path of the model that the job trained; None if it trained none.
    """

    number: int
    overrides: list[str]
    status: str
    reason: str | None = None
    miou: float | None = None
    interval: list[float] | None = None
    level: float | None = None
    boundary_miou: float | None = None
    miou_present: float | None = None
    seconds: float | None = None
    folder: str | None = None
    model: str | None = None

    def settings(self) -> dict[str, str]:
        """Return the value of each setting in `overrides`, as text, by the name of the setting.

        The settings of a search are left out: they are the same for all jobs, or say how many jobs there are. Paths are
        shown without the quotes that Hydra needs.
        """
        split = (without_quotes(override).lstrip("+").partition("=") for override in self.overrides)
        return {name: value for name, _, value in split if name.partition(".")[0] != "search"}

    def write(self, sweep: Path) -> None:
        """Write the record to the folder of its sweep, where `read_records` finds it."""
        write_json(_jobs(sweep) / f"{self.number}.json", self._asdict())


def read_records(sweep: Path) -> list[JobRecord]:
    """Read the records of all jobs of a sweep, in the order of their numbers."""
    records = [JobRecord(**read_json(path)) for path in _jobs(sweep).glob("*.json")]
    return sorted(records, key=lambda record: record.number)


def read_record(sweep: Path, number: int) -> JobRecord | None:
    """Read the record of a job; return None if the job has no record."""
    path = _jobs(sweep) / f"{number}.json"
    return JobRecord(**read_json(path)) if path.is_file() else None


def clear_records(sweep: Path) -> None:
    """Remove all records of jobs from the folder of a sweep."""
    for path in _jobs(sweep).glob("*.json"):
        path.unlink()


def _jobs(sweep: Path) -> Path:
    return sweep / "jobs"


def run_job(cfg: DictConfig, run: Stages) -> Any:
    """Run a job of a sweep and write its record. Return the stage's result; None if the job failed or was pruned."""
    job = HydraConfig.get()
    sweep, number, overrides = Path(job.sweep.dir), int(job.job.num), list(job.overrides.task)
    console.print(f"job {number}: {' '.join(map(quote_word, map(without_quotes, overrides)))}", markup=False)
    result, status, reason = None, DONE, None
    (_jobs(sweep) / f"{number}.json").unlink(missing_ok=True)  # the record of an earlier attempt
    try:
        refuse_several_processes(cfg, overrides)
        result = run_with_input(cfg, run)
    except PrunedError as pruned:
        status, reason = PRUNED, str(pruned)
    except Exception as error:
        status, reason = FAILED, error_line(error)
        if reason is None:  # the user can't fix the error, so it is a bug
            traceback.print_exc()
            reason = traceback.format_exception_only(error)[-1].strip()
        print(f"job {number} failed: {reason}", file=sys.stderr)
    JobRecord(number, overrides, status, reason, **job_metrics(result)).write(sweep)
    return result


def run_with_input(cfg: DictConfig, run: Stages) -> Any:
    """Run a stage. If its input is missing, first run the stage that makes the input, with the same settings.

    Raises:
        MissingInputError: if the input is still missing after that stage has run.
    """
    attempted: set[str] = set()
    while True:
        try:
            return run(cfg)
        except MissingInputError as missing:
            if missing.stage in attempted:
                raise
            attempted.add(missing.stage)
            run_with_input(with_own_monitor(compose_stage(missing.stage)), run)


def job_metrics(result: Any) -> dict[str, Any]:
    """Return the fields of a `JobRecord` that describe the result of a job's stage.

    The result is a `Run` or, in stage extract, the folder of the store. For any other result, the dictionary is empty.
    """
    if not isinstance(result, Run):
        return {"folder": str(result)} if isinstance(result, Path) else {}
    metrics = read_json(result.metrics)
    intervals = metrics.get("intervals") or {}
    return {
        "miou": metrics["miou"],
        "miou_present": metrics.get("miou_present"),
        "interval": intervals.get("miou"),
        "level": intervals.get("level"),
        "boundary_miou": metrics.get("boundary_miou"),
        "seconds": _training_seconds(result),
        "folder": str(result.folder),
        "model": str(result.model) if result.model.is_file() else None,
    }


def _training_seconds(run: Run) -> float | None:
    """Return the time of all epochs of a run, or of the runs that it was made of; None if there are no epochs."""
    if not run.metrics.is_file():  # the model was no run's
        return None
    metrics = read_json(run.metrics)
    if metrics.get("stage") in ("average", "refine"):
        made_of = metrics["evaluated"].get("models") or [metrics["evaluated"]["model"]]
        seconds = [_training_seconds(Run(Path(model).parent)) for model in made_of]
    else:
        seconds = [epoch.get("seconds") for epoch in TrainedRun(run.folder).history]
    known = [each for each in seconds if each is not None]
    return round(sum(known), 3) if known else None


def refuse_several_processes(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Check that a job of a sweep runs in one process.

    Raises:
        HypercolumnsError: if the settings ask for several processes; the message says how to run the jobs instead.
    """
    quiet_libraries()
    where = machine(cfg)
    trainer = where.trainer()
    count = max(trainer.world_size, trainer.num_devices * int(where.num_nodes or 1))
    if count > 1:
        instead = one_by_one(overrides)
        nodes = where.num_nodes or 1
        raise HypercolumnsError(
            f"-m runs each job in one process, but trainer.devices={where.devices}"
            f"{f' trainer.num_nodes={nodes}' if nodes != 1 else ''} asks for {count} processes; "
            f"give trainer=default trainer.devices=1{f', or run the jobs without -m: {instead}' if instead else ''}"
        )


def refuse_stages_without_jobs(overrides: list[str]) -> None:
    """Check that a sweep, whose overrides are given, runs no stage that is about the whole folder `runs`.

    Raises:
        HypercolumnsError: if a job would run stage status or clean.
    """
    for stage in stages_named(overrides):
        if stage in ("clean", "status"):
            raise HypercolumnsError(
                f"stage={stage} is about the whole folder runs, so it can't be a job of a sweep; leave out -m"
            )


def one_by_one(overrides: Sequence[str]) -> str | None:
    """Return a shell command that runs the jobs of a sweep one after another, without `-m`.

    The command contains a loop for each setting with several values; the loops are nested.
    Return None if the values of a setting can't be listed, for example because they are an interval.
    """
    loops: list[str] = []
    settings = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = override.value()
        if isinstance(value, IntervalSweep | Glob):
            return None
        if isinstance(value, Sweep):
            loops.append(f"s{len(loops) + 1}")
            settings.append(f'"${loops[-1]}"')
            values = (f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator())
            loops[-1] = f"for {loops[-1]} in {shlex.join(values)}; do "
        else:
            settings.append(shlex.quote(str(override.input_line)))
    return f"{''.join(loops)}{command_line([])} {' '.join(settings)}{'; done' * len(loops)}"
