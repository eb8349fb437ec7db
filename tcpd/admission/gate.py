"""The gate: decides about a peer by its address, before anything is built for it.

How a listener uses it:

    place = gate.admit(address)         # or gate.admit_hop(), where a proxy will tell the address
    if place.refused:                   # "denied", "sessions", "per-address", "rate"
        ...                             # close the socket; there is nothing to give back
    ...
    reason = place.identify(address)    # behind a proxy: the true peer is known now
    if reason:
        ...                             # close the connection, and leave() as ever
    ...
    place.leave()                       # once the connection is over; twice does no harm

Rules:
- A place is taken by `admit` or `admit_hop`, and given back by the place itself, once, however
  often it is asked to: whoever holds the connection holds its place, and needs no address for it.
- The order of the questions: the access lists, all sessions, those of the address, its rate. Only
  who gets in takes a token of the rate.
- An answer takes as long with 100,000 known addresses as with one. A session costs the gate a
  `Place`; an address with sessions costs an entry of a dictionary, and so does an address of late,
  where there is a rate, in bounded memory (`tcpd.admission.rates`).
- Peers on UNIX sockets have no address to count by: they take one of all places and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReactorTime

from tcpd.admission.networks import Networks, address_number, is_ipv4
from tcpd.admission.rates import Rates
from tcpd.admission.rules import Access, Limits

Refusal = Literal["", "denied", "sessions", "per-address", "rate"]
"""Why a peer is refused; empty if it isn't."""

_IP = (IPv4Address, IPv6Address)
_ADDRESS_BITS = 128


def is_among(address: object, networks: Networks) -> bool:
    """Return whether a peer's address is in one of the networks; `unix` stands for UNIX sockets."""
    if isinstance(address, UNIXAddress):
        return networks.unix
    try:
        return isinstance(address, _IP) and address_number(address.host) in networks
    except ValueError:
        return False


