"""Parts of the page without a server: fingers, the list of images, polls of hidden pages."""

import pytest

# Fingers on a canvas of one CSS pixel for each pixel of the image.
FINGERS = """
async ([tool, events]) => {
    const { Pointer } = await import("./page/pointer.js");
    const { Tools } = await import("./page/tools.js");
    const { View } = await import("./page/view.js");
    const done = [];
    const tools = new Tools({
        preview: () => {}, restore: () => done.push("restored"), changed: () => {},
        edit: (value, runs) => done.push(`edit of ${runs.length / 2} runs`),
        fill: (row, column) => done.push(`fill ${row} ${column}`),
    });
    const view = new View();
    view.resize(100, 100);
    view.setImage(100, 100);
    view.zoomTo(1);
    tools.setImage(100, 100);
    tools.choose(tool);
    const canvas = document.createElement("canvas");
    canvas.style = "position: fixed; left: 0; top: 0; width: 100px; height: 100px";
    canvas.setPointerCapture = () => {};
    document.body.append(canvas);
    new Pointer(canvas, view, tools, { viewChanged() {}, toolsChanged() {}, moved() {} }).isReady = true;
    for (const [type, pointerId, clientX, clientY] of events) {
        canvas.dispatchEvent(new PointerEvent(type, { pointerId, clientX, clientY, pointerType: "touch", button: 0 }));
    }
    return [done, tools.corners.length];
}
"""
DOWN, MOVE, UP, CANCEL = "pointerdown", "pointermove", "pointerup", "pointercancel"
PINCH = [(DOWN, 1, 60, 60), (DOWN, 2, 80, 60), (MOVE, 1, 50, 60), (UP, 1, 50, 60), (UP, 2, 80, 60)]
CORNERS = [(type, 1, x, y) for x, y in ((10, 10), (40, 10), (40, 40)) for type in (DOWN, UP)]


@pytest.mark.parametrize(
    ("tool", "events", "done", "corners"),
    [
        ("fill", PINCH, [], 0),
        ("fill", [(DOWN, 1, 60, 70), (UP, 1, 60, 70)], ["fill 70 60"], 0),
        ("fill", [(DOWN, 1, 60, 70), (CANCEL, 1, 60, 70)], [], 0),
        ("polygon", [*CORNERS, *PINCH], [], 3),
        ("polygon", [*CORNERS, (DOWN, 1, 11, 11), (UP, 1, 11, 11)], ["edit of 30 runs"], 0),
        ("brush", PINCH, ["restored"], 0),
        ("brush", [(DOWN, 1, 60, 60), (MOVE, 1, 70, 60), (UP, 1, 70, 60)], ["edit of 7 runs"], 0),
    ],
    ids=["pinch", "fill", "stopped fill", "pinch in a polygon", "polygon", "pinch with the brush", "stroke"],
)
def test_a_pinch_labels_nothing(modules, tool, events, done, corners):
    assert modules.evaluate(FINGERS, [tool, events]) == [done, corners]


LIST = """
    const { ImageList } = await import("./page/image_list.js");
    document.body.innerHTML = `<ul id="image-list"></ul><input id="image-filter">
        <select id="image-order"><option>name<option>margin</select><p id="image-count"></p>`;
    const list = new ImageList(() => {});
"""


def test_a_large_image_counts_as_one_in_shares(modules):
    """By pixels, the first class would have 900 of 1010."""
    shown = modules.evaluate(
        """async () => {"""
        + LIST
        + """
            const classes = ["sky", "road", "car"].map((name, value) => ({ name, color: [value, 9, 9] }));
            const images = [[900, 100, 0], [0, 10, 0], [0, 0, 0]].map((labelled, number) =>
                ({ number, name: `photo${number}`, labelled, margin: [0.9996, 0.29, null][number] }));
            list.setSession({ images, classes });
            const rows = [...document.querySelectorAll(".image-row")];
            return {
                ...list.labelShares(),
                sure: rows.map((row) => row.querySelector(".sure").textContent),
                chips: rows.map((row) => row.querySelectorAll(".chips i").length),
                title: rows[0].title,
            };
        }"""
    )
    assert shown == {
        "shares": [0.45, 0.55, 0],
        "titles": ["900 labelled pixels in 1 image, 89 % of all", "110 labelled pixels in 2 images, 11 % of all", ""],
        "sure": ["99 % sure", "29 % sure", ""],
        "chips": [2, 1, 0],
        "title": "photo0: 1,000 labelled pixels (sky 90 %, road 10 %); the model is 99 % sure of the image on average",
    }


