"""The composition root: a configuration becomes running services.

Everything is built before anything is opened, so that what is wrong is found while nothing has
happened yet; `twistd tcpd --check-config` stops there. How it ends is in `tcpd.stopping`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger

from tcpd import __version__
from tcpd.admin.house import State
from tcpd.admission.sweep import Sweep
from tcpd.assembly import make_connector, make_listener, warnings_about
from tcpd.capture.captures import Captures
from tcpd.config.schema import AdminConfig, Config, ConnectorConfig, ListenerConfig
from tcpd.connector import Connector
from tcpd.descriptors import make_room
from tcpd.errors import StartError, TcpdError
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.pid_file import PidFile
from tcpd.reload.reloader import Reloader
from tcpd.roster import Roster
from tcpd.sd_notify import ServiceManager
from tcpd.serving import Serving
from tcpd.signals import Signals
from tcpd.sinks.access_log import AccessLog
from tcpd.sinks.hub import Sinks
from tcpd.sinks.log_switch import LogSwitch
from tcpd.stopping import Stopping
from tcpd.tally import Tallies
from tcpd.vitals import Vitals

if TYPE_CHECKING:
    from tcpd.admin.site import Admin


class Daemon(MultiService):
    """All that one tcpd process runs.

    Args:
        config: what to run.
        reactor: the reactor.
        manager: the service manager that wants to hear of us.
        log: the log, if it is ours: reopened on SIGUSR1 and SIGHUP, and changed by a reload.
        notes: warnings for the log, once everything is open.
        read_again: reads the configuration anew, for a reload on SIGHUP; it raises TcpdError.
        from_file: whether there is a file to be read, and not the command line alone.
        heed_signals: whether the process's signals are for us: TERM, INT, QUIT, HUP, USR1.
        pid_file: where the process says who it is; None for nowhere.
        owner: the user and group that UNIX sockets are given to, by number, for a process that
            will give up its privileges; None if it won't.

    Attributes:
        bus: where all events of the process pass.
        config: what runs.
        log_switch: the log, if it is ours.
        roster: its listeners and connectors, as they come and go.
        listeners: by name.
        connectors: by name.
        sinks: what writes the events down.
        captures: what writes sessions' bytes down.
        tallies: what has come and gone, over all reloads.
        vitals: how the process fares.

    Raises:
        TcpdError: something that the configuration names can't be used.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        manager: ServiceManager,
        log: LogSwitch | None = None,
        *,
        notes: Sequence[str] = (),
        read_again: Callable[[], Config] | None = None,
        from_file: bool = True,
        heed_signals: bool = False,
        pid_file: PidFile | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.bus = Bus()
        self.reactor = reactor
        self._manager = manager
        self.log_switch = log
        self._notes = notes
        self._warnings: set[str] = set()
        self._also_reopen: Any = None  # twistd's own answer to USR1, for a log of its own
        self._pid_file = pid_file
        self._owner = owner
        self._stopping = Stopping(self, reactor, manager)
        self._sweep = Sweep(reactor)
        self.tallies = Tallies()
        self.vitals = Vitals(self.bus, reactor)
        self.sinks = Sinks(self.bus, reactor, config.sinks)
        self.roster = Roster(self, self._sweep, self._stop_admin)
        self.listeners = self.roster.listeners
        self.connectors = self.roster.connectors
        self.captures = Captures(self.bus, reactor, self.roster.sessions_of)
        # Who reloads may no longer do what was done before the privileges were given up.
        self._user = os.geteuid()
        self._is_ready = False
        self._reloader: Reloader | None = None
        if read_again is not None:
            self._reloader = Reloader(self, manager, read_again, from_file=from_file)
        self._signals = Signals(reactor, self._answers()) if heed_signals else None
        self._access_log: AccessLog | None = None
        self._admin: Admin | None = None
        self.config: Config = config
        # All are made before any is taken in: what is wrong is found first.
        doors = [self.make_listener(name, each) for name, each in config.listeners.items()]
        lines = [self.make_connector(name, each) for name, each in config.connectors.items()]
        if config.admin is not None:
            doors.append(self.make_admin_listener(config.admin))
        self.configured(config)
        everyone: list[Listener | Connector] = [*doors, *lines]
        for service in everyone:
            self.roster.join(service)
        # Not a part of us: it starts once we are ready, and a service manager hears that first.
        self._feed: TimerService | None = None
        if manager.watchdog_interval is not None:
            self._feed = TimerService(manager.watchdog_interval, manager.notify, WATCHDOG="1")
            self._feed.clock = reactor

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of an application, which then logs as we say."""
        super().setServiceParent(parent)
        if self.log_switch is not None:
            parent.setComponent(ILogObserver, self.log_switch)

    def privilegedStartService(self) -> None:
        """Open what may need privileges."""
        self._begin()
        with self._all_or_none():
            super().privilegedStartService()
            if self._owner is not None:
                for listener in self.roster.all_listeners():
                    listener.give_sockets_to(*self._owner)

    def startService(self) -> None:
        """Open what isn't open yet, and tell the service manager once the reactor runs."""
        self._begin()
        with self._all_or_none():
            super().startService()
        self._sweep.start()
        self.vitals.start()
        self.sinks.start()
        # After the reactor has dropped the last sessions, which are to be written down too.
        for what, finish in (("captures", self.captures.finish), ("sinks", self.sinks.finish)):
            tell = partial(self._stopping.tell_writing, what)
            self.reactor.addSystemEventTrigger("after", "shutdown", finish, tell)
        for note in self._notes:
            self.log.warn("{note}", note=note)
        self._warn_of(self.config)
        self.reactor.callWhenRunning(self._ready)

    def _begin(self) -> None:
        """Do what comes first: who reads that a port is open may send a signal."""
        if self._signals is not None and not self._signals.heeded:
            if self.log_switch is None:
                self._also_reopen = signal.getsignal(signal.SIGUSR1)
            self._signals.heed()
        if self._pid_file is not None:
            self._pid_file.write()

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """If one of us can't start leave nothing open: a UNIX socket's file would stay behind."""
        try:
            yield
        except StartError:
            for listener in self.roster.all_listeners():
                listener.close_at_once()
            raise

    def _ready(self) -> None:
        if self.running:
            self._is_ready = True
            self._manager.notify(READY="1", STATUS=self.status())
            if self._feed is not None and not self._feed.running:
                self._feed.startService()

    # -- stopping ----------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Accept and dial no more, let sessions finish as long as they may, and stop all the rest.

        Returns:
            A Deferred that fires when that is done; in the time for sessions and a little more.
        """
        Service.stopService(self)  # first, lest anything more is started
        return self._stopping.stop()

    @property
    def drain_limit(self) -> float:
        """How many seconds sessions may take to finish when we stop."""
        drain = self.config.stop.drain
        return 0.0 if drain == "off" else float(drain)

    def close_doors(self) -> list[Callable[[], Any]]:
        """Return what has to be called so that nobody comes in, and nothing is dialled."""
        listeners = [each.stopService for each in self.listeners.values()]
        return [*listeners, *(each.retire for each in self.connectors.values())]

    def stop_the_rest(self) -> Deferred[object]:
        """Stop all that still runs when the sessions are over."""
        self._stop_admin()
        rest: Deferred[object] = super().stopService()
        return rest.addBoth(self._stopped)

    def _stop_admin(self) -> None:
        if self._admin is not None:
            self._admin.stop()

    def _stopped(self, result: object) -> object:
        self._sweep.stop()
        self.vitals.stop()
        for serving in self.servings():
            serving.refusals.flush()
        if self._feed is not None and self._feed.running:
            self._feed.stopService()
        return result

    def servings(self) -> Iterator[Serving]:
        """Give what makes sessions, as long as it may have some."""
        return self.roster.servings()

    def _warn_of(self, config: Config) -> None:
        """Tell of what isn't as it should be in a configuration that is used, unless it is known.

        The process's limits are ours to change, and to tell of, if the process is.
        """
        limits = () if self._signals is None else make_room(config, self.reactor)
        old, self._warnings = self._warnings, {*warnings_about(config), *limits}
        for warning in sorted(self._warnings - old):
            self.log.warn("{note}", note=warning)

    # -- signals -----------------------------------------------------------------------------

    def _answers(self) -> dict[signal.Signals, Callable[[], object]]:
        """Return what is to be done at each signal."""
        answers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: self._stopping.terminate,
            signal.SIGINT: self._stopping.quit,
            signal.SIGQUIT: self._stopping.quit,
            signal.SIGUSR1: self.reopen_files,
        }
        if self._reloader is not None:
            answers[signal.SIGHUP] = self._reload_and_reopen
        return answers

    def _reload_and_reopen(self) -> None:
        self._reopen_ours()  # a reload is what programs that rotate logs ask for, too
        self.reload()

    def reload(self) -> bool:
        """Read the configuration again and apply what is different; gives whether it holds now."""
        return self._reloader is not None and self._reloader.reload()

    def reopen_files(self) -> None:
        """Open the log file and those of sinks anew, since something may have moved them away."""
        if callable(self._also_reopen):
            self._also_reopen(signal.SIGUSR1, None)
        self._reopen_ours()

    def _reopen_ours(self) -> None:
        self.sinks.reopen()
        self.captures.reopen()
        if self.log_switch is not None:
            try:
                self.log_switch.reopen()
            except TcpdError as error:
                self.log.error("{error}; the log goes on where it was", error=error)

    # -- what a reload asks for ----------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether we run, and aren't about to stop."""
        return bool(self.running)

    @property
    def state(self) -> State:
        """What we do, as a whole."""
        if self.running:
            return "running" if self._is_ready else "starting"
        return "draining" if self._stopping.drains else "stopping"

    @property
    def gave_up_privileges(self) -> bool:
        """Whether the process had more privileges when it began."""
        return os.geteuid() != self._user

    def make_listener(self, name: str, config: ListenerConfig) -> Listener:
        """Return a configured listener, not open."""
        return make_listener(name, config, self.reactor, self.bus, self.tallies.of(name))

    def make_admin_listener(self, config: AdminConfig) -> Listener:
        """Return the listener of the admin side, not open."""
        if self._admin is None:
            from tcpd.admin.site import Admin  # who has none doesn't pay for it

            self._admin = Admin(self)
        return self._admin.make_listener(config)

    def make_connector(self, name: str, config: ConnectorConfig) -> Connector:
        """Return a configured connector, not started."""
        return make_connector(name, config, self.reactor, self.bus, self.tallies.of(name))

    def configured(self, config: Config) -> None:
        """Take note of the configuration that holds from now on."""
        if self.running:  # at the start, once everything is open
            self._warn_of(config)
        self.config = config
        if self._admin is not None:
            self._admin.configured(config.admin)
        served: Mapping[str, ListenerConfig | ConnectorConfig]
        served = {**config.listeners, **config.connectors}  # no name is in both
        wanted = {name: each.capture for name, each in served.items() if each.capture}
        self.captures.configure(wanted, config.capture)
        if self._access_log is not None:
            self.bus.at_ends.remove(self._access_log)
            self._access_log = None
        if config.log.access and config.log.level in ("debug", "info"):
            output = None if self.log_switch is None else self.log_switch.output
            self._access_log = AccessLog(output, self.reactor)
            self.bus.at_ends.append(self._access_log)

    def status(self) -> str:
        """Return a line for `systemctl status`."""
        kinds = (("listener", len(self.listeners)), ("connector", len(self.connectors)))
        parts = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds if n]
        return f"tcpd {__version__}: {', '.join(parts)}"
