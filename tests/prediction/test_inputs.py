"""Finding the inputs of a prediction, naming their outputs, and reading images and videos."""

from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import write_video
from PIL import Image

from hypercolumns import HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.prediction import PredictionManifest, Source
from hypercolumns.prediction.inputs import find_sources, name_outputs, read_frames
from hypercolumns.prediction.ordered_pool import prefetch_map

SUFFIXES = (".png", ".overlay.jpg")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.jpg", "photos/deep/b c.png", "photos/notes.md", "other/a[1].jpg", "clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def sources_of(pattern):
    return [(source.path, source.name) for source in find_sources(pattern, SUFFIXES)]


def test_images_setting_finds_sources(place):
    inside = [("photos/a.jpg", "a"), ("photos/deep/b c.png", "deep/b c")]
    assert sources_of("photos") == inside
    assert sources_of(str(place / "photos")) == [(str(place / path), name) for path, name in inside]
    assert sources_of("photos/a.jpg") == [("photos/a.jpg", "a")]
    assert sources_of("other/a[1].jpg") == [("other/a[1].jpg", "a[1]")]
    assert sources_of("photos/**/*.*g") == inside
    assert sources_of("*/*.jpg") == [("other/a[1].jpg", "other/a[1]"), ("photos/a.jpg", "photos/a")]
    (place / "list.txt").write_text(
        "\ufeffphotos/a.jpg\r\n\nother/../photos/deep/b c.png\n./photos/a.jpg\nmissing.jpg\n"
    )
    assert sources_of("photos/*") == [("photos/a.jpg", "a")]
    assert sources_of("*.mp4") == [("clip.mp4", "clip")]
    assert sources_of("list.txt") == [
        ("photos/a.jpg", "photos/a"),
        ("other/../photos/deep/b c.png", "photos/deep/b c"),
        ("missing.jpg", "missing"),
    ]
    assert find_sources("clip.mp4", SUFFIXES) == [Source("clip.mp4", "clip", True)]
    assert find_sources("rtsp://camera/1", SUFFIXES) == [Source("rtsp://camera/1", "stream", True)]


def test_own_outputs_are_not_found_as_images(place):
    """Files of other programs are found, also next to outputs and next to a predictions.jsonl of another program."""
    (place / "photos/out/deep").mkdir(parents=True)
    with PredictionManifest(place / "photos/out", {}, {"mask": True}, overwrite=False) as manifest:
        manifest.start()
        manifest.add("a", {"source": "photos/a.jpg"}, [1])
        manifest.begin("deep/b c", {"source": "photos/deep/b c.png"})
    for name in ("a.png", "a.overlay.jpg", "deep/b c.png"):
        (place / "photos/out" / name).touch()
    names = ["a", "deep/b c", "out/a.overlay"]
    assert [name for _, name in sources_of("photos")] == names
    assert [name for _, name in sources_of("photos/**/*")] == names
    (place / "predictions.jsonl").write_text("of another program")
    assert [name for _, name in sources_of("photos")] == names


def test_links_are_followed_and_broken_ones_named(place):
    (place / "photos/shared").symlink_to("../other")
    (place / "photos/itself").symlink_to(".")
    (place / "photos/gone.jpg").symlink_to("nowhere.jpg")
    names = ["a", "deep/b c", "gone", "shared/a[1]"]
    assert [name for _, name in sources_of("photos")] == names
    assert "photos/gone.jpg" in dict(sources_of("photos/*.jpg"))
    (frame,) = read_frames([Source("photos/gone.jpg", "gone", False)], lambda name, origin: True)
    assert frame.problem.startswith("photos/gone.jpg is a link to nowhere.jpg, which does not exist")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\0.jpg", r"images=a\\x00\.jpg contains a null byte, .*; remove this byte"),
        ("~nosuchuser/a.jpg", r"images=~nosuchuser/a\.jpg: the user after ~ does not exist; write the full path"),
    ],
)
def test_malformed_path_is_refused(place, line, message):
    with pytest.raises(HypercolumnsError, match=message):
        sources_of(line)
    (place / "list.txt").write_text(f"photos/a.jpg\n{line}\n")
    with pytest.raises(HypercolumnsError, match=rf"list\.txt: {message}"):
        sources_of("list.txt")


def test_video_gets_its_own_folder_name(place):
    (place / "clip").mkdir()
    (place / "clip/000000.jpg").touch()
    (place / "list.txt").write_text("clip.mp4\nclip/000000.jpg\n")
    assert [name for _, name in sources_of("list.txt")] == ["clip.mp4", "clip/000000"]


