"""Requests that stage annotate must not serve, as raw bytes."""

import json
from collections.abc import Mapping
from typing import NamedTuple

AS_JSON = {"Content-Type": "application/json"}
EDIT = json.dumps({"edits": [{"value": 1, "runs": [0, 1]}]}).encode()
Wrong = list[tuple[str, bytes]]  # what is wrong with a request, and the request


class Target(NamedTuple):
    """The server that the requests are for.

    Attributes:
        port: its port.
        token: its token.
    """

    port: int
    token: str

    @property
    def host(self) -> str:
        """The Host that requests must have."""
        return f"127.0.0.1:{self.port}"

    @property
    def edits(self) -> str:
        """The path that takes edits."""
        return f"/{self.token}/api/images/0/edits"

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
        """Return a request.

        Args:
            method: the method.
            path: the path and the query.
            headers: headers beside the usual ones, or in place of them; an empty one is left out.
            body: the content.
        """
        fields = {"Host": self.host, "Content-Length": str(len(body)), "Connection": "close"} | dict(headers or {})
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def hostile(port: int, token: str) -> Wrong:
    """Return requests that must not be served, with what is wrong with each."""
    to = Target(port, token)
    return _of_others(to) + _for_other_places(to) + _with_other_contents(to)


def _of_others(to: Target) -> Wrong:
    """Return requests of those who do not know the token, and of pages of other sites."""
    wrong: Wrong = []
    for path in (
        "/",
        "/api/session",
        f"/{to.token[:-1]}/",
        f"/{to.token}x/",
        f"/{to.token.swapcase()}/",
        "/%00/",
        f"//{to.token}/",
    ):
        wrong.append(("token", to.request("GET", path)))
    for name in ("evil.example", f"evil.example:{to.port}", "127.0.0.1", f"127.0.0.1:{to.port + 1}", "", "a b"):
        wrong += [
            ("host", to.request(*of, {"Host": name} | more, body))
            for of, more, body in ((("GET", f"/{to.token}/api/session"), {}, b""), (("POST", to.edits), AS_JSON, EDIT))
        ]
    for origin in ("http://evil.example", "null", f"https://{to.host}", f"http://localhost:{to.port}", "file://"):
        wrong.append(("origin", to.request("POST", to.edits, AS_JSON | {"Origin": origin}, EDIT)))
        wrong.append(("origin", to.request("GET", f"/{to.token}/api/session", {"Origin": origin})))
    return wrong


def _for_other_places(to: Target) -> Wrong:
    """Return requests for what is not served, or by other methods."""
    wrong: Wrong = []
    for path in (
        *(
            "../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "page/../server.py",
            "page/%2e%2e%2fserver.py",
            "..%5c..%5cx",
        ),
        *(
            "api/images/0/../../../etc/passwd",
            "api/images/-1/labels",
            "api/images/99/pixels",
            "api/images/a.png/pixels",
        ),
        *(
            "page/",
            "page//etc/passwd",
            "api/images/0%00/labels",
            "api/images/1e0/labels",
            "masks/0.png",
            ".annotation/lock",
        ),
    ):
        wrong.append(("path", to.request("GET", f"/{to.token}/{path}")))
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "HEAD"):
        wrong.append(("method", to.request(method, f"/{to.token}/api/session")))
    wrong.append(("method", to.request("GET", to.edits)))
    return wrong


def _with_other_contents(to: Target) -> Wrong:
    """Return requests whose content is not what the path takes."""
    wrong: Wrong = []
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""):
        wrong.append(("content type", to.request("POST", to.edits, {"Content-Type": kind}, EDIT)))
    for body in (
        *(b" " * ((16 << 20) + 1), b"[" * 1_000_000, b"{", b"", b"\xff\xfe", b"[]", b"{}", b'{"edits": []}'),
        *(
            json.dumps({"edits": [{"value": 1, "runs": runs}]}).encode()
            for runs in ([-1, 5], [0, 1 << 62], [0], [0.5, 1])
        ),
        json.dumps({"edits": [{"value": 99, "runs": [0, 1]}]}).encode(),
    ):
        wrong.append(("body", to.request("POST", to.edits, AS_JSON, body)))
    for query in ("", "top=0", "top=0&left=0&bottom=99999999&right=9&height=9&width=9&after=-1", "top=a", "a" * 70000):
        wrong.append(("query", to.request("GET", f"/{to.token}/api/images/0/prediction?{query}")))
    wrong += [("not HTTP", content) for content in (b"\0\0\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01" + b"\0" * 50)]
    wrong.append(
        ("upgrade", to.request("GET", f"/{to.token}/", {"Connection": "Upgrade", "Upgrade": "websocket", "Host": "x"}))
    )
    return wrong
