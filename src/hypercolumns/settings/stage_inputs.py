"""Which store and which model a stage starts from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, MissingInputError
from hypercolumns.io.files import short_hash
from hypercolumns.runs.lookup import differences, finished_models, finished_stores, is_vacant
from hypercolumns.runs.run import Identity, Run
from hypercolumns.settings import compose
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.identity import sample_settings, stage_dir
from hypercolumns.store import SampleStore, fingerprint_of

SAMPLES_PREFIXES = ("sampler", "extract.", "seed=", "experiment=")  # an experiment may have a sampler of its own


def store_folder(cfg: DictConfig, images: DatasetIndex, fingerprint: Identity) -> Path:
    """Where stage extract writes: the folder that `samples` names, or else one named by the fingerprint.

    Raises:
        HypercolumnsError: if another store is there, or files of another kind, unless the former may be overwritten.
    """
    if cfg.samples is None:
        return stage_dir(cfg, images, "samples") / short_hash(fingerprint)
    folder = local_path(cfg, "samples")
    found = fingerprint_of(folder) if folder.is_dir() else None
    if found is None and folder.exists() and not (folder.is_dir() and is_vacant(folder)):
        raise HypercolumnsError(f"samples={folder} holds other files; name a new folder for the store, or an empty one")
    if found is not None and not cfg.overwrite:
        _refuse_unless_fits(f"samples={folder}", found, fingerprint)
    return folder


def find_store(cfg: DictConfig, images: DatasetIndex, shared: Identity) -> SampleStore:
    """The store that `samples` names, or else the newest finished one that fits.

    A command that names a sampler or a seed means the store made with them, if there is one; the job of a sweep in any
    case.
    """
    if cfg.get("samples") is not None:
        folder = local_path(cfg, "samples")
        store = SampleStore(folder)
        _refuse_unless_fits(f"samples={folder}", store.fingerprint, shared)
        return store
    parent = stage_dir(cfg, images, "samples")
    candidates = finished_stores(parent)
    if _names_samples():
        meant = {"augmentation": None} | shared | sample_settings(cfg)
        if cfg.model is None:  # which stage pretrain need not name again
            meant.pop("model", None)
        own = [folder for folder, found in candidates if not differences(found, meant)]
        if own:
            return SampleStore(own[0])
        if compose.is_sweep_job():  # whose result must not depend on what other jobs have made
            raise MissingInputError(f"no samples in {parent} of this sampler and seed", "extract")
    return SampleStore(_newest(candidates, shared, f"samples in {parent}", "extract"))


def find_pretrained(cfg: DictConfig, images: DatasetIndex, wanted: Identity) -> Run:
    """The newest finished run of stage pretrain that fits."""
    parent = stage_dir(cfg, images, "pretrain")
    return Run(_newest(finished_models(parent), wanted, f"pretrained model in {parent}", "pretrain"))


def sweep_requirements(cfg: DictConfig, images: DatasetIndex, shared: Identity) -> Identity:
    """The store and the seed that a sweep job requires of a pretrained model, if it names a sampler or a seed."""
    if not (compose.is_sweep_job() and _names_samples()):
        return {}
    return {"samples": short_hash(find_store(cfg, images, shared).fingerprint), "seed": cfg.seed}


def _names_samples() -> bool:
    """Whether the command says which samples it means."""
    return any(override.lstrip("+").startswith(SAMPLES_PREFIXES) for override in compose.overrides())


def _newest(candidates: Iterable[tuple[Path, dict[str, Any]]], wanted: Identity, what: str, stage: str) -> Path:
    """The first candidate that fits, or an error that says why the first one does not, and which stage makes one."""
    newest = None
    for folder, identity in candidates:
        differing = differences(identity, wanted)
        if not differing:
            return folder
        newest = newest or (folder, differing)
    why = f" (the newest one, {newest[0].name}: {'; '.join(newest[1])})" if newest else ""
    raise MissingInputError(f"no {what} that fits{why}; make it first: {compose.command(stage)}", stage)


def _refuse_unless_fits(what: str, found: Identity, wanted: Identity) -> None:
    differing = differences(found, wanted)
    if differing:
        raise HypercolumnsError(f"{what} does not fit: {'; '.join(differing)}; choose another or change the settings")