class Gate:
    """The gate of one listener.

    Args:
        clock: the reactor's clock, which has to be monotonic.
        access: who may come in.
        limits: how many, how fast.

    Attributes:
        open: how many places are taken.
        on_full: called with True when a listener that is to wait (`at_limit = "wait"`) has given
            away its last place and should stop accepting, and with False when there is one again;
            None for nobody. It is called while a place is taken or left, and must not raise.
    """

    def __init__(
        self, clock: IReactorTime, access: Access | None = None, limits: Limits | None = None
    ) -> None:
        self._clock = clock
        self.open = 0
        self.on_full: Callable[[bool], object] | None = None
        self._told_full = False
        self._by_address: dict[int, int] = {}
        self._rates: Rates | None = None
        self.configure(access or Access(), limits or Limits())

    def configure(self, access: Access, limits: Limits) -> None:
        """Change what holds for those who come from now on; who is in stays in, and counts.

        With another `ipv6_prefix`, sessions count for the network that they came in under.
        """
        self.access = access
        self.limits = limits
        self._allow = Networks(access.allow)
        self._deny = Networks(access.deny)
        self._sessions = math.inf if limits.sessions == "off" else limits.sessions
        self._per_address = math.inf if limits.per_address == "off" else limits.per_address
        free = _ADDRESS_BITS - limits.ipv6_prefix
        self._ipv6_mask = (1 << _ADDRESS_BITS) - (1 << free)
        if limits.rate == "off":
            self._rates = None
        elif self._rates is None:
            self._rates = Rates(limits.rate, limits.effective_burst, self._clock.seconds())
        else:
            self._rates.configure(limits.rate, limits.effective_burst, self._clock.seconds())
        self._tell()

    def become(self, other: Gate) -> None:
        """Have the lists and limits of another gate from now on."""
        if (self.access, self.limits) != (other.access, other.limits):
            self.configure(other.access, other.limits)

    # -- coming in ---------------------------------------------------------------------------

    def admit(self, address: object) -> Place:
        """Take a place for a peer, if it may come in.

        Args:
            address: the peer's, as Twisted's transports give it.

        Returns:
            The place; or one that isn't any, whose `refused` says why.
        """
        key, refusal = self._judge(address)
        if not refusal and self.open >= self._sessions:
            refusal = "sessions"
        refusal = refusal or self._count(key)
        return _NO_PLACE[refusal] if refusal else self._take(key)

    def admit_hop(self) -> Place:
        """Take a place for a connection whose true peer a proxy is going to tell.

        It is one of all places, and counts for no address before `Place.identify`; if that never
        comes (a proxy's own health check), it stays so.

        Returns:
            The place; or one that isn't any, whose `refused` is `sessions`.
        """
        return _NO_PLACE["sessions"] if self.open >= self._sessions else self._take(None)

    def _take(self, key: int | None) -> Place:
        self.open += 1
        if self.open >= self._sessions:
            self._tell()
        return Place(self, key)

    def _judge(self, address: object) -> tuple[int | None, Refusal]:
        """Return what an address is counted by, and whether the access lists refuse it."""
        if not isinstance(address, _IP):
            if isinstance(address, UNIXAddress):
                return None, "denied" if self._deny.unix else ""
            # Of what isn't known nobody can say that it may come in.
            return None, "denied" if self.access.allow else ""
        try:
            number = address_number(address.host)
        except ValueError:
            return None, "denied"
        if number in self._deny or (self.access.allow and number not in self._allow):
            return None, "denied"
        return self._key(number), ""

    def _key(self, number: int) -> int:
        """Return what an address is counted by: itself, or with IPv6 its network."""
        return number if is_ipv4(number) else number & self._ipv6_mask

    def _count(self, key: int | None) -> Refusal:
        """Count one more session for an address, unless it has too many or they come too fast."""
        if key is None:
            return ""
        count = self._by_address.get(key, 0)
        if count >= self._per_address:
            return "per-address"
        if self._rates is not None and not self._rates.take(key, self._clock.seconds()):
            return "rate"
        self._by_address[key] = count + 1
        return ""

    # -- going out ---------------------------------------------------------------------------

    def _leave(self, key: int | None) -> None:
        if key is not None:
            count = self._by_address[key] - 1
            if count:
                self._by_address[key] = count
            else:
                del self._by_address[key]
        self.open -= 1
        if self._told_full:
            self._tell()

    # -- what others want to know ------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        return self.open >= self._sessions

    @property
    def holds(self) -> bool:
        """Whether ports should not accept now: all places are taken, and newcomers are to wait."""
        return self.full and self.limits.at_limit == "wait"

    @property
    def addresses(self) -> int:
        """How many addresses have sessions."""
        return len(self._by_address)

    def count(self, address: object) -> int:
        """Return how many sessions the address of a peer has, its IPv6 neighbours included."""
        if not isinstance(address, _IP):
            return 0
        return self._by_address.get(self._key(address_number(address.host)), 0)

    def _tell(self) -> None:
        holds = self.holds
        if holds != self._told_full:
            self._told_full = holds
            if self.on_full is not None:
                self.on_full(holds)


class Place:
    """A place behind the gate, for as long as a connection lasts."""

    __slots__ = ("_gate", "_key")

    def __init__(self, gate: Gate | None, key: int | None) -> None:
        self._gate = gate
        self._key = key

    @property
    def refused(self) -> Refusal:
        """Why there is no place; empty if this is one."""
        return ""

    def identify(self, address: object) -> Refusal:
        """Say who the peer of a place taken with `admit_hop` is; asked once at most.

        Args:
            address: the true peer's.

        Returns:
            Empty, and the session counts for the address too; or why it must not go on: `denied`,
            `per-address` or `rate`. The place is then still held, until `leave`.
        """
        if self._gate is None or self._key is not None:
            return ""
        gate = self._gate
        if isinstance(address, UNIXAddress) and gate.access.allow and not gate._allow.unix:
            return "denied"  # it is on the proxy's machine: no permissions of ours have let it in
        key, refusal = gate._judge(address)
        if refusal or (refusal := gate._count(key)):
            return refusal
        self._key = key
        return ""

    def leave(self) -> None:
        """Give the place back; whoever comes second does nothing."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._leave(self._key)


class _NoPlace(Place):
    """What the gate gives instead of a place."""

    __slots__ = ("_refusal",)

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(None, None)
        self._refusal = refusal

    @property
    def refused(self) -> Refusal:
        """Why there is no place."""
        return self._refusal


UNCOUNTED = Place(None, None)
"""A place where there is no gate; everybody may have it."""

_REFUSALS: tuple[Refusal, ...] = ("denied", "sessions", "per-address", "rate")
# One for each reason, so that a flood of refusals makes nothing at all.
_NO_PLACE = {refusal: _NoPlace(refusal) for refusal in _REFUSALS}
