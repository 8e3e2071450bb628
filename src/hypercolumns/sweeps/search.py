"""A search for good settings by Optuna: jobs one at a time, each chosen by what those before it came to.

    <runs>/sweeps/<name>/study.db         Optuna's trials, unless `search.storage` names another place
    <runs>/sweeps/<name>/<number>.lock    held while a process runs the trial of that number
    <runs>/sweeps/<name>/jobs/            the jobs' records, see `sweeps`

Several processes may search at once. A trial that is running by the storage, but whose lock is free, was interrupted:
its settings are tried again, and its run, which is keyed by them, goes on from its checkpoint.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from hypercolumns.callbacks.pruning import search_trial
from hypercolumns.errors import HypercolumnsError, check_int
from hypercolumns.io.files import release_lock
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.sweeps.jobs import DONE, FAILED, PRUNED, JobRecord, clear_records, read_record

Launch = Callable[[list[str], int], object]  # of a job's settings and its number
SECONDS_BETWEEN_LOOKS = 1.0  # at trials that other processes run
EXAMPLE = "for example 'optimizer.lr=tag(log,interval(1e-4,1e-2))' classifier.hidden=256,512"


def search(cfg: DictConfig, overrides: Sequence[Override], launch: Launch) -> None:
    """Run trials until there are `search.trials` of them, those of earlier commands and other processes counted."""
    check_int("search.trials", cfg.search.trials, minimum=1)
    check_int("seed", cfg.seed, minimum=0)
    if cfg.overwrite:
        raise HypercolumnsError(
            f"overwrite=true does not go with search=optuna; to search anew remove the folder {cfg.hydra.sweep.dir}"
        )
    if "basic_launcher" not in cfg.hydra.launcher._target_:
        raise HypercolumnsError(
            "search=optuna runs its jobs one at a time, so hydra/launcher does not go with it; to search in several "
            "processes start the same command several times"
        )
    quiet_libraries()
    trials = Trials(cfg, distributions(overrides))
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    while trials.missing():
        trial = trials.begin()
        if trial is None:  # other processes run the last ones
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        job = [*fixed, *(f"{name}={value}" for name, value in trial.params.items())]
        with search_trial(cfg.last_stage if cfg.stage == "all" else cfg.stage, trials.judge(trial)):
            try:
                launch(job, trial.number)
            except HydraException as error:  # values that don't go together, which no job has seen
                JobRecord(trial.number, job, FAILED, " ".join(str(error).split())).write(trials.folder)
        trials.end(trial.number)


class Trials:
    """The trials of a study, in storage that processes share."""

    def __init__(self, cfg: DictConfig, space: dict[str, Any]) -> None:
        """Those that are there already, and `cfg.search.trials` in the end."""
        self.optuna, self.cfg, self.space = _optuna(), cfg, space
        self.folder = Path(cfg.hydra.sweep.dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._choosing = FileLock(self.folder / "study.lock")
        self._running: dict[int, FileLock] = {}
        with self._choosing:
            self.study = self._open()
            if not self.study.trials:
                clear_records(self.folder)

    def missing(self) -> int:
        """How many trials are to be finished yet."""
        return int(self.cfg.search.trials) - sum(map(self._counts, self.study.trials))

    def begin(self) -> Any:
        """The next trial, which is this process's now; None if others run all that are missing."""
        with self._choosing:
            running = self._running_elsewhere()
            if self.missing() <= running:
                return None
            # The seed is of the trial, so that a search that was interrupted goes on as it would have.
            seed = randomness.derive_seed(self.cfg.seed, "search", len(self.study.trials)) % 2**32
            self.study.sampler = instantiate(self.cfg.search.sampler, seed=seed)
            trial = self.study.ask(self.space)
            self._running[trial.number] = self._lock(trial.number)
            self._running[trial.number].acquire()
        return trial

    def end(self, number: int) -> None:
        """Tell the study what the job's record says, and let go of the trial."""
        record = read_record(self.folder, number)
        if record is None:
            raise HypercolumnsError(f"job {number} left no record in {self.folder}; run the command again")
        self._tell(record)
        release_lock(self._running.pop(number))
        if record.status == DONE and record.miou is None:
            raise HypercolumnsError("a search needs a mIoU to go by: stage pretrain (val_images not 0), train or all")

    def judge(self, trial: Any) -> Callable[[int, float], bool]:
        """Whether to give up the trial, whose figure at some epoch is told."""

        def judge(epoch: int, figure: float) -> bool:
            trial.report(figure, epoch)
            return bool(trial.should_prune())

        return judge

    def _tell(self, record: JobRecord) -> None:
        state = self.optuna.trial.TrialState
        if record.status == DONE and record.miou is not None:
            self.study.tell(record.number, record.miou)
        elif record.status == PRUNED:
            self.study.tell(record.number, state=state.PRUNED)
        else:
            self.study.tell(record.number, state=state.FAIL)

    def _running_elsewhere(self) -> int:
        """How many trials other processes run; those that nobody runs any more are ended, and will be tried again."""
        state = self.optuna.trial.TrialState
        count = 0
        for trial in self.study.get_trials(deepcopy=False, states=[state.RUNNING]):
            lock = self._lock(trial.number)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                count += 1
                continue
            if self.study.trials[trial.number].state == state.RUNNING:  # nor has it just ended
                record = read_record(self.folder, trial.number)
                if record is not None:  # it was interrupted after its end
                    self._tell(record)
                else:
                    self.study.tell(trial.number, state=state.FAIL)
                    self.study.enqueue_trial(trial.params)
                    console.print(f"job {trial.number} was interrupted; its settings are tried again", markup=False)
            release_lock(lock)
        return count

    def _counts(self, trial: Any) -> bool:
        """Whether a trial is one of those that are asked for: its job came to an end, and was not interrupted."""
        return trial.state.is_finished() and read_record(self.folder, trial.number) is not None

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.folder / f"{number}.lock")

    def _open(self) -> Any:
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        url = self.cfg.search.storage or f"sqlite:///{self.folder.resolve() / 'study.db'}"
        pruner = (
            self.optuna.pruners.NopPruner() if self.cfg.search.pruner is None else instantiate(self.cfg.search.pruner)
        )
        try:
            return self.optuna.create_study(
                storage=url,
                study_name=self.folder.name,
                load_if_exists=True,
                direction="maximize",
                pruner=pruner,
            )
        except Exception as error:  # whatever SQLAlchemy and the database's driver raise
            raise HypercolumnsError(f"search.storage={url} can't be used ({' '.join(str(error).split())})") from error


