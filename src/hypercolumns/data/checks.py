"""Which images of a set can't be used, and what the others hold."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.image_set import REMEDY, ImageSet, Pair
from hypercolumns.errors import HypercolumnsError, UnreadableError, printable
from hypercolumns.io.images import (
    VOID,
    Palette,
    Size,
    check_sizes,
    image_size,
    mask_size,
    read_image,
    read_mask,
)
from hypercolumns.runtime.progress import Bar
from hypercolumns.runtime.signals import leave_to_parent

SHOWN = 10  # faults, in a message


class Fault(NamedTuple):
    """A file that can't be used.

    Attributes:
        file: its path.
        problem: what is wrong.
        lasting: whether it is so as long as the file stays as it is; not if the system did not let it be read.
    """

    file: str
    problem: str
    lasting: bool = True


class Examination(NamedTuple):
    """What a pair is.

    Attributes:
        faults: none if it can be used.
        size: (height, width), () if it can't.
        pixels: of each class, and of void; [] if it can't.
    """

    faults: list[Fault]
    size: Size
    pixels: list[int]


class Examiner(Dataset[Examination]):
    """Decodes pairs as the stages do."""

    def __init__(self, pairs: Sequence[Pair], palette: Palette, classes: int) -> None:
        """The pairs to examine."""
        self.pairs, self.palette, self.classes = pairs, palette, classes

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Examination:
        """Examine one; it raises nothing."""
        pair, counts = self.pairs[index], []

        def of_mask() -> Size:
            labels = read_mask(pair.mask, self.palette, self.classes)
            found = torch.bincount(labels.flatten(), minlength=VOID + 1).tolist()
            counts.extend([*found[: self.classes], found[VOID]])
            return tuple(labels.shape)

        faults, size = _faults(pair, of_mask, lambda size: tuple(read_image(pair.image, size).shape[1:]))
        return Examination(faults, () if faults else size, [] if faults else counts)


def examine(images: ImageSet, pairs: Sequence[Pair], workers: int) -> Iterator[Examination]:
    """Examine pairs of the set, in order, in that many processes; 0 does so in this one."""
    yield from DataLoader(
        Examiner(pairs, images.palette, len(images.classes)),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=leave_to_parent,
    )


def check_headers(images: ImageSet) -> None:
    """Raise HypercolumnsError naming the files that are missing, empty, no images, too large or of unequal sizes.

    Likewise those of a kind that is not read. It reads the first bytes of each file, some tenths of a millisecond a
    pair, and decodes nothing.
    """
    found = []
    with Bar("check files", sum(map(len, images.splits.values())), summary=False) as bar:
        for pair in itertools.chain(*images.splits.values()):
            found += _faults(pair, partial(mask_size, pair.mask), partial(image_size, pair.image))[0]
            bar.advance()
    if found:
        raise HypercolumnsError(
            f"data {images.name}: {len(found)} files can't be used: {sample(found)}. Mend them or take them out "
            f"({REMEDY})"
        )


def sample(faults: Sequence[Fault]) -> str:
    """The first ten, and how many more there are."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(f"{fault.file} {fault.problem}" for fault in faults[:SHOWN]) + more


def _faults(
    pair: Pair, read_mask_size: Callable[[], Size], read_image_size: Callable[[Size | None], Size]
) -> tuple[list[Fault], Size]:
    """What is wrong with a pair, by functions that raise HypercolumnsError, and the size of its image."""
    faults: list[Fault] = []
    of_mask: Size | None = None
    of_image: Size = ()
    try:
        of_mask = read_mask_size()
    except HypercolumnsError as error:
        faults.append(_fault(pair.mask, error))
    try:
        of_image = read_image_size(of_mask)
    except HypercolumnsError as error:
        faults.append(_fault(pair.image, error))
    if not faults:
        try:
            check_sizes(pair.image, of_image, pair.mask, of_mask or ())
        except HypercolumnsError as error:
            faults.append(_fault(pair.mask, error))
    return faults, of_image


def _fault(file: object, error: HypercolumnsError) -> Fault:
    name = printable(file)
    return Fault(name, str(error).removeprefix(name).lstrip(": "), not isinstance(error, UnreadableError))
