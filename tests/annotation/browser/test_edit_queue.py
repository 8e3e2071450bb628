"""Edits reach the server once and in order, whatever happens to the requests and their answers."""

import pytest

# A server of one image, whose connection follows a plan: for each post "ok", or what goes wrong. It knows the ids of
# what it has done. After a lost answer, another page paints 7 if `other` says so.
SERVER = """
async ([plan, operations, areTogether = false, other = false]) => {
    const { EditQueue } = await import("./page/edit_queue.js");
    const [done, told, known] = [[], [], new Set()];
    const isNew = ({ id }) => known.size < known.add(id).size;
    const json = (body, status = 200) => new Response(JSON.stringify(body), { status });
    window.fetch = async (url, { method, body } = {}) => {
        const fate = plan.shift() ?? "ok";
        if (fate === "unreachable") throw new TypeError("Failed to fetch");
        if (fate === "full") return json({ error: "the disk is full" }, 507);
        const { edits, id } = JSON.parse(body);
        if (edits?.some(({ value }) => value === 99)) return json({ error: "value=99 is no class" }, 422);
        if (edits) done.push(...edits.filter(isNew).map(({ value }) => value));
        else if (isNew({ id })) done.pop();
        if (fate === "answer lost") {
            if (other) done.push(7);
            throw new TypeError("Failed to fetch");
        }
        return json({ undo: done.length, redo: 0, labelled: [] });
    };
    const queue = new EditQueue({
        answered: () => {},
        refused: (image, error) => told.push(error.message),
        lost: (error) => { told.push(error.message); queue.retryNow(); setTimeout(() => queue.retryNow()); },
        changed: () => {},
    });
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
        (["unreachable"], EDITS, [1, 2, 3], [LOST]),
        (["answer lost"], EDITS, [1, 2, 3], [LOST]),
        (["ok", "answer lost"], EDITS, [1, 2, 3], [LOST]),
        (["full", "full"], EDITS[:1], [1], ["the disk is full", "the disk is full"]),
        ([], [["edit", 99], *EDITS], [1, 2, 3], [WRONG]),
        (["ok", "ok", "answer lost"], [*EDITS[:2], ["undo", None]], [1], [LOST]),
        (["ok", "ok", "unreachable"], [*EDITS[:2], ["undo", None]], [1], [LOST]),
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
    [([], [WRONG]), (["ok", "ok", "ok", "ok", "answer lost"], [WRONG, LOST]), (["ok", "ok", "full"], None)],
    ids=["all well", "later answer lost", "full disk"],
)
def test_refused_edit_takes_no_other_along(modules, plan, told):
    """The first edit goes alone, the other ones together."""
    operations = [["edit", 1], ["edit", 2], ["edit", 99], ["edit", 3], ["edit", 4]]
    done, heard = modules.evaluate(SERVER, [plan, operations, True])
    assert done == [1, 2, 3, 4]
    assert heard == (told or ["the disk is full", WRONG])


@pytest.mark.parametrize(
    ("operations", "done"),
    [([*EDITS[:2], ["undo", None]], [1, 7]), (EDITS, [1, 2, 3, 7])],
    ids=["undo", "edit"],
)
def test_a_lost_answer_changes_nothing_of_others(modules, operations, done):
    """Another page paints between the undo whose answer is lost and its repetition."""
    plan = ["ok", "ok", "answer lost"]
    assert modules.evaluate(SERVER, [plan, operations, False, True]) == [done, [LOST]]


def test_labels_before_an_answer_are_not_fresh(modules):
    """The page asks for labels, and the server answers an edit before it answers that."""
    fresh = modules.evaluate(
        """async () => {
            const { EditQueue } = await import("./page/edit_queue.js");
            const open = {};
            window.fetch = (url) => new Promise((resolve) => { open[url.pathname.split("/").at(-1)] = resolve; });
            const ignore = () => {};
            const queue = new EditQueue({ answered: ignore, refused: ignore, lost: ignore, changed: ignore });
            const headers = { "X-Size": "1,4", "X-Undo": "0", "X-Redo": "0" };
            const asked = [queue.labels(0)];
            const answer = open.labels;
            queue.add({ kind: "edit", image: 0, value: 1, runs: [0, 1] });
            open.edits(new Response(JSON.stringify({ undo: 1, redo: 0, labelled: [] })));
            while (queue.length) await new Promise((resolve) => setTimeout(resolve, 5));
            asked.push(queue.labels(0));
            for (const resolve of [answer, open.labels]) resolve(new Response(new Uint8Array(4), { headers }));
            return (await Promise.all(asked)).map((labels) => queue.isFresh(0, labels));
        }"""
    )
    assert fresh == [False, True]