def distributions(overrides: Sequence[Override]) -> dict[str, Any]:
    """What Optuna is to choose from for each setting; raises HypercolumnsError if there is nothing to choose."""
    optuna = _optuna()
    sweeps = [override for override in overrides if override.is_sweep_override()]
    if not sweeps:
        raise HypercolumnsError(f"search=optuna needs settings to choose from, {EXAMPLE}")
    found = {}
    for override in sweeps:
        try:
            found[override.get_key_element()] = _distribution(optuna.distributions, override)
        except ValueError as error:
            raise HypercolumnsError(f"{override.input_line}: there is nothing to choose from ({error})") from error
    return found


def _distribution(of: Any, override: Override) -> Any:
    value: Any = override.value()
    if override.is_choice_sweep():
        return of.CategoricalDistribution(list(override.sweep_string_iterator()))
    if isinstance(value, RangeSweep):
        steps = list(value.range())
        if not steps:
            raise ValueError("it has no values")
        if "log" in value.tags:
            raise ValueError("a range has no logarithmic scale, only an interval has")
        kind = of.IntDistribution if all(isinstance(step, int) for step in steps) else of.FloatDistribution
        return kind(min(steps), max(steps), step=abs(value.step))
    assert isinstance(value, IntervalSweep)
    kind = of.IntDistribution if isinstance(value.start, int) and isinstance(value.end, int) else of.FloatDistribution
    return kind(value.start, value.end, log="log" in value.tags)


def examples(overrides: Sequence[Override]) -> list[list[str]]:
    """Jobs that are to be composed before any is run: one with each value that can be chosen, and with each end."""
    sweeps = {override.get_key_element(): _values(override) for override in overrides if override.is_sweep_override()}
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    usual = {name: values[0] for name, values in sweeps.items()}
    chosen = [usual | {name: value} for name, values in sweeps.items() for value in values]
    return [[*fixed, *(f"{name}={value}" for name, value in one.items())] for one in chosen]


def _values(override: Override) -> list[str]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [f"{value.start}", f"{value.end}"]
    return list(override.sweep_string_iterator())


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise HypercolumnsError(
            "search=optuna needs optuna; install it with: uv sync --extra search, or pip install '.[search]'"
        ) from error
