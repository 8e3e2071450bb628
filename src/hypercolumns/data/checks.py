"""Check the files of a data set: which can't be used, and what the others hold."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from hypercolumns.data.index import DatasetIndex, ImageMaskPair
from hypercolumns.errors import (
    HypercolumnsError,
    InvalidFileError,
    UnreadableError,
    escape_control_chars,
)
from hypercolumns.io.images import (
    PixelShape,
    check_sizes,
    image_size,
    mask_size,
    read_image,
    read_mask,
)
from hypercolumns.io.tables import write_csv
from hypercolumns.labels import IGNORE_INDEX, Palette
from hypercolumns.runtime.progress import ProgressBar
from hypercolumns.runtime.signals import ignore_signals_in_worker

MAX_LISTED_PROBLEMS = 10  # in a message


class FileProblem(NamedTuple):
    """A file that can't be used.

    Attributes:
        file: its path.
        problem: what is wrong.
        lasting: whether it is so as long as the file stays as it is; not if the system did not let it be read.
    """

    file: str
    problem: str
    lasting: bool = True


class ProblemRow(NamedTuple):
    """A file that can't be used, and where it is listed."""

    split: str
    id: str
    file: str
    problem: str


class FileCheck(NamedTuple):
    """What the check of a pair found.

    Attributes:
        problems: none if it can be used.
        size: (height, width), () if it can't.
        pixels: of each class, and of void; [] if it can't.
    """

    problems: list[FileProblem]
    size: PixelShape
    pixels: list[int]


class FileCheckDataset(Dataset[FileCheck]):
    """Decodes pairs as the stages do."""

    def __init__(self, pairs: Sequence[ImageMaskPair], palette: Palette, classes: int) -> None:
        """The pairs to check."""
        self.pairs, self.palette, self.classes = pairs, palette, classes

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> FileCheck:
        """Check one; it raises nothing."""
        pair, counts = self.pairs[index], []

        def of_mask() -> PixelShape:
            labels = read_mask(pair.mask, self.palette, self.classes)
            found = torch.bincount(labels.flatten(), minlength=IGNORE_INDEX + 1).tolist()
            counts.extend([*found[: self.classes], found[IGNORE_INDEX]])
            return tuple(labels.shape)

        problems, size = _problems(pair, of_mask, lambda size: tuple(read_image(pair.image, size).shape[1:]))
        return FileCheck(problems, () if problems else size, [] if problems else counts)


def check_pairs(images: DatasetIndex, pairs: Sequence[ImageMaskPair], num_workers: int) -> Iterator[FileCheck]:
    """Check pairs of the set, in order, in that many processes; 0 does so in this one."""
    yield from DataLoader(
        FileCheckDataset(pairs, images.palette, len(images.classes)),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=ignore_signals_in_worker,
    )


def check_headers(images: DatasetIndex) -> None:
    """Raise InvalidFileError naming the files that are missing, empty, no images, too large or of unequal sizes.

    Likewise those of a kind that is not read. It reads the first bytes of each file, some tenths of a millisecond a
    pair, and decodes nothing.
    """
    problems = []
    with ProgressBar("check files", sum(map(len, images.splits.values())), summary=False) as bar:
        for pair in itertools.chain(*images.splits.values()):
            problems += _problems(pair, partial(mask_size, pair.mask), partial(image_size, pair.image))[0]
            bar.advance()
    if problems:
        raise InvalidFileError(
            f"data {images.name}: {len(problems)} files can't be used: {format_problems(problems)}. Mend them or take "
            f"them out"
        )


def format_problems(problems: Sequence[FileProblem]) -> str:
    """The first ten, and how many more there are."""
    more = f"; and {len(problems) - MAX_LISTED_PROBLEMS} more" if len(problems) > MAX_LISTED_PROBLEMS else ""
    return "; ".join(f"{problem.file} {problem.problem}" for problem in problems[:MAX_LISTED_PROBLEMS]) + more


def problem_rows(images: DatasetIndex, problems: Mapping[str, Sequence[Sequence[FileProblem]]]) -> list[ProblemRow]:
    """A row for each problem, given those of each pair of each split."""
    return [
        ProblemRow(split, pair.id, problem.file, problem.problem)
        for split, pairs in images.splits.items()
        for pair, found in zip(pairs, problems[split], strict=True)
        for problem in found
    ]


def write_problems(path: Path, rows: Sequence[ProblemRow]) -> None:
    """Write the files that can't be used as CSV, a line each."""
    write_csv(path, ProblemRow._fields, [[escape_control_chars(cell) for cell in row] for row in rows])


def _problems(
    pair: ImageMaskPair,
    read_mask_size: Callable[[], PixelShape],
    read_image_size: Callable[[PixelShape | None], PixelShape],
) -> tuple[list[FileProblem], PixelShape]:
    """What is wrong with a pair, by functions that raise HypercolumnsError, and the size of its image."""
    problems: list[FileProblem] = []
    of_mask: PixelShape | None = None
    of_image: PixelShape = ()
    try:
        of_mask = read_mask_size()
    except HypercolumnsError as error:
        problems.append(_problem(pair.mask, error))
    try:
        of_image = read_image_size(of_mask)
    except HypercolumnsError as error:
        problems.append(_problem(pair.image, error))
    if not problems:
        try:
            check_sizes(pair.image, of_image, pair.mask, of_mask or ())
        except HypercolumnsError as error:
            problems.append(_problem(pair.mask, error))
    return problems, of_image


def _problem(file: object, error: HypercolumnsError) -> FileProblem:
    name = escape_control_chars(file)
    return FileProblem(name, str(error).removeprefix(name).lstrip(": "), not isinstance(error, UnreadableError))
