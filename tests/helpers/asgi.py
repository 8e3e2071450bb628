"""Send requests to an ASGI application without a network."""

import asyncio
import json
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(app, method, path, body=None, *, host=None, headers=(), query="", cut=None):
    """Return the answer to one request; `body` is JSON unless it is bytes. With `cut`, the client goes after it."""
    return asyncio.run(ask_async(app, method, path, body, host=host, headers=headers, query=query, cut=cut))


async def ask_async(app, method, path, body=None, *, host=None, headers=(), query="", cut=None, gone=None):
    """Return the answer to one request, see `ask`. The client goes when the event `gone` is set."""
    sent, content = [], body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    parts = [content[i : i + 65536] for i in range(0, len(content), 65536)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    messages = [{"type": "http.disconnect"}] if cut else messages
    all_headers = [] if host is None else [(b"host", host.encode())]
    if body is not None and not any(name == "content-type" for name, _ in headers):
        all_headers.append((b"content-type", b"application/json"))
    all_headers += [(name.encode(), value.encode()) for name, value in headers]

    async def receive():
        if not messages:
            await (gone or asyncio.Event()).wait()
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": all_headers}
    await app(scope, receive, send)
    start, *rest = sent
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], names, b"".join(message["body"] for message in rest))
