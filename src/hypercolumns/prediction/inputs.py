"""Find the images to predict, and read them from image files, videos and streams."""

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.files import expand_path, read_lines, walk_files
from hypercolumns.io.images import SUFFIXES, read_image
from hypercolumns.prediction.manifest import without_outputs
from hypercolumns.prediction.ordered_pool import prefetch_map
from hypercolumns.prediction.sources import Frame, Origin, Source
from hypercolumns.prediction.videos import read_video

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
LISTS = (".txt", ".lst")


def find_sources(images: str, suffixes: Sequence[str]) -> list[Source]:
    """Find the image files, videos or stream that the setting `images` refers to.

    Args:
        images: one of the following.
            - An image file or a video.
            - A folder: the image files in the folder and its subfolders, but no videos.
            - A glob pattern: the image files and videos that match the pattern.
            - A text file (`.txt` or `.lst`) with the path of an image file or a video on each line.
            - The URL of a stream.
        suffixes: the suffixes of the output files that will be written for each image, such as `.overlay.jpg`. They
            decide the names of the sources, see `name_outputs`.

    Returns:
        One source for each file, or one source for the stream. A file that is found twice gives only one source. Files
        from a text file keep the order of its lines. Files from a folder or a pattern are sorted by path; outputs of
        earlier predictions are left out, see `without_outputs`. A line of the text file whose file does not exist, or a
        broken symbolic link, still gives a source: `read_frames` reports the problem.

    Raises:
        ArgumentError: if no image, video or stream is found, or if the text file can't be read. Also if a path contains
            a null byte, or begins with `~user` and this user does not exist.
        HypercolumnsError: if a folder can't be read.
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
    # The outputs for the frames of the video `clip.mp4` are written to the folder `clip`. If another input, such as
    # `clip/a.jpg`, has outputs in the folder `clip`, the folder for the frames is called `clip.mp4` instead.
    names = [whole if name in folders else name for name, whole in zip(names, below, strict=True)]
    videos = [path.suffix.lower() in VIDEOS for path in unique.values()]
    return [
        Source(str(path), name, video, "" if video else file)
        for path, name, video, file in zip(unique.values(), names, videos, below, strict=True)
    ]


def _paths(given: Path) -> list[Path]:
    if given.is_file():
        listed = given.suffix.lower() in LISTS
        return [expand_path(f"{given}: images", line) for line in read_lines(given, "images")] if listed else [given]
    paths = walk_files(given) if given.is_dir() else (Path(path) for path in glob.iglob(str(given), recursive=True))
    known = SUFFIXES if given.is_dir() else (*SUFFIXES, *VIDEOS)
    return without_outputs(sorted(path for path in paths if path.suffix.lower() in known and not path.is_dir()))


def name_outputs(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Choose a name for the outputs of each input, without clashes between output files.

    The path of an output file is the chosen name followed by one of `suffixes`. `names` are the paths of the inputs,
    relative to the folder that contains them all.

    The chosen name is normally the input's path without its suffix. If two inputs would then have an output file of the
    same path, both keep their suffix. For example, with `suffixes` = (".png",), the outputs of `a.jpg` and `a.png` are
    `a.jpg.png` and `a.png.png`.
    """
    stems = [name.removesuffix(Path(name).suffix) for name in names]
    chosen = list(stems)
    while True:
        outputs: dict[str, list[int]] = {}
        for number, name in enumerate(chosen):
            for suffix in dict.fromkeys(suffixes):
                outputs.setdefault(f"{name}{suffix}", []).append(number)
        clashing = {number for numbers in outputs.values() if len(numbers) > 1 for number in numbers}
        resolved = [names[number] if number in clashing else name for number, name in enumerate(chosen)]
        if resolved == chosen:
            return chosen
        chosen = resolved


def read_frames(
    sources: Iterable[Source],
    wanted: Callable[[str, Origin | None], bool],
    frame_stride: int = 1,
    workers: int = 2,
    decoding: ImageDecoding = AS_STORED,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Frame]:
    """Read the input images in the order of the sources; decode only the images that `wanted` accepts.

    Args:
        sources: image files, videos and streams.
        wanted: decides whether to decode an image. Its arguments are `Frame.name` and `Frame.origin`.
        frame_stride: the step between the yielded frames of a video, at least 1. With n, every n-th frame is yielded,
            beginning with the first, whatever the times of the frames are. The name of a frame ends with its number in
            the video. Numbers start at 0 and also count the frames that are not yielded.
        workers: the number of threads that decode image files. It is also the maximum number of image files that are
            decoded before their frames are requested. 0: no threads; each image file is decoded when its frame is
            requested. Videos never use these threads.
        decoding: the rules that turn the stored pixels into RGB. The frames of a video are 8-bit RGB images.
        report: called with a line at the end of each video that could be read, which says after how many frames.

    Yields:
        One `Frame` for each image. Its `image` is None if `wanted` rejected the image. If the image can't be read,
        `image` is None and `problem` gives the reason. If the reading of a video fails before its end, or parts of
        it can't be decoded, one more frame with a `problem` follows the frames that were read.
    """
    for video, group in itertools.groupby(sources, lambda source: source.video):
        if video:
            for source in group:
                yield from read_video(source, wanted, frame_stride, decoding, report)
        else:
            frames = (Frame(source.name, source, source.origin()) for source in group)
            chosen = ((frame, wanted(frame.name, frame.origin)) for frame in frames)
            yield from prefetch_map(partial(_read_if_wanted, decoding), chosen, workers)


def _read_if_wanted(decoding: ImageDecoding, chosen: tuple[Frame, bool]) -> Frame:
    frame, is_wanted = chosen
    if not is_wanted:
        return frame
    try:
        return replace(frame, image=read_image(Path(frame.source.path), decoding=decoding))
    except HypercolumnsError as error:
        return replace(frame, problem=str(error))
