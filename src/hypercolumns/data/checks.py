"""Check the image and mask files of a data set: decode them completely, or read only their headers."""

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
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.images import PixelShape, image_size, read_image
from hypercolumns.io.masks import check_sizes, mask_size, read_mask
from hypercolumns.io.tables import write_csv
from hypercolumns.labels import IGNORE_INDEX, LabelScheme
from hypercolumns.runtime.progress import ProgressBar
from hypercolumns.runtime.signals import ignore_signals_in_worker

MAX_LISTED_PROBLEMS = 10  # the largest number of problems that a message lists


class FileProblem(NamedTuple):
    """A reason why a file can't be used.

    Attributes:
        file: the path of the file.
        problem: what is wrong with the file and what to do. An error message consists of the file's path and this text.
        lasting: true if the file can't be used until it is changed; false if the operating system could not read it. In
            that case its contents may be valid.
    """

    file: str
    problem: str
    lasting: bool = True


class ProblemRow(NamedTuple):
    """A row of the table of files that can't be used: one problem of one file.

    Attributes:
        split: the split that contains the image.
        id: the id of the image.
        file: the path of the image file or mask file that has the problem.
        problem: what is wrong with the file and what to do.
    """

    split: str
    id: str
    file: str
    problem: str


class FileCheck(NamedTuple):
    """The result of checking an image-mask pair.

    Attributes:
        problems: the problems of the image file and of the mask file; [] if the pair can be used.
        size: the image's (height, width) in pixels; () if the pair can't be used.
        pixels: how many pixels of the mask belong to each class, in the order of the class indices. The last number
            counts the void pixels. [] if the pair can't be used.
    """

    problems: list[FileProblem]
    size: PixelShape
    pixels: list[int]


class FileCheckDataset(Dataset[FileCheck]):
    """Dataset whose items are the results of checking image-mask pairs.

    A check decodes both files completely, as training and evaluation do.

    Args:
        pairs: the pairs to check.
        scheme: the classes, and the rule that turns the pixels of a mask file into class indices.
        decoding: the rules that turn the stored pixels of the images into RGB.
    """

    def __init__(
        self, pairs: Sequence[ImageMaskPair], scheme: LabelScheme, decoding: ImageDecoding = AS_STORED
    ) -> None:
        self.pairs, self.scheme, self.decoding = pairs, scheme, decoding

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> FileCheck:
        """Check the pair at an index. A problem of a file raises no error: the result contains the problem."""
        pair, counts = self.pairs[index], []

        def count_labels() -> PixelShape:
            labels = read_mask(pair.mask, self.scheme)
            by_label = torch.bincount(labels.flatten(), minlength=IGNORE_INDEX + 1).tolist()
            counts.extend([*by_label[: len(self.scheme.classes)], by_label[IGNORE_INDEX]])
            return tuple(labels.shape)

        def size_of_image(size: PixelShape | None) -> PixelShape:
            return tuple(read_image(pair.image, size, self.decoding).shape[1:])

        problems, size = _problems(pair, count_labels, size_of_image)
        return FileCheck(problems, () if problems else size, [] if problems else counts)


def check_pairs(images: DatasetIndex, pairs: Sequence[ImageMaskPair], num_workers: int) -> Iterator[FileCheck]:
    """Check image-mask pairs by decoding both files of each pair.

    Args:
        images: the data set; only its classes, colours and decoding are used.
        pairs: the pairs to check.
        num_workers: the number of worker processes that decode; 0 decodes in this process.

    Yields:
        The result of checking each pair, in the order of `pairs`.
    """
    yield from DataLoader(
        FileCheckDataset(pairs, images.scheme, images.decoding),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=ignore_signals_in_worker,
    )


def check_headers(images: DatasetIndex) -> None:
    """Check the header of every image file and mask file of all splits of a data set. No pixels are decoded.

    The check of an image-mask pair takes a few tenths of a millisecond.

    Raises:
        InvalidFileError: if a file is missing, empty, can't be read, has an unsupported file format or pixel format, or
            has more pixels than `set_max_pixels` allows, or if a mask and its image differ in size. The message lists
            the first ten problems.
    """
    problems = []
    with ProgressBar("check files", sum(map(len, images.splits.values())), summary=False) as bar:
        for pair in itertools.chain(*images.splits.values()):
            read_image_size = partial(image_size, pair.image, decoding=images.decoding)
            problems += _problems(pair, partial(mask_size, pair.mask), read_image_size)[0]
            bar.advance()
    if problems:
        raise InvalidFileError(
            f"data {images.name}: {len(problems)} files can't be used: {format_problems(problems)}. Repair "
            f"these files, or remove their images from the data set"
        )


def format_problems(problems: Sequence[FileProblem]) -> str:
    """Join the first ten problems into one text for a message. If there are more, the text says how many more."""
    more = f"; and {len(problems) - MAX_LISTED_PROBLEMS} more" if len(problems) > MAX_LISTED_PROBLEMS else ""
    return "; ".join(f"{problem.file} {problem.problem}" for problem in problems[:MAX_LISTED_PROBLEMS]) + more


def problem_rows(images: DatasetIndex, problems: Mapping[str, Sequence[Sequence[FileProblem]]]) -> list[ProblemRow]:
    """Turn the problems of a data set's files into the rows of a table.

    Args:
        images: the data set.
        problems: for each split, one sequence of problems per image-mask pair, in the order of the pairs; empty for a
            pair that can be used.

    Returns:
        One row per problem, in the order of the splits and of their pairs.
    """
    return [
        ProblemRow(split, pair.id, problem.file, problem.problem)
        for split, pairs in images.splits.items()
        for pair, pair_problems in zip(pairs, problems[split], strict=True)
        for problem in pair_problems
    ]


def write_problems(path: Path, rows: Sequence[ProblemRow]) -> None:
    """Write rows of problems to the CSV file `path`, with the fields of `ProblemRow` as columns.

    Unprintable characters are escaped, so that each problem stays on one line.
    """
    write_csv(path, ProblemRow._fields, [[escape_control_chars(cell) for cell in row] for row in rows])


def _problems(
    pair: ImageMaskPair,
    read_mask_size: Callable[[], PixelShape],
    read_image_size: Callable[[PixelShape | None], PixelShape],
) -> tuple[list[FileProblem], PixelShape]:
    """Find the problems of the image file and the mask file of a pair, and the size of the image.

    Args:
        pair: the image-mask pair.
        read_mask_size: a function that reads the mask and returns its (height, width). It raises HypercolumnsError if
            the mask can't be used.
        read_image_size: a function that reads the image and returns its (height, width). Its argument is the mask's
            (height, width), or None if the mask can't be used. It raises HypercolumnsError if the image can't be used.

    Returns:
        The problems, and the image's (height, width), or () if the image can't be used.
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
