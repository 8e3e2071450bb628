"""The server on a real socket."""

import http.client
import socket
import time

import pytest

from hypercolumns.annotation.serving.listener import MAX_CONNECTIONS, listen, serve
from hypercolumns.errors import HypercolumnsError


def test_page_is_served_until_the_interrupt(world):
    opened, address = listen("127.0.0.1", 0)
    answers = []

    def ready():
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
        for path in (f"/{address.token}/api/session", "/wrong/api/session"):
            connection.request("GET", path)
            answers.append(connection.getresponse())
            answers[-1].read()
        connection.close()
        raise KeyboardInterrupt

    world.session.stop()
    serve(
        type(world)(start=lambda: None, stop=lambda: answers.append("stopped"), describe=dict), opened, address, ready
    )
    assert [answer.status for answer in answers[:2]] == [200, 403]
    assert answers[2] == "stopped"
    assert answers[0].headers["server"] is None


def test_dropped_polls_leave_room_for_others(world):
    """More polls than the server takes connections, each dropped before its answer, as by a page that moves."""
    opened, address = listen("127.0.0.1", 0)
    answers = []

    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
        connection.request("GET", f"/{address.token}/api/{path}")
        return connection

    def ready():
        for _ in range(2):
            polls = [ask("state?after=99") for _ in range(MAX_CONNECTIONS // 2 + 8)]
            time.sleep(0.1)
            for poll in polls:
                poll.close()
        time.sleep(0.1)
        connection = ask("session")
        answers.append(connection.getresponse().status)
        connection.close()
        raise KeyboardInterrupt

    world.session.stop()
    serve(type(world)(start=lambda: None, stop=lambda: None, describe=dict), opened, address, ready)
    assert answers == [200]


def test_answers_are_not_delayed():
    """Only a socket that names its protocol has no Nagle's algorithm in asyncio; with it, an answer takes 40 ms."""
    opened, address = listen("127.0.0.1", 0)
    assert opened.proto == socket.IPPROTO_TCP
    assert address.url == f"http://127.0.0.1:{address.port}/{address.token}/"
    opened.close()


def test_each_session_has_its_token():
    tokens = set()
    for _ in range(3):
        opened, address = listen("localhost", 0)
        tokens.add(address.token)
        opened.close()
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 32


def test_a_taken_port_is_named():
    opened, address = listen("127.0.0.1", 0)
    with pytest.raises(HypercolumnsError, match=rf"port={address.port} can't be listened on"):
        listen("127.0.0.1", address.port)
    opened.close()
