"""Leave images that can't be used out of a data set, after decoding each of them once.

The results of the checks lie in a folder and hold as long as the files keep their sizes and times. A file that the
system did not let be read is not remembered, and its image not left out: it may be as good as any.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, __version__

from hypercolumns.data.checks import (
    FileCheck,
    FileProblem,
    check_pairs,
    format_problems,
    problem_rows,
    write_problems,
)
from hypercolumns.data.index import DatasetIndex, ImageMaskPair
from hypercolumns.errors import ArgumentError, HypercolumnsError, check_fraction, escape_control_chars
from hypercolumns.io.files import read_json, write_json
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console, track

KnownProblems = Mapping[str, Sequence[FileProblem]]  # of each pair, by its files' signature
CHECKS = "checks.json"
QUARANTINE = "quarantine.csv"
VERSION = 1  # of what `io.images` takes for good: raised with it


def drop_invalid(images: DatasetIndex, folder: Path, num_workers: int = 0, max_invalid: float = 0.05) -> DatasetIndex:
    """Leave out the images that can't be used, and list them in `folder`/quarantine.csv.

    The first process decodes the files that no earlier call has decoded.

    Args:
        images: the data set.
        folder: of the results of earlier checks, and of the list.
        num_workers: processes that decode; 0 decodes in this one.
        max_invalid: the largest fraction of a split that may be left out.

    Returns:
        The data set without them.

    Raises:
        ArgumentError: if more of a split than `max_invalid` can't be used.
        HypercolumnsError: if nothing is left of a split, or the system does not let a file be read.
    """
    check_fraction("max_invalid", max_invalid)
    with distributed.rank_zero_first():
        _check_new(images, folder, num_workers)
    known = load_checks(folder, images)
    problems = {
        split: [known.get(file_signature(pair), []) for pair in pairs] for split, pairs in images.splits.items()
    }
    path = folder / QUARANTINE
    if distributed.is_rank_zero():
        write_problems(path, problem_rows(images, problems))
    kept, counts = {}, []
    for split, pairs in images.splits.items():
        kept[split] = tuple(pair for pair, found in zip(pairs, problems[split], strict=True) if not found)
        invalid = len(pairs) - len(kept[split])
        counts.append(f"{invalid} of {len(pairs)} {split}")
        listed = f"{format_problems(list(itertools.chain(*problems[split])))}. All are in {path}"
        if not kept[split]:
            raise HypercolumnsError(
                f"data {images.name}: {counts[-1]} images can't be used, so there is nothing left: {listed}: mend them"
            )
        if invalid / len(pairs) > max_invalid:
            raise ArgumentError(
                f"max_invalid={max_invalid} is exceeded: {counts[-1]} images of {images.name} can't be used: {listed}: "
                f"mend them, or raise the limit"
            )
    if kept != images.splits:
        console.print(f"left out: {' and '.join(counts)} images, listed in {escape_control_chars(path)}", markup=False)
    return replace(images, splits=kept)


def check_files(
    images: DatasetIndex, pairs: Sequence[ImageMaskPair], num_workers: int, description: str
) -> Iterator[FileCheck]:
    """Check pairs of a set, in order, and show the progress under a description."""
    return track(check_pairs(images, pairs, num_workers), description, len(pairs))


def save_checks(folder: Path, images: DatasetIndex, known: KnownProblems) -> None:
    """Keep the problems found for the next command, those that last as long as their files."""
    pairs = {
        signature: [[problem.file, problem.problem] for problem in problems]
        for signature, problems in known.items()
        if all(problem.lasting for problem in problems)
    }
    write_json(folder / CHECKS, {"how": _check_version(images), "pairs": pairs})


def load_checks(folder: Path, images: DatasetIndex) -> dict[str, list[FileProblem]]:
    """The problems that were kept; {} if they were found by other settings or the file is damaged."""
    try:
        saved = read_json(folder / CHECKS)
        if saved["how"] != _check_version(images):
            return {}
        return {
            signature: [_saved_problem(*problem) for problem in problems]
            for signature, problems in saved["pairs"].items()
        }
    except (HypercolumnsError, LookupError, TypeError, AttributeError):
        return {}


def file_signature(pair: ImageMaskPair) -> str:
    """A hash of a pair's paths, sizes and times, which changes when one of its files does."""
    digest = hashlib.sha256()
    for path in (pair.image, pair.mask):
        try:
            status = path.stat()
            when = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):  # it is not there, or can't be
            when = []
        digest.update(repr([str(path.absolute()), when]).encode())
    return digest.hexdigest()[:32]


def _check_new(images: DatasetIndex, folder: Path, num_workers: int) -> None:
    """Check the pairs that no earlier call has checked, or that have changed since."""
    pairs = {file_signature(pair): pair for pair in itertools.chain(*images.splits.values())}
    before = load_checks(folder, images)
    new = {signature: pair for signature, pair in pairs.items() if signature not in before}
    if new:
        known = {signature: before[signature] for signature in pairs if signature in before}
        try:
            checks = check_files(images, [*new.values()], num_workers, "check images")
            for signature, check in zip(new, checks, strict=True):
                known[signature] = check.problems
        finally:  # also of Ctrl-C, after which the same command goes on from here
            save_checks(folder, images, known)
        passing = [problem for problem in itertools.chain(*known.values()) if not problem.lasting]
        if passing:
            raise HypercolumnsError(
                f"data {images.name}: {len(passing)} files can't be read, so it is not known which images to leave "
                f"out: {format_problems(passing)}"
            )


def _saved_problem(file: str, problem: str) -> FileProblem:
    return FileProblem(str(file), str(problem))


def _check_version(images: DatasetIndex) -> list[object]:
    """What decides whether a file is good, besides the file."""
    palette = [list(colour) for colour in images.palette]
    return [VERSION, __version__, len(images.classes), palette, Image.MAX_IMAGE_PIXELS]
