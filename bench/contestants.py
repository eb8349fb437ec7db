"""Who is compared: how each server is started, and what it can do."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.cases import Case, Kind
from bench.tools import Tools

ROOT = Path(__file__).parents[1]

C, UVLOOP, ASYNCIO, GEVENT, STOCK, TCPD = "c", "uvloop", "asyncio", "gevent", "stock", "tcpd"
TCPD_OFF = "tcpd-off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A server.

    Attributes:
        name: for `--servers`, and for the files.
        title: for people.
        kinds: what it speaks.
        needs: the package that it is made with; empty for none.
        module: its module in `bench.servers`; empty if it is started in another way.
        only: the cases that it is measured in; empty for all of its kinds.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    needs: str = ""
    module: str = ""
    only: tuple[str, ...] = ()

    def takes(self, case: Case) -> bool:
        """Return whether it is measured in a case."""
        return case.kind in self.kinds and (not self.only or case.name in self.only)

    def lacks(self) -> str:
        """Return the package that isn't installed and has to be, or nothing."""
        return self.needs if self.needs and find_spec(self.needs) is None else ""

    def command(self, kind: Kind, tools: Tools) -> Sequence[str | Path]:
        """Return the command line that serves a kind."""
        if self.name == C:
            return (tools.epoll_echo,)
        certificate = (tools.certificate,) if kind == "tls" else ()
        if self.name in {TCPD, TCPD_OFF}:
            return _tcpd(kind, tools, off=self.name == TCPD_OFF)
        return (sys.executable, "-m", f"bench.servers.{self.module}", kind, *certificate)


def _tcpd(kind: Kind, tools: Tools, *, off: bool) -> Sequence[str | Path]:
    twistd = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
    if off:
        config = ROOT / "bench/servers/tcpd_off.toml"
        return (*twistd, "-n", "--pidfile=", "tcpd", "--config", config)
    command = (*twistd, "-n", "--pidfile=", "tcpd", "--port", "0")
    if kind == "lines":
        return (*command, "--handler", f"{ROOT / 'bench/servers/tcpd_lines.py'}:Lines")
    if kind == "tls":
        return (*command, "--tls-certificate", tools.certificate)
    return command


CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(name=C, title="C, epoll", kinds=("echo",)),
    Contestant(
        name=UVLOOP,
        title="uvloop Protocol",
        kinds=("echo", "lines", "tls"),
        needs="uvloop",
        module="uvloop_protocol",
    ),
    Contestant(
        name=ASYNCIO,
        title="asyncio Protocol",
        kinds=("echo", "lines", "tls"),
        module="asyncio_protocol",
    ),
    Contestant(
        name=GEVENT, title="gevent", kinds=("echo",), needs="gevent", module="gevent_server"
    ),
    Contestant(
        name=STOCK, title="stock Twisted", kinds=("echo", "lines", "tls"), module="stock_twisted"
    ),
    Contestant(name=TCPD, title="tcpd", kinds=("echo", "lines", "tls")),
    Contestant(
        name=TCPD_OFF,
        title="tcpd, everything off",
        kinds=("echo",),
        only=("echo/64B/50", "echo/1KiB/50", "connects"),
    ),
)

# How each says where it listens: the servers here in a line of their own, tcpd in its log.
PORT = re.compile(rb"^port (\d+)$|listens on [^ ]*:(\d+) ", re.MULTILINE)


def choose(names: Sequence[str]) -> tuple[Contestant, ...]:
    """Return the servers of these names, in the order of the tables; all for no names.

    Raises:
        ValueError: a name is none.
    """
    known = [each.name for each in CONTESTANTS]
    for name in names:
        if name not in known:
            raise ValueError(f"--servers {name}: no such server; there are: {' '.join(known)}")
    return tuple(each for each in CONTESTANTS if not names or each.name in names)
