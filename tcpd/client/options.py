"""The command line of `tcpd-client`, as typed options.

Sans-I/O: files named here are looked at when they are used. A wrong command line is one line on
standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import tcpd
from tcpd.client.codec import EOLS, Typed
from tcpd.client.target import Target, UsageError, parse_target
from tcpd.units import parse_duration

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """What `--tls` and its fellows ask for.

    Attributes:
        server_name: what the certificate must be for.
        cafile: the authorities to trust instead of the system's.
        verify: whether the certificate is checked at all.
        certificate: the client's own.
        key: its key; None where the certificate's file holds it.
    """

    server_name: str
    cafile: Path | None = None
    verify: bool = True
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for.

    Attributes:
        target: where to connect to.
        tls: None for no TLS.
        proxy: the version of the PROXY header to begin with, or None for no header.
        proxy_source: the address that the header gives for ours; None for the true one.
        timeout: seconds that connecting may take; None for no limit.
        hex: whether bytes are typed and shown in hex.
        escape: whether backslash escapes are typed.
        eol: "lf", "crlf", "none", or None where nothing was said.
        half_close: whether the end of the input is passed on.
        wait: seconds to stay after the end of the input; None for as long as the peer does.
        reconnect: whether to connect again after a loss.
        reconnect_max: the longest delay between two tries, in seconds.
        history: whether typed lines are remembered.
        verbose: whether details are shown.
    """

    target: Target
    tls: TLSOptions | None = None
    proxy: Literal["v1", "v2"] | None = None
    proxy_source: tuple[str, int] | None = None
    timeout: float | None = 10.0
    hex: bool = False
    escape: bool = False
    eol: str | None = None
    half_close: bool = True
    wait: float | None = None
    reconnect: bool = False
    reconnect_max: float = 30.0
    history: bool = True
    verbose: bool = False

    @property
    def prompt_encoding(self) -> Typed:
        """How a line typed at the prompt becomes bytes: with an LF, but for hex bytes."""
        eol = self.eol or ("none" if self.hex else "lf")
        return Typed(hex=self.hex, escape=self.escape, eol=EOLS[eol])

    @property
    def pipe_encoding(self) -> Typed | None:
        """How lines from a pipe become bytes; None if bytes pass as they are."""
        if not (self.hex or self.escape or self.eol):
            return None
        return self.prompt_encoding


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _duration(text: str) -> float:
    if _SECONDS.fullmatch(text):  # as nc and curl have it
        return float(text)
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _parser() -> _Parser:
    parser = _Parser(
        prog="tcpd-client",
        usage="%(prog)s [options] HOST PORT",
        description="Talk to a TCP server: by hand on a terminal, byte for byte in a pipe.",
        epilog="Exit status: 0 when the conversation ended in order, 1 when there was no "
        "connection or it was cut, 2 for a wrong command line. Durations: 500ms, 10s, 1m30s.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "address",
        nargs="*",
        metavar="HOST PORT",
        help="also HOST:PORT, [IPv6]:PORT, unix:/path, or an endpoint: tcp:HOST:PORT, "
        "tls:HOST:PORT",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell times, addresses, totals"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {tcpd.__version__}")

    data = parser.add_argument_group("what is sent and shown")
    form = data.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="type hex digits, see a hex dump")
    form.add_argument("--escape", action="store_true", help=r"type \n, \xNN and the like")
    data.add_argument(
        "--eol",
        choices=list(EOLS),
        help="what ends each line sent (default: lf at the prompt; in a pipe, as it is)",
    )
    data.add_argument("--no-history", action="store_true", help="remember nothing that's typed")

    end = parser.add_argument_group("when it begins and ends")
    end.add_argument(
        "--timeout",
        type=_duration,
        metavar="DURATION",
        help="how long connecting may take (default: 10s; 0 for no limit)",
    )
    end.add_argument(
        "-N",
        "--no-half-close",
        action="store_true",
        help="don't tell the peer that the input has ended",
    )
    end.add_argument(
        "--wait",
        type=_duration,
        metavar="DURATION",
        help="how long to stay after the end of the input (default: until the peer closes)",
    )
    end.add_argument(
        "--reconnect", action="store_true", help="connect again, ever more patiently, after a loss"
    )
    end.add_argument(
        "--reconnect-max",
        type=_duration,
        metavar="DURATION",
        help="the longest delay between two tries (default: 30s)",
    )

    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="speak TLS, and check the certificate")
    tls.add_argument("--cafile", type=Path, metavar="FILE", help="trust these authorities (PEM)")
    tls.add_argument(
        "--insecure", action="store_true", help="accept any certificate: anybody may listen in"
    )
    tls.add_argument("--cert", type=Path, metavar="FILE", help="the client's own certificate (PEM)")
    tls.add_argument("--key", type=Path, metavar="FILE", help="the key of --cert, if it's apart")
    tls.add_argument(
        "--servername", metavar="NAME", help="the name the certificate must be for (default: HOST)"
    )

    proxy = parser.add_argument_group("the PROXY protocol")
    proxy.add_argument(
        "--proxy",
        choices=("v1", "v2"),
        help="begin with a PROXY header, as a server behind a proxy expects it",
    )
    proxy.add_argument(
        "--proxy-source",
        metavar="ADDRESS:PORT",
        help="the client to tell of in the header (default: our own address)",
    )
    return parser


