"""Search for good settings with Optuna, which chooses the settings of each job from the results of earlier jobs.

    <runs>/sweeps/<name>/study.db         Optuna's trials, unless `search.storage` names another database
    <runs>/sweeps/<name>/<number>.lock    locked while a process runs the trial of that number
    <runs>/sweeps/<name>/jobs/            the records of the jobs, see `sweeps.jobs`

Optuna calls a job a trial. Each process runs one job at a time, and several processes can share a search. If Optuna
lists a trial as running but the lock of the trial is free, the trial was interrupted. The settings of this trial are
tried again in a new trial, which resumes the same run from its last checkpoint.
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

Launch = Callable[[list[str], int], object]  # runs a job, given its overrides and its number
POLL_SECONDS = 1.0  # time between two checks whether trials of other processes have ended
EXAMPLE = "for example 'optimizer.lr=tag(log,interval(1e-4,1e-2))' classifier.hidden=256,512"


def search(cfg: DictConfig, overrides: Sequence[Override], launch: Launch) -> None:
    """Run trials until `search.trials` trials are finished.

    The finished trials of earlier commands and of other processes count, too.

    Args:
        cfg: the config of the command.
        overrides: the overrides on the command line. Some give a fixed value, others give several values for Optuna to
            choose from.
        launch: a function that runs a job. It takes the job's overrides and the job's number.

    Raises:
        HypercolumnsError: if a setting is invalid or can't be combined with a search.
    """
    check_int("search.trials", cfg.search.trials, minimum=1)
    check_int("seed", cfg.seed, minimum=0)
    trainings = cfg.get("trainings", 1)  # only stage all has this setting
    check_int("trainings", trainings, minimum=1)
    if cfg.overwrite:
        raise HypercolumnsError(
            f"overwrite=true can't be combined with search=optuna; to start a new search, remove the folder "
            f"{cfg.hydra.sweep.dir}"
        )
    # The config of the command has no value of a swept setting.
    swept = [str(one.input_line) for one in overrides if one.is_sweep_override() and one.key_or_group == "trainings"]
    if swept or (trainings > 1 and cfg.last_stage == "train"):
        raise HypercolumnsError(
            f"{swept[0] if swept else f'{trainings=}'} can't be combined with search=optuna, which judges "
            f"single trainings; set trainings=1"
        )
    if "basic_launcher" not in cfg.hydra.launcher._target_:
        raise HypercolumnsError(
            "search=optuna runs its jobs one at a time, so hydra/launcher can't be combined with it; to search in "
            "several processes, start the same command several times"
        )
    quiet_libraries()
    trials = Trials(cfg, distributions(overrides))
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    while trials.missing():
        trial = trials.begin()
        if trial is None:  # other processes run the last trials
            time.sleep(POLL_SECONDS)
            continue
        job = [*fixed, *(f"{name}={value}" for name, value in trial.params.items())]
        with search_trial(cfg.last_stage if cfg.stage == "all" else cfg.stage, trials.judge(trial)):
            try:
                launch(job, trial.number)
            except HydraException as error:  # Hydra can't compose a config with the values, so no job ran
                JobRecord(trial.number, job, FAILED, " ".join(str(error).split())).write(trials.folder)
        trials.end(trial.number)


class Trials:
    """The trials of an Optuna study. Several processes can share the study.

    Args:
        cfg: the config of the command.
        space: for each setting whose value Optuna chooses, Optuna's distribution of the values. The keys are the names
            of the settings.
    """

    def __init__(self, cfg: DictConfig, space: dict[str, Any]) -> None:
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
        """Return how many of the `search.trials` trials are not finished yet."""
        return int(self.cfg.search.trials) - sum(map(self._counts, self.study.trials))

    def begin(self) -> Any:
        """Start a trial of Optuna, lock it and return it. Return None if other processes run all missing trials."""
        with self._choosing:
            running = self._running_elsewhere()
            if self.missing() <= running:
                return None
            # Each trial has its own seed, so an interrupted search continues as if it had not been interrupted.
            seed = randomness.derive_seed(self.cfg.seed, "search", len(self.study.trials)) % 2**32
            self.study.sampler = instantiate(self.cfg.search.sampler, seed=seed)
            trial = self.study.ask(self.space)
            self._running[trial.number] = self._lock(trial.number)
            self._running[trial.number].acquire()
        return trial

    def end(self, number: int) -> None:
        """Report the result of a finished trial to Optuna, and release the lock of the trial.

        Raises:
            HypercolumnsError: if the job left no record, or is done without an mIoU.
        """
        record = read_record(self.folder, number)
        if record is None:
            raise HypercolumnsError(f"job {number} left no record in {self.folder}; run the command again")
        self._tell(record)
        release_lock(self._running.pop(number))
        if record.status == DONE and record.miou is None:
            raise HypercolumnsError(
                "a search needs the mIoU of its jobs; use stage pretrain (with val_images not 0), train or all"
            )

    def judge(self, trial: Any) -> Callable[[int, float], bool]:
        """Return a function that decides after an epoch whether to stop a trial early.

        The function takes the number of the epoch, from 0, and a metric of this epoch; higher is better. It reports
        both to Optuna. It returns true if Optuna decides to stop the trial.
        """

        def judge(epoch: int, metric: float) -> bool:
            trial.report(metric, epoch)
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
        """Count the trials that other processes are running, and queue the settings of interrupted trials again."""
        state = self.optuna.trial.TrialState
        count = 0
        for trial in self.study.get_trials(deepcopy=False, states=[state.RUNNING]):
            lock = self._lock(trial.number)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                count += 1
                continue
            if self.study.trials[trial.number].state == state.RUNNING:  # the trial has not ended since it was listed
                record = read_record(self.folder, trial.number)
                if record is not None:  # the process was interrupted between the end of the job and `end`
                    self._tell(record)
                else:
                    self.study.tell(trial.number, state=state.FAIL)
                    self.study.enqueue_trial(trial.params)
                    console.print(f"job {trial.number} was interrupted; its settings are tried again", markup=False)
            release_lock(lock)
        return count

    def _counts(self, trial: Any) -> bool:
        """Whether a trial counts as finished. An interrupted trial does not count, because its job left no record."""
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
        except Exception as error:  # SQLAlchemy and the database drivers raise many kinds of errors
            raise HypercolumnsError(f"search.storage={url} can't be used ({' '.join(str(error).split())})") from error


def distributions(overrides: Sequence[Override]) -> dict[str, Any]:
    """Return a distribution for each setting with several values. Optuna chooses the value of the setting from it.

    Returns:
        Optuna's distributions. The keys are the names of the settings.

    Raises:
        HypercolumnsError: if no override gives several values, or if Optuna can't choose from the values.
    """
    optuna = _optuna()
    sweeps = [override for override in overrides if override.is_sweep_override()]
    if not sweeps:
        raise HypercolumnsError(
            f"search=optuna needs at least one setting with several values to choose from, {EXAMPLE}"
        )
    space = {}
    for override in sweeps:
        try:
            space[override.get_key_element()] = _distribution(optuna.distributions, override)
        except ValueError as error:
            raise HypercolumnsError(
                f"{override.input_line}: Optuna can't choose from these values ({error}); give others, {EXAMPLE}"
            ) from error
    return space


def _distribution(of: Any, override: Override) -> Any:
    value: Any = override.value()
    if override.is_choice_sweep():
        return of.CategoricalDistribution(list(override.sweep_string_iterator()))
    if isinstance(value, RangeSweep):
        steps = list(value.range())
        if not steps:
            raise ValueError("the range is empty")
        if "log" in value.tags:
            raise ValueError("tag(log, ...) works only with interval(...), not with range(...)")
        kind = of.IntDistribution if all(isinstance(step, int) for step in steps) else of.FloatDistribution
        return kind(min(steps), max(steps), step=abs(value.step))
    assert isinstance(value, IntervalSweep)
    kind = of.IntDistribution if isinstance(value.start, int) and isinstance(value.end, int) else of.FloatDistribution
    return kind(value.start, value.end, log="log" in value.tags)


def examples(overrides: Sequence[Override]) -> list[list[str]]:
    """Return example jobs of a search, each as a list of overrides.

    With these jobs, the sweeper checks before the search that Hydra accepts the values. Together, the jobs contain
    every value of each choice and range, and both ends of each interval.
    """
    sweeps = {override.get_key_element(): _values(override) for override in overrides if override.is_sweep_override()}
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    first = {name: values[0] for name, values in sweeps.items()}
    jobs = [first | {name: value} for name, values in sweeps.items() for value in values]
    return [[*fixed, *(f"{name}={value}" for name, value in job.items())] for job in jobs]


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
