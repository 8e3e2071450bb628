"""Find the images of a data set that can't be used, by decoding every image and mask once, and exclude these images.

The check of each image-mask pair gives a result. All results are saved in the file checks.json. A saved result is used
until the size or the modification time of one of the pair's files changes. If the operating system can't read a file,
the content of the file may still be valid. The pair's result is then not saved, and the command ends with an error.
"""

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
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, pair_signature
from hypercolumns.errors import ArgumentError, HypercolumnsError, check_fraction, escape_control_chars
from hypercolumns.io.files import read_json, write_json
from hypercolumns.io.tiff import available_packages
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console, track

KnownProblems = Mapping[str, Sequence[FileProblem]]  # `pair_signature` of a pair -> problems of the pair's files
CHECKS = "checks.json"
QUARANTINE = "quarantine.csv"
# Increase this number when `io.images` or `io.masks` accepts or refuses other files than before. Results that were
# saved under another number are not used.
VERSION = 4


def drop_invalid(images: DatasetIndex, folder: Path, num_workers: int = 0, max_invalid: float = 0.05) -> DatasetIndex:
    """Exclude from a data set the images that can't be used, and list their problems in `folder`/quarantine.csv.

    An image can't be used if the image file or the mask file can't be used. Rank 0 decodes the image-mask pairs that
    have no saved result. The other ranks wait for the results.

    Args:
        images: the data set.
        folder: the folder of quarantine.csv and of the saved results.
        num_workers: the number of worker processes that decode; 0 decodes in this process.
        max_invalid: the largest fraction of a split's images that may be excluded, in [0, 1].

    Returns:
        The data set without the images that can't be used.

    Raises:
        ArgumentError: if `max_invalid` is outside [0, 1], or if more than this fraction of a split can't be used.
        HypercolumnsError: if no image of a split can be used, or if the operating system can't read a file.
    """
    check_fraction("max_invalid", max_invalid)
    with distributed.rank_zero_first():
        _check_new(images, folder, num_workers)
    known = load_checks(folder, images)
    problems = {
        split: [known.get(pair_signature(pair), []) for pair in pairs] for split, pairs in images.splits.items()
    }
    path = folder / QUARANTINE
    if distributed.is_rank_zero():
        write_problems(path, problem_rows(images, problems))
    valid_pairs, counts = {}, []
    for split, pairs in images.splits.items():
        valid_pairs[split] = tuple(
            pair for pair, pair_problems in zip(pairs, problems[split], strict=True) if not pair_problems
        )
        invalid = len(pairs) - len(valid_pairs[split])
        counts.append(f"{invalid} of {len(pairs)} {split}")
        listed = f"{format_problems(list(itertools.chain(*problems[split])))}. {path} lists all of these files"
        if not valid_pairs[split]:
            raise HypercolumnsError(
                f"data {images.name}: {counts[-1]} images can't be used, so the split is empty: {listed}; repair the "
                f"files"
            )
        if invalid / len(pairs) > max_invalid:
            raise ArgumentError(
                f"max_invalid={max_invalid} is exceeded: {counts[-1]} images of {images.name} can't be used: {listed}; "
                f"repair the files, or raise max_invalid"
            )
    if valid_pairs != images.splits:
        console.print(
            f"left out, as they can't be used: {' and '.join(counts)} images, listed in {escape_control_chars(path)}",
            markup=False,
        )
    return replace(images, splits=valid_pairs)


def check_files(
    images: DatasetIndex, pairs: Sequence[ImageMaskPair], num_workers: int, description: str
) -> Iterator[FileCheck]:
    """Check image-mask pairs by `check_pairs`, and show a progress bar.

    Args:
        images: the data set; only its classes, colours and decoding are used.
        pairs: the pairs to check.
        num_workers: the number of worker processes that decode; 0 decodes in this process.
        description: the text next to the progress bar.

    Returns:
        An iterator of the results, one per pair, in the order of `pairs`.
    """
    return track(check_pairs(images, pairs, num_workers), description, len(pairs))


def save_checks(folder: Path, images: DatasetIndex, known: KnownProblems) -> None:
    """Save the results of checks of image-mask pairs, so that later commands need not repeat the checks.

    Args:
        folder: the folder to save the results in.
        images: the data set that the pairs belong to; only its classes and colours are used.
        known: a mapping from the `pair_signature` of each checked pair to the problems of the pair's files. The result
            of a pair is not saved if one of the problems is not `lasting`.
    """
    pairs = {
        signature: [[problem.file, problem.problem] for problem in problems]
        for signature, problems in known.items()
        if all(problem.lasting for problem in problems)
    }
    write_json(folder / CHECKS, {"how": _check_version(images), "pairs": pairs})


def load_checks(folder: Path, images: DatasetIndex) -> dict[str, list[FileProblem]]:
    """Load the results that `save_checks` saved: the `pair_signature` of each checked pair, mapped to its problems.

    The mapping is empty if `folder` holds no saved results, or if the saved results are damaged. It is also empty if
    the rules that decide whether a file can be used have changed since the results were saved, see `_check_version`.
    """
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


def _check_new(images: DatasetIndex, folder: Path, num_workers: int) -> None:
    """Check the image-mask pairs that have no saved result, and save their results.

    A pair whose files have changed since they were checked has no saved result.

    Raises:
        HypercolumnsError: if the operating system can't read a file.
    """
    pairs = {pair_signature(pair): pair for pair in itertools.chain(*images.splits.values())}
    before = load_checks(folder, images)
    new = {signature: pair for signature, pair in pairs.items() if signature not in before}
    if new:
        known = {signature: before[signature] for signature in pairs if signature in before}
        try:
            checks = check_files(images, [*new.values()], num_workers, "check images")
            for signature, check in zip(new, checks, strict=True):
                known[signature] = check.problems
        finally:  # also after an interruption, so that the next command does not repeat the finished checks
            save_checks(folder, images, known)
        transient = [problem for problem in itertools.chain(*known.values()) if not problem.lasting]
        if transient:
            raise HypercolumnsError(
                f"data {images.name}: {len(transient)} files can't be read, so the check of the images is incomplete: "
                f"{format_problems(transient)}"
            )


def _saved_problem(file: str, problem: str) -> FileProblem:
    return FileProblem(str(file), str(problem))


def _check_version(images: DatasetIndex) -> list[object]:
    """List everything that decides whether a file can be used, apart from the contents of the file."""
    readers = [__version__, *available_packages()]
    return [VERSION, readers, images.scheme.fingerprint(), images.decoding.settings(), Image.MAX_IMAGE_PIXELS]
