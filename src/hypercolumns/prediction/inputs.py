"""Find the images to predict, and read them from image files, videos and streams."""

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
FRAME_DIGITS = 6  # a frame's number is padded with zeros to this length in the names of outputs


def find_sources(images: str, suffixes: Sequence[str]) -> list[Source]:
    """Find the image files, videos or stream that the setting `images` refers to.

    Args:
        images: one of the following.
            - An image file or a video.
            - A folder: the image files in the folder and its subfolders, but no videos.
            - A glob pattern: the image files and videos that match the pattern.
            - A text file (`.txt` or `.lst`) with the path of an image file or a video on each line.
            - The URL of a stream.
        suffixes: the suffixes of the files that will be written for each image; see `name_outputs`.

    Returns:
        One source for each file. The files of a text file keep the order of the lines; the files of a folder or a
        pattern are sorted by path, without the outputs of earlier predictions. A broken link is kept: `read_frames`
        reports it as a problem.

    Raises:
        ArgumentError: if nothing is found.
        HypercolumnsError: if a path contains a null byte or the `~` of an unknown user, or if the text file or a folder
            can't be read.
    """
    if "://" in images:
        return [Source(images, "stream", True)]
    given = expand_path("images", images)
    unique: dict[Path, Path] = {}
    for path in _paths(given):
        unique.setdefault(Path(os.path.abspath(path)), path)
    if not unique:
        raise ArgumentError(
            f"images={images}: no images found; give an image or a video, a folder that contains images "
            f"({' '.join(SUFFIXES)}), a pattern that matches images or videos, or a .txt file with a path on each line"
        )
    above = os.path.abspath(given) if given.is_dir() else os.path.commonpath([path.parent for path in unique])
    below = [path.relative_to(above).as_posix() for path in unique]
    names = name_outputs(below, suffixes)
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    # Outputs for the frames of `clip.mp4` are written to the folder `clip`. If another input (`clip/a.jpg`) has outputs
    # in that folder, the folder for the frames is `clip.mp4` instead.
    names = [whole if name in folders else name for name, whole in zip(names, below, strict=True)]
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
    """Choose the base name of each input's outputs: the input's path, without its suffix where this is unambiguous.

    An output is named by the base name and one of `suffixes`. Inputs whose outputs would have the same name keep their
    own suffix: with `suffixes` = (".png",), the outputs of `a.jpg` and `a.png` are `a.jpg.png` and `a.png.png`.
    """
    stems = [name.removesuffix(Path(name).suffix) for name in names]
    chosen = list(stems)
    while True:
        outputs: dict[str, list[int]] = {}
        for number, name in enumerate(chosen):
            for suffix in suffixes:
                outputs.setdefault(f"{name}{suffix}", []).append(number)
        clashing = {number for numbers in outputs.values() if len(numbers) > 1 for number in numbers}
        resolved = [names[number] if number in clashing else name for number, name in enumerate(chosen)]
        if resolved == chosen:
            return chosen
        chosen = resolved


def read_frames(
    sources: Iterable[Source], wanted: Callable[[str, Origin | None], bool], frame_stride: int = 1, workers: int = 2
) -> Iterator[Frame]:
    """Read the input images in order; decode only those that `wanted` accepts.

    Args:
        sources: image files, videos and streams.
        wanted: called with the name of an image's outputs and the image's origin; returns whether to decode the image.
        frame_stride: n, to yield only every n-th frame of a video. The name of a frame holds its number among all
            frames, from 0.
        workers: the number of threads that decode image files, and of image files that are decoded ahead of the yielded
            one. 0: an image file is decoded when it is requested.

    Yields:
        One `Frame` per image. `image` is None if the image is not wanted or can't be read; `problem` says why it can't
        be read. A video that can't be read gives one such frame, after the frames that could be read.
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
    import av  # the package is only installed with the extra `video`

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
        reason = "no video stream in the file" if isinstance(error, IndexError) else error.strerror
        problem = f"{source.path} can't be read as a video ({reason}); replace it, or leave it out"
        yield Frame(source.name, source, file, problem=problem)
