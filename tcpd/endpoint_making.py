"""Endpoint strings become endpoints of Twisted's, on our own ports and transports."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

from tcpd.endpoint import ClientEndpoint, ServerEndpoint, quote
from tcpd.errors import TcpdError
from tcpd.net.network import Network
from tcpd.net.tls import ClientTLS, ServerTLS
from tcpd.sd_listen import InheritedEndpoint, inherited_sockets

CONNECT_TIMEOUT = 30  # seconds; Twisted's own default


def server_endpoint(
    reactor: Any, address: ServerEndpoint, tls: ServerTLS | None
) -> IStreamServerEndpoint:
    """Return the endpoint that a string describes, on our own ports.

    Args:
        reactor: the reactor.
        address: one of Twisted's server endpoint strings, parsed.
        tls: TLS for its connections, or None.

    Raises:
        TcpdError: no installed package knows this kind of endpoint.
    """
    text = address.text
    if address.kind == "systemd":
        network = Network(reactor, server_tls=tls)
        return InheritedEndpoint(network, inherited_sockets(), address.options)
    if address.tls is not None:
        passed_on = {key: address.options.get(key) for key in ("interface", "backlog")}
        parts = ["tcp", address.options["port"]]
        parts += [f"{key}={quote(value)}" for key, value in passed_on.items() if value]
        text = ":".join(parts)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(Network(reactor, server_tls=tls), text)
    except Exception as error:  # what its package raises at a string it doesn't like
        why = str(error) if isinstance(error, ValueError) else repr(error)
        raise TcpdError(f"{text!r} isn't a valid endpoint: {why}") from error
    return endpoint


def server_tls_of(address: ServerEndpoint) -> ServerTLS | None:
    """Return the TLS that an endpoint string brings along.

    Raises:
        TcpdError: a certificate or key that it names can't be used.
    """
    says = address.tls
    if says is None or says.certificate is None:
        return None
    return ServerTLS(
        says.certificate,
        says.key,
        chain=says.chain,
        handshake_timeout=None,  # as for all of a listener's: the sweep sees to it
    )


def client_endpoint(network: Network, target: ClientEndpoint) -> IStreamClientEndpoint:
    """Return the endpoint that a string describes, with our own transports.

    Args:
        network: what connects; its `client_tls` is that of each connection to come.
        target: one of Twisted's client endpoint strings, parsed.

    Raises:
        TcpdError: no installed package knows this kind of endpoint.
    """
    if target.known and target.host is not None and target.port is not None:
        # By name, over IPv4 and IPv6 alike, as Twisted's own `tls:` does it.
        bind = target.options.get("bindAddress")
        return HostnameEndpoint(
            network,
            target.host,
            target.port,
            timeout=int(target.options.get("timeout", CONNECT_TIMEOUT)),
            bindAddress=(bind, 0) if bind else None,
        )
    try:
        endpoint: IStreamClientEndpoint = clientFromString(network, target.text)
    except Exception as error:  # what its package raises at a string it doesn't like
        why = str(error) if isinstance(error, ValueError) else repr(error)
        raise TcpdError(f"{target.text!r} isn't a valid endpoint: {why}") from error
    return endpoint


def client_tls_of(target: ClientEndpoint) -> ClientTLS | None:
    """Return the TLS that a `tls:` or `ssl:` string brings along.

    Raises:
        TcpdError: a certificate or key that it names can't be used.
    """
    says = target.tls
    if says is None:
        return None
    return ClientTLS(
        says.server_name or "",
        cafile=says.authorities,
        verify=says.server_name is not None,
        certificate=says.certificate,
        key=says.key,
    )
