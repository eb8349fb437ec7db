"""What the admin side answers: a status and a body, or an error in JSON, and their headers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; script-src 'self'; style-src 'self';"
    b" connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    b" frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Cache-Control": b"no-store",
}
"""What every answer has: it is for our own page only, and nobody keeps a copy."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is ready."""

    body: bytes
    kind: str = JSON
    """Its media type."""
    status: int = 200
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Further headers."""
    told: str = ""
    """What the log says of it besides that it was done, if it says anything of such requests."""


class Problem(Exception):  # noqa: N818  (it says what has become of a request)
    """A request that can't be answered as it should.

    Args:
        status: of HTTP.
        problem: what is wrong.
        hint: what would be right, or nothing.
        headers: further headers of the answer.
        more: further fields of the answer.
    """

    def __init__(
        self,
        status: int,
        problem: str,
        hint: str = "",
        headers: dict[bytes, bytes] | None = None,
        **more: object,
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.hint = hint
        self.headers = headers or {}
        self.more = more

    @property
    def answer(self) -> Answer:
        """Return it as an answer."""
        view: dict[str, object] = {"error": self.problem}
        if self.hint:
            view["hint"] = self.hint
        return in_json({**view, **self.more}, status=self.status, headers=self.headers)


def encode(view: Any) -> bytes:
    """Return plain data as JSON, in ASCII."""
    return json.dumps(view, separators=(",", ":")).encode("ascii")


def in_json(
    view: Any, *, status: int = 200, headers: dict[bytes, bytes] | None = None, told: str = ""
) -> Answer:
    """Return plain data as an answer."""
    return Answer(body=encode(view) + b"\n", status=status, headers=headers or {}, told=told)


def in_text(text: str, *, status: int = 200) -> Answer:
    """Return a text as an answer."""
    return Answer(body=text.encode(), kind=TEXT, status=status)
