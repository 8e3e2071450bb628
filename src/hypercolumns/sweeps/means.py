"""The mean mIoU of repeated jobs in a sweep.

Repeated jobs differ only in the seed, in the group of images to validate on, or in both.
"""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from hypercolumns.sweeps.jobs import JobRecord

REPEATED_SETTINGS = ("data.val_group", "seed")  # jobs that differ only in these settings repeat one another


class RepeatedMean(NamedTuple):
    """The mean mIoU of jobs that differ only in the settings `seed` and `data.val_group`.

    Attributes:
        settings: the settings of the first of these jobs, by name.
        miou: the mean mIoU over the jobs that have an mIoU.
        deviation: the sample standard deviation (with n - 1) of the mIoU over the jobs that have an mIoU.
        done: the number of jobs that have an mIoU.
        jobs: the number of jobs, including those without an mIoU.
    """

    settings: dict[str, str]
    miou: float
    deviation: float
    done: int
    jobs: int


def repeated_means(records: Sequence[JobRecord]) -> list[RepeatedMean]:
    """Return the mean mIoU of each set of jobs that repeat one another, the highest mean first.

    Sets in which fewer than two jobs have an mIoU are left out.
    """
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
