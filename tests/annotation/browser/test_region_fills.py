"""Fills wait for their regions; what is painted in the meantime stays on top of them."""

import pytest

# A server that answers each question for a region by hand. told: what the page labels, with its pixels.
FILLS = """
async (play) => {
    const { RegionFills } = await import("./page/region_fills.js");
    const [told, asked] = [[], []];
    const turn = () => new Promise((resolve) => setTimeout(resolve));
    window.fetch = (url, { signal }) => new Promise((resolve, reject) => {
        const one = {
            where: url.pathname.split("/").at(-2) + url.search,
            async answer(runs, status = 200) {
                const body = status === 200 ? { value: 7, runs } : { error: "nothing is predicted" };
                resolve(new Response(status === 204 ? null : JSON.stringify(body), { status }));
                for (let turns = 0; turns < 3; turns++) await turn();
            },
            lose: () => reject(new TypeError("Failed to fetch")),
        };
        signal.addEventListener("abort", () => { told.push("aborted"); reject(signal.reason); });
        asked.push(one);
    });
    const fills = new RegionFills({
        region: ({ image, value }, predicted, runs) => told.push([image, value, predicted, runs]),
        failed: (fill, error) => told.push(error.message),
        found: () => told.push("found"), lost: (error) => told.push(error.message),
    });
    const result = await eval(play)({ fills, asked, turn });
    return { told, left: fills.length, result, asked: asked.map(({ where }) => where) };
}
"""


@pytest.fixture
def play(modules):
    """A function that plays a script, and returns what was told, what is left and what was asked."""

    def run(script):
        played = modules.evaluate(FILLS, f"async ({{ fills, asked, turn }}) => {{ {script} }}")
        heard = [line for line in played["told"] if line != "found"]
        return played | {"told": heard, "all": played["told"]}

    return run


def test_later_strokes_stay_on_top_of_a_fill(play):
    played = play("""
        fills.add(0, 3, 4, 2);
        fills.painted(0, [12, 3]);
        fills.painted(1, [0, 100]);
        fills.painted(0, [18, 9]);
        await asked[0].answer([10, 10, 30, 5]);
    """)
    assert played["asked"] == ["0?row=3&column=4"]
    assert played["told"] == [[0, 2, 7, [10, 2, 15, 3, 30, 5]]]
    assert played["left"] == 0


def test_undo_of_a_later_stroke_bares_the_fill(play):
    script = """
        fills.add(0, 3, 4, 2);
        fills.painted(0, [12, 3]);
        const results = [fills.undo(0)];
        {more}
        await asked[0].answer([10, 10]);
        return results;
    """
    played = play(script.replace("{more}", ""))
    assert (played["told"], played["result"]) == ([[0, 2, 7, [10, 10]]], [False])
    again = play(script.replace("{more}", "fills.redo(0);"))
    assert again["told"] == [[0, 2, 7, [10, 2, 15, 5]]]
    painted = play(script.replace("{more}", "fills.painted(0, [19, 1]); fills.redo(0);"))
    assert painted["told"] == [[0, 2, 7, [10, 9]]]


def test_undo_drops_a_fill_that_waits(play):
    played = play("""
        fills.add(0, 3, 4, 2);
        fills.add(0, 5, 6, 3);
        const results = [fills.count(0), fills.undo(0), fills.undo(1), fills.undo(0), fills.undo(0)];
        await turn();
        return results;
    """)
    assert played["result"] == [2, True, False, True, False]
    assert [line for line in played["told"] if line != "aborted"] == []
    assert played["left"] == 0


def test_fills_come_in_the_order_of_the_user(play):
    """The second one was meant to be on top of the first, so the first one takes nothing from it."""
    played = play("""
        fills.add(0, 3, 4, 2);
        fills.add(1, 5, 6, null);
        const before = asked.length;
        await asked[0].answer([10, 10]);
        await asked[1].answer([15, 10]);
        return before;
    """)
    assert played["result"] == 1
    assert played["told"] == [[0, 2, 7, [10, 10]], [1, None, 7, [15, 10]]]


def test_a_fill_is_asked_for_until_it_is_answered(play):
    played = play("""
        fills.add(0, 3, 4, 2);
        await asked[0].answer(null, 204);
        asked[1].lose();
        while (asked.length < 3) await turn();
        await asked[2].answer([10, 10]);
    """)
    assert played["told"] == ["the server does not answer", [0, 2, 7, [10, 10]]]
    refused = play("fills.add(0, 3, 4, 2); await asked[0].answer(null, 409);")
    assert (refused["told"], refused["left"]) == (["nothing is predicted"], 0)


def test_a_dropped_fill_is_not_lost_for_ever(play):
    """The page says that the connection is lost until what has lost it is found again."""
    played = play("""
        fills.add(0, 3, 4, 2);
        asked[0].lose();
        for (let turns = 0; turns < 3; turns++) await turn();
        fills.undo(0);
        for (let turns = 0; turns < 30; turns++) await new Promise((resolve) => setTimeout(resolve, 50));
    """)
    assert played["all"] == ["the server does not answer", "aborted", "found"]
