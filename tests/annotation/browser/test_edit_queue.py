"""Edits reach the server once and in order, whatever happens to the requests and their answers."""

import pytest

# A server of one image, whose connection follows a plan: for each post "ok", or what goes wrong.
SERVER = """
async ([plan, operations]) => {
    const { EditQueue } = await import("./page/edit_queue.js");
    const done = [];
    const told = [];
    const json = (body, status = 200) => new Response(JSON.stringify(body), { status });
    window.fetch = async (url, { method, body } = {}) => {
        if (method !== "POST") {
            const headers = { "X-Size": "1,4", "X-Undo": String(done.length), "X-Redo": "0" };
            return new Response(new Uint8Array(4), { headers });
        }
        const fate = plan.shift() ?? "ok";
        if (fate === "unreachable") throw new TypeError("Failed to fetch");
        if (fate === "full") return json({ error: "the disk is full" }, 507);
        if (fate === "refused") return json({ error: "value=99 is no class" }, 422);
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
        await new Promise((resolve) => setTimeout(resolve));
    }
    while (queue.length) await new Promise((resolve) => setTimeout(resolve, 5));
    return [done, told];
}
"""
LOST = "the server does not answer"
EDITS = [["edit", 1], ["edit", 2], ["edit", 3]]


@pytest.mark.parametrize(
    ("plan", "operations", "done", "told"),
    [
        ([], EDITS, [1, 2, 3], []),
        (["unreachable"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["answer lost"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["ok", "answer lost"], EDITS, [1, 2, 3], [LOST, "reloaded"]),
        (["full", "full"], EDITS[:1], [1], ["the disk is full", "reloaded", "the disk is full", "reloaded"]),
        (["refused"], EDITS, [2, 3], ["value=99 is no class"]),
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
