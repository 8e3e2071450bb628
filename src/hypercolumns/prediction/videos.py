"""Read the frames of videos and streams, also of those that are damaged or break off.

A frame is known by its number, which counts the decoded frames. The number that a file's header gives, the frame rate
and the times of the frames decide nothing: a phone's video has a variable frame rate, and headers may be wrong.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.pixel_layout import PixelLayout
from hypercolumns.prediction.sources import Frame, Origin, Source

if TYPE_CHECKING:
    from av import Packet, VideoFrame

VIDEO_FRAME = PixelLayout("a video", 3)
FRAME_DIGITS = 6  # in the names of outputs, the number of a video frame is padded with zeros to this length
STREAM_TIMEOUT = 20.0  # seconds without data after which a stream has broken off
TS_PACKETS = (188, 192, 204)  # sizes of the packets of an MPEG transport stream, in bytes
MIN_CUT = 0.25  # seconds by which a video must at least be shorter than its header says, to be called cut off


@dataclass
class _Reading:
    """What happened while a video was read.

    Attributes:
        frames: the number of decoded frames.
        bad_packets: the number of packets that could not be decoded.
        reason: why the first of these packets could not be decoded.
        end: why the reading failed before the end of the video; "" if it did not.
        damaged: whether the last frame is damaged.
        cut: whether the last packet was cut off, or may be.
        cut_at: the time stamp of this packet; None if it is not known.
        expected: what the header says of the number of frames, if the video has fewer; otherwise "".
    """

    frames: int = 0
    bad_packets: int = 0
    reason: str = ""
    end: str = ""
    damaged: bool = False
    cut: bool = False
    cut_at: int | None = None
    expected: str = ""


def read_video(
    source: Source,
    wanted: Callable[[str, Origin | None], bool],
    frame_stride: int,
    decoding: ImageDecoding,
    report: Callable[[str], None],
) -> Iterator[Frame]:
    """Read the frames of a video or a stream, see `inputs.read_frames`.

    A packet that can't be decoded does not end the reading. A damaged frame has no image: it shows parts of others.

    Args:
        source: the video or stream.
        wanted: decides whether to give the image of a frame.
        frame_stride: the step between the yielded frames.
        decoding: the rules that turn the stored pixels into the image.
        report: called with a line that says how the video ended, if it ended without an error.

    Yields:
        The frames. One more with a `problem` follows if not all of the video could be read.
    """
    import av  # not at the top of the module: only the extra `video` installs this package

    file, reading = source.origin(), _Reading()
    try:
        waits = {"timeout": STREAM_TIMEOUT} if "://" in source.path else {}
        with av.open(source.path, **waits) as container:  # type: ignore[call-overload]
            for number, frame in enumerate(_decoded(container, reading)):
                if number % frame_stride == 0:
                    image = None if reading.damaged else partial(_image, frame, decoding, source)
                    yield _numbered(source, file, number, wanted, image)
    except HypercolumnsError as error:
        yield Frame(source.name, source, file, problem=str(error))
        return
    except (av.FFmpegError, IndexError) as error:
        reading.end = "no video stream in the file" if isinstance(error, IndexError) else _reason(error)
    if problem := _problem(source, reading):
        yield Frame(source.name, source, file, problem=problem)
    else:
        report(_end(source, reading))


def _numbered(
    source: Source,
    file: Origin | None,
    number: int,
    wanted: Callable[[str, Origin | None], bool],
    image: Callable[[], torch.Tensor] | None,
) -> Frame:
    """Return a frame of a video, with its image if it is wanted. `image` is None if the frame is damaged."""
    name, origin = f"{source.name}/{number:0{FRAME_DIGITS}d}", file and {**file, "frame": number}
    if not wanted(name, origin):
        return Frame(name, source, origin)
    if image is None:
        problem = f"frame {number} of {source.path} is damaged, or made from one that is; it is left out"
        return Frame(name, source, origin, problem=problem)
    return Frame(name, source, origin, image())


def _end(source: Source, reading: _Reading) -> str:
    """Say after how many frames a video ended without an error."""
    cut = f", but {reading.expected}: it may be cut off" if reading.expected else ""
    return f"{source.path} ended after {reading.frames} frames{cut}"


def _decoded(container: Any, reading: _Reading) -> Iterator["VideoFrame"]:
    """Yield the decoded frames, and note what happens in `reading`.

    `container.decode` would end at the first packet that can't be decoded. When the reading fails, it would also lose
    the frames that the threads of the decoder hold back.
    """
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    for packet in itertools.chain(_packets(container, stream, reading), [None]):  # None: the frames held back
        try:
            frames = stream.decode(packet)
        except av.FFmpegError as error:
            reading.bad_packets += 1
            reading.damaged = True
            reading.reason = reading.reason or _reason(error)
            continue
        for frame in frames:
            # a damaged frame damages those that are stored as differences from it
            reading.damaged = bool(frame.is_corrupt) or (reading.damaged and not frame.key_frame)
            if reading.cut_at is None or frame.pts is None or frame.pts < reading.cut_at:
                reading.frames += 1
                yield frame
    if stream.frames > reading.frames:
        reading.expected = f"its header gives {stream.frames}"


def _packets(container: Any, stream: Any, reading: _Reading) -> Iterator["Packet[Any]"]:
    """Yield the packets of a video, except a last one that is cut off.

    Decoders fill up the rest of a frame that is cut off with grey or with another frame, and often do not say so.
    """
    import av

    packets, first, last = container.demux(stream), None, None
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError as error:
            reading.end = _reason(error)
            break
        if not packet.size:  # PyAV's mark of the end
            continue
        if last is not None:
            yield last
        first, last = first or packet, packet
    if first is None or last is None:
        return
    no_end = _ends_as_jpeg(first) and not _ends_as_jpeg(last)
    reading.cut = bool(reading.end) or last.is_corrupt or no_end or _is_shorter(container, stream, last)
    if reading.cut:
        reading.cut_at = last.pts  # frames may be stored before frames that are shown earlier
    else:
        yield last


def _is_shorter(container: Any, stream: Any, last: "Packet[Any]") -> bool:
    """Whether a video ends earlier than it should, in formats whose headers give no number of frames.

    Matroska gives the duration. An MPEG transport stream consists of packets of one size.
    """
    if container.format.name == "mpegts":
        return container.size > 0 and all(container.size % size for size in TS_PACKETS)
    if container.format.name != "matroska,webm" or len(container.streams) > 1 or not container.duration:
        return False
    end = float(((last.pts or 0) + (last.duration or 0)) * last.time_base)
    frame = 1 / float(stream.average_rate or 1000)
    return bool(end + max(MIN_CUT, 2 * frame) < container.duration / 1e6)


def _ends_as_jpeg(packet: "Packet[Any]") -> bool:
    return bytes(packet).rstrip(b"\0").endswith(b"\xff\xd9")


def _image(frame: "VideoFrame", decoding: ImageDecoding, source: Source) -> torch.Tensor:
    """Return a frame as an image (N, H, W) uint8, turned as its display matrix says, as phones write it."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    chosen = decoding.decode(pixels, VIDEO_FRAME, source.path)
    return torch.from_numpy(np.ascontiguousarray(chosen)).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.ExitError):  # the time is over
        return f"no data for {STREAM_TIMEOUT:.0f} s"
    return str(getattr(error, "strerror", None) or error)


def _problem(source: Source, reading: _Reading) -> str:
    """Return a message if a video could not be read as a whole; otherwise, return ""."""
    path, stream = source.path, "://" in source.path
    if not reading.frames:
        reason = reading.end or reading.reason or "it has no frames"
        remedy = "check the address" if stream else "replace the video, or leave it out"
        return f"{path} can't be read as a video ({reason}); {remedy}"
    if reading.end or reading.cut:
        remedy = (
            "an HTTP server that does not give the length of its stream ends in the same way; to go on with the "
            "stream, run the command again with another out="
            if stream
            else "replace the video to predict the others"
        )
        reason = reading.end or "the frame after them is not complete"
        return f"{path} broke off after {reading.frames} frames ({reason}), which are predicted; {remedy}"
    if reading.bad_packets:
        return (
            f"{path}: {reading.bad_packets} of its packets can't be decoded ({reading.reason}); the others are "
            f"{reading.frames} frames, which are numbered without those that are lost; replace the video to predict all"
        )
    return ""
