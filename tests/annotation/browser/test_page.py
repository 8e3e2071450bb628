"""The page beside painting: connections, themes, narrow screens, what it asks for."""

import json
import urllib.request
from itertools import pairwise

import numpy as np
import pytest
from helpers.annotation_page import WIDTH, Hand

pytestmark = pytest.mark.slow(seconds=15)


def test_lost_connection_keeps_the_edits(hand):
    hand.page.route("**/edits", lambda route: route.abort("connectionrefused"))
    hand.press("1")
    hand.stroke((10, 10), (10, 30))
    hand.press("2")
    hand.stroke((60, 10), (60, 30))
    hand.wait_text("#save-state", "connection lost, 2 edits waiting")
    assert (hand.labels() == 255).all()
    hand.page.unroute("**/edits")
    hand.problems.clear()  # the browser complains about the requests that failed
    hand.wait_saved()
    assert set(np.unique(hand.labels())) == {0, 1, 255}


def test_a_lost_undo_undoes_nothing_else(hand, server):
    """The server undoes a stroke, its answer is lost, and another page paints before this one asks again."""
    hand.press("1")
    hand.stroke((20, 10), (20, 30))
    hand.wait_saved()
    asked = []

    def lose_the_first(route):
        asked.append(route.request.post_data_json["id"])
        if len(asked) > 1:
            return route.continue_()
        route.fetch()
        edit = json.dumps({"edits": [{"value": 2, "runs": [50 * WIDTH, 20]}]}).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{server.url}api/images/0/edits", edit, headers)).close()
        route.abort("connectionreset")

    hand.page.route("**/undo", lose_the_first)
    hand.press("Control+z")
    hand.wait_text("#save-state", "connection lost")
    hand.wait_text("#save-state", "saved")
    assert len(set(asked)) == 1 < len(asked)
    hand.wait_label(20, 20, "no label")
    hand.wait_label(50, 10, "label tree")
    assert (hand.labels()[50, :20] == 2).all()
    hand.problems.clear()  # the browser complains about the request that failed


def test_labels_are_asked_for_until_they_come(hand):
    """The answer to an undo is lost, and so is the first question for the labels that tell what it has changed."""
    hand.press("1")
    hand.stroke((20, 10), (20, 30))
    hand.wait_saved()
    lost = []

    def lose_the_first(route):
        name = route.request.url.rpartition("/")[2]
        if name in lost:
            return route.continue_()
        lost.append(name)
        route.fetch()
        route.abort("connectionreset")

    hand.page.route("**/undo", lose_the_first)
    hand.page.route("**/labels", lose_the_first)
    hand.press("Control+z")
    hand.wait_label(20, 20, "no label")
    hand.wait_text("#save-state", "saved")
    assert lost == ["undo", "labels"]
    hand.problems.clear()  # the browser complains about the requests that failed


def test_polls_without_news_are_no_trouble(hand):
    """The server answers a poll by an empty 204 if nothing has happened for 20 s."""
    answered = []

    def without_news(route):
        answered.append(route.request.url)
        if len(answered) % 2:
            route.fulfill(status=204)
        else:
            route.continue_()

    hand.page.route("**/state?*", without_news)
    hand.page.reload()
    hand.wait_for_image()
    hand.page.wait_for_timeout(300)
    assert answered
    assert hand.page.inner_text("#save-state").startswith("saved")


def test_refused_edit_is_reported_and_taken_back(hand):
    before = hand.labels(0)
    answer = {"status": 422, "body": '{"error": "value=7 is no class"}', "content_type": "application/json"}
    hand.page.route("**/edits", lambda route: route.fulfill(**answer))
    hand.press("3")
    hand.stroke((30, 70), (40, 90))
    hand.wait_text("#notice", "value=7 is no class")
    hand.problems.clear()
    hand.wait_label(35, 80, "no label")
    assert np.array_equal(hand.labels(0), before)


