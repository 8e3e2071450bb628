"""Requests to the server: which are refused, and what the others ask for."""

import asyncio
import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

from hypercolumns.errors import ArgumentError

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Result = TypeVar("Result")
MAX_BODY = 16 << 20  # bytes
MAX_QUERY = 1000  # bytes
WHOLE_NUMBER = re.compile("-?[0-9]{1,12}")
HOST = re.compile(r"(\[(?P<ip>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(:(?P<port>[0-9]+))?")
HTTP_PORT = "80"  # which browsers leave out
WILDCARDS = ("0.0.0.0", "::")


class RefusedError(Exception):
    """A request that is not served.

    Args:
        status: the HTTP status.
        reason: what was wrong, and what was expected.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Address:
    """The address that the server has, and that requests must be for.

    Attributes:
        host: the host that the server listens on.
        port: the port.
        token: the secret that begins every path.
        names: the names of this machine, unless only the machine itself reaches the server.
    """

    host: str
    port: int
    token: str
    names: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look up the names of this machine, which may take seconds, so it is not done for each request."""
        names = () if self.is_local else (self.host, socket.gethostname(), socket.getfqdn())
        object.__setattr__(self, "names", frozenset(name.lower() for name in names))

    @property
    def url(self) -> str:
        """The URL of the page."""
        host = "127.0.0.1" if self.host in WILDCARDS else self.host
        return f"http://{_bracketed(host)}:{self.port}/{self.token}/"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return _is_loopback(self.host)

    def check(self, scope: Scope) -> str:
        """Check where a request comes from and what it is for; return the path below the token.

        Raises:
            RefusedError: if the Host, the Origin or the token is not that of this server.
        """
        host = _single(scope, b"host") or ""
        if not self._is_own(host):
            raise RefusedError(
                421,
                f"the Host is not the address of this server; use its URL as it was printed, and with a tunnel the "
                f"port {self.port} at both ends",
            )
        origin = _single(scope, b"origin", needed=False)
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(403, "the Origin is another one; only the page of this server may send requests")
        token, slash, path = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(errors="replace"), self.token.encode()) or not slash:
            raise RefusedError(403, "the token is wrong; open the URL as stage=annotate printed it when it started")
        return str(path)

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server. A name of another site that leads here must not."""
        parts = HOST.fullmatch(host)
        if parts is None or (parts["port"] or HTTP_PORT) != str(self.port):
            return False
        name = (parts["ip"] or parts["name"]).lower()
        if self.is_local:
            return _is_loopback(name)
        return name in self.names or (self.host in WILDCARDS and (_is_ip(name) or name == "localhost"))


async def read_json(scope: Scope, receive: Receive) -> dict[str, Any]:
    """Read the body of a request, which must be a JSON object.

    Raises:
        RefusedError: if it is something else, or too large.
    """
    content_type = _single(scope, b"content-type", needed=False) or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "the body must be JSON; send it with Content-Type: application/json")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request ended before its body")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise RefusedError(413, f"the body is larger than {MAX_BODY} bytes; send fewer edits at once")
        if not message.get("more_body", False):
            break
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return value


async def unless_gone(receive: Receive, answer: Coroutine[Any, Any, Result]) -> Result | None:
    """Wait for an answer, as long as the client does. A page drops its polls whenever the user moves the image.

    Args:
        receive: how ASGI says that the client has gone.
        answer: the answer; it is cancelled if the client goes.

    Returns:
        The answer; None if the client has gone.
    """
    waiting, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
        gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def read_numbers(scope: Scope, *names: str) -> list[int]:
    """Return whole numbers from the query of a request, by their names.

    Raises:
        RefusedError: if one is missing or no whole number, or there are others.
    """
    query = scope["query_string"][:MAX_QUERY].decode("latin-1")
    try:
        fields = parse_qs(query, strict_parsing=True, max_num_fields=len(names))
    except ValueError:
        fields = {}
    numbers = [fields[name][0] for name in names if len(fields.get(name, ())) == 1]
    if set(fields) != set(names) or len(numbers) != len(names) or not all(map(WHOLE_NUMBER.fullmatch, numbers)):
        raise RefusedError(400, f"the query must have {', '.join(names)}, each once, as a whole number")
    return [int(number) for number in numbers]


def check_number(text: str) -> int:
    """Return the number of an image in a path.

    Raises:
        ArgumentError: if it is no number.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ArgumentError("an image is named by its number, from 0")
    return int(text)


def _single(scope: Scope, name: bytes, needed: bool = True) -> str | None:
    """Return a header of a request; None if it is not there and not needed."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1 or (needed and not values):
        raise RefusedError(400, f"the request must have one header {name.decode()}")
    return values[0].decode("latin-1") if values else None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)
