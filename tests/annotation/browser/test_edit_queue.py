"""Edits reach the server once and in order, whatever happens to the requests and their answers."""

import pytest

# A server of one image, whose connection follows a plan: for each post "ok", or what goes wrong.
SERVER = """
async ([plan, operations, areTogether = false]) => {
    const { EditQueue } = await import("./page/edit_queue.js");
    const done = [];
    const told = [];
    const json = (body, status = 200) => new Response(JSON.stringify(body), { status });
    window.fetch = async (url, { method, body } = {}) => {
        if (method !== "POST") {
            const headers = { "X-Size": "1,4", "X-Undo": String(done.length), "X-Redo": "0" };
            return new Response(Uint8Array.of(done.at(-1) ?? 255, 0, 0, 0), { headers });
        }
        const fate = plan.shift() ?? "ok";
        if (fate === "unreachable") throw new TypeError("Failed to fetch");
        if (fate === "full") return json({ error: "the disk is full" }, 507);
        const isWrong = method === "POST" && JSON.parse(body).edits?.some(({ value }) => value === 99);
        if (isWrong) return json({ error: "value=99 is no class" }, 422);
        if (url.pathname.endsWith("undo")) done.pop();
        else done.push(...JSON.parse(body).edits.map(({ value }) => value));
        if (fate === "answer lost") throw new TypeError("Failed to fetch");
        return json({ undo: done.length, redo: 0, labelled: [] });
    };
    const queue = new EditQueue({
        answered: () => {},
        reloaded: () => told.push("reloaded"),
        refused: (image, error) => told.push(error.message),
        lost: (error) => { told.push(error.message); queue.retryNow(); setTimeout(() => queue.retryNow()); },
        changed: () => {},
    });
    queue.confirm(0, 0);
    for (const [kind, value] of operations) {
        queue.add(kind === "edit" ? { kind, image: 0, value, runs: [0, 1] } : { kind, image: 0 });
        if (!areTogether) await new Promise((resolve) => setTimeout(resolve));
    }
    while (queue.length) await new Promise((resolve) => setTimeout(resolve, 5));
    return [done, told];
}
"""
LOST = "the server does not answer"
WRONG = "value=99 is no class"
EDITS = [["edit", 1], ["edit", 2], ["edit", 3]]


@pytest.mark.parametrize(
    ("plan", "operations", "done", "told"),
    [
        ([], EDITS, [1, 2, 3], []),
        (["unreachable"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["answer lost"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["ok", "answer lost"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["full", "full"], EDITS[:1], [1], ["the disk is full", "reloaded", "the disk is full", "reloaded"]),
        ([], [["edit", 99], *EDITS], [1, 2, 3], [WRONG]),
        (["ok", "ok", "answer lost"], [*EDITS[:2], ["undo", None]], [1], [LOST, "reloaded"]),
        (["ok", "ok", "unreachable"], [*EDITS[:2], ["undo", None]], [1], [LOST, "reloaded"]),
    ],
    ids=[
        "all well",
        "unreachable",
        "answer lost",
        "later answer lost",
        "full disk",
        "refused",
        "undo done",
        "undo lost",
    ],
)
def test_edits_arrive_once_and_in_order(modules, plan, operations, done, told):
    assert modules.evaluate(SERVER, [plan, operations]) == [done, told]


@pytest.mark.parametrize(
    ("plan", "told"),
    [([], [WRONG]), (["ok", "ok", "ok", "ok", "answer lost"], [WRONG, LOST, "reloaded"]), (["ok", "ok", "full"], None)],
    ids=["all well", "later answer lost", "full disk"],
)
def test_refused_edit_takes_no_other_along(modules, plan, told):
    """The first edit goes alone, the other ones together."""
    operations = [["edit", 1], ["edit", 2], ["edit", 99], ["edit", 3], ["edit", 4]]
    done, heard = modules.evaluate(SERVER, [plan, operations, True])
    assert done == [1, 2, 3, 4]
    assert heard == (told or ["the disk is full", "reloaded", WRONG])


# The same with requests that the test answers by hand, in any order. done: what the server has done, in its order.
BY_HAND = """
async (play) => {
    const { EditQueue } = await import("./page/edit_queue.js");
    const [done, told, open] = [[], [], []];
    const turn = () => new Promise((resolve) => setTimeout(resolve));
    window.fetch = (url, { body } = {}) => new Promise((resolve, reject) => {
        const what = url.pathname.split("/").at(-1);
        const values = body ? JSON.parse(body).edits?.map(({ value }) => value) : null;
        open.push({
            what, values, reject,
            do() { what === "undo" ? done.pop() : done.push(...(values ?? [])); },
            answer(undo = done.length, labels = [done.at(-1) ?? 255, 0, 0, 0]) {
                const headers = { "X-Size": "1,4", "X-Undo": String(undo), "X-Redo": "0" };
                const state = JSON.stringify({ undo, redo: 0, labelled: [] });
                resolve(new Response(what === "labels" ? Uint8Array.from(labels) : state, { headers }));
            },
        });
    });
    const queue = new EditQueue({
        answered: (image, answer, { kind, value }) => told.push(value ?? kind),
        reloaded: () => told.push("reloaded"),
        refused: (image, error) => told.push(error.message), lost: () => {}, changed: () => {},
    });
    queue.confirm(0, 0);
    const take = async (what) => {
        for (let tries = 0; tries < 50; tries++) {
            const place = open.findIndex((one) => one.what === what);
            if (place >= 0) return open.splice(place, 1)[0];
            queue.retryNow();
            await turn();
        }
        return null;
    };
    const settle = async (what) => {
        const one = await take(what);
        one.do();
        one.answer();
        for (let turns = 0; turns < 2; turns++) await turn();
    };
    const lose = (one) => one.reject(new TypeError("Failed to fetch"));
    const add = (kind, value) => queue.add({ kind, image: 0, ...(value ? { value, runs: [0, 1] } : {}) });
    const result = await eval(play)({ queue, take, settle, lose, add, turn, open });
    return { done, told, left: queue.length, result };
}
"""


def test_old_labels_drop_no_edit(modules):
    """Labels that were asked for before an edit, and came after its answer, count one step of undo too few."""
    played = modules.evaluate(
        BY_HAND,
        """async ({ queue, take, settle, lose, add, turn }) => {
            const asked = queue.labels(0);
            const request = await take("labels");
            add("edit", 1);
            await settle("edits");
            request.answer(0);
            const isFresh = queue.isFresh(0, await asked);
            if (isFresh) queue.confirm(0, 0);
            add("edit", 2);
            lose(await take("edits"));
            await settle("labels");
            await settle("edits");
            return isFresh;
        }""",
    )
    assert played == {"done": [1, 2], "told": [1, "reloaded", 2], "left": 0, "result": False}


@pytest.mark.parametrize("kind", ["edit", "fill"])
def test_steps_of_another_page_drop_no_edit(modules, kind):
    """After a restart, a second page is usually open. Its edit must not pass for the one whose request was lost."""
    played = modules.evaluate(
        BY_HAND,
        f"""async ({{ queue, take, settle, lose, add, turn }}) => {{
            add("{kind}", 1);
            lose(await take("{kind}".replace("edit", "edits")));
            const labels = await take("labels");
            labels.answer(1, [255, 2, 255, 255]);
            for (let turns = 0; turns < 2; turns++) await turn();
            await settle("{kind}".replace("edit", "edits"));
        }}""",
    )
    assert (played["told"], played["left"]) == (["reloaded", 1], 0)
