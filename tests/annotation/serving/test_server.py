"""The protocol between the page and the server, without a browser."""

import asyncio
import time
from concurrent.futures import Future

import numpy as np
import pytest
from helpers.annotation_world import begin, draw
from helpers.asgi import ask_async

from hypercolumns import Segmenter
from hypercolumns.annotation.labels.journal import Journal
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme

SCREEN = "top=0&left=0&bottom=40&right=60&height=40&width=60&after="


def block(top, left, height, width):
    return [number for row in range(top, top + height) for number in (row * 60 + left, width)]


def paint(world, number=0):
    """Label a part of the left half as sky, and a part of the right one as road."""
    edits = [{"value": 0, "runs": block(5, 2, 4, 12)}, {"value": 2, "runs": block(34, 40, 4, 12)}]
    return world.post(f"api/images/{number}/edits", {"edits": edits})


def written_mask(mask, before):
    """Wait until another mask is on the disk, and return it."""
    for _ in range(200):
        if mask.is_file() and mask.read_bytes() != before:
            return mask.read_bytes()
        time.sleep(0.02)
    raise AssertionError("no mask is written")


def converge(world):
    for _ in range(600):
        if world.get("api/session").json["model"]["trained"]:
            return
        time.sleep(0.05)
    raise AssertionError("the training does not end")


def test_session_lists_classes_and_images(world):
    session = world.get("api/session").json
    assert session["classes"][2] == {"name": "road", "color": [0, 128, 0]}
    assert session["classes"][0]["color"] != [0, 0, 0], "shown, black would only darken the photo"
    assert [image["name"] for image in session["images"]] == ["a", "b", "c"]
    assert session["images"][1]["labelled"] == [0, 0, 0]
    assert session["void"] == 255


