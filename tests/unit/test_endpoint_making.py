"""Endpoint strings become endpoints on our own network."""

import pytest

from tcpd.endpoint import ClientEndpoint, ServerEndpoint
from tcpd.endpoint_making import client_endpoint, server_endpoint
from tcpd.errors import TcpdError
from tcpd.net.network import Network


@pytest.mark.parametrize("text", ["nosuch:80", "nosuch:a:b=c"])
def test_what_no_package_can_connect_to_is_an_error(text: str) -> None:
    from twisted.internet import reactor

    with pytest.raises(TcpdError, match=rf"^'{text}' isn't a valid endpoint: .*nosuch"):
        client_endpoint(Network(reactor), ClientEndpoint.parse(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [("nosuch:80", "nosuch"), ("haproxy:tcp", "TypeError"), ("haproxy:nosuch:1", "nosuch")],
)
def test_what_no_package_can_make_is_an_error_before_anything_opens(text: str, says: str) -> None:
    from twisted.internet import reactor

    with pytest.raises(TcpdError, match=rf"^'{text}' isn't a valid endpoint: .*{says}"):
        server_endpoint(reactor, ServerEndpoint.parse(text), None)
