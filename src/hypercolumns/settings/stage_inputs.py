"""Find the store that a stage writes or reads, or the pretrained model that stage train starts from."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import HypercolumnsError, MissingInputError
from hypercolumns.io.files import file_hash, short_hash
from hypercolumns.runs.lookup import differences, finished_models, finished_stores, is_vacant
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings import compose
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.fingerprint import sample_settings, stage_dir
from hypercolumns.settings.mismatch import in_words
from hypercolumns.store import SampleStore, fingerprint_of

SAMPLER_PREFIXES = ("sampler", "extract.")  # how overrides begin that only decide the samples of a store
# How overrides begin that may decide the samples of a store. An experiment may choose a sampler.
SAMPLES_PREFIXES = (*SAMPLER_PREFIXES, "seed=", "experiment=")


def store_folder(cfg: DictConfig, images: DatasetIndex, fingerprint: Fingerprint) -> Path:
    """Return the folder of the store that stage extract writes.

    The setting `samples` names the folder. If `samples` is null, the name of the folder is the hash of the fingerprint.

    Args:
        cfg: the config of stage extract.
        images: the data set.
        fingerprint: the fingerprint of the store to write.

    Returns:
        The folder, which need not exist yet.

    Raises:
        HypercolumnsError: if `samples` names a store whose fingerprint differs from `fingerprint`, and `overwrite` is
            false. Also if `samples` names a file, or a folder that is neither a store nor empty.
    """
    if cfg.samples is None:
        return stage_dir(cfg, images, "samples") / short_hash(fingerprint)
    folder = local_path(cfg, "samples")
    existing = fingerprint_of(folder) if folder.is_dir() else None
    if existing is None and folder.exists() and not (folder.is_dir() and is_vacant(folder)):
        raise HypercolumnsError(f"samples={folder} exists but is no store; give a new or an empty folder")
    if existing is not None and not cfg.overwrite:
        _refuse_unless_fits(cfg, folder, existing, fingerprint)
    return folder


def find_store(cfg: DictConfig, images: DatasetIndex, shared: Fingerprint, preferred: str | None = None) -> SampleStore:
    """Find the store that `samples` names or, if `samples` is null, the newest finished store that fits the settings.

    A store fits if its fingerprint contains the entries of `shared`. If the command line also gives something that
    decides the samples, such as a sampler or a seed, the newest store with these samples is taken. If there is no such
    store, a job of a sweep and a command that names a sampler or a setting of `extract` raise an error. Any other
    command takes the newest store that fits, and says how it differs.

    Args:
        cfg: the config of the stage.
        images: the data set.
        shared: the result of `fingerprint.shared_settings`.
        preferred: the hash of the fingerprint of the store to take before newer ones.

    Returns:
        The store, opened for reading.

    Raises:
        HypercolumnsError: if the store that `samples` names does not fit the settings.
        MissingInputError: if `samples` is null and no finished store fits the settings.
    """
    if cfg.get("samples") is not None:
        folder = local_path(cfg, "samples")
        store = SampleStore(folder)
        _refuse_unless_fits(cfg, folder, store.fingerprint, shared)
        return store
    parent = stage_dir(cfg, images, "samples")
    candidates = sorted(finished_stores(parent), key=lambda store: short_hash(store[1]) != preferred)
    if _names_samples():
        required = {"augmentation": None} | shared | sample_settings(cfg)
        if cfg.model is None:  # later stages need not name the model that chose the pixels in stage extract
            required.pop("model", None)
        matching = [folder for folder, fingerprint in candidates if not differences(fingerprint, required)]
        if matching:
            return SampleStore(matching[0])
        # The result of a job must not depend on the stores that other jobs have made.
        if compose.is_sweep_job() or _names_samples(SAMPLER_PREFIXES):
            raise MissingInputError(
                f"no store of samples in {parent} has the sampler, the seed and the other sample settings of this "
                f"command; make one first: "
                f"{compose.command('extract')}",
                "extract",
            )
    store = SampleStore(_newest(cfg, candidates, shared, f"store of samples in {parent}", "extract"))
    if _names_samples():
        differing = "; ".join(in_words(cfg, store.folder, differences(store.fingerprint, required)))
        console.print(
            f"no store has all sample settings of this command; the newest differs: {differing}", markup=False
        )
    return store


def find_pretrained(cfg: DictConfig, images: DatasetIndex, wanted: Fingerprint, preferred: str | None = None) -> Run:
    """Find the newest finished run of stage pretrain whose fingerprint contains the entries of `wanted`.

    Args:
        cfg: the config of stage train.
        images: the data set.
        wanted: the entries that the fingerprint of the run must contain, with these values.
        preferred: the hash of the model file to take before newer ones.

    Returns:
        The run.

    Raises:
        MissingInputError: if no finished run fits.
    """
    parent = stage_dir(cfg, images, "pretrain")
    candidates = finished_models(parent)
    if preferred is not None:
        candidates.sort(key=lambda found: file_hash(Run(found[0]).model)[:16] != preferred)
    return Run(_newest(cfg, candidates, wanted, f"pretrained model in {parent}", "pretrain"))


def sweep_requirements(cfg: DictConfig, images: DatasetIndex, shared: Fingerprint) -> Fingerprint:
    """Return the entries that a job of a sweep requires in the fingerprint of the pretrained run that it starts from.

    These entries come in addition to those of `shared`. They make sure that a job with, say, another sampler starts
    from a model that was trained with this sampler.

    Args:
        cfg: the config of stage train; the command need not be a job of a sweep.
        images: the data set.
        shared: the result of `fingerprint.shared_settings`.

    Returns:
        If the command is a job of a sweep, and its command line gives something that decides the samples: the entries
        `samples` (the hash of the store's fingerprint) and `seed`. Otherwise {}.
    """
    if not (compose.is_sweep_job() and _names_samples()):
        return {}
    return {"samples": short_hash(find_store(cfg, images, shared).fingerprint), "seed": cfg.seed}


def _names_samples(prefixes: tuple[str, ...] = SAMPLES_PREFIXES) -> bool:
    """Return whether the command line gives something that may decide the samples of a store."""
    return any(override.lstrip("+").startswith(prefixes) for override in compose.overrides())


def _newest(
    cfg: DictConfig, candidates: Iterable[tuple[Path, Fingerprint]], wanted: Fingerprint, what: str, stage: str
) -> Path:
    """Return the folder of the newest candidate whose fingerprint contains the entries of `wanted`.

    Args:
        cfg: the config of the stage.
        candidates: (folder, fingerprint) of each finished store or run, newest first.
        wanted: the entries that the fingerprint must contain, with these values.
        what: what is searched for, and in which folder, for the error message.
        stage: the stage that makes candidates.

    Returns:
        The folder.

    Raises:
        MissingInputError: if no candidate fits; the message gives the command that makes a fitting one.
    """
    newest = None
    for folder, fingerprint in candidates:
        differing = differences(fingerprint, wanted)
        if not differing:
            return folder
        newest = newest or (folder, differing)
    why = f" (differences of the newest, {newest[0].name}: {'; '.join(in_words(cfg, *newest))})" if newest else ""
    raise MissingInputError(f"no {what} fits this command{why}; make one first: {compose.command(stage)}", stage)


def _refuse_unless_fits(cfg: DictConfig, folder: Path, found: Fingerprint, wanted: Fingerprint) -> None:
    """Raise HypercolumnsError unless the store that `samples` names fits.

    Args:
        cfg: the config of the stage.
        folder: the folder of the store.
        found: the fingerprint of the store.
        wanted: the entries that it must contain, with these values.
    """
    differing = differences(found, wanted)
    if differing:
        why = "; ".join(in_words(cfg, folder, differing))
        raise HypercolumnsError(
            f"samples={folder} does not fit this command: {why}; choose another store, or change the settings"
        )
