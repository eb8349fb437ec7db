"""The other end of a connection: a plain or TLS socket that a test moves by hand, never waiting."""

import socket
import ssl
import struct

CHUNK = 65536


class Peer:
    """What a test does to one of our transports, and what it gets from it.

    Attributes:
        got: what it has read.
        end: "" while nothing has ended it; then "eof" (with TLS, by a close_notify), "cut" (an end
            without one), "reset", or "closed" if it was this side's own doing.
        sent: what it was told to send.
    """

    def __init__(self, sock, context=None, *, server_side=False):
        self.sock = sock
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.end = ""
        self.sent = b""
        self.reading = True
        self.finished = False
        self._unsent = b""
        self._finish_soon = False
        self._heard_of_reset = False
        self._tls = None
        self.shaken = context is None
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            name = None if server_side else "localhost"
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, name)

    @property
    def secure(self):
        return self._tls is not None

    def fileno(self):
        return self.sock.fileno()

    def wants_to_write(self):
        return bool(self._unsent)

    # -- what it may do ----------------------------------------------------------------------

    def send(self, data):
        if self.end or self.finished or self._finish_soon:
            return
        self.sent += data
        if self._tls is None:
            self._unsent += data
        else:
            self._tls.write(data)
            self._unsent += self._outgoing.read()
        self._push()

    def finish(self):
        """End our stream, once all is sent; with TLS, by a close_notify too."""
        if self.end or self.finished or self._finish_soon:
            return
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # the other's hasn't come yet
            self._unsent += self._outgoing.read()
        self._finish_soon = True
        self._push()

    def cut(self):
        """End our stream here and now, without a close_notify."""
        if not self.end and not self.finished:
            self.finished = True
            self._unsent = b""
            self._shutdown()

    def close(self):
        self._gone()

    def reset(self):
        if not self.end:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._gone()

    def _gone(self):
        self.end = self.end or "closed"
        self._unsent = b""
        self.sock.close()

    # -- moving on ---------------------------------------------------------------------------

    def pump(self):
        """Shake hands, send and read, as far as it goes; gives whether anything has moved."""
        if self.sock.fileno() < 0 or self.end in ("reset", "closed"):
            return False
        moved = self._push()
        if self.reading and self.end == "":
            moved = self._read() or moved
        return moved

    def nibble(self, size):
        """Read a little, whether or not it is reading."""
        if not self.end:
            self._read(size)

    def _push(self):
        if not self.shaken:
            self._shake()
        moved = False
        if self._unsent:
            try:
                size = self.sock.send(self._unsent)
            except BlockingIOError:
                size = 0
            except OSError as error:
                size = len(self._unsent)  # reading says what has become of it, unless it was said
                self._heard_of_reset |= isinstance(error, ConnectionResetError)
            self._unsent = self._unsent[size:]
            moved = size > 0
        if self._finish_soon and not self._unsent and not self.finished:
            self.finished = True
            self._shutdown()
        return moved

    def _shutdown(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is broken; reading says so

    def _shake(self):
        try:
            self._tls.do_handshake()
            self.shaken = True
        except ssl.SSLWantReadError:
            pass
        self._unsent += self._outgoing.read()

    def _read(self, size=CHUNK):
        try:
            data = self.sock.recv(size)
            if self.sock.family != socket.AF_UNIX:
                # Else the kernel may sit on an acknowledgement for 40 ms, and all of us with it.
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            return False
        except OSError:
            data, self._heard_of_reset = b"", True
        if not data and self._heard_of_reset:
            self.end = "reset"
        elif self._tls is None:
            self.got += data
            self.end = "" if data else "eof"
        else:
            self._decrypt(data)
        return True

    def _decrypt(self, data):
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if not self.shaken:
            self._shake()
        try:
            while self.shaken and not self.end:
                plain = self._tls.read(CHUNK)
                self.got += plain
                self.end = "" if plain else "eof"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.end = "eof"
        except ssl.SSLError:  # an end of stream without more ado, or an alert
            self.end = "cut"
        self._unsent += self._outgoing.read()
