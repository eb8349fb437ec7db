"""HTTP by hand, to say what no client would say, and to see what an answer really is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    host: str | None = "localhost",
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def post(path: str, view: Any = None, *, token: str = "", **more: Any) -> bytes:
    """Return the bytes of a change."""
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return request("POST", path, headers=headers, body=json.dumps(view or {}).encode(), **more)


def parse(data: bytes, *, head: bool = False) -> tuple[Reply, bytes]:
    """Return the first reply in some bytes, and what is left of them.

    Raises:
        ValueError: it isn't whole yet.
    """
    start, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        raise ValueError(data)
    status, *lines = start.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        assert name.lower() not in headers, f"{name} is there twice"
        headers[name.lower()] = value.strip()
    length = 0 if head else int(headers.get("content-length", len(rest)))
    if len(rest) < length:
        raise ValueError(data)
    return Reply(int(status.split()[1]), headers, rest[:length]), rest[length:]


def dechunk(data: bytes) -> bytes:
    """Return what has come so far of a body in chunks."""
    body = b""
    while b"\r\n" in data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        data = rest[length + 2 :]
    return body


def events(body: bytes) -> list[tuple[str, Any]]:
    """Return the whole Server-Sent Events in a body: names and data."""
    found = []
    for block in body.split(b"\n\n")[:-1]:
        name, data = "message", []
        for line in block.decode().split("\n"):
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                data.append(value)
        if data:
            found.append((name, json.loads("\n".join(data))))
    return found
