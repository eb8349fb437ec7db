"""A part of the configuration becomes a listener or a connector, ready to be started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tcpd.admission.gate import Gate
from tcpd.admission.networks import Networks
from tcpd.config.admin import in_others_sight
from tcpd.config.schema import Config, ConnectorConfig, ListenerConfig
from tcpd.connector import Connector
from tcpd.events import Bus
from tcpd.listener import Listener
from tcpd.net.tls import ClientTLS, NamedCertificate, ServerTLS
from tcpd.serving import Serving
from tcpd.session import Origin
from tcpd.tally import Counts


def make_listener(
    name: str, config: ListenerConfig, reactor: Any, bus: Bus, counts: Counts
) -> Listener:
    """Return a configured listener, not open.

    Args:
        name: its name.
        config: its part of the configuration.
        reactor: the reactor.
        bus: where its events go.
        counts: where it is counted what it does.

    Raises:
        TcpdError: something that the configuration names can't be used.
    """
    origin = Origin(
        name=name,
        handler=config.handler,
        role="listener",
        bus=bus,
        clock=reactor,
        tally=counts.of(config.handler),
    )
    tls = None
    if config.tls is not None:
        tls = ServerTLS(
            config.tls.certificate,
            config.tls.key,
            client_ca=config.tls.client_ca,
            alpn=config.tls.alpn,
            sni=[
                NamedCertificate(names=each.names, certificate=each.certificate, key=each.key)
                for each in config.tls.sni
            ],
            handshake_timeout=None,  # the sweep sees to it
        )
    gate = Gate(reactor, config.access, config.limits)
    serving = Serving(origin, config.factory, config.deadlines, gate)
    if config.proxy is not None:
        serving.proxies = Networks(config.proxy.trusted)
    return Listener(reactor, config.listen, serving, tls)


def warnings_about(config: Config) -> Iterator[str]:
    """Give what should be told of a configuration, though it can be used."""
    for name, listener in config.listeners.items():
        for network in listener.access.in_vain():
            yield f"listener {name}: {network} in 'allow' lets nobody in, as 'deny' has all of it"
    if warning := in_others_sight(config.admin):
        yield warning


def make_connector(
    name: str, config: ConnectorConfig, reactor: Any, bus: Bus, counts: Counts
) -> Connector:
    """Return a configured connector, not started; as `make_listener` does."""
    tls = None
    handshake = config.deadlines.handshake
    if config.tls is not None:
        tls = ClientTLS(
            config.tls.server_name or config.connect.host or "",
            cafile=config.tls.cafile,
            verify=config.tls.verify,
            certificate=config.tls.certificate,
            key=config.tls.key,
            alpn=config.tls.alpn,
            handshake_timeout=None if handshake == "off" else handshake,
        )
    return Connector(
        reactor,
        config.connect.text,
        config.factory,
        name=name,
        handler=config.handler,
        reconnect=config.reconnect,
        deadlines=config.deadlines,
        tls=tls,
        proxy=config.proxy,
        bus=bus,
        counts=counts,
    )
