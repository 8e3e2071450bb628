"""Where runs and stores lie, what identifies them, and which one a stage takes.

    <runs>/<data>/<cnn>/samples/<key>/          a store of samples
    <runs>/<data>/<cnn>/<stage>/<key>/          a run of a stage; <stage>/latest leads to the last finished one
    <runs>/<data>/<cnn>/events/<stage>-<key>/   what TensorBoard reads of that run

A key is a hash of all that decides the contents, the identity, which is written beside them.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, MissingInputError, setting_prefix
from hypercolumns.io.files import (
    expand_path,
    file_hash,
    read_json,
    release_lock,
    short_hash,
    write_json,
)
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.environment import changes, command_line, environment, is_job_of_sweep
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import Sampler
from hypercolumns.settings import build
from hypercolumns.store import INDEX, SampleStore, fingerprint_of

Identity = dict[str, Any]
RECORD = "run.json"

# Settings that decide what a stage gives, besides its input. The others are where things lie and how fast it goes.
TRAINING = "seed classifier loss optimizer scheduler trainer class_weights batch_size ema patience monitor".split()
DECIDING = {
    "pretrain": [*TRAINING, "images_per_batch"],
    "train": [*TRAINING, "pixels", "sampler", "augment", "start_share"],
    "rank_taps": ["seed", "rank"],
}
SAMPLER = "sampler"  # the value of the setting `pixels` that leaves them to the setting of this name
NEUTRAL_VALUES = {  # settings that came later, with the values at which they change nothing: runs from before keep their keys
    "images_per_batch": None,
    "ema": None,
    "start_share": None,
    "loss": {"kind": "cross_entropy", "label_smoothing": 0.0},
    "optimizer.backbone_lr": None,
    "optimizer.layer_decay": None,
    "optimizer.spare_biases": False,
    "augment.grey": 0.0,
    "augment.blur": 0.0,
}
OF_BACKBONE = ("backbone_lr", "layer_decay")  # settings of the optimizer that matter only where it is trained
NOT_DECIDING_IN_TRAINER = (*distributed.MACHINE_SETTINGS, "log_every_n_steps")


def shared_settings(cfg: DictConfig, images: DatasetIndex, backbone: Backbone) -> Identity:
    """What the stages must agree on, from a store to the model trained last."""
    return {
        "data": images.fingerprint(),
        "resize": None if (size := build.resize(cfg)) is None else list(size),
        "cnn": backbone.fingerprint(),
        "alignment": cfg.alignment,
    }


def store_identity(cfg: DictConfig, wanted: Identity) -> Identity:
    """All that decides the contents of the store that stage extract makes with these settings."""
    sampler: type[Sampler] = get_class(cfg.sampler._target_)
    guide = {"model": _hash(cfg.model)} if sampler.needs_logits else {}
    views = {"views": settings} if (settings := build.views_to_sample(cfg)) else {}
    return wanted | {
        "sampler": build.identified(build.plain(cfg.sampler)),
        "seed": cfg.seed,
        "device": distributed.device(cfg).type,  # it and the number of threads decide how sums of floats are rounded
        "threads": torch.get_num_threads(),
        **guide,
        **views,
    }


def result_settings(cfg: DictConfig, stage: str) -> Identity:
    """The settings that decide the result of a stage; those that came later only where they change it."""
    settings = {name: build.identified(build.plain(cfg[name])) for name in DECIDING[stage]}
    if cfg.pixels != SAMPLER:
        settings.pop("sampler", None)
    for name in NOT_DECIDING_IN_TRAINER:
        settings.get("trainer", {}).pop(name, None)
    if stage == "pretrain" or not cfg.cnn.trainable:
        for name in OF_BACKBONE:
            settings.get("optimizer", {}).pop(name, None)
    for name, without_effect in NEUTRAL_VALUES.items():
        group, _, entry = name.rpartition(".")
        part = (settings.get(group) or {}) if group else settings
        if entry in part and part[entry] == without_effect:
            part.pop(entry)
    return settings


def stage_dir(cfg: DictConfig, images: DatasetIndex, what: str) -> Path:
    """The folder of all stores (`what` is samples) or of all runs of a stage."""
    return local_path(cfg, "runs") / images.name / str(cfg.cnn.name) / what


def local_path(cfg: DictConfig, setting: str) -> Path:
    """The folder that a setting names; raises HypercolumnsError for a URL."""
    if "://" in str(cfg[setting]):
        raise HypercolumnsError(
            f"{setting}={cfg[setting]} is a URL; files are read in place, samples through memory maps, which need a "
            f"file system: copy the folder to a disk of this machine, or mount it, and give {setting}=<that folder>"
        )
    return expand_path(setting, cfg[setting])


class Run:
    """The folder of one run of a stage.

    Attributes:
        folder: of the run.
        model: the file of its model.
        metrics: the file of its figures.
        events: the folder of what TensorBoard reads; not in that of the run, or `latest` would be a run there too.
        counts: the file of the pixels of each image that was scored, see `evaluation.Evaluation`.
        panels: the picture of some predictions.
    """

    def __init__(self, folder: Path) -> None:
        """The run in `folder`."""
        self.folder = folder
        self.events = folder.parent.parent / "events" / f"{folder.parent.name}-{folder.name}"
        self.model = folder / "model.safetensors"
        self.metrics = folder / "metrics.json"
        self.counts = folder / "images.npz"
        self.panels = folder / "panels.png"

    @classmethod
    @contextmanager
    def begin(cls, cfg: DictConfig, parent: Path, identity: Identity) -> Iterator["Run"]:
        """The run of that identity in `parent`, new, unfinished or finished; with `overwrite`, always new.

        Inside, it is this command's alone; others that want the same run wait, and find it finished.
        """
        run = cls(parent / short_hash(identity))
        with run._alone() if distributed.is_rank_zero() else nullcontext():
            if distributed.is_rank_zero():
                run._prepare(cfg, identity)
            distributed.barrier()
            yield run

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            console.print(f"waiting for another process, which is at {self.folder}", markup=False)
            lock.acquire()
        try:
            yield
        finally:
            release_lock(lock)

    def _prepare(self, cfg: DictConfig, identity: Identity) -> None:
        if cfg.overwrite and self.folder.exists():
            aside = self.folder.with_name(f".{self.folder.name}.old")  # a kill must not leave half a finished run
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.replace(aside)
            shutil.rmtree(aside)
            shutil.rmtree(self.events, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / RECORD).is_file():
            write_json(self.folder / RECORD, {"identity": identity, "finished": None})
        if not self.finished:
            OmegaConf.save(cfg, self.folder / "config.yaml", resolve=True)
            command = command_line(build.overrides())
            write_json(self.folder / "environment.json", environment(command, distributed.device(cfg)))
            if patch := changes(Path(__file__)):
                (self.folder / "changes.patch").write_text(patch, encoding="utf-8", errors="surrogateescape")

    @property
    def miou(self) -> float | None:
        """Its figure, if images were scored."""
        miou: float | None = read_json(self.metrics)["miou"]
        return miou

    @property
    def identity(self) -> Identity:
        """All that decides its result."""
        return dict(self._record()["identity"])

    @property
    def finished(self) -> str | None:
        """When it was finished, if it is."""
        when: str | None = self._record()["finished"] if (self.folder / RECORD).is_file() else None
        return when

    @property
    def scored(self) -> bool:
        """Whether its figures are there, too."""
        return bool(self.finished and self.metrics.is_file() and isinstance(read_json(self.metrics).get("images"), int))

    def _record(self) -> dict[str, Any]:
        path = self.folder / RECORD
        record = read_json(path)
        if not isinstance(record.get("identity"), dict) or not isinstance(record.get("finished", 0), str | None):
            raise HypercolumnsError(f"{path} is no record of a run; remove it and run the command again")
        return record

    def save(self, segmenter: Segmenter) -> None:
        """Write the model, in the first process; in all of them it is there when this returns."""
        if distributed.is_rank_zero():
            segmenter.save(self.model)
        distributed.barrier()

    def finish(self, figures: Mapping[str, object]) -> None:
        """Write the figures; if the run was not finished before, mark it as finished and make it the latest."""
        write_json(self.metrics, figures)
        if self.finished:
            return
        now = datetime.now(UTC).isoformat()
        write_json(self.folder / RECORD, {"identity": self.identity, "finished": now})
        temporary = self.folder.parent / f".latest.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(self.folder.name, target_is_directory=True)
            temporary.replace(self.folder.parent / "latest")
        except OSError as error:  # no links on this system, or a folder in its place
            temporary.unlink(missing_ok=True)
            console.print(f"latest does not lead to {self.folder} ({error})", markup=False)


def store_folder(cfg: DictConfig, images: DatasetIndex, fingerprint: Identity) -> Path:
    """Where stage extract writes: the folder that `samples` names, or else one named by the fingerprint.

    Raises HypercolumnsError if another store is there, or files of another kind, unless the former may be overwritten.
    """
    if cfg.samples is None:
        return stage_dir(cfg, images, "samples") / short_hash(fingerprint)
    folder = local_path(cfg, "samples")
    found = fingerprint_of(folder) if folder.is_dir() else None
    if found is None and folder.exists() and not (folder.is_dir() and _is_vacant(folder)):
        raise HypercolumnsError(f"samples={folder} holds other files; name a new folder for the store, or an empty one")
    if found is not None and not cfg.overwrite:
        _refuse_unless_fits(f"samples={folder}", found, fingerprint)
    return folder


def find_store(cfg: DictConfig, images: DatasetIndex, wanted: Identity) -> SampleStore:
    """The store that `samples` names, or else the newest finished one that fits.

    A command that names a sampler or a seed means the store made with them, if there is one; the job of a sweep in any
    case.
    """
    if cfg.samples is not None:
        folder = local_path(cfg, "samples")
        store = SampleStore(folder)
        _refuse_unless_fits(f"samples={folder}", store.fingerprint, wanted)
        return store
    parent = stage_dir(cfg, images, "samples")
    stores = sorted(parent.glob(f"*/{INDEX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    candidates = [(path.parent, found) for path in stores if (found := fingerprint_of(path.parent)) is not None]
    if _names_samples():
        identity = store_identity(cfg, wanted)
        meant = {"views": None} | {name: identity[name] for name in identity if name not in ("device", "threads")}
        if cfg.model is None:  # which stage pretrain need not name again
            meant.pop("model", None)
        own = [folder for folder, found in candidates if not differences(found, meant)]
        if own:
            return SampleStore(own[0])
        if is_job_of_sweep():  # whose result must not depend on what other jobs have made
            raise MissingInputError(f"no samples in {parent} of this sampler and seed", "extract")
    return SampleStore(_newest(candidates, wanted, f"samples in {parent}", "extract"))


def find_pretrained(cfg: DictConfig, images: DatasetIndex, wanted: Identity) -> Run:
    """The newest finished run of stage pretrain that fits."""
    parent = stage_dir(cfg, images, "pretrain")
    runs = [Run(path.parent) for path in parent.glob(f"*/{RECORD}") if not path.parent.is_symlink()]
    finished = sorted(
        (run for run in runs if run.finished and run.model.is_file()), key=lambda run: run.finished or "", reverse=True
    )
    candidates = ((run.folder, run.identity) for run in finished)
    return Run(_newest(candidates, wanted, f"pretrained model in {parent}", "pretrain"))


def sweep_requirements(cfg: DictConfig, images: DatasetIndex, wanted: Identity) -> Identity:
    """What the job of a sweep wants of a pretrained model besides, if it names a sampler or a seed."""
    if not (is_job_of_sweep() and _names_samples()):
        return {}
    return {"samples": short_hash(find_store(cfg, images, wanted).fingerprint), "seed": cfg.seed}


def _names_samples() -> bool:
    """Whether the command says which samples it means."""
    names = ("sampler", "views", "seed=", "experiment=")  # an experiment may have a sampler of its own
    return any(override.lstrip("+").startswith(names) for override in build.overrides())


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs, with both values, for every entry of `wanted`."""
    lines = []
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines += differences(other, value, f"{prefix}{name}.")
        elif other != value:
            lines.append(f"{prefix}{name} is {_short(other)}, this command has {_short(value)}")
    return lines


