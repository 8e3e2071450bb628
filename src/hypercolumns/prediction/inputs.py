"""Which images are to be predicted, and reading them: files, or the frames of videos."""

import glob
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import read_lines
from hypercolumns.images import SUFFIXES, read_image

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
LISTS = (".txt", ".lst")
DIGITS = 6  # of a frame's number

Item = TypeVar("Item")
Result = TypeVar("Result")
Origin = dict[str, Any]  # what says that a frame is the one that was seen before


@dataclass(frozen=True)
class Source:
    """An image file, or a video whose frames are images.

    Attributes:
        path: of the file, or the URL of a stream.
        name: of its outputs, without suffix; of a video, that of the folder for those of its frames.
        video: whether it is one.
    """

    path: str
    name: str
    video: bool

    def origin(self) -> Origin | None:
        """What tells this file from another one of its name; None for what is no file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return {"source": os.path.abspath(self.path), "bytes": found.st_size, "modified": found.st_mtime_ns}


@dataclass(frozen=True)
class Frame:
    """An image (3, H, W) uint8 that was read, or the reason why it could not be."""

    name: str
    source: Source
    origin: Origin | None
    image: Tensor | None = None
    fault: str = ""

    @property
    def pixels(self) -> Tensor:
        """The image, where there is one."""
        assert self.image is not None, "it was read"
        return self.image


def find_sources(pattern: str, suffixes: Sequence[str], out: Path) -> list[Source]:
    """What a file, a folder, a pattern, a list of files or the URL of a stream means; see `name_outputs` for the names.

    A folder means the images in it and in its folders; a text file has the path of an image or a video on each line.
    What a folder or a pattern has in the folder `out` are outputs, and no images. Raises HypercolumnsError if there is
    none.
    """
    if "://" in pattern:
        return [Source(pattern, "stream", True)]
    place = Path(pattern).expanduser()
    paths = list(dict.fromkeys(_paths(place)))
    if not paths:
        raise HypercolumnsError(
            f"images={pattern} is neither an image, nor a folder with images ({' '.join(SUFFIXES)}), nor a pattern "
            f"that matches any file, nor a .txt that lists some"
        )
    if not place.is_file():
        written = out.resolve()
        paths = [path for path in paths if not path.parent.resolve().is_relative_to(written)]
        if not paths:
            raise HypercolumnsError(f"out={out} is where all of images={pattern} are; choose another folder")
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    above = os.path.abspath(place) if place.is_dir() else os.path.commonpath(folders)
    below = [Path(os.path.abspath(path)).relative_to(above).as_posix() for path in paths]
    names = name_outputs(below, suffixes)
    return [Source(str(path), name, path.suffix.lower() in VIDEOS) for path, name in zip(paths, names, strict=True)]


def _paths(place: Path) -> list[Path]:
    if place.is_dir():
        return [path for path in sorted(place.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    if place.is_file() and place.suffix.lower() in LISTS:
        return [Path(line).expanduser() for line in read_lines(place, "images")]
    if place.is_file():
        return [place]
    return [Path(found) for found in sorted(glob.glob(str(place), recursive=True)) if os.path.isfile(found)]


def name_outputs(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """The names of files without their suffixes, but where two of these, with one of `suffixes`, would be the same."""
    stems = [name.removesuffix(Path(name).suffix) for name in names]
    chosen = list(stems)
    while True:
        outputs: dict[str, list[int]] = {}
        for number, name in enumerate(chosen):
            for suffix in suffixes:
                outputs.setdefault(f"{name}{suffix}", []).append(number)
        clashing = {number for numbers in outputs.values() if len(numbers) > 1 for number in numbers}
        mended = [names[number] if number in clashing else name for number, name in enumerate(chosen)]
        if mended == chosen:
            return chosen
        chosen = mended


def read_frames(
    sources: Iterable[Source], wanted: Callable[[str, Origin | None], bool], every: int = 1, workers: int = 2
) -> Iterator[Frame]:
    """The frames of sources, in order: those that are `wanted`, by the name of their outputs and their origin.

    Of a video it is every `every`-th frame, named by its number. Images are read ahead in `workers` threads, which
    hold as many images; with 0 each is read when it is asked for.
    """
    for video, group in itertools.groupby(sources, lambda source: source.video):
        if video:
            for source in group:
                yield from _read_video(source, wanted, every)
        else:
            origins = ((source, source.origin()) for source in group)
            chosen = (one for one in origins if wanted(one[0].name, one[1]))
            yield from ahead(lambda one: _read_image(*one), chosen, workers)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The function of each item, in order, in so many threads, which work at no more than `workers` items ahead."""
    if workers == 0:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read_image(source: Source, origin: Origin | None) -> Frame:
    try:
        return Frame(source.name, source, origin, read_image(Path(source.path)))
    except HypercolumnsError as error:
        return Frame(source.name, source, origin, fault=str(error))


def _read_video(source: Source, wanted: Callable[[str, Origin | None], bool], every: int) -> Iterator[Frame]:
    import av  # an optional extra

    file = source.origin()
    try:
        with av.open(source.path) as container:
            container.streams.video[0].thread_type = "AUTO"
            for number, frame in enumerate(container.decode(video=0)):
                name = f"{source.name}/{number:0{DIGITS}d}"
                origin = file and {**file, "frame": number}
                if number % every == 0 and wanted(name, origin):
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
                    yield Frame(name, source, origin, image)
    except (av.FFmpegError, IndexError) as error:
        reason = "it has no pictures" if isinstance(error, IndexError) else error.strerror
        yield Frame(source.name, source, file, fault=f"{source.path} can't be read as a video ({reason})")
