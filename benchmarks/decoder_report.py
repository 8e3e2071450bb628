"""The tables of `decoders.py`: the mean of each contender, and the paired differences of ours and the best peer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from decoder_training import OURS, Setup, Trained

from hypercolumns.evaluation import Evaluation
from hypercolumns.evaluation.bootstrap import BOOTSTRAP_SAMPLES, percentile_interval, resample, resampling_groups
from hypercolumns.runtime import randomness

VAL = "val"  # the fold whose scored images are the val split; other folds are named after the group that is left out
METRICS = ("miou", "boundary_miou")


class Final(NamedTuple):
    """A training with the setup that was chosen for it.

    Attributes:
        contender: the name of the decoder or recipe.
        fold: the scored images: a left-out group, or `VAL`.
        seed: the seed of the training.
        setup: the learning rate and the number of images in a step; None: those of the recipe.
        trained: what was measured.
        evaluation: the file of the confusion matrices of the scored images.
    """

    contender: str
    fold: str
    seed: int
    setup: Setup | None
    trained: Trained
    evaluation: Path


def complete(finals: Sequence[Final], count: int) -> list[Final]:
    """Leave out the contenders without all `count` trainings: their means would be those of other folds and seeds."""
    counts = Counter(final.contender for final in finals)
    for name in (name for name, trainings in counts.items() if trainings < count):
        print(f"{name}: left out, because only {counts[name]} of its {count} trainings count")
    return [final for final in finals if counts[final.contender] == count]


def summary(finals: Sequence[Final]) -> list[dict[str, Any]]:
    """Make a row for each contender: means over the seeds, and over the groups that were left out.

    Args:
        finals: the trainings of the same length.

    Returns:
        The rows of the table, in the order of the trainings.
    """
    splits = {"left out": False, "val": True}
    has = {split: any((final.fold == VAL) == is_val for final in finals) for split, is_val in splits.items()}
    rows = []
    for name in dict.fromkeys(final.contender for final in finals):
        own = [final for final in finals if final.contender == name]
        row: dict[str, Any] = {"contender": name}
        for split, is_val in splits.items():
            trained = [final.trained for final in own if (final.fold == VAL) == is_val]
            for metric, short in zip(METRICS, ("mIoU", "boundary"), strict=True) if has[split] else ():
                row[f"{split}: {short}"] = mean(getattr(each, metric) for each in trained)
        everything = [final.trained for final in own]
        setups = dict.fromkeys(final.setup for final in own if final.setup is not None)
        row["rate x images"] = ", ".join(f"{setup.rate:g} x {setup.batch_size}" for setup in setups) or "recipe's"
        row["seconds"] = mean(each.seconds for each in everything)
        row["images"] = mean(each.images for each in everything)
        row["ms an image"] = mean(each.milliseconds for each in everything)
        row["M parameters"] = everything[0].parameters / 1e6
        row["M trained"] = everything[0].trained / 1e6
        row["peak GB"] = max(each.peak for each in everything) / 1e9
        rows.append(row)
    return rows


def differences(finals: Sequence[Final], pattern: str | None) -> list[dict[str, Any]]:
    """Make the rows of each of our recipes less the best peer, with 95 % intervals.

    The best peer has the highest mean mIoU over the left-out groups. A bootstrap sample draws the same images for both,
    for all seeds, and of each group separately; its value is the difference of the means over the seeds and groups.

    Args:
        finals: the trainings of the same length, with the same seeds and folds of each contender.
        pattern: a regular expression that finds the part of an image's id by which the bootstrap draws images together;
            None: it draws single images.

    Returns:
        The rows of the table; none if there is no peer, or none of ours.
    """
    left_out = [final for final in finals if final.fold != VAL]
    peers = {final.contender for final in finals} - {*OURS}
    if not peers or not left_out:
        return []
    best = max(peers, key=lambda name: mean(f.trained.miou for f in left_out if f.contender == name))
    rows = []
    for ours in (name for name in OURS if any(final.contender == name for final in finals)):
        for split, folds in {"left out": {f.fold for f in left_out}, "val": {f.fold for f in finals} & {VAL}}.items():
            for metric in METRICS if folds else ():
                mine, other = ([f for f in finals if f.contender == name and f.fold in folds] for name in (ours, best))
                row: dict[str, Any] = {"ours": ours, "best peer": best, "split": split, "metric": metric}
                gain, low, high = paired_difference(mine, other, metric, pattern)
                rows.append(row | {"gain": gain, "low": low, "high": high})
    return rows


def paired_difference(
    ours: Sequence[Final], theirs: Sequence[Final], metric: str, pattern: str | None
) -> tuple[float, float, float]:
    """Return the mean difference of a metric, and the ends of its 95 % interval.

    Args:
        ours: trainings of one contender.
        theirs: trainings of the other one, with the same seeds and folds.
        metric: the metric, a name in `METRICS`.
        pattern: see `differences`.
    """
    assert {(f.fold, f.seed) for f in ours} == {(f.fold, f.seed) for f in theirs}, "other seeds or folds"
    mine, other = (mean(getattr(final.trained, metric) for final in side) for side in (ours, theirs))
    drawn = _drawn(ours, metric, pattern) - _drawn(theirs, metric, pattern)
    low, high = percentile_interval(drawn).tolist()
    return mine - other, low, high


def _drawn(finals: Iterable[Final], metric: str, pattern: str | None) -> Any:
    """Return the mean of a metric over trainings in each bootstrap sample; folds are drawn independently."""
    values = []
    for final in finals:
        evaluation = Evaluation.load(final.evaluation)
        evaluation = evaluation.take(sorted(range(len(evaluation.ids)), key=lambda index: evaluation.ids[index]))
        groups, seed = resampling_groups(evaluation.ids, pattern), randomness.derive_seed(0, final.fold)
        values.append(resample(evaluation, groups, BOOTSTRAP_SAMPLES, seed)[metric])
    return sum(values) / len(values)