def _newest(candidates: Iterable[tuple[Path, Identity]], wanted: Identity, what: str, stage: str) -> Path:
    """The first candidate that fits, or an error that says why the first one does not, and which stage makes one."""
    newest = None
    for folder, identity in candidates:
        differing = differences(identity, wanted)
        if not differing:
            return folder
        newest = newest or (folder, differing)
    why = f" (the newest one, {newest[0].name}: {'; '.join(newest[1])})" if newest else ""
    raise MissingInputError(f"no {what} that fits{why}; make it first: {build.command(stage)}", stage)


def _refuse_unless_fits(what: str, found: Identity, wanted: Identity) -> None:
    differing = differences(found, wanted)
    if differing:
        raise HypercolumnsError(f"{what} does not fit: {'; '.join(differing)}; choose another or change the settings")


def _is_vacant(folder: Path) -> bool:
    """Whether a folder holds nothing but what is there when a store has just been begun."""
    return all(path.name == "config.yaml" or path.name.startswith(".") for path in folder.iterdir())


def _hash(model: str | None) -> str | None:
    """Of the file that the setting `model` names; None if there is none, with which only stage extract is at fault."""
    path = expand_path("model", model) if model else None
    if path is None or not path.exists():
        return None
    with setting_prefix("model="):
        return file_hash(model_file.find_model(path))[:16]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
