"""Images that can't be used: found by decoding each pair once, and left out where the settings say so.

What was found lies in <runs>/<data>/validate/ and holds as long as the files keep their sizes and times. A file that
the system did not let be read is not remembered, and its image not left out: it may be as good as any.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from PIL import Image, __version__

from hypercolumns.data import DatasetIndex, FileCheck, FileProblem, ImageMaskPair, check_pairs
from hypercolumns.data.checks import format_problems
from hypercolumns.errors import HypercolumnsError, escape_control_chars
from hypercolumns.io.files import expand_path, read_json, write_json
from hypercolumns.reports.dataset import ProblemRow, write_problems
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console, track

KnownProblems = dict[str, list[FileProblem]]  # by the state of a pair, its faults
VERSION = 1  # of what `images` takes for good: raised with it


def checks_dir(cfg: DictConfig, images: DatasetIndex) -> Path:
    """The folder of what is found out about a set: the cnn has no part in it."""
    return expand_path("runs", str(cfg.runs)) / images.name / "validate"


def drop_invalid(cfg: DictConfig, images: DatasetIndex, most: float) -> DatasetIndex:
    """The images that can be used; the others go into a list, quarantine.csv.

    The first process decodes what no command has decoded before. Raises HypercolumnsError if in a split they are more
    than the share `most`, or all.
    """
    with distributed.rank_zero_first():
        _check_new(cfg, images)
    known = _known(cfg, images)
    faults = {
        split: [known.get(file_signature(pair), []) for pair in of_split] for split, of_split in images.splits.items()
    }
    path = checks_dir(cfg, images) / "quarantine.csv"
    if distributed.is_rank_zero():
        write_problems(path, problem_rows(images, faults))
    kept, said = {}, []
    for split, of_split in images.splits.items():
        kept[split] = tuple(pair for pair, found in zip(of_split, faults[split], strict=True) if not found)
        bad = len(of_split) - len(kept[split])
        said.append(f"{bad} of {len(of_split)} {split}")
        if bad / len(of_split) > most or not kept[split]:
            limit, more = f"more than data.max_bad={most} allows", ", or raise data.max_bad"
            if not kept[split]:
                limit, more = "so there is nothing left", ""
            raise HypercolumnsError(
                f"data {images.name}: {said[-1]} images can't be used, {limit}: "
                f"{format_problems(list(itertools.chain(*faults[split])))}. All are in {path}: mend them{more}"
            )
    if kept != images.splits:
        console.print(f"left out: {' and '.join(said)} images, listed in {escape_control_chars(path)}", markup=False)
    return replace(images, splits=kept)


def _check_new(cfg: DictConfig, images: DatasetIndex) -> None:
    """Examine what no command has, or what has changed since."""
    pairs = {file_signature(pair): pair for pair in itertools.chain(*images.splits.values())}
    before = _known(cfg, images)
    new = {state: pair for state, pair in pairs.items() if state not in before}
    if new:
        known = {state: before[state] for state in pairs if state in before}
        try:
            found = check_files(cfg, images, [*new.values()], "examine images")
            for files, one in zip(new, found, strict=True):
                known[files] = one.faults
        finally:  # also of Ctrl-C, after which the same command goes on from here
            save_checks(cfg, images, known)
        passing = [fault for fault in itertools.chain(*known.values()) if not fault.lasting]
        if passing:
            raise HypercolumnsError(
                f"data {images.name}: {len(passing)} files can't be read, so it is not known which images to leave "
                f"out: {format_problems(passing)}"
            )


def check_files(
    cfg: DictConfig, images: DatasetIndex, pairs: Sequence[ImageMaskPair], description: str
) -> Iterator[FileCheck]:
    """What is found in pairs of a set, in order, by as many processes as `num_workers` says."""
    return track(check_pairs(images, pairs, cfg.num_workers), description, len(pairs))


def save_checks(cfg: DictConfig, images: DatasetIndex, known: KnownProblems) -> None:
    """Keep what was found for the next command, as far as it holds then."""
    pairs = {
        state: [[fault.file, fault.problem] for fault in faults]
        for state, faults in known.items()
        if all(fault.lasting for fault in faults)
    }
    write_json(checks_dir(cfg, images) / "examined.json", {"how": _check_version(images), "pairs": pairs})


def problem_rows(images: DatasetIndex, faults: Mapping[str, Sequence[Sequence[FileProblem]]]) -> list[ProblemRow]:
    """Each fault, given those of each pair of each split."""
    return [
        ProblemRow(split, pair.id, fault.file, fault.problem)
        for split, pairs in images.splits.items()
        for pair, found in zip(pairs, faults[split], strict=True)
        for fault in found
    ]


def _known(cfg: DictConfig, images: DatasetIndex) -> KnownProblems:
    """What was found before; nothing if it was by other settings, or the file is damaged: all is found again then."""
    try:
        kept = read_json(checks_dir(cfg, images) / "examined.json")
        if kept["how"] != _check_version(images):
            return {}
        return {state: [_fault(*fault) for fault in faults] for state, faults in kept["pairs"].items()}
    except (HypercolumnsError, LookupError, TypeError, AttributeError):
        return {}


def _fault(file: str, problem: str) -> FileProblem:
    return FileProblem(str(file), str(problem))


def _check_version(images: DatasetIndex) -> list[object]:
    """What decides whether a file is good, besides the file."""
    palette = [list(colour) for colour in images.palette]
    return [VERSION, __version__, len(images.classes), palette, Image.MAX_IMAGE_PIXELS]


def file_signature(pair: ImageMaskPair) -> str:
    """Which files a pair has, in a word that is another one when they have changed."""
    digest = hashlib.sha256()
    for path in (pair.image, pair.mask):
        try:
            found = path.stat()
            when = [found.st_size, found.st_mtime_ns]
        except (OSError, ValueError):  # it is not there, or can't be
            when = []
        digest.update(repr([str(path.absolute()), when]).encode())
    return digest.hexdigest()[:32]
