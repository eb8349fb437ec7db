"""The listeners' part of a reload: who keeps which socket, and what is opened and closed.

The new listeners are made as at a start, without being opened. Each socket that is open goes to the
address that asks for it: of the same listener, or of another, as when a listener gets another name.
What is left is closed, what is missing is opened. A listener that goes on takes from its new
version what sessions to come are served on.

An address that can't be open beside one that goes (another interface of the same port) is the only
one for which a socket is closed first: last of all, and opened anew if the reload fails at it. It
isn't closed if this process couldn't open it anew, nor if somebody else is in the way as well.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from tcpd.errors import StartError
from tcpd.listener import Door, Listener
from tcpd.net.port import Port
from tcpd.reload.again import why_not_again, why_not_in_place_of
from tcpd.reload.house import House
from tcpd.session import format_address


@dataclass(slots=True, kw_only=True)
class _Change:
    """What becomes of one listener.

    Attributes:
        fresh: it, as the new configuration makes it.
        running: it, as it runs; None if it is new.
        doors: its addresses from now on.
        new: those of them that are opened, or come from another listener.
    """

    fresh: Listener
    running: Listener | None
    doors: list[Door] = field(default_factory=list)
    new: list[Door] = field(default_factory=list)

    @property
    def listener(self) -> Listener:
        """Which goes on: the one that runs, if there is one."""
        return self.running or self.fresh


class ListenersChange:
    """The change from the listeners that run to those that shall run.

    Args:
        running: by name.
        fresh: by name, not open.
        changed: the names of those whose sessions to come are served on other terms.

    Attributes:
        lost: the addresses that were closed for others, and that can't be opened again.
    """

    log = Logger()

    def __init__(
        self,
        running: Mapping[str, Listener],
        fresh: Mapping[str, Listener],
        changed: Collection[str],
    ) -> None:
        self._changes = {
            name: _Change(fresh=each, running=running.get(name)) for name, each in fresh.items()
        }
        self._changed = changed
        self.lost: list[str] = []
        self._removed = [each for name, each in running.items() if name not in fresh]
        # Every address that is open: whose it is, until somebody has claimed it.
        self._open = [(each, door) for each in running.values() for door in each.doors]
        self._kept: list[tuple[Door, Door]] = []
        self._handed_on: list[tuple[Listener, Door, _Change, Door]] = []
        self._to_open: list[tuple[_Change, Door]] = []
        self._displaced: list[tuple[Listener, Door, str]] = []
        self._match()

    # -- who gets which socket ---------------------------------------------------------------

    def _match(self) -> None:
        missing: list[tuple[_Change, Door]] = []
        for change in self._changes.values():
            for door in change.fresh.doors:
                mine = None if change.running is None else self._claim(door, change.running)
                if mine is None:
                    missing.append((change, door))
                    continue
                self._kept.append((mine[1], door))
                change.doors.append(mine[1])
        for change, door in missing:
            change.doors.append(door)
            change.new.append(door)
            theirs = self._claim(door, None)
            if theirs is None:
                self._to_open.append((change, door))
            else:
                self._handed_on.append((*theirs, change, door))

    def _claim(self, wanted: Door, owner: Listener | None) -> tuple[Listener, Door] | None:
        """Return whose a socket is and where, if it is open and free.

        Args:
            wanted: the address that asks for it.
            owner: who must have it; None for anybody, if the port is one that can change hands.
        """
        for place, (listener, door) in enumerate(self._open):
            fits = listener is owner or (owner is None and isinstance(door.port, Port))
            if fits and door.is_open and door.address.socket == wanted.address.socket:
                return self._open.pop(place)
        return None

    # -- what can fail -----------------------------------------------------------------------

    def prepare(self, undo: ExitStack, finally_: ExitStack) -> list[StartError]:
        """Do all that can fail and that nobody notices.

        Args:
            undo: what undoes it.
            finally_: what is to be done when all is over, either way.

        Returns:
            All that failed.
        """
        problems: list[StartError] = []
        for change in self._changes.values():
            try:
                self._hold_handlers(change, finally_)
            except StartError as error:
                problems.append(error)
        for _, theirs, change, door in self._handed_on:
            try:
                self._hand_on(theirs, change, door)
            except StartError as error:
                problems.append(error)
            else:
                undo.callback(door.close_at_once)
        late = []
        for change, door in self._to_open:
            if places := self._in_the_way(door):
                late.append((change, door))
                problems += self._final(places, change, door)
                continue
            try:
                self._open_door(change, door, undo)
            except StartError as error:
                problems.append(error)
        self._to_open = late
        return problems

    def displace(self, undo: ExitStack) -> list[StartError]:
        """Close what stands in the way of a new address, and open that; the last step that fails.

        Who connects in between is refused; who waits to be accepted is accepted first, or refused
        where the limits say so, for it has nowhere to wait any longer. So nothing is closed if it
        can be known to be in vain.
        """
        if in_vain := self._in_vain():
            return in_vain
        for _, door in self._to_open:
            for place in reversed(self._in_the_way(door)):
                listener, other = self._open.pop(place)
                if isinstance(other.port, Port):
                    other.port.accept_waiting()
                    self._displaced.append((listener, other, format_address(other.port.getHost())))
                undo.callback(self._reopen, listener, other, _shown(other))
                other.close_at_once()
        problems: list[StartError] = []
        for change, door in self._to_open:
            try:
                self._open_door(change, door, undo)
            except StartError as error:
                problems.append(error)
        return problems

    def _hold_handlers(self, change: _Change, finally_: ExitStack) -> None:
        """Start the handler that a listener gets, and keep the one that it has from stopping."""
        if change.running is None:
            return  # its first port starts it
        terms, fresh = change.running.serving.terms, change.fresh.serving.terms
        lives = [terms.life] if fresh.factory is terms.factory else [terms.life, fresh.life]
        for life in lives:
            life.begin_use()
            finally_.callback(life.end_use)

    def _hand_on(self, theirs: Door, change: _Change, door: Door) -> None:
        port = theirs.port
        if isinstance(port, Port):
            listener = change.listener
            try:
                heir = port.successor(listener.serving)
            except CannotListenError as error:
                raise listener.problem_with(door, error) from error
            heir.secure(door.tls)
            heir.expect_header(expected=change.fresh.serving.proxies is not None)
            door.port = heir

    def _open_door(self, change: _Change, door: Door, undo: ExitStack) -> None:
        change.listener.open(door)
        undo.callback(door.close_at_once)

    def _in_the_way(self, wanted: Door) -> list[int]:
        """Return the places of the addresses that have to be closed before one can be opened."""
        return [
            place
            for place, (_, door) in enumerate(self._open)
            if door.is_open and door.address.clashes_with(wanted.address)
        ]

    def _final(self, places: list[int], change: _Change, wanted: Door) -> list[StartError]:
        """Return why addresses that are in the way of another must not be closed for it."""
        problems = []
        for listener, other in (self._open[place] for place in places):
            why = why_not_again(other.port) if isinstance(other.port, Port) else ""
            if why:
                problems.append(
                    StartError(
                        f"listener {change.listener.serving.origin.name!r} cannot take"
                        f" {wanted.address.address}, since {other.address.address} of listener"
                        f" {listener.serving.origin.name!r} would have to be closed for it, and"
                        f" couldn't be opened again: {why}; restart tcpd to change this address"
                    )
                )
        return problems

    def _in_vain(self) -> list[StartError]:
        """Return why addresses can't be opened even if those in their way are closed."""
        problems = []
        for change, door in self._to_open:
            found = [self._open[place][1].port for place in self._in_the_way(door)]
            ports: list[Any] = [port for port in found if isinstance(port, Port)]
            error = why_not_in_place_of(door.address, ports)
            if error is not None:
                refused = CannotListenError(door.address.interface, door.address.port, error)
                problems.append(change.listener.problem_with(door, refused))
        return problems

    def _reopen(self, listener: Listener, door: Door, address: str) -> None:
        try:
            listener.open(door)
        except StartError as error:
            self.log.critical("{problem}", problem=error)
            self.lost.append(address)
            listener.tell(address, up=False)

    # -- what can't --------------------------------------------------------------------------

    def _former(self, change: _Change) -> Listener | None:
        """Return the listener that a new one is under another name, with all of its addresses."""
        theirs = [each for each, _, heir, _ in self._handed_on if heir is change]
        for listener in self._removed:
            doors = len(listener.doors)
            if theirs == [listener] * doors and len(change.doors) == doors:
                return listener
        return None

    def commit(self, house: House) -> None:
        """Have the new listeners serve. Nothing here fails."""
        for mine, fresh in self._kept:
            mine.become(fresh)
        for name, change in self._changes.items():
            if change.running is not None:
                if name in self._changed:
                    change.running.serving.change(change.fresh.serving.terms)
                    change.running.serving.let_in_as(change.fresh.serving)
                change.running.take(change.doors)
        for listener, address in [(each, where) for each, _, where in self._displaced]:
            listener.tell(address, up=False)
        for listener, theirs, _, door in self._handed_on:
            if isinstance(theirs.port, Port) and isinstance(door.port, Port):
                theirs.port.bequeath(door.port)
            listener.close(theirs)
        staying = {_socket_of(door) for change in self._changes.values() for door in change.doors}
        for listener, door in self._open:
            if isinstance(door.port, Port) and _socket_of(door) not in staying:
                door.port.accept_waiting()
                if door.address.kind == "systemd":
                    self.log.warn(
                        "reload: systemd has passed the socket of {address}, which stays open"
                        " without listener {listener}: who connects there waits, and nobody"
                        " answers, until a reload gives it to a listener, or until its .socket"
                        " unit is stopped and tcpd restarted",
                        address=_shown(door),
                        listener=listener.serving.origin.name,
                    )
            listener.close(door)
        for change in self._changes.values():
            if change.running is None:
                former = self._former(change)
                if former is not None:
                    change.fresh.inherit_gate(former)
                change.fresh.opened()
                house.roster.join(change.fresh)
            else:
                change.running.tell_of(change.new)
        for listener in self._removed:
            house.roster.leave(listener)


def _socket_of(door: Door) -> int | None:
    """Return the number of a door's socket, which its copies share; None if it isn't known."""
    if door.is_open and isinstance(door.port, Port):
        return os.fstat(door.port.fileno()).st_ino
    return None


def _shown(door: Door) -> str:
    """Return where a door is open, for people."""
    if isinstance(door.port, Port):
        return format_address(door.port.getHost())
    return door.address.address
