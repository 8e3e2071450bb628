"""A browser, and its pages."""

import mimetypes
from importlib.resources import files

import pytest
from helpers.annotation_page import Hand, Server, make_photos
from helpers.chromium import chromium

PAGE = files("hypercolumns.annotation") / "page"
SITE = "http://page.test/token/"  # no such host: every request of these pages is answered here


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def modules(browser):
    """An empty page that can import the modules of the page, without a server."""
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/*", answer)
        page.goto(SITE)
        yield page


def answer(route):
    name = route.request.url.rpartition("/")[2]
    if not name:
        route.fulfill(body="<!doctype html>", content_type="text/html")
    else:
        route.fulfill(body=(PAGE / name).read_text(encoding="utf-8"), content_type=mimetypes.guess_type(name)[0])


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """The running command on three photos, which the tests of a module share."""
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder)
    started = Server(folder)
    yield started
    started.kill()


@pytest.fixture
def hand(browser, server):
    """A hand on a page of the server, which must not complain."""
    with browser.new_context(viewport={"width": 1366, "height": 768}) as context:
        hand = Hand(context.new_page())
        hand.open(server.url)
        yield hand
        assert hand.problems == []