def test_image_that_fails_to_open_is_not_painted(hand):
    """The strokes that are meant for it must not land on the image that was open before."""
    sent = []
    hand.page.on("request", lambda request: request.method == "POST" and sent.append(request.url))
    answer = {"status": 409, "body": '{"error": "photos/photo1.png is empty"}', "content_type": "application/json"}
    hand.page.route("**/images/1/pixels", lambda route: route.fulfill(**answer))
    hand.press("n")
    hand.wait_text("#failure", "photo1 can't be opened")
    assert "photos/photo1.png is empty" in hand.page.inner_text("#failure")
    assert hand.page.title() == "photo1 - hypercolumns"
    hand.press("1")
    hand.stroke((30, 10), (30, 40))
    hand.press("k", "Space", "ArrowRight", "Space", "Control+z", "f", "Space", "p", "Enter", "b")
    assert sent == []
    assert hand.page.is_disabled("[data-do=undo]")
    hand.problems.clear()
    hand.press("n")
    hand.wait_text("#image-name", "photo2  ·  3 / 3")
    assert not hand.page.is_visible("#failure")
    hand.page.unroute("**/images/1/pixels")
    hand.press("Shift+N")
    hand.wait_text("#image-name", "photo1  ·  2 / 3")
    hand.page.wait_for_selector("#failure", state="hidden")


def test_image_opens_once_the_server_answers(hand):
    hand.page.route("**/images/2/labels", lambda route: route.abort("connectionrefused"))
    hand.page.locator(".image-row").nth(2).click()
    hand.wait_text("#failure", "the server does not answer")
    hand.page.unroute("**/images/2/labels")
    hand.page.wait_for_selector("#failure", state="hidden")
    hand.wait_text("#save-state", "saved")
    hand.problems.clear()


def test_classes_have_keys_of_two_digits(hand, server):
    def with_more_classes(route):
        session = route.fetch().json()
        session["classes"] += [{"name": f"class {number}", "color": [number, 99, 9]} for number in range(4, 24)]
        route.fulfill(json=session)

    hand.page.route("**/api/session", with_more_classes)
    hand.page.reload()
    hand.wait_for_image()
    chosen = "[role=radio][aria-checked=true] .name"
    hand.press("1", "2")
    assert hand.page.inner_text(chosen) == "class 12"
    hand.page.wait_for_timeout(1000)  # now a digit begins a new number
    hand.press("3")
    assert hand.page.inner_text(chosen) == "tree"
    hand.press("9")  # there is no class 39
    assert hand.page.inner_text(chosen) == "class 9"
    hand.page.unroute("**/api/session")
    hand.page.reload()
    hand.wait_for_image()
    hand.press("9")
    assert hand.page.inner_text("#entry") == "9: no such class, the last one is 3"
    hand.press("0")
    assert hand.page.inner_text(chosen) == "not labelled"
    hand.press("/", *"tre", "Enter")
    assert hand.page.inner_text(chosen) == "tree"


def test_light_and_dark(hand):
    def ground():
        return hand.page.evaluate("getComputedStyle(document.querySelector('header')).backgroundColor")

    hand.page.emulate_media(color_scheme="light")
    assert ground() == "rgb(255, 255, 255)"
    hand.page.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != "rgb(255, 255, 255)"
    hand.press("d")
    assert ground() == "rgb(255, 255, 255)"
    hand.page.reload()
    hand.wait_for_image()
    assert ground() == "rgb(255, 255, 255)", "the choice is kept"
    hand.press("d")
    assert ground() == dark


def shown_choices(page):
    script = """() => [document.querySelector("[data-tool][aria-pressed=true]").dataset.tool,
        document.getElementById("size").value, document.getElementById("opacity-value").textContent]"""
    return page.evaluate(script)


def test_choices_are_remembered(hand):
    automatic = shown_choices(hand.page)
    hand.page.reload()
    hand.wait_for_image()
    assert shown_choices(hand.page) == automatic
    hand.press("e", "]", "]", ".")
    chosen = shown_choices(hand.page)
    assert chosen[0] == "eraser"
    assert chosen[1] != automatic[1]
    assert chosen[2] == "55 %"
    hand.page.reload()
    hand.wait_for_image()
    assert shown_choices(hand.page) == chosen


