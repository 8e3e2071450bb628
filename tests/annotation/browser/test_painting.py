"""Painting in a real browser with the real server behind it."""

import numpy as np
import pytest
from helpers.annotation_page import HEIGHT, WIDTH, Hand

pytestmark = pytest.mark.slow(seconds=25)


def open_image(hand, number):
    """Open an image that no other test has painted on."""
    hand.page.locator(".image-row").nth(number).click()
    hand.wait_text("#image-name", f"photo{number}")
    hand.wait_text("#image-name", f"{number + 1} / 3")


def test_two_classes_undo_redo_and_the_next_image(hand, server):
    before = hand.colour(60, 80)
    hand.press("1")
    hand.stroke((8, 10), (8, 40))
    hand.press("2")
    hand.stroke((60, 10), (60, 40))
    hand.wait_predicted(64, 80, "road")
    hand.wait_predicted(5, 80, "sky")
    assert hand.colour(60, 80) != before, "the overlay shows the prediction"
    hand.wait_text("#model-line", "The model has learned 1 image")
    assert "steps of training" in hand.page.get_attribute("#model-line", "title")
    hand.wait_saved()
    labels = hand.labels()
    assert (labels[8, 10:41] == 0).all()
    assert (labels[60, 10:41] == 1).all()
    assert set(np.unique(labels)) == {0, 1, 255}

    hand.press("Control+z")
    hand.wait_enabled("[data-do=redo]", True)
    assert not (hand.labels() == 1).any()
    hand.wait_label(60, 20, "no label")
    hand.press("Control+Shift+Z")
    hand.wait_enabled("[data-do=redo]", False)
    hand.wait_label(60, 20, "label road")
    assert np.array_equal(hand.labels(), labels)

    hand.press("n")
    hand.wait_text("#image-name", "2 / 3")
    hand.wait_predicted(64, 10, "road")  # the model has learned from the first image
    hand.page.reload()
    hand.wait_for_image()
    assert "photo1" in hand.page.inner_text("#image-name"), "a reload comes back to the open image"
    hand.press("Shift+N")
    hand.wait_text("#image-name", "photo0")
    assert np.array_equal(hand.labels(), labels)
    hand.wait_label(8, 20, "label sky")
    hand.page.wait_for_timeout(400)
    assert np.array_equal(server.mask("photo0"), labels)


def test_polygon_eraser_and_fill(hand):
    open_image(hand, 1)
    hand.press("2", "p")
    for place in [(50, 60), (50, 90), (70, 90), (70, 60)]:
        hand.click(*place)
    hand.press("Enter")
    hand.wait_saved()
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[50:70, 60:90] = 1
    assert (hand.labels(1) != expected).mean() < 0.01, "clicks lie between pixels"
    hand.press("b")
    hand.stroke((60, 65), (60, 85), button="right")
    hand.wait_saved()
    assert (hand.labels(1)[60, 65:86] == 255).all()
    hand.press("1", "b")
    hand.stroke((5, 10), (5, 30))
    hand.wait_predicted(20, 10, "sky")
    hand.wait_predicted(60, 10, "road")
    hand.press("3", "f")
    hand.click(20, 10)
    hand.wait_saved()
    filled = hand.labels(1) == 2
    assert filled[10:30, 5:35].mean() > 0.9, "the region that was predicted as sky"
    assert not filled[45:, :].any()
    hand.wait_label(20, 20, "label tree")
    hand.press("Control+z")
    hand.wait_enabled("[data-do=redo]", True)
    hand.page.route("**/region?*", lambda route: waiting.append(route))
    waiting = []
    hand.press("f")
    hand.click(20, 10)
    hand.press("2", "b")
    hand.stroke((15, 10), (15, 30))  # while the region is not there yet
    hand.page.wait_for_timeout(300)
    waiting[0].continue_()
    hand.wait_label(20, 20, "label tree")
    hand.wait_saved()
    assert (hand.labels(1)[15, 10:31] == 1).all(), "a later stroke stays on top"
    assert (hand.labels(1)[20:25, 10:31] == 2).all()
    hand.press("Control+z")
    hand.wait_enabled("[data-do=redo]", True)
    assert not (hand.labels(1) == 2).any()


