"""The ASGI application of a session: its page, and the protocol between the page and the session."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

from hypercolumns.annotation.labels.pixel_runs import Change
from hypercolumns.annotation.serving.live_state import LiveState
from hypercolumns.annotation.serving.polls import Shown
from hypercolumns.annotation.serving.requests import (
    Address,
    Receive,
    RefusedError,
    Scope,
    Send,
    check_number,
    read_json,
    read_numbers,
    unless_gone,
)
from hypercolumns.annotation.serving.screen import Lines
from hypercolumns.annotation.serving.session import AnnotationSession
from hypercolumns.errors import HypercolumnsError

POLL_SECONDS = 20.0
PAGE_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
SAFE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Response(NamedTuple):
    """The answer to a request.

    Attributes:
        body: the content.
        content_type: its type.
        status: the HTTP status.
        headers: further headers.
    """

    body: bytes = b""
    content_type: str = "application/octet-stream"
    status: int = 200
    headers: Mapping[str, str] = {}


Answer = TypeVar("Answer", bound=Callable[..., Awaitable["Response"]])
Handler = Callable[[Scope, Receive], Awaitable[Response]]


class AnnotationServer:
    """The ASGI application of a session.

    Args:
        session: the session.
        address: where the server listens; requests for other addresses are refused.
    """

    def __init__(self, session: AnnotationSession, address: Address) -> None:
        self._session, self._address = session, address
        self._live = LiveState()
        session.changed = self._live.bump
        self._page = _page_files()
        self._routes: dict[tuple[str, ...], dict[str, Handler]] = {
            ("",): {"GET": self._index},
            ("api", "session"): {"GET": self._describe},
            ("api", "state"): {"GET": self._state},
            ("api", "suggestion"): {"GET": self._suggestion},
            ("api", "save"): {"POST": self._save},
        }
        self._image_routes: dict[str, dict[str, Callable[[int, Scope, Receive], Awaitable[Response]]]] = {
            "pixels": {"GET": self._pixels},
            "thumbnail": {"GET": self._thumbnail},
            "labels": {"GET": self._labels},
            "prediction": {"GET": self._prediction},
            "region": {"GET": self._region},
            "edits": {"POST": self._edits},
            "undo": {"POST": self._undo},
            "redo": {"POST": self._redo},
            "fill": {"POST": self._fill},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI says."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        try:
            path = self._address.check(scope)
            response = await self._handler(path, scope["method"])(scope, receive)
        except RefusedError as error:
            response = _error(error.status, error)
        except HypercolumnsError as error:
            response = _error(409 if scope["method"] == "GET" else 422, error)
        except OSError as error:
            response = _error(507, f"the labels can't be written ({error}); free some space, and try again")
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *((name.encode(), value.encode()) for name, value in response.headers.items()),
            *SAFE_HEADERS,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body if scope["method"] != "HEAD" else b""})

    def end(self) -> None:
        """Answer all that waits, so that the server can end. It may be called from any thread."""
        self._live.end()

    def _handler(self, path: str, method: str) -> Handler:
        """Return what answers a request.

        Raises:
            RefusedError: if there is nothing of this path, or it takes another method.
        """
        parts = tuple(path.split("/"))
        if parts in self._routes:
            return _of_method(self._routes[parts], method)
        match parts:
            case ("page", file) if file in self._page:
                return _of_method({"GET": lambda scope, receive: self._file(file)}, method)
            case ("api", "images", number, what) if what in self._image_routes:
                handler = _of_method(self._image_routes[what], method)
                return lambda scope, receive: handler(check_number(number), scope, receive)
        raise RefusedError(404, "there is nothing of this name; reload the page")

    async def _file(self, name: str) -> Response:
        return self._page[name]

    async def _index(self, scope: Scope, receive: Receive) -> Response:
        if "index.html" not in self._page:
            raise RefusedError(404, "the page is missing in this installation; install the package again")
        return self._page["index.html"]

    async def _describe(self, scope: Scope, receive: Receive) -> Response:
        return _json(self._session.describe() | {"version": self._live.version})

    async def _state(self, scope: Scope, receive: Receive) -> Response:
        (after,) = read_numbers(scope, "after")
        version = await unless_gone(receive, self._live.wait_above(after, POLL_SECONDS))
        if version is None or version <= after:
            return Response(status=204)
        return _json({"version": version} | self._session.state())

    async def _suggestion(self, scope: Scope, receive: Receive) -> Response:
        return _json(self._session.suggestion())

    async def _save(self, scope: Scope, receive: Receive) -> Response:
        _check_keys(await read_json(scope, receive), set())
        path = await asyncio.wrap_future(self._session.save())
        return _json({"path": str(path)})

    async def _pixels(self, number: int, scope: Scope, receive: Receive) -> Response:
        content, content_type = await asyncio.to_thread(self._session.picture, number)
        return Response(content, content_type)

    async def _thumbnail(self, number: int, scope: Scope, receive: Receive) -> Response:
        future = self._session.thumbnail(number)
        content = await unless_gone(receive, self._live.wait_for(future, POLL_SECONDS))
        return Response(status=204) if content is None else Response(content, "image/jpeg")

    async def _labels(self, number: int, scope: Scope, receive: Receive) -> Response:
        labels, state = await asyncio.to_thread(self._session.all_labels, number)
        height, width = labels.shape
        headers = {"x-size": f"{height},{width}", "x-undo": str(state.undo), "x-redo": str(state.redo)}
        return Response(labels.tobytes(), headers=headers)

    async def _edits(self, number: int, scope: Scope, receive: Receive) -> Response:
        body = await read_json(scope, receive)
        _check_keys(body, {"edits"})
        return _json(await asyncio.to_thread(self._session.edit, number, body["edits"]))

    async def _undo(self, number: int, scope: Scope, receive: Receive) -> Response:
        return _json(await asyncio.to_thread(self._session.undo, number, await _read_id(scope, receive)))

    async def _redo(self, number: int, scope: Scope, receive: Receive) -> Response:
        return _json(await asyncio.to_thread(self._session.redo, number, await _read_id(scope, receive)))

    async def _fill(self, number: int, scope: Scope, receive: Receive) -> Response:
        return _json(await asyncio.to_thread(self._session.fill, number, await read_json(scope, receive)))

    async def _region(self, number: int, scope: Scope, receive: Receive) -> Response:
        row, column = read_numbers(scope, "row", "column")
        future = await asyncio.to_thread(self._session.find_region, number, row, column)
        region = await unless_gone(receive, self._live.wait_for(future, POLL_SECONDS))
        return Response(status=204) if region is None else _json(Change(*region).as_json())

    async def _prediction(self, number: int, scope: Scope, receive: Receive) -> Response:
        top, left, bottom, right, height, width, after = read_numbers(
            scope, "top", "left", "bottom", "right", "height", "width", "after"
        )
        box, grid = (top, left, bottom, right), (height, width)
        future = await asyncio.to_thread(self._session.show, number, box, grid, after)
        shown: Shown | None = await unless_gone(receive, self._live.wait_for(future, POLL_SECONDS))
        if shown is None:
            return Response(status=204)
        screen = shown.screen
        headers = {
            "x-version": str(shown.version),
            "x-size": f"{screen.rows.count},{screen.columns.count}",
            "x-rows": _lines(screen.rows),
            "x-columns": _lines(screen.columns),
        }
        return Response(shown.labels.tobytes() + shown.margins.tobytes(), headers=headers)


def _page_files() -> dict[str, Response]:
    """Return the files of the page, the only ones that are served, by their names."""
    folder = files("hypercolumns.annotation") / "page"
    return {
        file.name: Response(file.read_bytes(), PAGE_TYPES[file.name.rpartition(".")[2]])
        for file in (folder.iterdir() if folder.is_dir() else ())
        if file.name.rpartition(".")[2] in PAGE_TYPES
    }


def _of_method(handlers: Mapping[str, Answer], method: str) -> Answer:
    if method not in handlers:
        raise RefusedError(405, f"this takes {' or '.join(handlers)} only")
    return handlers[method]


async def _read_id(scope: Scope, receive: Receive) -> dict[str, Any]:
    """Return the body of a request that may have an "id", and nothing else."""
    body = await read_json(scope, receive)
    if body:
        _check_keys(body, {"id"})
    return body


def _check_keys(body: Mapping[str, Any], keys: set[str]) -> None:
    if set(body) != keys:
        raise RefusedError(400, f"the body must have {', '.join(sorted(keys)) or 'no entry'}, and nothing else")


def _lines(lines: Lines) -> str:
    return f"{lines.first},{lines.step}"


def _json(value: Any) -> Response:
    return Response(json.dumps(value, separators=(",", ":")).encode(), "application/json")


def _error(status: int, reason: object) -> Response:
    return _json({"error": str(reason)})._replace(status=status)