def test_image_file_is_served_as_it_is(world):
    answer = world.get("api/images/1/pixels")
    assert answer.body == (world.folder / "images" / "b.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"


def test_edit_undo_and_redo(world):
    assert paint(world).json == {"undo": 2, "redo": 0, "labelled": [48, 0, 48]}
    undone = world.post("api/images/0/undo").json
    assert undone["changes"] == [{"value": 255, "runs": block(34, 40, 4, 12)}]
    assert undone["labelled"] == [48, 0, 0]
    answer = world.get("api/images/0/labels")
    assert (answer.headers["x-size"], answer.headers["x-undo"], answer.headers["x-redo"]) == ("40,60", "1", "1")
    expected = np.full((40, 60), 255, np.uint8)
    expected[5:9, 2:14] = 0
    assert answer.body == expected.tobytes()
    assert world.post("api/images/0/redo").json["changes"] == [{"value": 2, "runs": block(34, 40, 4, 12)}]
    world.post("api/images/0/undo")
    world.post("api/images/0/undo")
    answer = world.post("api/images/0/undo")
    assert answer.status == 422
    assert "nothing can be undone" in answer.json["error"]


def test_a_repeated_operation_is_done_once(world):
    """A page did not get the answer to its undo, and meanwhile another page has painted."""
    first = [{"value": 0, "runs": [0, 5], "id": "a-1"}, {"value": 1, "runs": [9, 5], "id": "a-2"}]
    for _ in range(2):
        assert world.post("api/images/0/edits", {"edits": first}).json["undo"] == 2
    assert world.post("api/images/0/undo", {"id": "a-3"}).json["undo"] == 1
    world.post("api/images/0/edits", {"edits": [{"value": 2, "runs": [30, 5], "id": "b-1"}]})
    state = {"undo": 2, "redo": 0, "labelled": [5, 0, 5]}
    assert world.post("api/images/0/undo", {"id": "a-3"}).json == {"changes": []} | state
    assert world.post("api/images/0/undo", {"id": "a-4"}).json["labelled"] == [5, 0, 0]
    for changes in (1, 0):
        assert len(world.post("api/images/0/redo", {"id": "a-5"}).json["changes"]) == changes
    fill = {"value": 1, "runs": [0, 10], "id": "a-6"}
    for changes in (1, 0):
        assert len(world.post("api/images/0/fill", fill).json["changes"]) == changes


def test_mask_is_written_soon_after_an_edit(world):
    paint(world)
    mask = world.folder / "masks" / "a.png"
    for _ in range(100):
        if mask.is_file():
            break
        time.sleep(0.02)
    labels = read_mask(mask, LabelScheme.of(["sky", "tree", "road"]))
    assert labels.unique().tolist() == [0, 2, 255]


def test_a_mask_that_is_overwritten_is_named(world):
    paint(world)
    mask, masks = world.folder / "masks" / "a.png", world.folder / "masks"
    other = written_mask(mask, b"") + b"by another program"
    mask.write_bytes(other)
    world.post("api/images/0/undo")
    written_mask(mask, other)
    world.session.stop()
    copy = next(path for path in (masks / ".annotation").iterdir() if path.suffix == ".png")
    assert copy.read_bytes() == other
    problem = world.get("api/state", "after=-1").json["problem"]
    assert str(mask) in problem
    assert str(copy) in problem


def test_prediction_waits_for_the_first_labels(world):
    async def both():
        poll = asyncio.create_task(
            ask_async(world.app, "GET", "/secret/api/images/0/prediction", host="localhost:8000", query=SCREEN + "-1")
        )
        await asyncio.sleep(0.2)
        assert not poll.done()
        body = {"edits": [{"value": 1, "runs": [0, 60]}]}
        await ask_async(world.app, "POST", "/secret/api/images/0/edits", body, host="localhost:8000")
        return await poll

    answer = asyncio.run(both())
    assert answer.status == 200
    assert set(answer.body[:2400]) == {1}
    assert int(answer.headers["x-version"]) >= 1


def test_prediction_is_that_of_the_saved_model(world):
    paint(world)
    converge(world)
    answer = world.get("api/images/1/prediction", SCREEN + "-1")
    path = world.post("api/save").json["path"]
    world.session.stop()  # loading a model traces its network, which must have the process to itself
    labels = np.frombuffer(answer.body[:2400], np.uint8).reshape(40, 60)
    model = Segmenter.load(path)
    pixels = world.session.pixels(1)
    assert (labels == model.labels(pixels[None])[0].numpy()).mean() > 0.99
    assert (labels[:, :25] == 0).mean() > 0.9
    assert (labels[30:, 35:] == 2).mean() > 0.9


def test_coarse_screen_shows_evenly_spaced_pixels(world):
    paint(world)
    converge(world)
    whole = np.frombuffer(world.get("api/images/0/prediction", SCREEN + "-1").body, np.uint8).reshape(2, 40, 60)
    query = "top=4&left=10&bottom=34&right=60&height=16&width=20&after=-1"
    answer = world.get("api/images/0/prediction", query)
    assert (answer.headers["x-size"], answer.headers["x-rows"], answer.headers["x-columns"]) == ("10,17", "5,3", "11,3")
    part = np.frombuffer(answer.body, np.uint8).reshape(2, 10, 17)
    assert (part[0] == whole[0][5:34:3, 11:60:3]).mean() > 0.9  # both are approximate


def test_region_of_a_pixel_changes_nothing(world):
    """It may take a while, in which strokes are painted; so the page decides what becomes of it."""
    paint(world)
    converge(world)
    predicted = np.frombuffer(world.get("api/images/0/prediction", SCREEN + "-1").body[:2400], np.uint8)
    before = world.get("api/images/0/labels")
    region = world.get("api/images/0/region", "row=6&column=4").json
    assert region["value"] == 0
    starts, lengths = region["runs"][::2], region["runs"][1::2]
    pixels = [start + offset for start, length in zip(starts, lengths, strict=True) for offset in range(length)]
    assert 6 * 60 + 4 in pixels
    assert len(pixels) > 500
    assert (predicted[pixels] == 0).mean() > 0.9
    after = world.get("api/images/0/labels")
    assert (after.body, after.headers["x-undo"]) == (before.body, before.headers["x-undo"])


def test_a_region_nobody_waits_for_is_dropped(world):
    world.session.find_region = lambda *args: future
    future = Future()

    async def ask_and_go():
        gone = asyncio.Event()
        path = "/secret/api/images/0/region"
        poll = ask_async(world.app, "GET", path, host="localhost:8000", query="row=0&column=0", gone=gone)
        poll = asyncio.create_task(poll)
        await asyncio.sleep(0.1)
        gone.set()
        return (await asyncio.wait_for(poll, 2)).status

    assert asyncio.run(ask_and_go()) == 204
    assert future.cancelled()


def test_fill_leaves_labels_as_they_are(world):
    """A stroke of another class in the region is a correction, which must not be lost without a word."""
    paint(world)
    world.post("api/images/0/edits", {"edits": [{"value": 1, "runs": block(20, 4, 2, 5)}]})
    filled = world.post("api/images/0/fill", {"value": 0, "runs": [0, 2400]}).json
    assert filled["labelled"] == [2400 - 48 - 10, 10, 48]
    assert world.post("api/images/0/undo").json["labelled"] == [48, 10, 48]
    accepted = world.post("api/images/0/fill", {"value": 2, "runs": [1204, 10]}).json
    assert accepted["changes"] == [{"value": 2, "runs": [1209, 5]}]
    assert accepted["labelled"] == [48, 10, 53]


def test_a_full_disk_asks_for_a_second_try(world):
    hidden = world.folder / "masks" / ".annotation"
    hidden.write_bytes(b"")  # no file can be written to it
    answer = paint(world)
    assert answer.status == 507
    assert "free some space" in answer.json["error"]
    hidden.unlink()
    assert paint(world).json["labelled"] == [48, 0, 48]


def test_edits_before_a_failed_one_are_learned(world, monkeypatch):
    append, done = Journal.append, []

    def fail_at_second(journal, entry, flush=False):
        if "after" in entry and len(done) == 1:
            raise OSError(28, "No space left on device")
        done.extend(["edit"] * ("after" in entry))
        append(journal, entry, flush)

    monkeypatch.setattr(Journal, "append", fail_at_second)
    assert paint(world).status == 507
    assert world.get("api/session").json["images"][0]["labelled"] == [48, 0, 0]
    converge(world)
    labels = np.frombuffer(world.get("api/images/0/prediction", SCREEN + "-1").body[:2400], np.uint8)
    assert {*labels.tolist()} == {0}


def test_suggested_region_can_be_accepted(world):
    assert world.get("api/suggestion").json == {"image": None, "reason": "label some pixels first"}
    paint(world)
    world.post("api/images/0/edits", {"edits": [{"value": 1, "runs": block(18, 44, 3, 4)}]})
    for _ in range(400):
        suggestion = world.get("api/suggestion").json
        if suggestion["image"] is not None:
            break
        time.sleep(0.05)
    body = {name: suggestion[name] for name in ("value", "runs")}
    before = sum(world.get("api/session").json["images"][suggestion["image"]]["labelled"])
    answer = world.post(f"api/images/{suggestion['image']}/fill", body).json
    assert sum(answer["labelled"]) >= before
    assert answer["undo"] >= 1
    top, left, bottom, right = suggestion["box"]
    pixels = {
        start + i for start, length in zip(body["runs"][::2], body["runs"][1::2], strict=True) for i in range(length)
    }
    assert min(pixels) // 60 == top
    assert max(pixels) // 60 == bottom - 1
    assert {pixel % 60 for pixel in pixels} <= {*range(left, right)}


def test_state_waits_for_a_change(world):
    version = world.get("api/session").json["version"]
    paint(world)
    state = world.get("api/state", f"after={version}").json
    assert state["version"] > version
    assert state["images"][0]["labelled"] == [48, 0, 48]
    assert state["saved"] is None


def test_polls_end_when_the_server_does(world):
    async def poll_and_end():
        polls = [
            asyncio.create_task(ask_async(world.app, "GET", f"/secret/{path}", host="localhost:8000", query=query))
            for path, query in (("api/state", "after=99"), ("api/images/0/prediction", SCREEN + "-1"))
        ]
        await asyncio.sleep(0.1)
        world.app.end()
        return [(await poll).status for poll in polls]

    began = time.monotonic()
    assert asyncio.run(poll_and_end()) == [204, 204]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("path", "query"), [("api/state", "after=99"), ("api/images/0/prediction", SCREEN + "-1")])
