"""Requests that are not served, one by one: who asks, for what, and how."""

import json
import socket

import pytest
from helpers.asgi import ask

from hypercolumns.annotation.serving import requests
from hypercolumns.annotation.serving.requests import Address, check_number
from hypercolumns.errors import HypercolumnsError

HOST = "127.0.0.1:8000"
SCREEN = "top=0&left=0&bottom=40&right=60&height=40&width=60&after=-1"
EDIT = {"edits": [{"value": 1, "runs": [0, 5]}]}


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/secret", "/wrong/", "/wrong/api/session", "/SECRET/", "/secre/", "/secrett/", "/ secret/"),
        *("/api/session", "/secret\0/", "/sécret/", "/../secret/"),
    ],
)
def test_wrong_token_is_refused(world, path):
    answer = ask(world.app, "GET", path, host=HOST)
    assert answer.status == 403
    assert "the token is wrong" in answer.json["error"]


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8000", "127.0.0.1:8001", "127.0.0.1", "localhost", "", "127.0.0.1:8000.evil.example"),
        *("localhost.evil.example:8000", "10.0.0.1:8000", "127.0.0.1:8000,evil.example", "0.0.0.0:8000", "[::]:8000"),
    ],
)
def test_other_hosts_are_refused(world, host):
    """DNS rebinding: a name of another site that leads to this machine."""
    answer = ask(world.app, "GET", "/secret/api/session", host=host)
    assert answer.status == 421
    assert "Host" in answer.json["error"]


def test_a_missing_or_second_host_is_refused(world):
    assert ask(world.app, "GET", "/secret/api/session").status == 400
    twice = ask(world.app, "GET", "/secret/api/session", host=HOST, headers=[("host", HOST)])
    assert twice.status == 400


@pytest.mark.parametrize("host", [HOST, "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_own_hosts_are_served(world, host):
    assert ask(world.app, "GET", "/secret/api/session", host=host).status == 200
    own = ask(world.app, "POST", "/secret/api/images/0/edits", EDIT, host=host, headers=[("origin", f"http://{host}")])
    assert own.status == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001", "http://localhost:8000", ""],
)
def test_other_origins_are_refused(world, origin):
    for method, path, body in (("POST", "api/images/0/edits", EDIT), ("GET", "api/session", None)):
        answer = ask(world.app, method, f"/secret/{path}", body, host=HOST, headers=[("origin", origin)])
        assert answer.status == 403
        assert "Origin" in answer.json["error"]
    assert world.get("api/images/0/labels").headers["x-undo"] == "0"


def test_wildcard_takes_only_addresses():
    address = Address("0.0.0.0", 80, "secret")

    def check(host):
        return address.check({"path": "/secret/x", "headers": [(b"host", host.encode())]})

    assert {check(f"{host}:80") for host in ("192.168.1.7", socket.gethostname(), "localhost", "[fe80::1]")} == {"x"}
    with pytest.raises(requests.RefusedError, match="Host"):
        check("evil.example:80")


def test_browsers_leave_out_the_port_of_http():
    for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.1:80"):
        headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode())]
        assert Address("127.0.0.1", 80, "secret").check({"path": "/secret/x", "headers": headers}) == "x"
    for host in ("127.0.0.1:", "[::1", "::1", "evil.example", "127.0.0.1:8000"):
        with pytest.raises(requests.RefusedError, match="Host"):
            Address("127.0.0.1", 80, "secret").check({"path": "/secret/x", "headers": [(b"host", host.encode())]})


def test_names_of_the_machine_are_looked_up_once(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getfqdn", lambda: asked.append(1) or "workstation.lab.example")
    address = Address("0.0.0.0", 8000, "secret")
    for _ in range(3):
        headers = [(b"host", b"workstation.lab.example:8000")]
        assert address.check({"path": "/secret/x", "headers": headers}) == "x"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "path",
    [
        *("api", "api/", "api/session/", "api//session", "api/images", "api/images/0", "api/images/0/labels/x"),
        *(
            "page/../server.py",
            "page/%2e%2e/server.py",
            "page/..\\server.py",
            "page//etc/passwd",
            "page/",
            "page/none.js",
        ),
        *("../../etc/passwd", "api/images/0/../1/labels", "index.html", "api/images/0/pixels/../../../etc/passwd"),
        *("api/images/0/thumbnail/../1", "api/images/0/thumbnail/x", "api/thumbnail", "thumbnail/0"),
    ],
)
def test_other_paths_lead_nowhere(world, path):
    assert world.get(path).status == 404


