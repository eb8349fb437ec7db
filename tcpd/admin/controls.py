"""What an operator may do to the daemon while it runs.

Each raises `UnknownError` if it is told of a listener or session that doesn't exist, and
`NotNowError` if what it is asked for can't be done as things are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from twisted.logger import Logger

from tcpd.admin.house import House, find_session
from tcpd.config.schema import LogLevel
from tcpd.drain import Drain
from tcpd.errors import TcpdError, did_you_mean
from tcpd.listener import Listener
from tcpd.vitals import LastReload

ListenerState = Literal["up", "suspended", "draining", "down"]

CLOSED, RESET = "operator-closed", "operator-reset"
"""Why a session ended that an operator has closed; the words of records and metrics."""


class UnknownError(TcpdError):
    """There is no such thing."""


class NotNowError(TcpdError):
    """It can't be done as things are."""


class Controls:
    """Operates the daemon.

    Args:
        house: the daemon.
    """

    log = Logger()

    def __init__(self, house: House) -> None:
        self._house = house
        self._drains: dict[Listener, Drain] = {}

    # -- listeners ---------------------------------------------------------------------------

    def state_of(self, listener: Listener) -> ListenerState:
        """Return what a listener does."""
        if listener in self._drains:
            return "draining"
        if listener.suspended:
            return "suspended"
        return "up" if any(each.port and each.is_open for each in listener.doors) else "down"

    def suspend(self, name: str) -> None:
        """Have a listener accept nobody; who connects waits in the kernel's queue."""
        listener = self._open_listener(name)
        if listener in self._drains:
            raise NotNowError(f"listener {name!r} is draining; it accepts nobody already")
        if not listener.suspended:
            listener.suspend()
            listener.tell_state("suspended")
            self.log.info("listener {listener} is suspended", listener=name)

    def resume(self, name: str) -> None:
        """Have a listener accept again."""
        listener = self._open_listener(name)
        if listener in self._drains:
            raise NotNowError(f"listener {name!r} is draining; it can be resumed when that is over")
        if listener.suspended:
            listener.resume()
            listener.tell_state("resumed")
            self.log.info("listener {listener} is resumed", listener=name)

    def drain(self, name: str) -> int:
        """Suspend a listener and let its sessions finish, as they do when the daemon stops.

        What is open after the time of `[stop] drain` is cut. The listener stays suspended.

        Returns:
            How many sessions were open.
        """
        listener = self._listener(name)
        drain = self._drains.get(listener)
        if drain is not None:
            return drain.left
        self._refuse_if_stopping()
        listener.suspend()
        listener.tell_state("draining")
        house, serving = self._house, listener.serving
        drain = Drain(house.reactor, house.bus, [serving], house.drain_limit, _heed_nothing)
        self._drains[listener] = drain
        count = drain.left
        self.log.info("listener {listener} drains", listener=name)
        drain.over.addCallback(lambda _: self._drained(listener))
        drain.start()
        return count

    def _drained(self, listener: Listener) -> None:
        del self._drains[listener]
        name = listener.serving.origin.name
        if self._house.listeners.get(name) is listener:
            listener.tell_state("suspended")
            self.log.info("listener {listener} has drained, and stays suspended", listener=name)
        else:  # by a reload
            self.log.info("listener {listener} has drained, and is gone", listener=name)

    def _refuse_if_stopping(self) -> None:
        if self._house.state in ("draining", "stopping"):
            raise NotNowError("tcpd is stopping, and its listeners are closed")

    def _open_listener(self, name: str) -> Listener:
        """Return a listener that has something to suspend or to resume."""
        listener = self._listener(name)
        self._refuse_if_stopping()
        if not any(each.port and each.is_open for each in listener.doors):
            problem = f"listener {name!r} is down: none of its addresses is open"
            raise NotNowError(f"{problem}; the log says why")
        return listener

    def _listener(self, name: str) -> Listener:
        listener = self._house.listeners.get(name)
        if listener is None:
            hint = did_you_mean(name, list(self._house.listeners))
            raise UnknownError(f"there is no listener {name[:80]!r}; {hint}".removesuffix("; "))
        return listener

    # -- sessions ----------------------------------------------------------------------------

    def close(self, session_id: str, *, reset: bool = False) -> None:
        """Close a session, when what is queued has been sent; with `reset`, at once by a reset."""
        session = find_session(self._house, session_id)
        if session is None:
            raise UnknownError(f"there is no session {session_id[:80]!r}; it may have ended")
        transport: Any = session.transport
        if reset:
            transport.abort_because(RESET)
        else:
            transport.close_because(CLOSED)

    # -- the whole ---------------------------------------------------------------------------

    def reload(self) -> LastReload:
        """Read the configuration again, and return what has become of it."""
        before = self._house.vitals.last_reload
        self._house.reload()
        last = self._house.vitals.last_reload
        if last is None or last is before:
            raise NotNowError("the configuration can't be read again now; the log says why")
        return last

    @property
    def log_level(self) -> LogLevel:
        """The least important messages that are logged."""
        return self._house.config.log.level

    def set_log_level(self, level: str, who: str) -> None:
        """Log messages from this level on, until a reload finds another in the configuration.

        Args:
            level: the least important ones.
            who: who wants it, for the log.
        """
        levels = get_args(LogLevel)
        house, switch = self._house, self._house.log_switch
        known: LogLevel | None = next((each for each in levels if each == level), None)
        if known is None:
            raise UnknownError(f"there is no level {level[:40]!r}; there are {', '.join(levels)}")
        if switch is None:
            raise NotNowError("twistd was given a log of its own, whose level isn't ours to change")
        log = replace(house.config.log, level=known)
        # Said where it is heard: who has the log say less must be in it.
        quieter = levels.index(known) > levels.index(self.log_level)
        if quieter:
            self._tell_level(known, who)
        switch.switch(switch.output, log.format, log.file, log.level)
        house.configured(replace(house.config, log=log))
        if not quieter:
            self._tell_level(known, who)

    def _tell_level(self, level: LogLevel, who: str) -> None:
        self.log.warn("the log level is {now} now, as {who} has set it", now=level, who=who)


def _heed_nothing(left: int, seconds: float) -> None:
    """Tell nobody how far a drain is: who wants to know asks."""
