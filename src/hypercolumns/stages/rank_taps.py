"""Stage rank_taps: rank the taps of a store by how well they tell classes apart, to choose the taps of a model."""

import shlex
from typing import Any

import torch
from omegaconf import DictConfig

from hypercolumns.data.shuffling import feistel_permutation
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation.tap_ranking import (
    LinearProbes,
    ProbeResult,
    SubsetConstraints,
    forward_selection,
)
from hypercolumns.io.files import read_json, short_hash, write_json
from hypercolumns.models.backbones import Backbone
from hypercolumns.reports import ranking_tables
from hypercolumns.reports.ranking_tables import RankingRow
from hypercolumns.runs.run import Run
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console
from hypercolumns.settings import data, model
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import command
from hypercolumns.settings.fingerprint import result_settings, shared_settings, stage_dir
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import origin
from hypercolumns.settings.stage_inputs import find_store
from hypercolumns.store import Samples, SampleStore, Split


def rank_taps(cfg: DictConfig) -> Run:
    """Rank subsets of the taps of the store that stage pretrain would use, and return the run.

    The score of a subset is the mIoU of a linear probe on the val samples (see `evaluation.tap_ranking`). Forward
    selection first tries each tap alone. Each further step tries to add each of the other taps to the best subset of
    the step before. A context tap that is computed from the deepest map is always tried together with the tap of this
    map. The table shows how much the mIoU of each subset is above or below the mIoU of all taps together.
    """
    check_settings(cfg)
    quiet_libraries()
    images = data.image_index(cfg)
    backbone = model.backbone(cfg, decoding=images.decoding)
    if backbone.sees_scales:
        raise HypercolumnsError(
            f"stage=rank_taps chooses cnn.taps, whose maps it ranks at one scale, but cnn.scales={[*cfg.cnn.scales]}; "
            f"rank the taps with cnn.scales=[1], and then train with the chosen taps at all scales"
        )
    shared = shared_settings(cfg, images, backbone)
    store = find_store(cfg, images, shared)
    fingerprint = shared | {"samples": short_hash(store.fingerprint), **result_settings(cfg, "rank_taps")}
    with Run.begin(stage_dir(cfg, images, "rank_taps"), fingerprint, origin(cfg), cfg.overwrite) as run:
        if not run.finished:
            console.print(f"rank_taps: use the samples in {store.folder}", markup=False)
            rows = _rank(cfg, store, backbone, len(images.classes))
            ranking_tables.write_ranking(run.folder / "ranking.csv", rows)
            write_json(run.folder / "ranking.json", {"trials": rows})
            best = ranking_tables.chosen_subset(rows)
            scored = {f"sample_{name}": best[name] for name in ("miou", "accuracy")}
            run.mark_finished({"stage": cfg.stage, "images": 0, "miou": None, **scored, "taps": best["taps"]})
        rows = read_json(run.folder / "ranking.json")["trials"]
        ranking_tables.print_ranking(
            rows, f"{cfg.cnn.name}: linear probes of its taps on the val samples of {images.name}"
        )
        console.print(f"{'ranking':>9}  {run.folder / 'ranking.csv'}", markup=False)
        chosen = [f"cnn.taps={ranking_tables.taps_value(ranking_tables.chosen_subset(rows)['taps'])}"]
        if cfg.cnn.get("context"):  # because the chosen taps already include the context taps
            chosen.append("cnn.context=[]")
        console.print(f"{'choice':>9}  {shlex.join(chosen)}", markup=False)
        console.print(f"{'command':>9}  {command('all', *chosen)}", markup=False)
    return run


def _rank(cfg: DictConfig, store: SampleStore, backbone: Backbone, classes: int) -> list[RankingRow]:
    """Score subsets of taps by forward selection, and return the ranking, one row per subset, best mIoU first."""
    limits = subset_constraints(backbone, cfg.rank.max_taps, cfg.rank.max_channels)
    if not limits.larger(()):
        smallest = min(limits.channels[: limits.layers])
        raise HypercolumnsError(
            f"rank.max_channels={limits.max_channels} is too small: every subset needs a tap that is not a context "
            f"tap, and the smallest such tap has {smallest} channels; set rank.max_channels to at least {smallest}"
        )
    train, val = (random_samples(store.split(name), cfg.rank.samples, cfg.seed) for name in ("train", "val"))
    statistics = store.split("train").statistics()
    probes = LinearProbes(train, val, statistics, limits.channels, classes, cfg.rank.components, cfg.seed)
    steps = forward_selection(limits, probes.score)
    tried = {trial.subset: (number, trial) for number, step in enumerate(steps, start=1) for trial in step.new}
    everything = tuple(range(len(limits.channels)))
    of_all = tried[everything][1] if everything in tried else probes.score(everything)
    tried.setdefault(everything, (0, of_all))
    kept = [step.kept for step in steps]
    names: list[Any] = [*map(list, backbone.tap_modules), *([make.name] for make in backbone.contexts)]

    def row(number: int, trial: ProbeResult) -> RankingRow:
        return {
            "taps": [names[tap] for tap in trial.subset],
            "channels": limits.total_channels(trial.subset),
            "components": trial.components,
            "miou": trial.miou,
            "accuracy": trial.accuracy,
            "difference": trial.miou - of_all.miou,
            "step": number or None,
            "kept": trial in kept,
            "is_all": trial is of_all,
        }

    return sorted((row(*trial) for trial in tried.values()), key=lambda row: (-row["miou"], row["channels"]))


def subset_constraints(backbone: Backbone, max_taps: int | None, max_channels: int | None) -> SubsetConstraints:
    """Describe which subsets of a backbone's taps the ranking may try.

    Args:
        backbone: the backbone of the store.
        max_taps: the largest number of taps in a subset; None: no limit.
        max_channels: the largest number of channels of a subset; None: no limit.

    Returns:
        The constraints. They allow only subsets that are valid as `cnn.taps`: a backbone with these taps computes the
        same features as the store holds.
    """
    layers = len(backbone.tap_modules)
    from_deepest = [number for number, make in enumerate(backbone.contexts, start=layers) if make.from_deepest]
    return SubsetConstraints([tap.channels for tap in backbone.taps], layers, from_deepest, max_taps, max_channels)


def random_samples(split: Split, count: int, seed: int) -> Samples:
    """Fetch random samples of a split of a store.

    Args:
        split: the split of a store.
        count: the number of samples; if the split has fewer, all of them are fetched.
        seed: the seed of the random choice.

    Returns:
        The samples, in their order in the store.
    """
    rows = torch.arange(min(count, len(split)))
    chosen = feistel_permutation(rows, len(split), randomness.derive_seed(seed, "rank"))
    return split.fetch(chosen.sort().values)