def test_polls_end_when_the_page_drops_them(world, path, query):
    """Else a page that moves its image soon has more of them than the server takes connections."""
    cancelled = []
    show = world.session.show

    def watched(*args):
        future = show(*args)
        future.add_done_callback(lambda one: cancelled.append(one.cancelled()))
        return future

    async def poll_and_go():
        gone = asyncio.Event()
        poll = ask_async(world.app, "GET", f"/secret/{path}", host="localhost:8000", query=query, gone=gone)
        poll = asyncio.create_task(poll)
        await asyncio.sleep(0.1)
        assert not poll.done()
        gone.set()
        await asyncio.wait_for(poll, 2)
        await asyncio.sleep(0.05)
        return len(asyncio.all_tasks())

    world.session.show = watched
    assert asyncio.run(poll_and_go()) == 1
    assert cancelled == ([True] if "prediction" in path else [])


def test_labels_come_back_after_a_restart(world, extractor):
    paint(world)
    world.session.stop()
    session, _ = begin(world.folder, extractor, world.lines.append)
    assert session.state()["images"][0]["labelled"] == [48, 0, 48]
    assert session.undo(0, {})["labelled"] == [48, 0, 0]
    session.start()
    for _ in range(400):
        if session.state()["model"]["trained"]:
            break
        time.sleep(0.05)
    assert session.state()["model"]["steps"] > 0
    session.stop()
    assert world.lines == []


def test_an_image_that_is_broken_is_named(tmp_path, extractor):
    draw(tmp_path / "images", "ab")
    (tmp_path / "images" / "b.png").write_bytes(b"")
    lines = []
    session, _ = begin(tmp_path, extractor, lines.append)
    session.edit(0, [{"value": 0, "runs": [0, 9]}, {"value": 1, "runs": [9, 9]}])
    session.start()
    for _ in range(400):
        if lines:
            break
        time.sleep(0.05)
    session.stop()
    assert "b.png is empty" in lines[0]
    assert "b.png is empty" in session.state()["images"][1]["problem"]
    assert session.state()["images"][0]["problem"] is None


@pytest.mark.parametrize("number", ["3", "99999"])
def test_an_unknown_image_is_refused(world, number):
    answer = world.get(f"api/images/{number}/labels")
    assert answer.status == 409
    assert "the images are 0 to 2" in answer.json["error"]
