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

from hypercolumns.data import Examination, Fault, ImageSet, Pair, examine
from hypercolumns.data.checks import sample
from hypercolumns.errors import HypercolumnsError, printable
from hypercolumns.io.files import expanded, read_json, write_json
from hypercolumns.reports.dataset import Row, write_faults
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console, track

Found = dict[str, list[Fault]]  # by the state of a pair, its faults
VERSION = 1  # of what `images` takes for good: raised with it


def place(cfg: DictConfig, images: ImageSet) -> Path:
    """The folder of what is found out about a set: the cnn has no part in it."""
    return expanded("runs", str(cfg.runs)) / images.name / "validate"


def left_out(cfg: DictConfig, images: ImageSet, most: float) -> ImageSet:
    """The images that can be used; the others go into a list, quarantine.csv.

    The first process decodes what no command has decoded before. Raises HypercolumnsError if in a split they are more
    than the share `most`, or all.
    """
    with distributed.first_before_others():
        _examine_new(cfg, images)
    known = _known(cfg, images)
    faults = {split: [known.get(state(pair), []) for pair in of_split] for split, of_split in images.splits.items()}
    path = place(cfg, images) / "quarantine.csv"
    if distributed.is_first():
        write_faults(path, rows(images, faults))
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
                f"{sample(list(itertools.chain(*faults[split])))}. All are in {path}: mend them{more}"
            )
    if kept != images.splits:
        console.print(f"left out: {' and '.join(said)} images, listed in {printable(path)}", markup=False)
    return replace(images, splits=kept)


def _examine_new(cfg: DictConfig, images: ImageSet) -> None:
    """Examine what no command has, or what has changed since."""
    pairs = {state(pair): pair for pair in itertools.chain(*images.splits.values())}
    before = _known(cfg, images)
    new = {state: pair for state, pair in pairs.items() if state not in before}
    if new:
        known = {state: before[state] for state in pairs if state in before}
        try:
            found = examined(cfg, images, [*new.values()], "examine images")
            for files, one in zip(new, found, strict=True):
                known[files] = one.faults
        finally:  # also of Ctrl-C, after which the same command goes on from here
            remember(cfg, images, known)
        passing = [fault for fault in itertools.chain(*known.values()) if not fault.lasting]
        if passing:
            raise HypercolumnsError(
                f"data {images.name}: {len(passing)} files can't be read, so it is not known which images to leave "
                f"out: {sample(passing)}"
            )


def examined(cfg: DictConfig, images: ImageSet, pairs: Sequence[Pair], description: str) -> Iterator[Examination]:
    """What is found in pairs of a set, in order, by as many processes as `num_workers` says."""
    return track(examine(images, pairs, cfg.num_workers), description, len(pairs))


def remember(cfg: DictConfig, images: ImageSet, known: Found) -> None:
    """Keep what was found for the next command, as far as it holds then."""
    pairs = {
        state: [[fault.file, fault.problem] for fault in faults]
        for state, faults in known.items()
        if all(fault.lasting for fault in faults)
    }
    write_json(place(cfg, images) / "examined.json", {"how": _how(images), "pairs": pairs})


def rows(images: ImageSet, faults: Mapping[str, Sequence[Sequence[Fault]]]) -> list[Row]:
    """Each fault, given those of each pair of each split."""
    return [
        Row(split, pair.id, fault.file, fault.problem)
        for split, pairs in images.splits.items()
        for pair, found in zip(pairs, faults[split], strict=True)
        for fault in found
    ]


def _known(cfg: DictConfig, images: ImageSet) -> Found:
    """What was found before; nothing if it was by other settings, or the file is damaged: all is found again then."""
    try:
        kept = read_json(place(cfg, images) / "examined.json")
        if kept["how"] != _how(images):
            return {}
        return {state: [_fault(*fault) for fault in faults] for state, faults in kept["pairs"].items()}
    except (HypercolumnsError, LookupError, TypeError, AttributeError):
        return {}


def _fault(file: str, problem: str) -> Fault:
    return Fault(str(file), str(problem))


def _how(images: ImageSet) -> list[object]:
    """What decides whether a file is good, besides the file."""
    palette = [list(colour) for colour in images.palette]
    return [VERSION, __version__, len(images.classes), palette, Image.MAX_IMAGE_PIXELS]


def state(pair: Pair) -> str:
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
