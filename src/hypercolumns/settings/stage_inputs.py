"""Find the store or the model that a stage starts from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, MissingInputError
from hypercolumns.io.files import short_hash
from hypercolumns.runs.lookup import differences, finished_models, finished_stores, is_vacant
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.settings import compose
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.fingerprint import sample_settings, stage_dir
from hypercolumns.store import SampleStore, fingerprint_of

SAMPLES_PREFIXES = ("sampler", "extract.", "seed=", "experiment=")  # experiments are included: one may set a sampler


def store_folder(cfg: DictConfig, images: DatasetIndex, fingerprint: Fingerprint) -> Path:
    """Return the folder of the store that stage extract writes.

    The setting `samples` names the folder. If `samples` is null, the folder is named by the hash of the fingerprint.

    Args:
        cfg: the config of stage extract.
        images: the data set.
        fingerprint: everything that decides the contents of the store.

    Returns:
        The folder, which need not exist yet.

    Raises:
        HypercolumnsError: if `samples` names a store with another fingerprint and `overwrite` is false, or names a file
            or a folder with other files.
    """
    if cfg.samples is None:
        return stage_dir(cfg, images, "samples") / short_hash(fingerprint)
    folder = local_path(cfg, "samples")
    existing = fingerprint_of(folder) if folder.is_dir() else None
    if existing is None and folder.exists() and not (folder.is_dir() and is_vacant(folder)):
        raise HypercolumnsError(f"samples={folder} exists but is no store; name a new or an empty folder for the store")
    if existing is not None and not cfg.overwrite:
        _refuse_unless_fits(f"samples={folder}", existing, fingerprint)
    return folder


def find_store(cfg: DictConfig, images: DatasetIndex, shared: Fingerprint) -> SampleStore:
    """Find the store that `samples` names, or the newest finished store that fits the settings.

    If the command line sets something that decides the samples, such as a sampler or a seed, a store with the same
    samples is preferred to newer stores. A job of a sweep then accepts no other store.

    Args:
        cfg: the config of the stage.
        images: the data set.
        shared: the result of `fingerprint.shared_settings`, which the store must agree with.

    Returns:
        The store, opened for reading.

    Raises:
        HypercolumnsError: if the store that `samples` names does not fit the settings.
        MissingInputError: if no finished store fits the settings.
    """
    if cfg.get("samples") is not None:
        folder = local_path(cfg, "samples")
        store = SampleStore(folder)
        _refuse_unless_fits(f"samples={folder}", store.fingerprint, shared)
        return store
    parent = stage_dir(cfg, images, "samples")
    candidates = finished_stores(parent)
    if _names_samples():
        required = {"augmentation": None} | shared | sample_settings(cfg)
        if cfg.model is None:  # stage pretrain need not name the model that guided stage extract
            required.pop("model", None)
        matching = [folder for folder, fingerprint in candidates if not differences(fingerprint, required)]
        if matching:
            return SampleStore(matching[0])
        if compose.is_sweep_job():  # the result must not depend on the stores that other jobs have made
            raise MissingInputError(
                f"no store of samples in {parent} has the sampler and the seed of this command; make one first: "
                f"{compose.command('extract')}",
                "extract",
            )
    return SampleStore(_newest(candidates, shared, f"store of samples in {parent}", "extract"))


def find_pretrained(cfg: DictConfig, images: DatasetIndex, wanted: Fingerprint) -> Run:
    """Find the newest finished run of stage pretrain whose settings fit.

    Args:
        cfg: the config of stage train.
        images: the data set.
        wanted: the entries that the run's fingerprint must contain.

    Returns:
        The run.

    Raises:
        MissingInputError: if no finished run fits.
    """
    parent = stage_dir(cfg, images, "pretrain")
    return Run(_newest(finished_models(parent), wanted, f"pretrained model in {parent}", "pretrain"))


def sweep_requirements(cfg: DictConfig, images: DatasetIndex, shared: Fingerprint) -> Fingerprint:
    """Return what a job of a sweep requires in its pretrained run's fingerprint, in addition to the shared settings.

    Args:
        cfg: the config of a command, which may be a job of a sweep.
        images: the data set.
        shared: the result of `fingerprint.shared_settings`.

    Returns:
        The entries `samples` (the hash of the store's fingerprint) and `seed`, if the command is a job of a sweep and
        sets something that decides the samples; otherwise {}.
    """
    if not (compose.is_sweep_job() and _names_samples()):
        return {}
    return {"samples": short_hash(find_store(cfg, images, shared).fingerprint), "seed": cfg.seed}


def _names_samples() -> bool:
    """Return whether the command line sets something that decides the samples of a store."""
    return any(override.lstrip("+").startswith(SAMPLES_PREFIXES) for override in compose.overrides())


def _newest(candidates: Iterable[tuple[Path, dict[str, Any]]], wanted: Fingerprint, what: str, stage: str) -> Path:
    """Return the folder of the first candidate whose fingerprint fits `wanted`.

    Args:
        candidates: folders with their fingerprints, newest first.
        wanted: the entries that the fingerprint must contain.
        what: what is searched and where, for the message.
        stage: the stage that makes a candidate.

    Raises:
        MissingInputError: if no candidate fits; the message gives the command that makes one.
    """
    newest = None
    for folder, fingerprint in candidates:
        differing = differences(fingerprint, wanted)
        if not differing:
            return folder
        newest = newest or (folder, differing)
    why = f" (in the newest, {newest[0].name}: {'; '.join(newest[1])})" if newest else ""
    raise MissingInputError(f"no {what} fits this command{why}; make one first: {compose.command(stage)}", stage)


def _refuse_unless_fits(what: str, found: Fingerprint, wanted: Fingerprint) -> None:
    differing = differences(found, wanted)
    if differing:
        raise HypercolumnsError(
            f"{what} does not fit this command: {'; '.join(differing)}; choose another store, or change the settings"
        )
