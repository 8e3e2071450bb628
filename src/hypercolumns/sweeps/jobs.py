"""The jobs of a sweep (`python train.py -m`): each makes its input if that is missing, and records what it came to.

    <runs>/sweeps/<name>/jobs/<number>.json   a job's record, written by itself, in whatever process it ran

A job that fails says so in its record, and the others go on.
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
from hypercolumns.callbacks.metrics_csv import read_metrics_csv
from hypercolumns.cli.app import error_line
from hypercolumns.errors import HypercolumnsError, MissingInputError
from hypercolumns.io.files import read_json, write_json
from hypercolumns.runs.environment import command_line
from hypercolumns.runs.run import Run
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.settings import inference
from hypercolumns.stages.all import compose_stage

Stages = Callable[[DictConfig], Any]  # runs the stage that a config names
DONE, PRUNED, FAILED = "done", "pruned", "failed"


class JobRecord(NamedTuple):
    """What a job came to.

    Attributes:
        number: of the job in its sweep, from 0.
        overrides: its settings, as on the command line.
        status: done, pruned or failed.
        reason: why it is not done, in one line.
        miou: its figure, and `interval` the ends of that one's interval, if images were scored.
        level: of the interval, such as 0.95.
        seconds: that its epochs took, those before an interruption included.
        folder: of its run; of a store in stage extract.
    """

    number: int
    overrides: list[str]
    status: str
    reason: str | None = None
    miou: float | None = None
    interval: list[float] | None = None
    level: float | None = None
    boundary_miou: float | None = None
    seconds: float | None = None
    folder: str | None = None
    model: str | None = None

    def settings(self) -> dict[str, str]:
        """Its settings by name."""
        split = (override.lstrip("+").partition("=") for override in self.overrides)
        return {name: value for name, _, value in split}

    def write(self, sweep: Path) -> None:
        """Put it where `read_records` finds it."""
        write_json(_jobs(sweep) / f"{self.number}.json", self._asdict())


def read_records(sweep: Path) -> list[JobRecord]:
    """All that there are, by number."""
    records = [JobRecord(**read_json(path)) for path in _jobs(sweep).glob("*.json")]
    return sorted(records, key=lambda record: record.number)


def read_record(sweep: Path, number: int) -> JobRecord | None:
    """That of a job, if there is one."""
    path = _jobs(sweep) / f"{number}.json"
    return JobRecord(**read_json(path)) if path.is_file() else None


def clear_records(sweep: Path) -> None:
    """Remove those of an earlier time."""
    for path in _jobs(sweep).glob("*.json"):
        path.unlink()


def _jobs(sweep: Path) -> Path:
    return sweep / "jobs"


def run_job(cfg: DictConfig, run: Stages) -> Any:
    """Run a job's stage and record what it came to; returns what the stage does, None if it does not reach its end."""
    job = HydraConfig.get()
    sweep, number, overrides = Path(job.sweep.dir), int(job.job.num), list(job.overrides.task)
    console.print(f"job {number}: {shlex.join(overrides)}", markup=False)
    made, status, reason = None, DONE, None
    (_jobs(sweep) / f"{number}.json").unlink(missing_ok=True)  # of an earlier time
    try:
        refuse_several_processes(cfg, overrides)
        made = _run_with_input(cfg, run)
    except PrunedError as pruned:
        status, reason = PRUNED, str(pruned)
    except Exception as error:
        status, reason = FAILED, error_line(error)
        if reason is None:  # a bug
            traceback.print_exc()
            reason = traceback.format_exception_only(error)[-1].strip()
        print(f"job {number} failed: {reason}", file=sys.stderr)
    JobRecord(number, overrides, status, reason, **_figures(made)).write(sweep)
    return made


def _run_with_input(cfg: DictConfig, run: Stages) -> Any:
    """Run a stage; first those that make its input, with the same settings, if there is none."""
    made: set[str] = set()
    while True:
        try:
            return run(cfg)
        except MissingInputError as missing:
            if missing.stage in made:
                raise
            made.add(missing.stage)
            _run_with_input(compose_stage(missing.stage), run)


def _figures(made: Any) -> dict[str, Any]:
    """What a record says of a run, or of the folder that a stage made."""
    if not isinstance(made, Run):
        return {"folder": str(made)} if isinstance(made, Path) else {}
    figures = read_json(made.metrics)
    intervals = figures.get("intervals") or {}
    took = [float(epoch["seconds"]) for epoch in read_metrics_csv(made.folder / "metrics.csv") if "seconds" in epoch]
    return {
        "miou": figures["miou"],
        "interval": intervals.get("miou"),
        "level": intervals.get("level"),
        "boundary_miou": figures.get("boundary_miou"),
        "seconds": round(sum(took), 3) if took else None,
        "folder": str(made.folder),
        "model": str(made.model) if made.model.is_file() else None,
    }


def refuse_several_processes(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise HypercolumnsError, with the command to use instead, if a job of a sweep is to be several processes."""
    inference.quiet_libraries()
    trainer = distributed.inference_trainer(cfg)
    count = max(trainer.world_size, trainer.num_devices * int(cfg.trainer.get("num_nodes") or 1))
    if count > 1:
        instead = one_by_one(overrides)
        nodes = cfg.trainer.get("num_nodes") or 1
        raise HypercolumnsError(
            f"-m runs each job in one process, and trainer.devices={cfg.trainer.devices}"
            f"{f' trainer.num_nodes={nodes}' if nodes != 1 else ''} asks for {count}; "
            f"give trainer=default trainer.devices=1{f', or run the jobs without -m: {instead}' if instead else ''}"
        )


def one_by_one(overrides: Sequence[str]) -> str | None:
    """The jobs of a sweep as loops of a shell; None if they can't be listed."""
    loops: list[str] = []
    settings = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = override.value()
        if isinstance(value, IntervalSweep | Glob):
            return None
        if isinstance(value, Sweep):
            loops.append(f"s{len(loops) + 1}")
            settings.append(f'"${loops[-1]}"')
            values = (f"{override.get_key_element()}={one}" for one in override.sweep_string_iterator())
            loops[-1] = f"for {loops[-1]} in {shlex.join(values)}; do "
        else:
            settings.append(shlex.quote(str(override.input_line)))
    return f"{''.join(loops)}{command_line([])} {' '.join(settings)}{'; done' * len(loops)}"