def test_a_message_costs_little_with_many_images(modules):
    """The server tells of all images each time; only the rows that have changed are written."""
    seconds, written, count = modules.evaluate(
        """async () => {"""
        + LIST
        + """
            const classes = [...Array(20).keys()].map((value) => ({ name: `class ${value}`, color: [value, 9, 9] }));
            const images = [...Array(5000).keys()].map((number) =>
                ({ number, name: `photo ${number}`, labelled: classes.map(() => number % 2), margin: 0.5 }));
            list.setSession({ images, classes });
            let written = 0;
            const observer = new MutationObserver((changes) => (written += changes.length));
            const what = { subtree: true, childList: true, attributes: true };
            observer.observe(document.getElementById("image-list"), what);
            const start = performance.now();
            for (let message = 1; message <= 5; message++) {
                list.update(images.map(({ number, labelled }) =>
                    ({ number, labelled, margin: number === 3 ? message / 10 : 0.5 })));
            }
            const seconds = (performance.now() - start) / 1000;
            await new Promise((resolve) => setTimeout(resolve));
            return [seconds, written, document.getElementById("image-count").textContent];
        }"""
    )
    assert seconds < 1.5, "five messages"
    assert written <= 5 * 4
    assert count == "2500 of 5000 labelled"


@pytest.mark.parametrize(
    ("size", "box", "scale", "shown"),
    [
        ((360, 480), [100, 100, 104, 104], 10 / 3, [12, 0, 192, 226]),
        ((360, 480), [0, 0, 360, 480], 5 / 3, [0, 0, 360, 480]),
        ((3000, 4000), [1000, 1000, 1040, 1060], 1, [720, 630, 1320, 1430]),
        ((3000, 4000), [1000, 1000, 1600, 2000], 0.2, [0, 0, 3000, 4000]),
        ((72, 96), [30, 40, 31, 41], 50 / 3, [12, 16, 49, 65]),
    ],
    ids=["tiny region", "whole image", "large image", "large region", "small image"],
)
def test_a_suggestion_keeps_its_surroundings(modules, size, box, scale, shown):
    found = modules.evaluate(
        """async ([size, box]) => {
            const { View } = await import("./page/view.js");
            const view = new View();
            view.resize(800, 600);
            view.setImage(...size);
            view.showBox(box);
            return [view.scale, view.visibleBox()];
        }""",
        [size, box],
    )
    assert found == [pytest.approx(scale), shown]


def test_thumbnails_come_as_the_list_scrolls(modules):
    """One at a time: a browser has six connections to a server, and strokes need one."""
    asked, most, late = modules.evaluate(
        """async () => {"""
        + LIST
        + """
            let [open, most] = [0, 0];
            const asked = [];
            Object.defineProperty(HTMLImageElement.prototype, "src", { set(url) {
                asked.push(Number(this.dataset.number));
                most = Math.max(most, ++open);
                setTimeout(() => { open--; this.dispatchEvent(new Event(asked.length % 3 ? "load" : "error")); });
            } });
            document.getElementById("image-list").style = "height: 200px; overflow-y: scroll; padding: 0";
            document.body.insertAdjacentHTML("beforeend", "<style>.image-row { display: block; height: 40px }</style>");
            const images = [...Array(5000).keys()].map((number) =>
                ({ number, name: `photo ${number}`, labelled: [0], margin: null }));
            list.setSession({ images, classes: [{ name: "sky", color: [1, 2, 3] }] });
            const quiet = async (count) => {
                const turn = (time) => new Promise((resolve) => setTimeout(resolve, time));
                for (let tries = 0; tries < 100 && asked.length < count; tries++) await turn(50);
                for (let before = -1; before < asked.length; await turn(200)) before = asked.length;
            };
            await quiet(5);
            const first = [...asked];
            document.querySelectorAll(".image-row")[3000].scrollIntoView();
            await quiet(first.length + 5);
            return [first, most, asked.slice(first.length)];
        }"""
    )
    assert asked == [*range(len(asked))]
    assert 5 <= len(asked) <= 20
    assert most == 1
    assert 3000 in late
    assert min(late) > 2980
    assert len(late) == len({*late}) <= 30


def test_thumbnails_are_asked_for_again(modules):
    """While no server answers, or the server is busy, they fail; the page outlives that, and so should they."""
    asked = modules.evaluate(
        """async () => {"""
        + LIST
        + """
            const asked = [];
            Object.defineProperty(HTMLImageElement.prototype, "src", { set(url) {
                asked.push(Number(this.dataset.number));
                setTimeout(() => this.dispatchEvent(new Event(asked.length > 3 ? "load" : "error")));
            } });
            const images = [0, 1, 2].map((number) => ({ number, name: `photo ${number}`, labelled: [0] }));
            const session = { images, classes: [{ name: "sky", color: [1, 2, 3] }] };
            const turn = () => new Promise((resolve) => setTimeout(resolve, 50));
            list.setSession(session);
            for (let tries = 0; tries < 100 && asked.length < 3; tries++) await turn();
            list.setSession(session);
            for (let tries = 0; tries < 20 && asked.length < 6; tries++) await turn();
            list.setSession(session);
            await turn();
            return asked;
        }"""
    )
    assert asked == [0, 1, 2, 0, 1, 2]


