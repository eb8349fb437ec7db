"""Sockets that the service manager has opened for us (sd_listen_fds(3)): `systemd:` endpoints.

Twisted's own endpoint of this kind knows no sockets without names, fails before anything is to be
opened (and so under `--check-config`, which is passed no sockets), and closes what it was passed.

Rules:
- A socket is looked for when it is to be opened, not before.
- It stays open for as long as the process lives, so that a listener may close and open again; the
  service manager holds it open anyhow, and nobody who connects meanwhile is refused.
- What was passed is checked: that it is a listening stream socket, and of the family as written.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from tcpd.errors import TcpdError
from tcpd.escape import escape_text

FIRST = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedSockets:
    """What was passed to this process.

    Attributes:
        names: the names of the descriptors from `FIRST` on; empty texts where they have none.
    """

    names: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> InheritedSockets:
        """Return what the environment says was passed to the process `pid`."""
        count = environ.get("LISTEN_FDS", "")
        if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal() or len(count) > 4:
            return cls()  # nobody passes ten thousand, and a list of so many is made below
        named = environ.get("LISTEN_FDNAMES")
        names = named.split(":") if named is not None else []
        missing = int(count) - len(names)
        return cls(names=tuple([*names, *[""] * missing][: int(count)]))

    def find(self, family: str, *, name: str | None, index: int | None) -> int:
        """Return the descriptor of a socket, found by its name or else its index.

        Args:
            family: INET, INET6 or UNIX.
            name: its name; None to go by the index.
            index: its place among what was passed, from 0.

        Raises:
            TcpdError: there is none, or it is no listening stream socket of that family.
        """
        if not self.names:
            raise TcpdError(
                "the service manager passed no sockets (LISTEN_FDS and LISTEN_PID say so);"
                " start it through its .socket unit, or with systemd-socket-activate"
            )
        if name is not None:
            index = self._index_of(name)
        if index is None or index >= len(self.names):
            raise TcpdError(f"there is no socket {index}; {self._passed()}")
        _check(FIRST + index, family)
        return FIRST + index

    def _index_of(self, name: str) -> int:
        places = [place for place, each in enumerate(self.names) if each == name]
        if len(places) == 1:
            return places[0]
        if places:
            numbers = " and ".join(f"index={place}" for place in places)
            raise TcpdError(f"{len(places)} sockets have this name; listen on {numbers} instead")
        if not any(self.names):
            raise TcpdError(
                "the sockets were passed without names (LISTEN_FDNAMES is not set);"
                " write index=0 in place of the name"
            )
        raise TcpdError(
            f"no socket has this name; {self._passed()};"
            " the name is FileDescriptorName= in the .socket unit"
        )

    def _passed(self) -> str:
        shown = [f"{place} ({escape_text(name)})" for place, name in enumerate(self.names)]
        return f"the service manager passed: {', '.join(shown)}"


def inherited_sockets() -> InheritedSockets:
    """Return what was passed to this process, as its environment said when it began.

    Twisted removes the variables from `os.environ` when its endpoints are imported, whoever
    imports them.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return InheritedSockets.from_environment(os.environ, os.getpid())
    pairs = [os.fsdecode(entry).partition("=") for entry in entries]
    environ = {name: value for name, _, value in pairs}
    return InheritedSockets.from_environment(environ, os.getpid())


@implementer(IStreamServerEndpoint)
class InheritedEndpoint:
    """Listens on a socket that was passed to us.

    Args:
        reactor: what adopts it (IReactorSocket).
        sockets: all that were passed.
        options: the arguments of a `systemd:` endpoint string: domain, and index or name.
    """

    def __init__(self, reactor: Any, sockets: InheritedSockets, options: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._options = options

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        """Begin to accept connections; a socket that isn't there fails with `TcpdError`."""
        listening: Deferred[IListeningPort] = execute(self._adopt, protocolFactory)
        return listening

    def _adopt(self, factory: IProtocolFactory) -> Any:
        options = self._options
        index = int(options["index"]) if "index" in options else None
        descriptor = self._sockets.find(options["domain"], name=options.get("name"), index=index)
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)
        family = getattr(socket, f"AF_{options['domain']}")
        return self._reactor.adoptStreamPort(descriptor, family, factory)  # it takes a copy


def _check(descriptor: int, family: str) -> None:
    """Raise `TcpdError` unless a descriptor is a listening stream socket of a family."""
    try:
        copy = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise TcpdError(f"descriptor {descriptor} isn't a socket: {error.strerror}") from None
    with copy:
        listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if copy.type != socket.SOCK_STREAM or not listens:
            raise TcpdError(
                f"descriptor {descriptor} is not a listening stream socket;"
                " the .socket unit needs ListenStream= and Accept=no"
            )
        actual = copy.family.name.removeprefix("AF_")
    if actual != family:
        raise TcpdError(
            f"the socket is of the family {actual}, not {family}; write systemd:domain={actual}"
        )