def parse_options(arguments: Sequence[str]) -> Options:
    """Return the options of a command line.

    Raises:
        SystemExit: 2 after a line about what is wrong; 0 after --help or --version.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return _options(given)
    except UsageError as problem:
        parser.error(str(problem))


def _options(given: argparse.Namespace) -> Options:
    target = parse_target(given.address)
    timeout = next(t for t in (given.timeout, target.timeout, 10.0) if t is not None)
    if given.reconnect_max is not None and not given.reconnect:
        raise UsageError("--reconnect-max means nothing without --reconnect")
    reconnect_max = given.reconnect_max if given.reconnect_max is not None else 30.0
    if reconnect_max <= 0:
        raise UsageError("--reconnect-max must be more than 0")
    return Options(
        target=target,
        tls=_tls(given, target),
        proxy=given.proxy,
        proxy_source=_proxy_source(given),
        timeout=timeout or None,
        hex=given.hex,
        escape=given.escape,
        eol=given.eol,
        half_close=not given.no_half_close,
        wait=given.wait,
        reconnect=given.reconnect,
        reconnect_max=reconnect_max,
        history=not given.no_history,
        verbose=given.verbose,
    )


def _proxy_source(given: argparse.Namespace) -> tuple[str, int] | None:
    text = given.proxy_source
    if text is None:
        return None
    if given.proxy is None:
        raise UsageError("--proxy-source means nothing without --proxy")
    source = parse_target([text])
    try:
        host = str(ipaddress.ip_address(source.host))
    except ValueError:
        raise UsageError(
            f"--proxy-source {text!r}: an IP address and a port, as 192.0.2.1:5000"
        ) from None
    return host, source.port


def _tls(given: argparse.Namespace, target: Target) -> TLSOptions | None:
    wanted = given.tls or target.tls
    for name in ("cafile", "insecure", "cert", "key", "servername"):
        if getattr(given, name) and not wanted:
            raise UsageError(f"--{name} means nothing without --tls")
    if not wanted:
        return None
    if given.key and not given.cert:
        raise UsageError("--key needs --cert, the certificate it belongs to")
    if given.insecure and given.cafile:
        raise UsageError("--insecure checks nothing, so --cafile has nothing to do; choose one")
    server_name = given.servername or target.host
    if not server_name and not given.insecure:
        raise UsageError(f"{target} has no name to check; say which with --servername")
    return TLSOptions(
        server_name=server_name,
        cafile=given.cafile,
        verify=not given.insecure,
        certificate=given.cert,
        key=given.key,
    )
