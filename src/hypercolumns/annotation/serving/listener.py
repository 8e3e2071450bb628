"""Serve a session by uvicorn, until a stop signal comes."""

import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from hypercolumns.annotation.serving.kept_address import KeptAddress
from hypercolumns.annotation.serving.requests import Address
from hypercolumns.annotation.serving.server import AnnotationServer
from hypercolumns.annotation.serving.session import AnnotationSession
from hypercolumns.errors import ArgumentError, HypercolumnsError

if TYPE_CHECKING:
    import uvicorn

MAX_CONNECTIONS = 64
MAX_PORT = 65535
# After this time, the thread that trains lets the one that answers go on; an answer needs some ten of these turns, and
# Python's default is 5 ms.
SWITCH_SECONDS = 5e-4


def check_installed() -> None:
    """Check that the package is installed that serves the page.

    Raises:
        HypercolumnsError: if it is not.
    """
    try:
        import uvicorn  # noqa: F401
    except ImportError:
        raise HypercolumnsError(
            "stage=annotate needs the package uvicorn; install it by uv sync --extra annotate, or pip install uvicorn"
        ) from None


def listen(host: str, port: int, kept: KeptAddress | None = None) -> tuple[socket.socket, Address]:
    """Open the socket of a server, and choose its token.

    If the address is that of the last session, it has the token of that session, so that an open page goes on.

    Args:
        host: the address to listen on.
        port: the port; 0: that of the last session if it is free, or else any free one.
        kept: the file with the address of the last session, which gets the new one; None: it is not kept.

    Returns:
        The socket, and the address of the page.

    Raises:
        ArgumentError: if the address can't be had.
    """
    if not 0 <= port <= MAX_PORT:  # the system would take the lower 16 bits
        raise ArgumentError(f"port={port} must be from 0 to {MAX_PORT}; 0 is a free one")
    earlier = kept.read(host) if kept else None
    opened = None
    if earlier and not port:
        with suppress(ArgumentError):
            opened = _open(host, earlier.port)
    opened = opened or _open(host, port)
    port = opened.getsockname()[1]
    # whoever took the port in the meantime may have been told the token by a page
    token = earlier.token if earlier and earlier.port == port else secrets.token_urlsafe(24)
    address = Address(host, port, token)
    if kept:
        kept.write(address)
    return opened, address


def _open(host: str, port: int) -> socket.socket:
    """Open a socket to listen on.

    Raises:
        ArgumentError: if the address can't be had.
    """
    opened = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio turns off Nagle's algorithm, which delays answers by 40 ms, only if the protocol is given
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen()  # so that a browser that is quicker than the server waits, and is not refused
    except (OSError, OverflowError) as error:
        if opened is not None:
            opened.close()
        raise ArgumentError(
            f"host={host} port={port} can't be listened on ({error}); choose another port, or port=0 for a free one, "
            f"and an address of this machine as host"
        ) from error
    return opened


def serve(session: AnnotationSession, opened: socket.socket, address: Address, ready: Callable[[], None]) -> None:
    """Serve a session until a stop signal comes as a KeyboardInterrupt.

    Args:
        session: the session.
        opened: the socket to listen on.
        address: its address.
        ready: called when the page can be opened.
    """
    app = AnnotationServer(session, address)
    server = _uvicorn_server(app)
    thread = Thread(target=server.run, args=([opened],), name="server")
    sys.setswitchinterval(SWITCH_SECONDS)
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


def _uvicorn_server(app: AnnotationServer) -> "uvicorn.Server":
    import uvicorn

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
    return uvicorn.Server(config)
