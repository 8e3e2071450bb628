"""Checks of the files of a data set, which decode the files or read only their headers."""

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

MAX_LISTED_PROBLEMS = 10  # problems listed in a message


class FileProblem(NamedTuple):
    """A reason why a file can't be used.

    Attributes:
        file: the path of the file.
        problem: what is wrong with the file.
        lasting: true if the problem lasts until the file changes; false if the operating system refused to read the
            file, which may then be valid.
    """

    file: str
    problem: str
    lasting: bool = True


class ProblemRow(NamedTuple):
    """A row of the table of files that can't be used.

    Attributes:
        split: the split that lists the file.
        id: the id of the image-mask pair.
        file: the path of the image or mask.
        problem: what is wrong with the file.
    """

    split: str
    id: str
    file: str
    problem: str


class FileCheck(NamedTuple):
    """The result of checking an image-mask pair.

    Attributes:
        problems: the problems found; empty if the pair can be used.
        size: (height, width) of the image; empty if the pair can't be used.
        pixels: the number of pixels of each class, then of void pixels; empty if the pair can't be used.
    """

    problems: list[FileProblem]
    size: PixelShape
    pixels: list[int]


class FileCheckDataset(Dataset[FileCheck]):
    """Dataset whose items are the checks of image-mask pairs. A check decodes both files, as the stages do.

    Args:
        pairs: the pairs to check.
        palette: the colours of the classes, for masks in colour.
        classes: the number of classes.
    """

    def __init__(self, pairs: Sequence[ImageMaskPair], palette: Palette, classes: int) -> None:
        self.pairs, self.palette, self.classes = pairs, palette, classes

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> FileCheck:
        """Check a pair. A problem with a file is part of the result, not an error."""
        pair, counts = self.pairs[index], []

        def count_labels() -> PixelShape:
            labels = read_mask(pair.mask, self.palette, self.classes)
            by_label = torch.bincount(labels.flatten(), minlength=IGNORE_INDEX + 1).tolist()
            counts.extend([*by_label[: self.classes], by_label[IGNORE_INDEX]])
            return tuple(labels.shape)

        problems, size = _problems(pair, count_labels, lambda size: tuple(read_image(pair.image, size).shape[1:]))
        return FileCheck(problems, () if problems else size, [] if problems else counts)


def check_pairs(images: DatasetIndex, pairs: Sequence[ImageMaskPair], num_workers: int) -> Iterator[FileCheck]:
    """Decode image-mask pairs and check them.

    Args:
        images: the data set; only its classes and colours are used.
        pairs: the pairs to check.
        num_workers: the number of worker processes; 0 decodes in this process.

    Yields:
        The result for each pair, in order.
    """
    yield from DataLoader(
        FileCheckDataset(pairs, images.palette, len(images.classes)),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=ignore_signals_in_worker,
    )


def check_headers(images: DatasetIndex) -> None:
    """Check the header of every file of a data set, without decoding the file.

    This takes a few tenths of a millisecond per pair.

    Raises:
        InvalidFileError: if files are missing, empty, not images, of an unsupported kind or too large, or if a mask and
            its image differ in size. The message names the first ten files.
    """
    problems = []
    with ProgressBar("check files", sum(map(len, images.splits.values())), summary=False) as bar:
        for pair in itertools.chain(*images.splits.values()):
            problems += _problems(pair, partial(mask_size, pair.mask), partial(image_size, pair.image))[0]
            bar.advance()
    if problems:
        raise InvalidFileError(
            f"data {images.name}: {len(problems)} files can't be used: {format_problems(problems)}. Repair "
            f"these files, or remove their images from the data set"
        )


def format_problems(problems: Sequence[FileProblem]) -> str:
    """Format problems for a message: the first ten, and the number of the others."""
    more = f"; and {len(problems) - MAX_LISTED_PROBLEMS} more" if len(problems) > MAX_LISTED_PROBLEMS else ""
    return "; ".join(f"{problem.file} {problem.problem}" for problem in problems[:MAX_LISTED_PROBLEMS]) + more


def problem_rows(images: DatasetIndex, problems: Mapping[str, Sequence[Sequence[FileProblem]]]) -> list[ProblemRow]:
    """List the problems of a data set as rows of a table.

    Args:
        images: the data set.
        problems: for each split, the problems of each of its pairs, in order.
    """
    return [
        ProblemRow(split, pair.id, problem.file, problem.problem)
        for split, pairs in images.splits.items()
        for pair, pair_problems in zip(pairs, problems[split], strict=True)
        for problem in pair_problems
    ]


def write_problems(path: Path, rows: Sequence[ProblemRow]) -> None:
    """Write a CSV file with one row per problem."""
    write_csv(path, ProblemRow._fields, [[escape_control_chars(cell) for cell in row] for row in rows])


def _problems(
    pair: ImageMaskPair,
    read_mask_size: Callable[[], PixelShape],
    read_image_size: Callable[[PixelShape | None], PixelShape],
) -> tuple[list[FileProblem], PixelShape]:
    """Collect the problems of a pair, and the (height, width) of its image: () if the image can't be used.

    `read_mask_size` returns the mask's (height, width). `read_image_size` takes this size, or None if the mask can't be
    used, and returns the image's (height, width). Both raise HypercolumnsError if their file can't be used.
    """
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
