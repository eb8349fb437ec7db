"""Reloading, from the signal to the last word about it."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.logger import Logger

from tcpd.config.schema import Config
from tcpd.events import ConfigurationRefused, ConfigurationReloaded
from tcpd.reload.applying import Refused, apply
from tcpd.reload.house import House
from tcpd.sd_notify import ServiceManager


class Reloader:
    """Reads the configuration again when it is told to, and applies what is different.

    Args:
        house: what is reloaded.
        manager: the service manager, which is told that we reload.
        read: reads the configuration, or raises TcpdError with all that is wrong with it.
        from_file: whether there is a file behind it, and not the command line alone.
    """

    log = Logger()

    def __init__(
        self,
        house: House,
        manager: ServiceManager,
        read: Callable[[], Config],
        *,
        from_file: bool = True,
    ) -> None:
        self._house = house
        self._manager = manager
        self._read = read
        self._from_file = from_file

    def reload(self) -> bool:
        """Reload now; gives whether the new configuration holds. What goes wrong is logged."""
        if not self._house.is_up:
            self.log.warn("the configuration is not read again, since tcpd is stopping")
            return False
        began = time.monotonic_ns()
        self._manager.notify(RELOADING="1", MONOTONIC_USEC=str(began // 1000))
        try:
            changes = apply(self._house, self._read)
        except Refused as refused:
            self._tell_refused(refused.problems, refused.lost, began)
            return False
        except BaseException:  # a mistake; the service manager must not wait for us for ever
            self.log.failure("the reload failed")
            status = f"{self._house.status()}; the last reload failed, and the log says how"
            self._manager.notify(READY="1", STATUS=status)
            return False
        self._tell_reloaded(changes, began)
        return True

    # -- what is told ------------------------------------------------------------------------

    def _tell_reloaded(self, changes: list[str], began: int) -> None:
        seconds = (time.monotonic_ns() - began) / 1e9
        for change in changes:
            self.log.info("reload: {change}", change=change)
        count = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
        self.log.info(
            "the configuration was read again in {milliseconds:.0f} ms: {count}"
            if self._from_file
            else "there is no --config, so only certificates and the handler's files were read"
            " again, in {milliseconds:.0f} ms: {count}",
            milliseconds=seconds * 1000,
            count=count if changes else "nothing has changed",
        )
        self._house.bus.emit(ConfigurationReloaded(changes=tuple(changes), duration=seconds))
        self._manager.notify(READY="1", STATUS=self._house.status())

    def _tell_refused(self, problems: tuple[str, ...], lost: tuple[str, ...], began: int) -> None:
        seconds = (time.monotonic_ns() - began) / 1e9
        for problem in problems:
            self.log.error("reload: {problem}", problem=problem)
        if lost:
            self.log.critical(
                "the new configuration is refused, and tcpd no longer listens on {lost}, which"
                " couldn't be opened again; restart tcpd",
                lost=" and ".join(lost),
            )
        else:
            self.log.error("the new configuration is refused, and nothing has changed")
        self._house.bus.emit(ConfigurationRefused(errors=problems, duration=seconds))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        status = f"{self._house.status()}; the last reload was refused: {problems[0]}{more}"
        if lost:
            status += f"; {' and '.join(lost)} is closed"
        self._manager.notify(READY="1", STATUS=status)
