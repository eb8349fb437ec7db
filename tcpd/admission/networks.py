"""Networks and addresses as numbers: who belongs to which network, in constant time.

Rules:
- An IPv4 address and its IPv4-mapped IPv6 form (RFC 4291, 2.5.5.2) are the same peer, however it is
  spelled; a network of mapped addresses is the IPv4 network that it stands for.
- A network is one only if every reader would read it the same: no host bits, no scope, no netmask;
  and no `0.0.0.0` or `::` alone, which elsewhere stand for everyone and would match nobody.
- Nothing here knows Twisted or the configuration.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from socket import AF_INET, AF_INET6, inet_pton

from tcpd.errors import FieldError
from tcpd.escape import escape_text
from tcpd.wording import name_of

UNIX = "unix"
"""The word that stands for peers on UNIX sockets."""

# Every address is a number of 128 bits: an IPv4 address is ::ffff:0:0/96 and its own 32 bits.
_MAPPED = 0xFFFF << 32
_MAPPED_TOP = 0xFFFF
_BITS = 128
_V4_BITS = 32

_LOOKS = "'10.0.0.0/8', '192.0.2.1', '2001:db8::/32' or 'unix'"
_EVERYONE = ("*", "all", "any", "everyone")


def address_number(host: str) -> int:
    """Return an IP address as a number of 128 bits; IPv4 as IPv4-mapped, whatever its spelling.

    Args:
        host: an address in text form; a scope (`%eth0`) is left out of account.

    Raises:
        ValueError: it isn't an IP address.
    """
    try:
        if ":" in host:
            return int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]), "big")
        return _MAPPED | int.from_bytes(inet_pton(AF_INET, host), "big")
    except (OSError, ValueError):  # ValueError: a NUL in it
        raise ValueError(f"'{escape_text(host, limit=60)}' isn't an IP address") from None


def is_ipv4(number: int) -> bool:
    """Return whether the number of an address is that of an IPv4 address."""
    return number >> _V4_BITS == _MAPPED_TOP


class Network(str):
    """A network of a list, or the word `unix`: a text in the one form that networks have here.

    A single address has no prefix; `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
    """

    __slots__ = ()
    described = "a network such as '10.0.0.0/8' or '2001:db8::/32'"

    @classmethod
    def parse(cls, value: object) -> Network:
        """Return the network that a value of a configuration names.

        Raises:
            ValueError: it names none; the text and the hint say what would.
        """
        if not isinstance(value, str):
            raise FieldError((), f"expected {cls.described}, not {name_of(value)}")
        if value == UNIX:
            return cls(value)
        text, slash, length = value.partition("/")
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise _no_address(value, text) from None
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            plain = value.replace(f"%{address.scope_id}", "")
            raise _wrong(value, "a network has no scope", f"write '{escape_text(plain, limit=60)}'")
        bits: int = address.max_prefixlen
        prefix = _prefix(value, length, bits) if slash else bits
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            if prefix < _BITS - _V4_BITS:
                raise _mapped_too_wide(value, mapped, prefix)
            address, prefix, bits = mapped, prefix - (_BITS - _V4_BITS), _V4_BITS
        network = ipaddress.ip_network((address, prefix), strict=False)
        if network.network_address != address:
            hint = f"write '{network}', or '{address}' for this one address"
            raise _wrong(value, f"the address goes on behind the first {prefix} bits", hint)
        if prefix == bits and address.is_unspecified:
            hint = f"did you mean '{address}/0', which is everyone with IPv{address.version}?"
            raise _wrong(value, "nobody connects from this address", hint)
        return cls(address if prefix == bits else network)

    def span(self) -> tuple[int, int]:
        """Return the number of its first address, and how many bits of it may change.

        Not for the word `unix`.
        """
        host, _, length = self.partition("/")
        bits = _BITS if ":" in host else _V4_BITS
        return address_number(host), bits - int(length) if length else 0


def _prefix(value: str, length: str, bits: int) -> int:
    """Return the number behind the slash."""
    if length.isascii() and length.isdigit() and str(int(length[:4])) == length:
        if int(length) <= bits:
            return int(length)
        raise _wrong(value, f"a prefix of this kind of address has at most {bits} bits")
    hint = "write it as in '10.0.0.0/8'" if bits == _V4_BITS else "write it as in '2001:db8::/32'"
    if bits == _V4_BITS:
        with suppress(ValueError):  # a netmask
            meant = ipaddress.IPv4Network((0, length)).prefixlen
            hint = f"write '{value.partition('/')[0]}/{meant}'"
    raise _wrong(value, "behind the '/' stands how many bits the prefix has", hint)


def _no_address(value: str, text: str) -> FieldError:
    """Return the complaint about a text that isn't an address, with what may have been meant."""
    hint = f"write one as {_LOOKS}"
    bare = text.strip().removeprefix("[").rpartition("]")[0]
    host, _, port = text.rpartition(":")
    if text.lower() == UNIX:
        hint = "write 'unix'"
    elif text.lower() in _EVERYONE:
        hint = "write '0.0.0.0/0' for everyone with IPv4, '::/0' for everyone with IPv6"
    elif _is_address(text.strip()):
        hint = "write it without spaces"
    elif _is_address(bare):
        hint = f"write '{bare}': no brackets, no port"
    elif port.isdigit() and _is_address(host):
        hint = f"write '{host}': no port"
    elif _is_address(".".join(part.lstrip("0") or "0" for part in text.split("."))):
        hint = "write its numbers without leading zeros, which some take for octal"
    return _wrong(value, "it isn't a network", hint)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _mapped_too_wide(value: str, mapped: ipaddress.IPv4Address, prefix: int) -> FieldError:
    """Return the complaint about a network that holds all of IPv4, and more besides.

    Such a list was meant for a few, and matches everyone: CVE-2026-90711.
    """
    problem = "it would match every IPv4 address: the bits of a mapped one begin at 96"
    meant = ipaddress.IPv4Network((int(mapped), min(prefix, _V4_BITS)), strict=False)
    return _wrong(value, problem, f"write '{meant}' if that is meant")


def _wrong(value: str, problem: str, hint: str = "") -> FieldError:
    return FieldError((), f"'{escape_text(value, limit=60)}': {problem}", hint)


class Networks:
    """A set of networks: whether an address is in one of them takes no longer with many of them.

    The addresses of each length of prefix that occurs are in a set of their own, so a question
    takes as many looks as there are lengths: 33 at most for IPv4, 129 for IPv6, mostly a few.

    Args:
        networks: the networks; `unix` among them sets `unix` and stands for no address.

    Attributes:
        unix: whether peers on UNIX sockets are named.
    """

    __slots__ = ("_v4", "_v6", "unix")

    def __init__(self, networks: Iterable[Network]) -> None:
        self.unix = False
        by_shift: dict[bool, dict[int, set[int]]] = {
            True: defaultdict(set),
            False: defaultdict(set),
        }
        for network in networks:
            if network == UNIX:
                self.unix = True
                continue
            first, shift = network.span()
            by_shift[is_ipv4(first)][shift].add(first >> shift)
        self._v4 = tuple(sorted(by_shift[True].items()))
        self._v6 = tuple(sorted(by_shift[False].items()))

    def __contains__(self, number: int) -> bool:
        """Return whether an address (`address_number`) is in one of the networks."""
        table = self._v4 if number >> _V4_BITS == _MAPPED_TOP else self._v6
        # Every newcomer is looked for, and mostly the list is empty.
        return bool(table) and any(number >> shift in members for shift, members in table)

    def cover(self, network: Network) -> bool:
        """Return whether one of the networks holds all of another."""
        if network == UNIX:
            return self.unix
        first, free = network.span()
        table = self._v4 if is_ipv4(first) else self._v6
        return any(shift >= free and first >> shift in members for shift, members in table)
