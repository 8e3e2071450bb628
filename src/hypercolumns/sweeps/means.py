"""Means over the jobs of a sweep that repeat one another with another fold of the data or another seed."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from hypercolumns.sweeps.jobs import JobRecord

REPEATED_SETTINGS = ("data.val_group", "seed")  # the settings in which repetitions differ


class RepeatedMean(NamedTuple):
    """The mean mIoU of jobs that agree in all settings except `REPEATED_SETTINGS`.

    Attributes:
        settings: the settings of the first of these jobs.
        miou: the mean over the jobs that have an mIoU.
        deviation: the sample standard deviation (with n - 1) of these mIoUs.
        done: the number of jobs that have an mIoU.
        jobs: the number of jobs.
    """

    settings: dict[str, str]
    miou: float
    deviation: float
    done: int
    jobs: int


def repeated_means(records: Sequence[JobRecord]) -> list[RepeatedMean]:
    """Group the jobs that repeat one another, and average each group with at least two mIoUs; best first."""
    kinds: dict[frozenset[tuple[str, str]], list[JobRecord]] = {}
    for record in records:
        others = {name: value for name, value in record.settings().items() if name not in REPEATED_SETTINGS}
        kinds.setdefault(frozenset(others.items()), []).append(record)
    means = []
    for jobs in kinds.values():
        figures = [job.miou for job in jobs if job.miou is not None]
        if len(figures) > 1:
            means.append(RepeatedMean(jobs[0].settings(), mean(figures), stdev(figures), len(figures), len(jobs)))
    return sorted(means, key=lambda repeated: -repeated.miou)
