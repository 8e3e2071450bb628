"""What the stages cost at any size, worked out from what an image, a sample and a step cost: plain arithmetic.

Times are in seconds, sizes in bytes; costs are in seconds of one core. A machine runs one process, with as many
workers as it has cores.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple


class Costs(NamedTuple):
    """Seconds of one core for an image, where nothing else is said."""

    listing: float  # to list it and look for its files
    hashing: float  # its image and mask
    file_bytes: float  # of both
    id_bytes: float  # of memory, for its id and paths
    decoding: float  # image and mask
    augmenting: float  # decoding, and stage train's augmentation
    backbone: float
    sampling: float  # backbone, sampler, hypercolumns at the points
    writing: float  # of a sample: float16, sums, shard, hash
    sample_bytes: float  # of a sample on disk
    ordering: float  # of a sample in an epoch, in every process
    fetching: float  # of a sample, from memory
    learning: float  # of a sample in a step of stage pretrain: forwards and backwards
    stepping: float  # of a step, whatever is in it: optimiser, Lightning
    guessing: float  # of a val sample
    dense: float  # in a step of stage train, on all pixels of its crop
    sparse: float  # likewise, on some of them
    scoring: float  # labels, counts of all pixels and of those near boundaries
    drawing: float  # in one draw of the bootstrap
    parameters: int  # that are trained
    classes: int


class Case(NamedTuple):
    """How much there is to do."""

    name: str
    train: int  # images
    val: int
    samples: int = 500  # an image
    pretrain_epochs: int = 6
    train_epochs: int = 10
    pretrain_batch: int = 1024  # samples, of all processes together
    train_batch: int = 4  # images, likewise
    draws: int = 1000  # of the bootstrap

    @property
    def images(self) -> int:
        """Of both splits."""
        return self.train + self.val


class Machines(NamedTuple):
    """What there is to do it with."""

    cores: int
    disk: float  # bytes a second of each machine
    network: float  # bytes a second of each machine
    memory: float  # bytes of each machine that can hold files
    number: int = 1
    accelerator: float = 0  # how many cores it is as fast as, at backbone and classifier; 0: there is none


class Load(NamedTuple):
    """Of a stage: the seconds of each part if it were alone, those of all, and which part is the longest."""

    parts: dict[str, float]
    seconds: float
    first: str


def extract(costs: Costs, case: Case, machines: Machines) -> Load:
    """Stage extract by one process a machine, each of which takes its share of the shards."""
    images = case.images / machines.number
    return _load(
        machines,
        start=start(costs, case, machines),
        workers={"decode": images * costs.decoding},
        device={"backbone": images * costs.sampling},
        main={"write": images * case.samples * costs.writing},
        disk=images * (costs.file_bytes + case.samples * costs.sample_bytes),
    )


def pretrain(costs: Costs, case: Case, machines: Machines) -> Load:
    """Stage pretrain with `num_workers`, without the scoring of val images at its end.

    Where a store does not stay in memory, every machine reads all of it in every epoch: the order deals neighbouring
    rows out to all processes, and a disk reads neighbours together.
    """
    train, val = case.train * case.samples, case.val * case.samples
    steps = case.pretrain_epochs * train / case.pretrain_batch
    read = store_bytes(costs, case)
    if read > machines.memory:
        read *= case.pretrain_epochs
    share = case.pretrain_epochs / machines.number
    return _load(
        machines,
        start=start(costs, case, machines),
        workers={"fetch": share * (train + val) * costs.fetching},
        device={"classifier": share * (train * costs.learning + val * costs.guessing)},
        main={
            "steps": steps * costs.stepping,
            "order": case.pretrain_epochs * train * costs.ordering,
        },
        disk=read,
        network=steps * reduced(costs, machines),
    )


def train(costs: Costs, case: Case, machines: Machines, dense: bool = True) -> Load:
    """Stage train, with the scoring of all val images after each epoch, but not the one at the end."""
    step = costs.dense if dense else costs.sparse
    share = case.train_epochs / machines.number
    steps = case.train_epochs * case.train / case.train_batch
    read = case.images * costs.file_bytes
    return _load(
        machines,
        start=start(costs, case, machines),
        workers={"decode": share * (case.train * costs.augmenting + case.val * costs.decoding)},
        device={"model": share * (case.train * step + case.val * costs.scoring)},
        main={"steps": steps * costs.stepping},
        disk=read if read <= machines.memory else read * share,
        network=steps * reduced(costs, machines),
    )


def evaluate(costs: Costs, case: Case, machines: Machines) -> Load:
    """Stage evaluate, and the end of pretrain and train: all val images, shared, and the bootstrap, in each process."""
    images = case.val / machines.number
    return _load(
        machines,
        start=start(costs, case, machines),
        workers={"decode": images * costs.decoding},
        device={"model": images * costs.scoring},
        main={"bootstrap": case.val * case.draws * costs.drawing},
        disk=images * costs.file_bytes,
    )


STAGES: dict[str, Callable[[Costs, Case, Machines], Load]] = {
    "extract": extract,
    "pretrain": pretrain,
    "train": train,
    "train, some pixels": partial(train, dense=False),
    "evaluate": evaluate,
}


def start(costs: Costs, case: Case, machines: Machines) -> float:
    """What every process of every command does first: list all images and hash all of their files."""
    return case.images * max(costs.listing + costs.hashing, costs.file_bytes / machines.disk)


def store_bytes(costs: Costs, case: Case) -> float:
    """The size of the store."""
    return case.images * case.samples * costs.sample_bytes


def ids_bytes(costs: Costs, case: Case) -> float:
    """Memory for the ids and paths, in each process; a worker's copy comes to be its own as it is used."""
    return case.images * costs.id_bytes


def counts_bytes(costs: Costs, case: Case) -> float:
    """Memory for two matrices (classes, classes) int64 of each val image, which are held twice when they are joined."""
    return case.val * 2 * costs.classes**2 * 8 * 2


def reduced(costs: Costs, machines: Machines) -> float:
    """Seconds of a ring all-reduce of float32 gradients: each process sends 2 (N - 1) / N of them."""
    return 2 * (machines.number - 1) / machines.number * costs.parameters * 4 / machines.network


def _load(
    machines: Machines,
    start: float,
    workers: dict[str, float],
    device: dict[str, float],
    main: dict[str, float],
    disk: float,
    network: float = 0.0,
) -> Load:
    """All together: the start, and then the longest of what goes on at the same time.

    `workers` are spread over the cores. `device` is done by the main process, on the accelerator if there is one and
    by all cores if not, and `main` by one core of the main process, before or after it. Where there is no accelerator,
    all of these share the cores.
    """
    fast = machines.accelerator or machines.cores
    workers = {name: seconds / machines.cores for name, seconds in workers.items()}
    device = {name: seconds / fast for name, seconds in device.items()}
    at_once = {
        "main": sum(device.values()) + sum(main.values()),
        "cores": sum(workers.values())
        + sum(main.values()) / machines.cores
        + (0 if machines.accelerator else sum(device.values())),
        "disk": disk / machines.disk,
        "network": network,
    }
    parts = {"start": start} | workers | device | main | {"disk": at_once["disk"]}
    if network:
        parts["all-reduce"] = network
    return Load(parts, start + max(at_once.values()), max(parts, key=lambda name: parts[name]))