@pytest.mark.parametrize(
    "number", ["-1", "0x0", "1.0", "a.png", "%30", "\N{ARABIC-INDIC DIGIT ZERO}", " 0", "1e0", "9" * 40, "+1", "..", ""]
)
def test_an_image_has_no_name_but_its_number(world, number):
    for what in ("pixels", "thumbnail"):
        assert world.get(f"api/images/{number}/{what}").status in (404, 409)
    with pytest.raises(HypercolumnsError, match="number"):
        check_number(number)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("api/session", "api/images/0/labels", "api/images/0/pixels", "api/state")),
        *(("GET", f"api/images/0/{what}") for what in ("edits", "undo", "redo", "fill")),
        *(("GET", path) for path in ("api/save",)),
        *(("POST", path) for path in ("api/images/0/region", "api/images/0/thumbnail", "api/suggestion")),
        *((method, "api/session") for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get")),
    ],
)
def test_other_methods_are_refused(world, method, path):
    assert ask(world.app, method, f"/secret/{path}", host=HOST).status == 405


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_other_content_types_are_refused(world, kind):
    body = json.dumps(EDIT).encode()
    answer = ask(world.app, "POST", "/secret/api/images/0/edits", body, host=HOST, headers=[("content-type", kind)])
    assert answer.status == 415


@pytest.mark.parametrize("path", ["api/save", "api/images/0/undo", "api/images/0/redo"])
def test_a_form_of_another_site_can_do_nothing(world, path):
    """A form needs no permission of the browser to send one of three content types; none of them is taken."""
    answer = ask(world.app, "POST", f"/secret/{path}", b"a=1", host=HOST, headers=[("content-type", "text/plain")])
    assert answer.status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        {"edits": []},
        {"edits": {}},
        {"edits": [1]},
        {},
        {"edits": [{"value": 1}]},
        {"edits": [{"value": 3, "runs": [0, 1]}]},
        {"edits": [{"value": -1, "runs": [0, 1]}]},
        {"edits": [{"value": True, "runs": [0, 1]}]},
        {"edits": [{"value": 1, "runs": [2399, 2]}]},
        {"edits": [{"value": 1, "runs": [0, 1], "more": 1}]},
        {"edits": [{"value": 1, "runs": [0, 1], "id": ""}]},
        {"edits": [{"value": 1, "runs": [0, 1], "id": 7}]},
        {"edits": [{"value": 1, "runs": [0, 1]}] * 1001},
        EDIT | {"more": 1},
    ],
    ids=range(19),
)
def test_other_edits_are_refused_as_a_whole(world, body):
    answer = world.post("api/images/0/edits", body)
    assert 400 <= answer.status < 500
    assert "\n" not in answer.json["error"]
    mixed = {"edits": [*EDIT["edits"], {"value": 9, "runs": [0, 1]}]}
    assert world.post("api/images/0/edits", mixed).status == 422
    assert world.get("api/images/0/labels").headers["x-undo"] == "0"


def test_a_large_body_is_refused_before_its_end(world, monkeypatch):
    monkeypatch.setattr(requests, "MAX_BODY", 200_000)
    answer = world.post("api/images/0/edits", b" " * 300_000)
    assert answer.status == 413


def test_a_request_that_ends_early_is_dropped(world):
    answer = ask(world.app, "POST", "/secret/api/images/0/edits", EDIT, host=HOST, cut=True)
    assert answer.status == 400
    assert world.get("api/images/0/labels").headers["x-undo"] == "0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("top=0", new) for new in ("top=-1", "top=40", "top=1.5", "top=", "tip=0", "top=0&top=0", "top=0x1")),
        *(("bottom=40", new) for new in ("bottom=41", "bottom=0", "bottom=" + "9" * 20)),
        *(("height=40", new) for new in ("height=0", "height=100000")),
        *(("&after=-1", new) for new in ("", "&after=x", "&after=-1&more=1")),
    ],
)
def test_other_screens_are_refused(world, old, new):
    answer = world.get("api/images/0/prediction", SCREEN.replace(old, new))
    assert answer.status in (400, 409)
    assert answer.json["error"]


@pytest.mark.parametrize(
    "query",
    [
        *("row=40&column=0", "row=0&column=60", "row=0&column=-1", "row=x&column=0", "row=0", "row=0&column=0&more=1"),
        *("", "row=0&row=1&column=0", "row=1.5&column=0", "row=0&column=0"),  # the last one is not predicted yet
    ],
)
def test_a_region_of_nothing_is_refused(world, query):
    assert 400 <= world.get("api/images/0/region", query).status < 500


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"value": 1}, {"value": 3, "runs": [0, 1]}, {"value": 1, "runs": [2399, 2]}),
        {"value": 1, "runs": [0, 1], "more": 1},
    ],
)
def test_a_fill_of_nothing_is_refused(world, body):
    assert world.post("api/images/0/fill", body).status == 422


def test_every_answer_has_the_safe_headers(world):
    for answer in (world.get("api/session"), world.get("none"), ask(world.app, "GET", "/wrong/", host=HOST)):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