@pytest.mark.parametrize("pattern", ["nothing", "photos/*.tif", "empty"])
def test_images_setting_without_match_is_refused(place, pattern):
    (place / "empty").mkdir()
    with pytest.raises(HypercolumnsError, match=rf"images={pattern.replace('*', '.')}: no images found; give an image"):
        sources_of(pattern)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "deep/a.png"], ["a.jpg", "a.png", "deep/a"]),
        (["a.jpg", "a.overlay.png"], ["a", "a.overlay"]),
        (["a.jpg", "a.png", "a.png.bmp"], ["a.jpg", "a.png", "a.png.bmp"]),
        (["a.b.jpg", "a.c.jpg", ".hidden"], ["a.b", "a.c", ".hidden"]),
    ],
)
def test_output_names_are_unique(names, expected):
    chosen = name_outputs(names, SUFFIXES)
    assert chosen == expected
    assert len({f"{name}{suffix}" for name in chosen for suffix in SUFFIXES}) == len(names) * len(SUFFIXES)


def test_nested_suffixes_do_not_collide():
    assert name_outputs(["a.jpg", "a.overlay.jpg"], (".overlay.png", ".png")) == ["a.jpg", "a.overlay.jpg"]


def test_prefetch_map_keeps_order_and_bound():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = prefetch_map(lambda number: number * number, items(), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 3
    assert list(results) == [number * number for number in range(5, 20)]


def test_read_frames_gives_images_and_problems(place):
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save("photos/a.jpg")
    sources = find_sources("photos", SUFFIXES)
    first, second = read_frames(sources, lambda name, origin: True)
    assert first.pixels.shape == (3, 2, 3)
    assert first.origin == {
        "source": str(place / "photos/a.jpg"),
        "bytes": Path("photos/a.jpg").stat().st_size,
        "modified": Path("photos/a.jpg").stat().st_mtime_ns,
    }
    assert second.image is None
    assert "b c.png" in second.problem
    read, skipped = read_frames(sources, lambda name, origin: name == "a", workers=0)
    assert read.image is not None
    assert skipped.image is None
    assert skipped.problem == ""


@pytest.fixture
def clip(place):
    """A video of 10 frames; frame n has the grey value 20 n."""
    write_video(place / "clip.mp4")
    return Source("clip.mp4", "clip", True)


def test_video_gives_every_nth_wanted_frame(place, clip):
    frames = list(read_frames([clip], lambda name, origin: name != "clip/000006", frame_stride=3))
    assert [frame.name for frame in frames] == ["clip/000000", "clip/000003", "clip/000006", "clip/000009"]
    skipped = frames.pop(2)
    assert skipped.image is None
    assert skipped.problem == ""
    for frame, number in zip(frames, (0, 3, 9), strict=True):
        assert frame.pixels.shape == (3, 16, 32)
        assert (frame.pixels.float() - 20 * number).abs().max() < 8
        assert frame.origin["frame"] == number


def test_video_frames_follow_the_rules(place, clip):
    *_, last = read_frames([clip], lambda name, origin: True, decoding=ImageDecoding(range=[100, 200], channels=[1]))
    assert last.pixels.shape == (3, 16, 32)
    assert (last.pixels.float() - 0.8 * 255).abs().max() < 20  # the grey value 180
    (refused,) = read_frames([clip], lambda name, origin: True, decoding=ImageDecoding(range=[0, 4095]))
    assert refused.image is None
    assert "clip.mp4 is a video with 3 channels of uint8, whose values from 0 to 255 can't fill" in refused.problem


def test_stream_is_read_like_a_video(place, clip):
    (source,) = find_sources(f"file://{place}/clip.mp4", SUFFIXES)
    frames = list(read_frames([source], lambda name, origin: "stream" in origin))
    assert [frame.name for frame in frames][-1] == "stream/000009"


@pytest.mark.parametrize("content", ["cut", "text", "sound", "missing"])
def test_unreadable_video_gives_a_problem(place, clip, content):
    path = place / "clip.mp4"
    if content == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif content == "text":
        path.write_text("no video")
    elif content == "missing":
        path.unlink()
    else:
        with av.open("clip.mp4", "w") as container:
            stream = container.add_stream("aac", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 8000
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    (frame,) = read_frames([clip], lambda name, origin: True)
    assert frame.image is None
    assert "clip.mp4 can't be read as a video (" in frame.problem
