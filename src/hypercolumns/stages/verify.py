"""Stage verify: whether a store of samples is as it was written."""

from pathlib import Path

from omegaconf import DictConfig

from hypercolumns.errors import StoreError
from hypercolumns.runs import run as runs
from hypercolumns.runtime.progress import console, track
from hypercolumns.settings import build
from hypercolumns.store import REPAIR, SampleStore, find_damage

MAX_NAMED = 5


def verify(cfg: DictConfig) -> Path:
    """Read all of a store and hold it against its sidecars; returns its folder.

    It is the one that `samples` names, whatever it was made from, or else the one that stage pretrain would take.
    Raises StoreError naming what is damaged.
    """
    build.check_settings(cfg)
    if cfg.samples is not None:
        folder = runs.local_path(cfg, "samples")
    else:
        images = build.image_set(cfg)
        folder = runs.find_store(cfg, images, runs.shared_settings(cfg, images, build.backbone(cfg))).folder
    found = find_damage(folder, lambda shards: track(shards, "verify"))
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise StoreError(f"{folder} is damaged: {', '.join(found[:MAX_NAMED])}{more}; {REPAIR}")
    store = SampleStore(folder)
    rows = sum(len(store.split(split)) for split in store.records)
    console.print(f"verify: {rows:,} samples in {folder} are as they were written", markup=False)
    return folder