def test_keyboard_alone(hand):
    open_image(hand, 2)
    hand.page.focus("#canvas")
    hand.press("/")
    hand.page.keyboard.type("roa")
    hand.press("Enter", "]", "[", "k")
    hand.press(*["ArrowDown"] * 40, "Space", *["ArrowRight"] * 8, "Space")
    hand.wait_saved()
    rows, columns = np.nonzero(hand.labels(2) == 1)
    assert rows.min() >= HEIGHT - 8
    assert rows.max() == HEIGHT - 1
    assert columns.min() <= WIDTH // 2 <= columns.max() - 4
    hand.press("p", *["ArrowUp"] * 40, "Space", *["ArrowRight"] * 9, "Space", *["ArrowDown"] * 9, "Space", "1", "Enter")
    hand.wait_saved()
    assert (hand.labels(2) == 0).sum() > 20
    hand.press("?")
    assert hand.page.is_visible("#help")
    hand.press("Escape")
    assert not hand.page.is_visible("#help")


def suggest_once(hand, region):
    """Answer the page by a region, and afterwards that there is none; it asks again with each news of the session."""
    answers = [region]
    nothing = {"image": None, "reason": "nothing is left"}
    hand.page.route("**/suggestion", lambda route: route.fulfill(json=answers.pop() if answers else nothing))


def test_suggestion_is_accepted_with_one_key(hand):
    region = {"image": 2, "value": 0, "runs": [0, 4, WIDTH, 4], "box": [0, 0, 2, 4], "margin": 0.25}
    suggest_once(hand, region)
    hand.press("s")
    hand.wait_text("#suggestion-text", "Is this sky? The model is 25 % sure.")
    assert "photo2" in hand.page.inner_text("#image-name")
    hand.press("a")
    hand.wait_text("#notice", "nothing is left")  # the next one is asked for by itself
    assert not hand.page.is_visible("#suggestion")
    hand.press("w")
    hand.wait_label(1, 2, "label sky")
    assert (hand.labels(2)[:2, :4] == 0).all()
    hand.page.unroute("**/suggestion")
    hand.press("Control+z")
    hand.wait_enabled("[data-do=redo]", True)
    assert not (hand.labels(2)[:2, :4] == 0).any()


def test_painting_dismisses_the_suggestion(hand):
    """Its region was found without the new stroke, which it would paint over."""
    region = {"image": 2, "value": 0, "runs": [0, WIDTH * HEIGHT], "box": [0, 0, HEIGHT, WIDTH], "margin": 0.25}
    suggest_once(hand, region)
    hand.press("s")
    hand.wait_text("#suggestion-text", "Is this sky?")
    hand.press("3", "w")
    hand.stroke((30, 60), (30, 80))
    assert not hand.page.is_visible("#suggestion")
    hand.press("a")
    hand.wait_text("#notice", "nothing is left")  # the key asks for another one
    hand.wait_saved()
    assert (hand.labels(2)[30, 60:81] == 2).all()
    assert (hand.labels(2) == 0).mean() < 0.5


def test_the_size_slider_reaches_all_sizes(hand):
    hand.press(*["]"] * 40)
    assert hand.page.input_value("#size") == hand.page.text_content("#size-value") == "200"


def test_a_page_goes_on_after_a_kill(hand, server, browser):
    hand.press("3")
    hand.stroke((30, 42), (40, 46))
    hand.wait_saved()
    labels, url = hand.labels(), server.url
    server.kill()
    hand.stroke((30, 60), (30, 70))
    hand.wait_text("#save-state", "connection lost, 1 edit waiting")
    server.start()
    assert server.url == url
    hand.wait_text("#save-state", "saved")
    hand.problems.clear()  # the browser complains about the requests that failed
    now = hand.labels()
    assert (now[30, 60:71] == 2).all()
    assert np.array_equal(now[labels != 255], labels[labels != 255])
    hand.page.wait_for_timeout(400)
    assert np.array_equal(server.mask("photo0"), now)
    with browser.new_context() as context:
        other = Hand(context.new_page())
        other.open(server.url)
        assert np.array_equal(other.labels(), now)


def test_a_fill_is_kept_over_a_restart(hand, server):
    open_image(hand, 1)
    hand.press("1")
    hand.stroke((5, 10), (5, 30))
    hand.press("2")
    hand.stroke((60, 10), (60, 30))
    hand.wait_predicted(20, 10, "sky")
    hand.wait_saved()
    server.kill()
    hand.press("3", "f")
    hand.click(20, 10)
    hand.wait_text("#save-state", "connection lost, 1 edit waiting")
    server.start()
    hand.wait_text("#save-state", "saved")
    hand.wait_label(20, 20, "label tree")
    hand.problems.clear()  # the browser complains about the requests that failed
    assert hand.page.is_hidden("#notice")
    assert not (hand.labels(1)[60:] == 2).any()
