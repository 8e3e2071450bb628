"""Which images are to be predicted, and reading them: files, or the frames of videos."""

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import expand_path, read_lines, walk_files
from hypercolumns.io.images import SUFFIXES, read_image
from hypercolumns.prediction.manifest import without_outputs
from hypercolumns.prediction.ordered_pool import prefetch_map
from hypercolumns.prediction.sources import Frame, Origin, Source

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
LISTS = (".txt", ".lst")
FRAME_DIGITS = 6  # of a frame's number


def find_sources(images: str, suffixes: Sequence[str]) -> list[Source]:
    """What a file, a folder, a pattern, a list of files or the URL of a stream means; see `name_outputs` for the names.

    A folder means the images in it and in its folders, a pattern also videos, but no outputs of this program; a text
    file has the path of an image or a video on each line. Links that lead nowhere are kept: who reads them names them.
    Raises ArgumentError if there is none, and HypercolumnsError if a path can't be one.
    """
    if "://" in images:
        return [Source(images, "stream", True)]
    given = expand_path("images", images)
    unique: dict[Path, Path] = {}
    for path in _paths(given):
        unique.setdefault(Path(os.path.abspath(path)), path)
    if not unique:
        raise ArgumentError(
            f"images={images} is neither an image, nor a folder with images ({' '.join(SUFFIXES)}), nor a pattern "
            f"that matches any, nor a .txt that lists some"
        )
    above = os.path.abspath(given) if given.is_dir() else os.path.commonpath([path.parent for path in unique])
    below = [path.relative_to(above).as_posix() for path in unique]
    names = name_outputs(below, suffixes)
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    names = [whole if name in folders else name for name, whole in zip(names, below, strict=True)]  # of a video
    return [
        Source(str(path), name, path.suffix.lower() in VIDEOS)
        for path, name in zip(unique.values(), names, strict=True)
    ]


def _paths(given: Path) -> list[Path]:
    if given.is_file():
        listed = given.suffix.lower() in LISTS
        return [expand_path(f"{given}: images", line) for line in read_lines(given, "images")] if listed else [given]
    paths = walk_files(given) if given.is_dir() else (Path(path) for path in glob.iglob(str(given), recursive=True))
    known = SUFFIXES if given.is_dir() else (*SUFFIXES, *VIDEOS)
    return without_outputs(sorted(path for path in paths if path.suffix.lower() in known and not path.is_dir()))


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
    sources: Iterable[Source], wanted: Callable[[str, Origin | None], bool], frame_stride: int = 1, workers: int = 2
) -> Iterator[Frame]:
    """Yield the input images in order, decoding only those that still need a prediction.

    Args:
        sources: files and videos.
        wanted: called with the name of an image's outputs and its origin; whether to decode it.
        frame_stride: keep every n-th frame of a video, named by its number in it.
        workers: decoding threads; up to `workers + 1` images are decoded ahead, with 0 each when it is asked for.

    Yields:
        One `Frame` per image. Without an image, its `problem` says why it can't be read; that is empty if it was not
        wanted.
    """
    for video, group in itertools.groupby(sources, lambda source: source.video):
        if video:
            for source in group:
                yield from _read_video(source, wanted, frame_stride)
        else:
            frames = (Frame(source.name, source, source.origin()) for source in group)
            chosen = ((frame, wanted(frame.name, frame.origin)) for frame in frames)
            yield from prefetch_map(_read_if_wanted, chosen, workers)


def _read_if_wanted(chosen: tuple[Frame, bool]) -> Frame:
    frame, is_wanted = chosen
    if not is_wanted:
        return frame
    try:
        return replace(frame, image=read_image(Path(frame.source.path)))
    except HypercolumnsError as error:
        return replace(frame, problem=str(error))


def _read_video(source: Source, wanted: Callable[[str, Origin | None], bool], frame_stride: int) -> Iterator[Frame]:
    import av  # an optional extra

    file = source.origin()
    try:
        with av.open(source.path) as container:
            container.streams.video[0].thread_type = "AUTO"
            for number, frame in enumerate(container.decode(video=0)):
                name = f"{source.name}/{number:0{FRAME_DIGITS}d}"
                origin = file and {**file, "frame": number}
                if number % frame_stride:
                    continue
                image = None
                if wanted(name, origin):
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
                yield Frame(name, source, origin, image)
    except (av.FFmpegError, IndexError) as error:
        reason = "it has no pictures" if isinstance(error, IndexError) else error.strerror
        yield Frame(source.name, source, file, problem=f"{source.path} can't be read as a video ({reason})")
