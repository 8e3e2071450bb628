"""Videos of variable frame rate, with wrong headers, damaged or cut off, and streams that break off."""

import re
import time

import numpy as np
import pytest
from helpers.videos import breaking_server, frames_of, write_noise

from hypercolumns.prediction import Source, videos
from hypercolumns.prediction.inputs import read_frames

TIMES = np.random.default_rng(1).integers(1, 400, 40).cumsum().tolist()  # milliseconds
# Encoders and options of formats, by their suffixes. The index of an MP4 file that is cut must lie at its start.
FORMATS = {
    "mkv": ("libx264", {}),
    "mp4": ("libx264", {"movflags": "faststart"}),
    "ts": ("libx264", {}),
    "mjpeg": ("mjpeg", {}),
    "avi": ("mjpeg", {}),
    "webm": ("libvpx", {}),
}


def read(path, **settings):
    """Return the images by the numbers of their frames, and the problems with the lines about the end."""
    lines = []
    frames = list(read_frames([Source(str(path), "clip", True)], lambda *_: True, report=lines.append, **settings))
    images = {int(frame.name.partition("/")[2]): frame.pixels for frame in frames if frame.image is not None}
    return images, [frame.problem for frame in frames if frame.problem], lines


def are_equal(images, expected):
    return all((image.numpy() == expected[number].pixels).all() for number, image in images.items())


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate(tmp_path, suffix):
    """The header of a Matroska file gives no number of frames."""
    path = tmp_path / f"clip.{suffix}"
    write_noise(path, "libx264", TIMES)
    expected = frames_of(path)
    assert len(set(np.diff([frame.pts for frame in expected]))) > 30
    images, problems, lines = read(path)
    assert list(images) == list(range(40))
    assert are_equal(images, expected)
    assert (problems, lines) == ([], [f"{path} ended after 40 frames"])
    some, _, _ = read(path, frame_stride=7)
    assert list(some) == [0, 7, 14, 21, 28, 35]
    assert are_equal(some, expected)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.6, 0.77])
def test_frames_before_a_cut_are_whole(tmp_path, suffix, share):
    codec, options = FORMATS[suffix]
    path = tmp_path / f"clip.{suffix}"
    write_noise(path, codec, **options)
    expected = frames_of(path)
    assert read(path)[1:] == ([], [f"{path} ended after 40 frames"])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole)) // 188 * 188 + 50])  # no whole number of a ts file's packets
    images, problems, lines = read(path)
    assert 0 < len(images) < 40
    assert list(images) == list(range(len(images)))
    assert are_equal(images, expected)
    said = rf"broke off after {len(images)} frames \(.*\), which are predicted; replace|ended .*: it may be cut off"
    assert re.search(said, (problems + lines)[0])


def test_number_in_the_header_may_be_wrong(tmp_path):
    """The header of this AVI file gives 99 frames, and there are 40."""
    path = tmp_path / "clip.avi"
    write_noise(path, "mjpeg")
    content = path.read_bytes().replace((40).to_bytes(4, "little"), (99).to_bytes(4, "little"))
    path.write_bytes(content)
    images, problems, lines = read(path)
    assert (len(images), problems) == (40, [])
    assert lines == [f"{path} ended after 40 frames, but its header gives 99: it may be cut off"]


def test_broken_packet_does_not_end_the_video(tmp_path):
    path = tmp_path / "clip.mjpeg"
    write_noise(path, "mjpeg")
    expected, content = frames_of(path), path.read_bytes()
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", content)]
    broken = bytearray(content)
    broken[starts[20] + 20 : starts[21] - 2] = bytes(starts[21] - 2 - starts[20] - 20)
    path.write_bytes(broken)
    images, problems, _ = read(path)
    assert len(images) == 39
    later = [expected[number + (number >= 20)] for number in range(39)]
    assert are_equal(images, later)
    assert re.search(
        r"clip\.mjpeg: 1 of its packets can't be decoded \(Invalid data.*\); the others are 39 frames", problems[0]
    )


def test_damaged_frames_are_left_out(tmp_path):
    """Frames that are stored as differences from the damaged one are damaged, too, up to the next that is not."""
    path = tmp_path / "clip.avi"
    write_noise(path, "mpeg4")
    expected, content = frames_of(path), bytearray(path.read_bytes())
    starts = [found.start() + 8 for found in re.finditer(b"00dc", content)][1:]  # the first is in the header
    middle = (starts[15] + starts[16]) // 2
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(content)
    images, problems, lines = read(path)
    damaged = [number for number in range(40) if number not in images]
    assert damaged == list(range(15, 24))
    assert problems == [
        f"frame {number} of {path} is damaged, or made from one that is; it is left out" for number in damaged
    ]
    assert are_equal(images, expected)
    assert lines == [f"{path} ended after 40 frames"]


def test_video_without_frames_is_a_problem(tmp_path):
    path = tmp_path / "clip.avi"
    write_noise(path, "mpeg4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])  # the header alone
    images, (problem,), _ = read(path)
    assert not images
    assert problem == f"{path} can't be read as a video (it has no frames); replace the video, or leave it out"


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("mode", ["length", "chunked", "stall"])
def test_stream_that_breaks_off(tmp_path, monkeypatch, suffix, mode):
    """Without a length, the end of a transport stream can't be told from one that breaks off."""
    monkeypatch.setattr(videos, "STREAM_TIMEOUT", 1.0)
    codec, options = FORMATS[suffix]
    path = tmp_path / f"clip.{suffix}"
    write_noise(path, codec, **options)
    began = time.monotonic()
    with breaking_server(path.read_bytes(), mode) as url:
        images, problems, lines = read(url)
    assert time.monotonic() - began < 8
    assert 20 < len(images) < 40
    if (mode, suffix) == ("chunked", "ts"):
        assert lines == [f"{url} ended after {len(images)} frames"]
        images.pop(len(images) - 1)
    assert are_equal(images, frames_of(path))
    if lines:
        return
    reason = {"length": "Input/output error", "stall": "no data for 1 s"}.get(mode, "the frame after them")
    assert problems[0].startswith(f"{url} broke off after {len(images)} frames ({reason}")
    assert problems[0].endswith("; to go on with the stream, run the command again with another out=")


def test_address_without_a_server_is_a_problem():
    _, problems, _ = read("http://127.0.0.1:9/video")
    assert problems == ["http://127.0.0.1:9/video can't be read as a video (Connection refused); check the address"]