def test_a_class_by_its_key_keeps_the_stroke(modules):
    """To choose a class while the eraser moves ends neither the stroke nor takes it back."""
    done = modules.evaluate(
        """async () => {
            const { Tools } = await import("./page/tools.js");
            const done = [];
            const tools = new Tools({
                preview() {}, changed() {}, restore: () => done.push("restored"),
                edit: (value) => done.push(value), fill() {},
            });
            tools.setImage(100, 100);
            tools.choose("eraser");
            tools.press([5, 5], null);
            tools.setValue(2);
            tools.move([50, 5]);
            tools.release();
            return [...done, tools.tool, localStorage.getItem("annotate.tool")];
        }"""
    )
    assert done == [255, "brush", '"brush"']


def test_a_hidden_page_asks_for_nothing(modules):
    asked = modules.evaluate(
        """async () => {
            const { followState } = await import("./page/feeds.js");
            const asked = [];
            let version = 4;
            window.fetch = (url, { signal }) => new Promise((resolve, reject) => {
                asked.push(url.search);
                if (version++ === 4) return resolve(new Response(JSON.stringify({ version: 4 })));
                signal.addEventListener("abort", () => {
                    asked.push("aborted");
                    reject(signal.reason);
                });
            });
            const turn = () => new Promise((resolve) => setTimeout(resolve, 30));
            const show = async (state) => {
                Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
                await turn();
            };
            const said = (what) => () => asked.push(what);
            const on = { found: said("found"), lost: said("lost"), refused: said("refused") };
            const poll = followState({ state: () => {}, ...on });
            await turn();
            for (const state of ["hidden", "visible", "hidden"]) await show(state);
            poll.stop();
            await show("visible");
            return asked;
        }"""
    )
    assert asked[:4] == ["?after=-1", "found", "?after=4", "aborted"]
    assert asked[4:6] == ["?after=-1", "aborted"], "another session, which counts from 1 again, may have the address"
    assert "lost" not in asked


def test_refused_image_leaves_no_channel_lost(modules):
    """The page says that the connection is lost as long as a channel is."""
    states = modules.evaluate(
        """async () => {
            const { Workspace } = await import("./page/workspace.js");
            const lost = new Set();
            const told = { found: (channel) => lost.delete(channel), lost: (channel) => lost.add(channel) };
            const on = new Proxy(told, { get: (target, name) => target[name] ?? (() => {}) });
            let answer = null;
            window.fetch = async () => {
                if (answer) return answer;
                throw new TypeError("Failed to fetch");
            };
            const workspace = new Workspace({ visibleBox: () => [0, 0, 2, 2], scale: 1 }, on);
            workspace.image = 0;
            workspace.follow();
            while (!lost.has("prediction")) await new Promise((resolve) => setTimeout(resolve, 10));
            workspace.open(2);
            while (!lost.has("opening")) await new Promise((resolve) => setTimeout(resolve, 10));
            const before = [...lost];
            answer = new Response(JSON.stringify({ error: "photo1 is empty" }), { status: 409 });
            await workspace.open(1);
            return [before, [...lost]];
        }"""
    )
    assert states == [["opening"], []]


@pytest.mark.parametrize("end", ["refused", "closed"])
def test_no_labels_leave_no_channel_lost(modules, end):
    """The labels of the open image are asked for again until the server answers, or nobody wants them any more."""
    told = modules.evaluate(
        """async (end) => {
            const { Workspace } = await import("./page/workspace.js");
            const [lost, told] = [new Set(), []];
            const on = {
                found: (channel) => lost.delete(channel),
                lost: (channel) => lost.add(channel),
                failed: (error) => told.push(error.message),
                closed: () => {}, steps: () => {},
            };
            const refused = new Response(JSON.stringify({ error: "the mask is damaged" }), { status: 409 });
            window.fetch = async () => {
                if (lost.has("labels") && end === "refused") return refused;
                throw new TypeError("Failed to fetch");
            };
            const workspace = new Workspace({}, on);
            workspace.image = 0;
            const reloading = workspace.reload();
            while (!lost.has("labels")) await new Promise((resolve) => setTimeout(resolve, 10));
            if (end === "closed") workspace.close(0, new Error("closed"));
            await reloading;
            return [...lost, ...told];
        }""",
        end,
    )
    assert told == (["the mask is damaged"] if end == "refused" else [])
