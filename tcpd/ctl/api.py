"""The admin site as tcpdctl asks it: HTTP over a UNIX socket or TCP, one connection a request.

Rules:
- Whatever goes wrong becomes a `CtlError` with the exit status that fits.
- The token comes from a file, and is sent to the place that was asked for only: no redirect is
  followed, no proxy used.
- An answer has a bound: `MOST` bytes, and of a stream, `MOST_LINE` a message.
- Nothing is waited for without one: a stream on which nothing happens has a comment every 15 s.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tcpd.ctl.ending import BAD_CONFIG, FAILED, UNKNOWN, UNREACHABLE, USAGE, CtlError
from tcpd.ctl.server_sent import Message, Reader

MOST = 64 << 20
"""Bytes of an answer; a thousand sessions take half a MiB."""
MOST_LINE = 4 << 20
MOST_TOKEN = 4096
SILENCE = 45.0
"""Seconds without a byte after which a stream is given up: three of the daemon's keep-alives. (What
holds them needs Twisted, which isn't loaded here; a test holds the two together.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the daemon is asked.

    Attributes:
        path: its UNIX socket; empty for TCP.
        host: its name or address.
        port: its port.
        secure: whether TLS is spoken (to a proxy before it).
    """

    path: str = ""
    host: str = "localhost"
    port: int = 0
    secure: bool = False

    def __str__(self) -> str:
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


def parse_url(url: str) -> Place:
    """Return the place that `http://HOST:PORT` names.

    Raises:
        CtlError: it names none.
    """
    wrong = CtlError(USAGE, f"--url {url!r} isn't a place", "write one as http://127.0.0.1:9990")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    secure = parts.scheme == "https"
    if parts.username is not None or parts.password is not None:
        raise CtlError(USAGE, "--url takes no password", "the token comes from --token-file")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise wrong
    if parts.query or parts.fragment:
        raise wrong
    return Place(host=parts.hostname, port=port or (443 if secure else 80), secure=secure)


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        CtlError: the file can't be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            token = file.read(MOST_TOKEN + 1).strip()
    except OSError as error:
        raise CtlError(USAGE, f"the token file {path}: {error.strerror}") from None
    if not token or len(token) > MOST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in token):
        raise CtlError(
            USAGE, f"the token file {path} holds no token", "it is one word of printable ASCII"
        )
    return token.decode("ascii")


def trust_of(path: Path) -> ssl.SSLContext:
    """Return what trusts the certificates in a PEM file, and those that they have signed.

    Raises:
        CtlError: the file can't be read, or holds none.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        problem = f"the CA file {path} holds no certificate"
        raise CtlError(USAGE, problem, "it begins with -----BEGIN CERTIFICATE-----") from None
    except OSError as error:
        raise CtlError(USAGE, f"the CA file {path}: {error.strerror}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """Asks a daemon.

    Args:
        place: where it is.
        token: what gives the right to change things; empty for none.
        timeout: seconds that any step of an answer may take.
        trust: whom to believe behind an https URL; None for whom the system believes.
    """

    def __init__(
        self,
        place: Place,
        token: str = "",
        timeout: float = 10.0,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.place = place
        self._token = token
        self._timeout = timeout
        self._trust = trust

    def get(self, *path: str, **query: Any) -> Any:
        """Return what is at a path: `get("api", "sessions", limit=3)`.

        Raises:
            CtlError: there is no such answer.
        """
        return self._ask("GET", path, query, None)

    def post(self, *path: str, **body: Any) -> Any:
        """Have something done.

        Raises:
            CtlError: it was not.
        """
        return self._ask("POST", path, {}, body)

    @contextmanager
    def events(self, *path: str, **query: Any) -> Iterator[Iterator[Message]]:
        """Give the messages of a stream as they come, until the daemon ends it.

        Raises:
            CtlError: there is no such stream, or it isn't one; or, from the messages, the daemon is
                silent for longer than it ever is.
        """
        with closing(self._connection()) as connection:
            with self._told():
                connection.connect()
                sock = connection.sock  # the connection itself drops it if its answer is its last
                answer = self._request(connection, "GET", path, query, None)
                if answer.status != http.client.OK:
                    raise self._refusal(answer.status, self._json(answer))
                if not (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
                    raise self._stranger()
                patience = max(SILENCE, self._timeout)
                sock.settimeout(patience)
            yield self._messages(answer, patience)

    def _messages(self, answer: http.client.HTTPResponse, patience: float) -> Iterator[Message]:
        reader = Reader(MOST_LINE)
        while True:
            try:
                data = answer.read1(65536)
            except TimeoutError:
                problem = f"the daemon on {self.place} has said nothing for {patience:g}s"
                hint = "it hangs, or the way to it is cut"
                raise CtlError(UNREACHABLE, problem, hint) from None
            except (OSError, http.client.HTTPException):
                return  # a daemon that was killed ends a stream so
            if not data:
                return
            try:
                yield from reader.feed(data)
            except ValueError:  # a message without end
                raise self._stranger() from None

    def _connection(self) -> http.client.HTTPConnection:
        place = self.place
        if place.path:
            return _UnixConnection(place.path, self._timeout)
        if place.secure:
            return http.client.HTTPSConnection(
                place.host, place.port, timeout=self._timeout, context=self._trust
            )
        return http.client.HTTPConnection(place.host, place.port, timeout=self._timeout)

    def _request(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None,
    ) -> http.client.HTTPResponse:
        target = "/" + "/".join(quote(part, safe="") for part in path)
        asked = {key: value for key, value in query.items() if value not in (None, "")}
        if asked:
            target += f"?{urlencode(asked)}"
        headers = {"Accept": "application/json, text/event-stream"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        connection.request(method, target, data, headers)
        return connection.getresponse()

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None,
    ) -> Any:
        with self._told(), closing(self._connection()) as connection:
            answer = self._request(connection, method, path, query, body)
            said = self._json(answer)
            if 200 <= answer.status < 300:
                return said
            raise self._refusal(answer.status, said)

    def _json(self, answer: http.client.HTTPResponse) -> Any:
        data = answer.read(MOST + 1)
        if len(data) > MOST:
            raise CtlError(FAILED, f"the answer of {self.place} is too long")
        try:
            return json.loads(data)
        except ValueError:
            raise self._stranger() from None

    def _stranger(self) -> CtlError:
        return CtlError(
            UNREACHABLE,
            f"what listens on {self.place} doesn't answer as tcpd's admin site",
            "is that the place that [admin] names?",
        )

    def _refusal(self, status: int, said: Any) -> CtlError:
        said = said if isinstance(said, dict) else {}
        problem = str(said.get("error") or f"the daemon answers with HTTP status {status}")
        hint = str(said.get("hint") or "")
        errors = said.get("errors")
        errors = [str(each) for each in errors] if isinstance(errors, list) else []
        ending = FAILED
        if status == http.client.BAD_REQUEST:
            ending = USAGE
        elif status == http.client.NOT_FOUND:
            ending = UNKNOWN
        elif status == http.client.CONFLICT and errors:
            ending = BAD_CONFIG
        elif status == http.client.UNAUTHORIZED and not self.place.path:
            hint = "is it the right one?" if self._token else "give it with --token-file"
        return CtlError(ending, problem, hint, errors)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what sockets and HTTP raise into words."""
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError):
            none = f"no daemon listens on {self.place}"
            hint = "is it running, with [admin] in its configuration?"
            raise CtlError(UNREACHABLE, none, hint) from None
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            problem = f"the certificate of {self.place} can't be trusted: {why}"
            hint = "--ca-file says whom to trust"
            raise CtlError(UNREACHABLE, problem, hint) from None
        except ssl.SSLError as error:
            problem = f"{self.place} doesn't speak TLS: {error.reason or error.strerror}"
            raise CtlError(UNREACHABLE, problem) from None
        except PermissionError:
            raise CtlError(
                UNREACHABLE,
                f"{self.place} can't be opened by this user",
                "the socket's mode in [admin] says who may",
            ) from None
        except TimeoutError:
            problem = f"the daemon on {self.place} doesn't answer within {self._timeout:g}s"
            raise CtlError(UNREACHABLE, problem) from None
        except http.client.RemoteDisconnected:
            problem = f"{self.place} closed without an answer"
            plain = not self.place.path and not self.place.secure
            hint = "if it speaks TLS, write https://" if plain else ""
            raise CtlError(UNREACHABLE, problem, hint) from None
        except (http.client.HTTPException, ValueError):
            raise self._stranger() from None
        except OSError as error:
            text = error.strerror or str(error)
            raise CtlError(UNREACHABLE, f"{self.place} can't be reached: {text}") from None
