"""Serve a session by uvicorn, until a stop signal comes."""

import secrets
import socket
from collections.abc import Callable
from importlib.util import find_spec
from threading import Thread

from hypercolumns.annotation.requests import Address
from hypercolumns.annotation.server import AnnotationServer
from hypercolumns.annotation.session import AnnotationSession
from hypercolumns.errors import ArgumentError, HypercolumnsError

MAX_CONNECTIONS = 64


def check_installed() -> None:
    """Check that the package is installed that serves the page.

    Raises:
        HypercolumnsError: if it is not.
    """
    if find_spec("uvicorn") is None:
        raise HypercolumnsError(
            "stage=annotate needs the package uvicorn; install it by uv sync --extra annotate, or pip install uvicorn"
        )


def listen(host: str, port: int) -> tuple[socket.socket, Address]:
    """Open the socket of a server, and choose its token.

    Args:
        host: the address to listen on.
        port: the port; 0: a free one.

    Returns:
        The socket, and the address of the page.

    Raises:
        ArgumentError: if the address can't be had.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen()  # so that a browser that is quicker than the server waits, and is not refused
    except OSError as error:
        raise ArgumentError(
            f"host={host} port={port} can't be listened on ({error.strerror}); choose another port, or port=0 for a "
            f"free one"
        ) from error
    return opened, Address(host, opened.getsockname()[1], secrets.token_urlsafe(24))


def serve(session: AnnotationSession, opened: socket.socket, address: Address, ready: Callable[[], None]) -> None:
    """Serve a session until a stop signal comes as a KeyboardInterrupt.

    Args:
        session: the session.
        opened: the socket to listen on.
        address: its address.
        ready: called when the page can be opened.
    """
    import uvicorn

    app = AnnotationServer(session, address)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([opened],), name="server")
    session.start()
    thread.start()  # outside of the main thread, uvicorn leaves the signals to this command
    try:
        ready()
        while thread.is_alive():
            thread.join(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        server.should_exit = True
        app.end()
        thread.join()
        session.stop()