def test_a_browser_that_remembers_nothing_will_do(browser, server):
    with browser.new_context() as context:
        refuse = "{ get() { throw new DOMException('no', 'SecurityError'); } }"
        context.add_init_script(f"Object.defineProperty(window, 'localStorage', {refuse})")
        other = Hand(context.new_page())
        other.open(server.url)
        other.press("p", "]", ".", "d")
        assert shown_choices(other.page)[0] == "polygon"
        assert other.page.get_attribute("html", "data-theme") == "light"
        assert other.problems == []


@pytest.mark.parametrize("stored", ["null", "{", '"x"', "-3", "[]"])
def test_a_damaged_memory_is_not_taken(hand, stored):
    before = shown_choices(hand.page)
    names = ["size", "tool", "opacity", "theme"]
    hand.page.evaluate(
        "([names, value]) => names.forEach((one) => localStorage[`annotate.${one}`] = value)", [names, stored]
    )
    hand.page.reload()
    hand.wait_for_image()
    tool, size, opacity = shown_choices(hand.page)
    assert (tool, size) == tuple(before[:2])
    assert opacity in (before[2], "5 %")


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 800), (1000, 700), (800, 600), (400, 700)])
def test_nothing_is_cut_off(hand, width, height):
    hand.page.set_viewport_size({"width": width, "height": height})
    sizes = hand.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert sizes == [width, height]
    parts = hand.page.locator("#toolbar > *, #toolbar .group > *").all()
    whole = [box for box in (part.bounding_box() for part in parts) if box]
    toolbar = hand.page.locator("#toolbar").bounding_box()
    assert len(whole) > 15
    for box in whole:
        assert toolbar["x"] <= box["x"] < box["x"] + box["width"] <= toolbar["x"] + toolbar["width"]
        assert toolbar["y"] <= box["y"] < box["y"] + box["height"] <= toolbar["y"] + toolbar["height"]
    lefts = hand.page.locator("#toolbar button").evaluate_all(
        "buttons => buttons.map((one) => one.getBoundingClientRect()).map(({ x, right, y }) => [y, x, right])"
    )
    assert all(y != before_y or x >= right for (before_y, _, right), (y, x, _) in pairwise(lefts)), "none overlap"
    box = hand.page.locator("#canvas").bounding_box()
    assert box["width"] > (0.6 if width < 861 else 0.5) * width
    assert box["height"] > 0.6 * height
    if width < 861:
        hand.page.click("[data-drawer=classes]")
    for row in hand.page.locator(".class-row").all():
        assert row.bounding_box()["x"] + row.bounding_box()["width"] <= width


def test_every_control_has_a_name(hand):
    nameless = hand.page.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas[tabindex]")].filter((control) =>
            !(control.getAttribute("aria-label") || control.textContent.trim() || control.closest("label"))
        ).map((control) => control.outerHTML)"""
    )
    assert nameless == []
    hand.page.focus("#image-filter")
    outline = hand.page.evaluate("getComputedStyle(document.getElementById('image-filter')).outlineStyle")
    assert outline == "solid", "the focus is visible"


def test_zoom_keeps_the_place_under_the_pointer(hand):
    hand.page.mouse.move(*hand.screen(20.5, 30.5))
    hand.wait_text("#place", "row 20, column 30")
    hand.page.mouse.wheel(0, -600)
    hand.page.mouse.move(*(place + 0.01 for place in hand.screen(20.5, 30.5)))
    hand.wait_text("#place", "row 20, column 30")
    zoom = hand.page.inner_text("#zoom")
    hand.press("ArrowRight", "w")
    assert hand.page.inner_text("#zoom") != zoom
    hand.press("o")
    assert hand.page.inner_text("#zoom") == "100 %"


def test_requests_stay_with_the_server(hand, server):
    urls = []
    hand.page.on("request", lambda request: urls.append(request.url))
    hand.page.reload()
    hand.wait_for_image()
    hand.page.wait_for_timeout(500)
    assert len(urls) > 20
    assert all(url.startswith(server.url) for url in urls)
