"""Train a finished or interrupted run for more epochs, in another run that begins with its last state."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hypercolumns.callbacks.resume_checkpoint import LAST, PREVIOUS
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io import checkpoints
from hypercolumns.io.files import atomic_write, file_hash, short_hash
from hypercolumns.loggers import copy_epochs
from hypercolumns.runs.file_names import CHECKPOINTS, RUN_FILE
from hypercolumns.runs.lookup import changed_settings
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.runtime.progress import console

LOGGED = "csv/metrics.csv"  # the table of the CSV logger, in the folder of what the loggers write
RESUMED = "resumed"  # the entry of a fingerprint that identifies the earlier run and its checkpoint
# Settings that may differ between a run and the run that goes on from it. A name stands for its whole group, too.
MAY_CHANGE = (
    *("trainer.max_epochs", "trainer.check_val_every_n_epoch", "trainer.gradient_clip_val"),
    *("optimizer.lr", "scheduler", "patience", RESUMED),
)
# These may only change from one number to another, because null makes other parameter groups.
MAY_CHANGE_IN_VALUE = ("optimizer.backbone_lr", "optimizer.layer_decay")
# Settings that may change along with trainer.max_epochs in a command that only wants more epochs.
WITH_EPOCHS = ("trainer.max_epochs", "trainer.check_val_every_n_epoch", "patience")
# Settings whose entry in a fingerprint has another name.
SETTING_NAMES = {"trainable": "cnn.trainable", "drop_path": "cnn.drop_path"}


class Progress(NamedTuple):
    """How far a training has come, as one of its checkpoints says.

    Attributes:
        epoch: the number of complete epochs.
        waited: the number of validations without progress of the monitored metric; 0 if the run has no `patience`.
        rate: the learning rate of the next step, as a fraction of `optimizer.lr`.
    """

    epoch: int
    waited: int
    rate: float


@dataclass(frozen=True)
class EarlierRun:
    """A run that another run goes on from.

    Attributes:
        run: the earlier run. Nothing in its folder changes.
        checkpoint: the checkpoint of its last state.
    """

    run: Run
    checkpoint: Path

    @classmethod
    def find(cls, path: Path) -> "EarlierRun":
        """Find the last state of a run.

        Args:
            path: the folder of the run, a link to it, or the checkpoint of one of its last two states.

        Raises:
            ArgumentError: if `path` is no run of stage pretrain or train, or if the run has no undamaged
                checkpoint. The message begins with `path`.
        """
        given = path.resolve()
        names = [given.name] if given.suffix == ".ckpt" else [LAST, PREVIOUS]
        folder = given.parent.parent if given.suffix == ".ckpt" else given
        if not (folder / RUN_FILE).is_file() or not {"start", "samples"} & {*Run(folder).fingerprint}:
            raise ArgumentError(
                f"{path} is no run of stage pretrain or train; give the folder of a run, such as "
                f"runs/<data>/<cnn>/train/latest"
            )
        if not {*names} <= {LAST, PREVIOUS}:
            raise ArgumentError(
                f"{path} is not the last state of a run; give the folder of the run, {folder}, or start a new training "
                f"from the run's best epoch by init_from={folder} (in stage train)"
            )
        for name in names:
            file = folder / CHECKPOINTS / name
            damage = checkpoints.find_corruption(file) if file.is_file() else "it is missing"
            if damage is None:
                return cls(Run(folder), file)
            console.print(f"{file} can't be used ({damage})", markup=False)
        raise ArgumentError(
            f"{path} has no checkpoint to go on from ({folder / CHECKPOINTS / LAST}); train from the beginning without "
            f"this setting, or, in stage train, start from the run's model by init_from={folder}"
        )

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the earlier run."""
        return self.run.fingerprint

    @cached_property
    def identity(self) -> Fingerprint:
        """What identifies the run and its last state, for the fingerprint of the run that goes on from it."""
        return {"run": short_hash(self.fingerprint), "checkpoint": file_hash(self.checkpoint)[:16]}

    @cached_property
    def progress(self) -> Progress:
        """How far the run has come."""
        state = self._load()
        position = next(state[name] for name in state if name.endswith("DataModule"))
        schedules = state["lr_schedulers"]  # empty in a run that has only taken over the state of another run
        rates = [(schedule["_last_lr"][0], schedule["base_lrs"][0]) for schedule in schedules]
        waited = [entry["wait_count"] for entry in state["callbacks"].values() if "wait_count" in entry]
        rate = next((last / base for last, base in rates if base), 0.0)
        return Progress(int(position["epoch"]), int(max(waited, default=0)), rate)

    def _load(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = checkpoints.load_plain(self.checkpoint)
            if not {"callbacks", "lr_schedulers", "optimizer_states"} <= {*state}:
                raise ValueError("it is not the state of a training")
        except (TypeError, ValueError) as error:
            raise HypercolumnsError(f"{self.checkpoint} is damaged ({error}); give another run") from error
        return state

    def changes(self, fingerprint: Fingerprint) -> dict[str, str]:
        """Describe the settings of a command that must be those of the run, but are not.

        Args:
            fingerprint: the fingerprint that the command gives.

        Returns:
            A text for each of them, by the dotted name of its entry in the fingerprint.
        """
        entries = [_by_settings(each) for each in (self.fingerprint, fingerprint)]
        texts = changed_settings(*entries)
        in_value = {
            name
            for name in MAY_CHANGE_IN_VALUE
            if all(each["optimizer"].get(name.partition(".")[2]) is not None for each in entries)
        }
        lines = {name: text for name, text in texts.items() if not _is_in(name, (*MAY_CHANGE, *in_value, "start"))}
        if any(_is_in(name, ("start",)) for name in texts):
            before, now = (_describe_start(each["start"]) for each in entries)
            lines["init_from"] = f"init_from: that run started from {before}, this command from {now}"
        return lines

    def hand_over(self, run: Run) -> Path:
        """Copy to the folder of a new run what a training needs to go on, and what its first epochs have left.

        These are the checkpoint of the best epoch, the metrics of all epochs, also as event files and as the table of
        the CSV logger, and at last the last state, as the last checkpoint of the new run. The schedule of the new run
        is not in it, so that it begins there.

        Args:
            run: the new run.

        Returns:
            The last checkpoint of the new run.

        Raises:
            HypercolumnsError: if the checkpoint of the best epoch is missing, or if the last state has changed since
                the command began.
        """
        state = self._load()
        if file_hash(self.checkpoint)[:16] != self.identity["checkpoint"]:
            raise HypercolumnsError(
                f"{self.run.folder} is still being trained: {self.checkpoint} has changed; run the same command again "
                f"when that training has ended"
            )
        folder = run.folder / CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        best = self.run.folder / CHECKPOINTS / "best.ckpt"
        keys = [key for key, entry in state["callbacks"].items() if entry.get("best_model_path")]
        if keys and not best.is_file():
            raise HypercolumnsError(
                f"{best} is missing, so the best epoch of this run is lost; train from the beginning, without "
                f"resume_from"
            )
        if best.is_file():
            _copy(best, folder / best.name)
            # The last state may be older than the best epoch, if the run was killed between their checkpoints.
            callbacks = checkpoints.load_plain(best)["callbacks"]
            state["callbacks"] |= {key: entry for key, entry in callbacks.items() if "best_model_path" in entry}
        self._hand_over_metrics(run)
        last = folder / LAST
        with atomic_write(last) as temporary, temporary.open("wb") as file:
            torch.save(state | {"lr_schedulers": []}, file)
        return last

    def _hand_over_metrics(self, run: Run) -> None:
        """Copy the metrics of all epochs, without the final metrics that the loggers of the run have got."""
        if (self.run.folder / "metrics.csv").is_file():
            _copy(self.run.folder / "metrics.csv", run.folder / "metrics.csv")
        copy_epochs(self.run.events / LOGGED, run.events / LOGGED)
        for events in sorted(self.run.events.glob("events.out.tfevents.*")):
            if b"_hparams_/" not in events.read_bytes():  # the file with the final metrics of the earlier run
                _copy(events, run.events / events.name)


def more_epochs_of(parent: Path, fingerprint: Fingerprint) -> EarlierRun | None:
    """Find a run with the settings of a command, except that the command has more epochs.

    Args:
        parent: the folder of all runs of the stage.
        fingerprint: the fingerprint that the command gives.

    Returns:
        Of these runs with a checkpoint, the one with the most epochs; None if there is none.
    """
    epochs = fingerprint["trainer"]["max_epochs"]
    found = []
    for path in sorted(parent.glob(f"*/{RUN_FILE}")):
        run = Run(path.parent)
        if path.parent.is_symlink() or not any(
            (path.parent / CHECKPOINTS / name).is_file() for name in (LAST, PREVIOUS)
        ):
            continue
        before = run.fingerprint
        changed = changed_settings({**before, RESUMED: None}, {**fingerprint, RESUMED: None})
        if before["trainer"]["max_epochs"] < epochs and {*changed} <= {*WITH_EPOCHS}:
            found.append((before["trainer"]["max_epochs"], path.parent))
    return EarlierRun.find(max(found)[1]) if found else None


def _by_settings(fingerprint: Fingerprint) -> Fingerprint:
    return {SETTING_NAMES.get(name, name): value for name, value in fingerprint.items()}


def _describe_start(start: str | Mapping[str, Any]) -> str:
    """Describe the entry `start` of the fingerprint of a run of stage train."""
    if isinstance(start, str):
        return start
    kept = (
        "a new classifier" if start["classifier"] == "new" else f"the outputs of {', '.join(start['kept']) or 'none'}"
    )
    return f"model {start['model']} (with {kept})"


def _is_in(name: str, groups: tuple[str, ...]) -> bool:
    return any(name == group or name.startswith(f"{group}.") for group in groups)


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
