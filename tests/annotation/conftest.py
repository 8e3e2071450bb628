"""A running session with three small images and a tiny network."""

from types import SimpleNamespace

import pytest
from helpers.annotation_world import begin, draw
from helpers.asgi import ask
from helpers.networks import FIRES

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.extractor import HypercolumnExtractor


@pytest.fixture(scope="session")
def extractor():
    return HypercolumnExtractor(Backbone("squeezenet1_0", ["features.0", FIRES[0]], seed=3)).eval()


@pytest.fixture
def world(tmp_path, extractor):
    """A running session, whose `get` and `post` send proper requests."""
    draw(tmp_path / "images")
    lines = []
    session, app = begin(tmp_path, extractor, lines.append)
    session.start()

    def send(method, path, body=None, query=""):
        return ask(app, method, f"/secret/{path}", body, host="127.0.0.1:8000", query=query)

    yield SimpleNamespace(
        folder=tmp_path,
        session=session,
        app=app,
        lines=lines,
        get=lambda path, query="": send("GET", path, None, query),
        post=lambda path, body=None: send("POST", path, {} if body is None else body),
    )
    session.stop()
