"""Why no connection came about, in one line for people that names the way out."""

from __future__ import annotations

import os

from twisted.internet import error

from tcpd.errors import TcpdError
from tcpd.escape import escape_text
from tcpd.net.tls_transport import HandshakeError


class DialError(TcpdError):
    """No connection came about; the text is one line for people.

    Attributes:
        final: whether trying again is of no use, as with a certificate that's wrong.
    """

    def __init__(self, problem: str, *, final: bool = False) -> None:
        super().__init__(problem)
        self.final = final


def plain(problem: BaseException) -> str:
    """Return why connecting failed in plain words, without numbers and class names."""
    number = getattr(problem, "osError", None) or getattr(problem, "errno", None)
    if isinstance(number, int):
        return os.strerror(number).lower()
    if isinstance(problem, error.TimeoutError):
        return "timed out"
    return escape_text(str(problem) or type(problem).__name__)


def handshake_reason(problem: BaseException) -> str:
    """Return why a TLS handshake failed; an empty text for any other problem."""
    return str(problem.args[0]) if isinstance(problem, HandshakeError) else ""


# What OpenSSL's words mean for somebody at a prompt: a word of its reason, what to say and do, and
# whether trying again is of no use.
_TLS = (
    ("mismatch", "its certificate is not for {name!r}; --servername checks another name", True),
    ("self-signed", "{authority}", True),
    ("self signed", "{authority}", True),
    ("local issuer", "{authority}", True),
    ("expired", "its certificate has expired; --insecure connects all the same", True),
    ("not yet valid", "its certificate is not valid yet; is the clock right?", True),
    ("wrong version number", "it speaks no TLS; leave --tls out", True),
    ("packet length too long", "it speaks no TLS; leave --tls out", True),
    ("record layer failure", "it speaks no TLS; leave --tls out", True),
    ("http request", "it speaks no TLS; leave --tls out", True),
    ("unexpected message", "what it says isn't TLS; leave --tls out", True),
    ("certificate required", "it demands a certificate of ours; --cert shows one", True),
    ("hung up", "it hung up during the TLS handshake; perhaps it speaks no TLS", False),
)
_AUTHORITY = (
    "no authority we trust has signed its certificate; --cafile names one to trust, "
    "--insecure connects all the same"
)


def tls_error(where: str, name: str, reason: str) -> DialError:
    """Return the error for a handshake that failed.

    Args:
        where: whom we meant to talk to.
        name: the name that the certificate was to be for.
        reason: what the transport gave.
    """
    for word, meaning, final in _TLS:
        if word in reason.lower():
            said = meaning.format(name=name, authority=_AUTHORITY)
            return DialError(f"no TLS with {where}: {said} ({_short(reason)})", final=final)
    return DialError(f"no TLS with {where}: {_short(reason)}", final="refused" in reason)


def _short(reason: str) -> str:
    return escape_text(reason.removeprefix("the certificate was refused: ").rstrip("."), 200)
