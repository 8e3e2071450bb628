"""Stage verify: check the files of a store for damage."""

from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.errors import StoreError
from hypercolumns.runtime.progress import console, track
from hypercolumns.settings import data, model
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.fingerprint import shared_settings
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.stage_inputs import find_store
from hypercolumns.store import REPAIR, SampleStore, find_damage

MAX_NAMED = 5  # largest number of damaged files that the error lists


def verify(cfg: DictConfig) -> Path:
    """Compare the files of a store with the hashes that were recorded when the files were written.

    The store is the one that `samples` names or, if `samples` is null, the one that stage pretrain would use. If no
    file is damaged, the number of samples is printed.

    Returns:
        The folder of the store.

    Raises:
        StoreError: if files are damaged; the message lists up to five of them.
    """
    check_settings(cfg)
    quiet_libraries()
    if cfg.samples is not None:
        folder = local_path(cfg, "samples")
    else:
        images = data.image_index(cfg)
        folder = find_store(
            cfg, images, shared_settings(cfg, images, model.backbone(cfg, decoding=images.decoding))
        ).folder
    damage = find_damage(folder, lambda shards: track(shards, "verify"))
    if damage:
        more = f" and {len(damage) - MAX_NAMED} more" if len(damage) > MAX_NAMED else ""
        raise StoreError(f"the store {folder} is damaged: {', '.join(damage[:MAX_NAMED])}{more}; {REPAIR}")
    store = SampleStore(folder)
    rows = sum(len(store.split(split)) for split in store.index_entries)
    console.print(f"verify: no file of the store {folder} is damaged; it holds {rows:,} samples", markup=False)
    return folder
