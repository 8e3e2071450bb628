"""Let a training go on from an earlier run (`resume_from`), and say so when a command could do this."""

from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path, short_hash
from hypercolumns.overrides import format_override
from hypercolumns.runs.earlier import RESUMED, EarlierRun, more_epochs_of
from hypercolumns.runs.file_names import CHECKPOINTS
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings import compose
from hypercolumns.settings.mismatch import in_words, is_about_data
from hypercolumns.settings.schema import setting_of, taken


def earlier_run(cfg: DictConfig) -> EarlierRun | None:
    """Find the run that `resume_from` names; return None if `resume_from` is null.

    Raises:
        HypercolumnsError: if it is no run of the stage, or has no checkpoint. Stage all has no runs.
    """
    if cfg.resume_from is None:
        return None
    path = expand_path("resume_from", cfg.resume_from)
    with setting_prefix("resume_from="):
        earlier = EarlierRun.find(path)
    stage = "pretrain" if "samples" in earlier.fingerprint else "train"
    if stage != cfg.stage:  # stage=all refuses every run here, because both stages would take the same setting
        raise HypercolumnsError(
            f"resume_from={cfg.resume_from} is a run of stage {stage}, but this command has stage={cfg.stage}; give "
            f"stage={stage}"
        )
    return earlier


def continued(cfg: DictConfig, parent: Path, fingerprint: Fingerprint, earlier: EarlierRun | None) -> Fingerprint:
    """Complete the fingerprint of a training that goes on from an earlier run, after a check that it can.

    If the training starts from the beginning although a run with fewer epochs exists, print the command that goes on
    from that run.

    Args:
        cfg: the config of the stage.
        parent: the folder of all runs of the stage.
        fingerprint: everything else that decides the result of the training.
        earlier: the run to go on from; None: the training starts from the beginning.

    Returns:
        The fingerprint. With an earlier run, it contains the identity of that run and of its last state.

    Raises:
        HypercolumnsError: if a setting differs from the earlier run that must not, or if no epoch is left to train.
    """
    if earlier is None:
        if not compose.is_sweep_job():
            _announce(cfg, parent, fingerprint)
        return fingerprint
    before = earlier.fingerprint
    same = fingerprint | ({RESUMED: before[RESUMED]} if RESUMED in before else {})
    if short_hash(before) == short_hash(same):  # the result of this same command, by the link `latest`
        return before
    where = f"resume_from={cfg.resume_from}"
    _refuse(cfg, earlier, fingerprint)
    epochs, waited, _ = earlier.progress
    if epochs >= cfg.trainer.max_epochs:
        raise HypercolumnsError(
            f"{where} has trained {epochs} epochs already, so trainer.max_epochs={cfg.trainer.max_epochs} leaves none "
            f"to train; trainer.max_epochs counts the epochs of that run, too: give a larger number"
        )
    if cfg.patience is not None and waited >= cfg.patience:
        raise HypercolumnsError(
            f"{where} has stopped early: {cfg.monitor} has not improved in its last {waited} validations, so "
            f"patience={cfg.patience} leaves none; give a patience above {waited}, or patience=null"
        )
    console.print(
        f"{cfg.stage}: goes on from {earlier.run.folder}, which has trained {epochs} epoch{'s' * (epochs != 1)}",
        markup=False,
    )
    return fingerprint | {RESUMED: earlier.identity}


def refuse_changes(cfg: DictConfig, earlier: EarlierRun | None, known: Fingerprint) -> None:
    """Compare an earlier run with the part of the fingerprint that is known before the input of the stage is found.

    Without this check, a stage could say that it finds no input, for example because the classifier differs.

    Args:
        cfg: the config of the stage.
        earlier: the run to go on from; None: nothing is compared.
        known: the entries of the fingerprint that are known.
    """
    if earlier is not None:
        _refuse(cfg, earlier, earlier.fingerprint | known)


def _refuse(cfg: DictConfig, earlier: EarlierRun, fingerprint: Fingerprint) -> None:
    """Raise HypercolumnsError if there are changes of settings that `resume_from` does not allow."""
    changes = earlier.changes(fingerprint)
    if not changes:
        return
    new = "leave out resume_from"
    if cfg.stage == "train":
        new = (
            f"give {format_override('init_from', earlier.run.folder)} in its place, to start from the model of that run"
        )
    remedy = f"set what differs as in that run, or, for a new training, {new}"
    if is_about_data(changes):
        remedy = f"training on other data is a new training: {new}"
    raise HypercolumnsError(
        f"resume_from={cfg.resume_from} does not fit this command: "
        f"{'; '.join(in_words(cfg, earlier.run.folder, changes))}; {remedy}"
    )


def _announce(cfg: DictConfig, parent: Path, fingerprint: Fingerprint) -> None:
    """If this command starts a training that could go on from another run, print why it starts, and the other command.

    Raises nothing if a run can't be read: this is only advice.
    """
    run = Run(parent / short_hash(fingerprint))
    if run.model.is_file() or any((run.folder / CHECKPOINTS).glob("*.ckpt")):
        return
    try:
        earlier = more_epochs_of(parent, fingerprint)
        done = earlier.progress.epoch if earlier else 0
    except HypercolumnsError:
        return
    if earlier is None:
        return
    folder = parent / earlier.run.folder.name
    others = [text for text in compose.overrides() if setting_of(text) not in ("stage", "resume_from", "overwrite")]
    command = compose.command_line([f"stage={cfg.stage}", *taken(cfg.stage, others), f"resume_from={folder}"])
    fixed = cfg.scheduler.get("min_lr_ratio") == 1 and not cfg.scheduler.get("warmup_fraction")
    why = (
        "the learning rate follows its schedule over all epochs" if not fixed else "a run has a fixed number of epochs"
    )
    console.print(
        f"{cfg.stage}: starts from the beginning with trainer.max_epochs={cfg.trainer.max_epochs}, because {why}; "
        f"{folder} has the same settings and has trained {done} of {earlier.fingerprint['trainer']['max_epochs']} "
        f"epochs; to go on from it instead: {command}",
        markup=False,
    )
