"""The admin side's part of a configuration: who could reach it, and the token that guards it.

Rules:
- An address that other machines may reach needs a token.
- A UNIX socket for which nothing else is said is its owner's alone.
- The token is read where it is checked, while the process may still have the right to.
"""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path

from tcpd.config.schema import AdminConfig
from tcpd.endpoint import ServerEndpoint
from tcpd.errors import ConfigError
from tcpd.escape import escape_text
from tcpd.fields import Place

# Guessing one of 16 hexadecimal digits takes longer than anybody has.
SHORTEST_TOKEN = 16
LONGEST_TOKEN = 1024
MAKE_ONE = "'openssl rand -hex 32' makes one"


def is_only_local(endpoint: ServerEndpoint) -> bool:
    """Return whether only this machine can reach an address; what isn't known may be reached."""
    if endpoint.kind == "unix":
        return True
    if not endpoint.known or endpoint.port is None:
        return False
    interface = endpoint.interface
    return bool(interface) and ipaddress.ip_address(interface).is_loopback


def address_problems(
    endpoint: ServerEndpoint, place: Place, *, guarded: bool
) -> Iterator[ConfigError]:
    """Give what is wrong with an address of the admin side.

    Args:
        endpoint: the address.
        place: where it stands.
        guarded: whether there is a token.
    """
    # Of a socket that systemd opens nobody knows yet what it is. Each connection is judged by
    # itself, and without a token nobody comes in from elsewhere.
    if endpoint.kind != "systemd" and not is_only_local(endpoint) and not guarded:
        problem = f"other machines may reach {endpoint.address}, and there is no token"
        hint = "add 'token_file', or write 'tcp:PORT:interface=127.0.0.1'"
        yield place.error(problem, hint)


def with_safe_modes(endpoints: tuple[ServerEndpoint, ...]) -> tuple[ServerEndpoint, ...]:
    """Return addresses of which UNIX sockets have mode 600 if they have no other."""
    return tuple(
        ServerEndpoint.parse(f"{each.text}:mode=600")
        if each.kind == "unix" and "mode" not in each.options
        else each
        for each in endpoints
    )


def read_token(path: Path, place: Place, problems: list[ConfigError]) -> str | None:
    """Return the token in a file; None after adding to `problems` what is wrong with it.

    Args:
        path: the file; whitespace around the token doesn't count.
        place: where its name stands.
        problems: gains an entry.
    """
    shown = escape_text(str(path))
    try:
        if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
            problems.append(place.error(f"{shown} isn't a regular file"))
            return None
        with path.open("rb") as file:
            token = file.read(LONGEST_TOKEN + 100).strip()
    except OSError as error:
        hint = MAKE_ONE if isinstance(error, FileNotFoundError) else ""
        problems.append(place.error(f"{shown} can't be read: {error.strerror}", hint))
        return None
    if not token:
        problem = f"there is no token in {shown}"
    elif len(token) < SHORTEST_TOKEN:
        problem = f"the token in {shown} has less than {SHORTEST_TOKEN} characters"
    elif len(token) > LONGEST_TOKEN:
        problem = f"the token in {shown} has more than {LONGEST_TOKEN} characters"
    elif not all(0x21 <= each <= 0x7E for each in token):  # it has to fit into a header
        problem = f"the token in {shown} isn't one word of printable ASCII"
    else:
        return token.decode("ascii")
    problems.append(place.error(problem, MAKE_ONE))
    return None


def in_others_sight(admin: AdminConfig | None) -> str:
    """Return a warning if others can read or change the token, or nothing."""
    if admin is None or admin.token_file is None:
        return ""
    try:
        mode = stat.S_IMODE(admin.token_file.stat().st_mode)
    except OSError:  # gone since it was read
        return ""
    if not mode & 0o037:
        return ""
    shown = escape_text(str(admin.token_file))
    return f"the admin token in {shown} is not its owner's alone (mode {mode:03o}); chmod 600 it"


def open_to_others(admin: AdminConfig) -> bool:
    """Return whether any address of the admin side may be reached from other machines."""
    return not all(is_only_local(each) for each in admin.listen)
