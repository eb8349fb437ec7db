"""What an operator sets of the gate: who may come in, how many, how fast.

These are the tables `limits`, `access` and `proxy` of a listener; `docs/limits.md` and
`docs/proxy.md` tell people of them.
Nothing here knows Twisted, so that the configuration can hold it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from tcpd.admission.networks import Network, Networks
from tcpd.errors import FieldError, raise_all
from tcpd.fields import OneOrMore, Range
from tcpd.units import PerSecond

Off = Literal["off"]

# The burst of a low rate. A client that opens two or three connections at once is no flood.
LEAST_BURST = 5
# One in ten days. Of what is much less, arithmetic makes no limit at all.
LEAST_RATE = 1 / 864_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many sessions a listener has, and how fast it lets them in."""

    sessions: Annotated[int, Range(1)] | Off = 10000
    """At most so many at once, on all of its addresses together."""
    per_address: Annotated[int, Range(1)] | Off = 1024
    """At most so many at once with one peer's address."""
    rate: PerSecond | Off = "off"
    """At most so many new ones from one peer's address, in the long run."""
    burst: Annotated[int, Range(1, 1_000_000)] | None = None
    """At most so many new ones from one peer's address at once, where there is a rate."""
    at_limit: Literal["refuse", "wait"] = "refuse"
    """Whether, at `sessions`, newcomers are closed or left to wait in the kernel's queue."""
    ipv6_prefix: Annotated[int, Range(1, 128)] = 64
    """Of an IPv6 address, so many bits say whose it is: the rest is any host's own choice."""

    def __post_init__(self) -> None:
        errors = []
        if self.rate != "off" and self.rate < LEAST_RATE:
            hint = "'off' is no limit at all"
            errors.append(FieldError(("rate",), "a rate has to be at least one in ten days", hint))
        if self.burst is not None and self.rate == "off":
            problem = "it is of no use without a rate"
            errors.append(FieldError(("burst",), problem, "add 'rate'", [("rate",)]))
        raise_all(errors)

    @property
    def effective_burst(self) -> int:
        """The burst that holds: what was set, or else what the rate gives in a second, or 5."""
        if self.burst is not None or self.rate == "off":
            return self.burst or LEAST_BURST
        return max(LEAST_BURST, math.ceil(self.rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """That connections come through proxies, and begin with a PROXY header."""

    trusted: Annotated[tuple[Network, ...], OneOrMore()]
    """The networks of the proxies. Who is trusted can claim any address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may come in.

    Who is in `deny` is refused; if `allow` isn't empty, so is every address that isn't in it. Peers
    on UNIX sockets have no address: they are refused if `deny` says `unix`, and otherwise the
    permissions of the socket's file decide. To let in only them, `allow` says `unix` alone.
    """

    allow: tuple[Network, ...] = ()
    """The networks that may come in; everyone if there are none."""
    deny: tuple[Network, ...] = ()
    """The networks that may not, even if `allow` has them."""

    def in_vain(self) -> tuple[Network, ...]:
        """Return what stands in `allow` and lets nobody in, as `deny` has all of it."""
        denied = Networks(self.deny)
        return tuple(each for each in self.allow if denied.cover(each))
