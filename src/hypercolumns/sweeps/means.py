"""The mean over those jobs of a sweep that only repeat one another: with other folds of the data, or other seeds."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from hypercolumns.sweeps.jobs import JobRecord

REPEATED_SETTINGS = ("data.val_group", "seed")  # settings


class RepeatedMean(NamedTuple):
    """Of jobs that agree in all settings but `REPEATED_SETTINGS`.

    Attributes:
        settings: of the first of them.
        miou: the mean of those that have a figure.
        deviation: the standard deviation of one of them (with n - 1).
        done: how many have a figure.
        jobs: how many there are.
    """

    settings: dict[str, str]
    miou: float
    deviation: float
    done: int
    jobs: int


def repeated_means(records: Sequence[JobRecord]) -> list[RepeatedMean]:
    """The best first; none where nothing repeats, or fewer than two of a kind have a figure."""
    kinds: dict[frozenset[tuple[str, str]], list[JobRecord]] = {}
    for record in records:
        others = {name: value for name, value in record.settings().items() if name not in REPEATED_SETTINGS}
        kinds.setdefault(frozenset(others.items()), []).append(record)
    found = []
    for jobs in kinds.values():
        figures = [job.miou for job in jobs if job.miou is not None]
        if len(figures) > 1:
            found.append(RepeatedMean(jobs[0].settings(), mean(figures), stdev(figures), len(figures), len(jobs)))
    return sorted(found, key=lambda one: -one.miou)
