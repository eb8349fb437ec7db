"""A TLS socket that behaves like a plain one: `recv`, `send`, BlockingIOError when it must wait.

It is stdlib `ssl` on the non-blocking socket itself: no memory buffers between, no copies. What a
transport must know beyond that is said by `crossed`: a read that waits until the socket is
writable, or a write that waits until it is readable.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The most plaintext a record holds (RFC 8446, 5.1).
FULL_RECORD = 16384


class RecordSocket(ssl.SSLSocket):
    """One side of a TLS connection.

    Attributes:
        asked_name: on a server, the name that the client asked for, or None.
        crossed: called with "read" when a read has to wait until the socket is writable, with
            "write" when a write has to wait until it is readable.
        unsent_alert: what the kernel hasn't taken of our close_notify.
    """

    asked_name: str | None = None
    crossed: Callable[[str], object] | None = None
    unsent_alert: bytes = b""
    _sslobj: Any

    @classmethod
    def over(
        cls, context: ssl.SSLContext, sock: socket.socket, *, server_side: bool, name: str = ""
    ) -> RecordSocket:
        """Take a connected, non-blocking socket over; the one given is used up.

        Raises:
            OSError: the socket is no longer connected.
        """
        context.sslsocket_class = cls
        wrapped = context.wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            server_hostname=name or None,
        )
        assert isinstance(wrapped, cls)  # noqa: S101  (context.sslsocket_class, for the checker)
        return wrapped

    def shake_hands(self) -> str:
        """Take the handshake as far as it goes now.

        Returns:
            "done", or what it waits for: "read" or "write".

        Raises:
            OSError: it failed; ssl.SSLError says why.
        """
        try:
            with _hostile_names_quiet():
                self.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        except ssl.SSLWantWriteError:
            return "write"
        return "done"

    def recv(self, size: int = FULL_RECORD, flags: int = 0) -> bytes:
        """Read what has come, up to about `size` bytes; nothing after the peer's close_notify.

        Raises:
            BlockingIOError: nothing has come.
            ssl.SSLEOFError: the stream ends without a close_notify: it may have been cut.
            OSError: the connection is broken.
        """
        if self._sslobj is None:  # gone before TLS began: nothing it sent is to be trusted
            return b""
        try:
            data: bytes = self._sslobj.read(FULL_RECORD)
        except OSError as error:
            self.read_failed(error)
            return b""
        return self.read_on(data, size) if len(data) == FULL_RECORD else data

    @property
    def read_record(self) -> Callable[[int], bytes]:
        """What reads a record, and raises what `read_failed` understands."""
        read: Callable[[int], bytes] = self._sslobj.read
        return read

    def read_failed(self, error: OSError) -> None:
        """Say what an error of `read_record` means: if it returns, the peer's close_notify.

        Raises:
            BlockingIOError: nothing has come.
            ssl.SSLEOFError: the stream ends without a close_notify.
            OSError: the connection is broken.
        """
        if isinstance(error, ssl.SSLWantReadError):
            raise BlockingIOError from None
        if isinstance(error, ssl.SSLWantWriteError):
            self._cross("read")
            raise BlockingIOError from None
        if not isinstance(error, ssl.SSLZeroReturnError):
            raise error

    def read_on(self, first: bytes, size: int) -> bytes:
        """Read up to about `size` bytes, of which the first record is there already."""
        chunks = [first]
        total = len(first)
        # A record is read whole, so nothing is left inside OpenSSL when this stops between two.
        while total < size:
            try:
                data = self._sslobj.read(FULL_RECORD)
            except OSError:  # the next read meets it again
                break
            chunks.append(data)
            total += len(data)
            if len(data) < FULL_RECORD:
                break
        return b"".join(chunks)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what the kernel takes now; gives the number of bytes.

        Raises:
            BlockingIOError: it takes none. The next call must begin with the same bytes.
            OSError: the connection is broken.
        """
        size = len(data)
        sent = 0
        try:
            if size <= FULL_RECORD:
                return self._sslobj.write(data)  # type: ignore[no-any-return]
            # A record at a time: of a longer piece that the kernel took in part, OpenSSL would not
            # say how much, and insist on seeing the whole again.
            view = memoryview(data)
            while sent < size:
                sent += self._sslobj.write(view[sent : sent + FULL_RECORD])
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self._cross("write")
        except OSError:
            if not sent:
                raise
        if not sent:
            raise BlockingIOError
        return sent

    def _cross(self, what: str) -> None:
        if self.crossed is not None:
            self.crossed(what)

    def farewell(self) -> bool:
        """Send our close_notify, nothing after it; gives False if it has to wait for the kernel.

        To be used before closing only: it may read, and lose, what the peer still sends.
        """
        if self._sslobj is None:
            return True
        try:
            self.unwrap()
        except ssl.SSLWantWriteError:
            return False
        except (OSError, ValueError):
            pass  # sent, and the peer's own hasn't come; or the connection is broken anyway
        return True

    def finish_writing(self) -> None:
        """Send our close_notify and stay ready to read; `push_alert` sends what has to wait.

        Python's `unwrap` calls SSL_shutdown a second time, which reads, and data that has already
        come then breaks the connection for good (OpenSSL 3). So for that moment the descriptor
        stands for an empty socket: nothing can be read there, and the alert is picked up and sent
        by ourselves. epoll knows the open file behind the descriptor and notices nothing.
        """
        number = self.fileno()
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            keep = os.dup(number)
            try:
                os.dup2(ours.fileno(), number, inheritable=False)
                try:
                    self._sslobj.shutdown()
                except OSError:
                    pass  # SSLWantReadError, since the peer's close_notify can't have come
                finally:
                    os.dup2(keep, number, inheritable=False)
            finally:
                os.close(keep)
            try:
                self.unsent_alert = theirs.recv(FULL_RECORD)
            except BlockingIOError:
                self.unsent_alert = b""
        finally:
            ours.close()
            theirs.close()
        self.push_alert()

    def push_alert(self) -> bool:
        """Send what is left of our close_notify; gives whether nothing is left."""
        if self.unsent_alert:
            try:
                sent = socket.socket.send(self, self.unsent_alert)
            except BlockingIOError:
                return False
            except OSError:
                sent = len(self.unsent_alert)  # the connection is broken; reading says so
            self.unsent_alert = self.unsent_alert[sent:]
        return not self.unsent_alert


@contextmanager
def _hostile_names_quiet() -> Iterator[None]:
    """Keep Python from printing a traceback because a client's server name isn't ASCII.

    CPython decodes the name in C before any code of ours sees it, and a failure goes to
    `sys.unraisablehook`. The handshake fails by itself, as it should.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
