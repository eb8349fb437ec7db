"""How many files the process may open, and whether what its listeners allow fits into that.

Rules:
- Shells and service managers begin with a low limit, 1024, for the sake of programs that use
  select(2), which knows no file above that; systemd's own advice is to raise it in the program
  (systemd.exec(5), "Process properties"). So we do, at the start and at a reload, as far as anybody
  may: to the hard limit. It is never lowered.
- A session is counted as one file, its connection. What a handler opens besides, as one that dials
  for each session does, is known to nobody but its author.
- We tell of what doesn't fit, once.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from typing import Any

from twisted.internet.selectreactor import SelectReactor

from tcpd.config.schema import Config

# For all that isn't a session: logs, sinks and captures, the reactor's own, name lookups.
BESIDES = 128
# For each address of the admin side: a UNIX socket has that many places.
ADMIN = 256
# The first file that select(2) can't watch: FD_SETSIZE.
SELECT_LIMIT = 1024


def make_room(config: Config, reactor: Any) -> Iterator[str]:
    """Let the process open as many files as a configuration may need.

    Args:
        config: what runs, or is about to.
        reactor: the reactor, which may be one that can't watch many files.

    Yields:
        what to warn of: that it may need more than there can be.
    """
    caps = [each.limits.sessions for each in config.listeners.values()]
    sessions = sum(cap for cap in caps if cap != "off")
    addresses = sum(len(each.listen) for each in config.listeners.values())
    admin = 0 if config.admin is None else ADMIN * len(config.admin.listen)
    rest = addresses + len(config.connectors) + admin + BESIDES
    need = None if "off" in caps else sessions + rest
    if isinstance(reactor, SelectReactor):
        limit = SELECT_LIMIT
        may = f"the select reactor can watch only {limit} files; choose another"
    else:
        limit = _raised(need)
        may = (
            f"this process may open only {limit} files;"
            " raise LimitNOFILE= (systemd) or 'ulimit -Hn' (shell)"
        )
    if sessions > limit:
        yield f"listeners allow up to {sessions} sessions, but {may}, or lower limits.sessions"


def _raised(need: int | None) -> int:
    """Raise the limit to what is needed, or as far as it can be; gives what it is then.

    Args:
        need: how many files; None for as many as possible.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (sys.maxsize if each == resource.RLIM_INFINITY else each for each in limits)
    wanted = hard if need is None else min(need, hard)
    if soft >= wanted:
        return soft
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (limits[1] if wanted == hard else wanted, limits[1])
        )
    except (OSError, ValueError):  # a sandbox forbids it
        return soft
    return wanted
