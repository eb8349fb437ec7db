from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.internet.testing import MemoryReactorClock
from twisted.python.systemd import ListenFDs

from tcpd.endpoint import (
    ClientEndpoint,
    Endpoint,
    ServerEndpoint,
    quote,
    split,
)


@pytest.fixture
def pem_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files that the strings below name, and two sockets of systemd's."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "authorities").mkdir()
    authority.cert_pem.write_to_path(tmp_path / "authorities" / "ca.pem")
    monkeypatch.chdir(tmp_path)
    sockets = ListenFDs([3, 4], ["web", "index"])
    monkeypatch.setattr(endpoints._SystemdParser, "_sddaemon", sockets)


SERVERS = [
    ("tcp:0", "*:0"),
    ("tcp:9999", "*:9999"),
    ("tcp:65535", "*:65535"),
    ("tcp:port=80", "*:80"),
    ("tcp:80:127.0.0.1", "127.0.0.1:80"),
    ("tcp:80:127.0.0.1:100", "127.0.0.1:80"),
    ("tcp:80:backlog=4096:interface=192.0.2.1", "192.0.2.1:80"),
    (r"tcp:80:interface=\:\:1", "[::1]:80"),
    ("tcp:80:interface=", "*:80"),
    ("tcp6:80", "[::]:80"),
    ("TCP6:80", "[::]:80"),
    (r"tcp6:80:interface=\:\:1:backlog=5", "[::1]:80"),
    (r"tcp6:80:5:\:\:1", "[::1]:80"),
    ("ssl:443", "*:443"),
    ("ssl:443:server.pem:server.pem", "*:443"),
    ("ssl:443:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1", "127.0.0.1:443"),
    ("ssl:443:privateKey=key.pem:certKey=cert.pem:extraCertChain=cert.pem:backlog=1", "*:443"),
    ("unix:/run/x.sock", "unix:/run/x.sock"),
    ("unix:/run/x.sock:660:5:0", "unix:/run/x.sock"),
    (r"unix:address=/run/a\:b\=c\\d:mode=0o600:lockfile=1:backlog=3", r"unix:/run/a:b=c\\d"),
    ("systemd:INET:index=0", "systemd:0"),
    ("systemd:INET6:name=web", "systemd:web"),
    ("systemd:UNIX:1", "systemd:1"),
    ("systemd:domain=INET:name=web", "systemd:web"),
    # Not known to us, so that Twisted alone judges them.
    ("stdio:", "stdio:"),
    ("tls:authorities:port=443", "tls:authorities:port=443"),
    ("haproxy:tcp:80", "haproxy:tcp:80"),
]


@pytest.mark.usefixtures("pem_files")
@pytest.mark.parametrize(("text", "address"), SERVERS)
def test_a_servers_string_that_we_accept_twisted_accepts(text: str, address: str) -> None:
    endpoint = ServerEndpoint.parse(text)
    assert endpoint.address == address
    assert endpoint.text == text
    endpoints.serverFromString(MemoryReactorClock(), text)


@pytest.mark.usefixtures("pem_files")
def test_a_servers_arguments_mean_what_they_mean_to_twisted() -> None:
    reactor = MemoryReactorClock()
    for text in (r"tcp:80:interface=\:\:1", "tcp:81:127.0.0.1:7", "tcp6:82:9"):
        made = endpoints.serverFromString(reactor, text)
        ours = ServerEndpoint.parse(text)
        assert (made._port, made._interface) == (ours.port, ours.interface)  # type: ignore[attr-defined]
        assert made._backlog == int(ours.options.get("backlog", 50))  # type: ignore[attr-defined]
    made = endpoints.serverFromString(reactor, r"unix:/run/a\:b:mode=640:lockfile=0")
    assert (made._address, made._mode, made._wantPID) == ("/run/a:b", 0o640, False)  # type: ignore[attr-defined]
    ours = ServerEndpoint.parse(r"unix:/run/a\:b:mode=640:lockfile=0")
    assert dict(ours.options) == {"address": "/run/a:b", "mode": "640", "lockfile": "0"}


CLIENTS = [
    ("tcp:host.example:80", "host.example:80"),
    ("TCP:host.example:80", "host.example:80"),
    ("tcp:host=host.example:port=80:timeout=5:bindAddress=127.0.0.1", "host.example:80"),
    ("tcp:host=host.example:80", "host.example:80"),
    ("tcp:host.example:port=80", "host.example:80"),
    (r"tcp:\:\:1:80", "[::1]:80"),
    ("ssl:host.example:443", "host.example:443"),
    ("ssl:host.example:443:hostname=host.example:caCertsDir=authorities", "host.example:443"),
    ("ssl:h:443:certKey=cert.pem:privateKey=key.pem:timeout=3", "h:443"),
    ("ssl:h:443:certKey=server.pem", "h:443"),
    ("tls:host.example:443", "host.example:443"),
    ("tls:host.example:443:5:trustRoots=authorities", "host.example:443"),
    ("tls:h:443:certificate=cert.pem:privateKey=key.pem:bindAddress=127.0.0.1", "h:443"),
    (r"tls:h:443:endpoint=tcp\:127.0.0.1\:8443", "h:443"),
    ("unix:/run/x.sock", "unix:/run/x.sock"),
    ("unix:path=/run/x.sock:lockfile=1:timeout=9", "unix:/run/x.sock"),
]


@pytest.mark.usefixtures("pem_files")
@pytest.mark.parametrize(("text", "address"), CLIENTS)
def test_a_clients_string_that_we_accept_twisted_accepts(text: str, address: str) -> None:
    endpoint = ClientEndpoint.parse(text)
    assert endpoint.address == address
    endpoints.clientFromString(MemoryReactorClock(), text)


# What neither of the two accepts: the string, and how our complaint ends.
WRONG_SERVERS = [
    ("", "it is empty"),
    ("9999", "it doesn't begin with a kind; write 'tcp:9999'"),
    ("127.0.0.1:80", "it doesn't begin with a kind; write 'tcp:80:interface=127.0.0.1'"),
    ("[::1]:80", r"it doesn't begin with a kind; write 'tcp6:80:interface=\:\:1'"),
    (":80", "it doesn't begin with a kind such as 'tcp:'"),
    ("port=80", "it doesn't begin with a kind such as 'tcp:'"),
    ("tcp", "port is missing"),
    ("TCP:80", "write 'tcp' in lower case"),
    ("tcp:", "port: expected a port from 0 to 65535, not ''"),
    ("tcp:http", "port: expected a port from 0 to 65535, not 'http'"),
    ("tcp:80:backlog=many", "backlog: expected a whole number from 0, not 'many'"),
    (
        "tcp:80:interfase=127.0.0.1",
        "unknown argument 'interfase'; did you mean 'interface'?",
    ),
    ("tcp:80:x=1", "unknown argument 'x'; known here: port, interface, backlog"),
    (
        "tcp:80:127.0.0.1:5:6",
        r"'6' is one argument too many; a colon that belongs to an argument is written '\:'",
    ),
    (
        "tcp:80:interface=::1",
        r"interface is given twice; a colon that belongs to an argument is written '\:'",
    ),
    ("tcp:80:port=81", r"port is given twice; a colon that belongs to an argument is written '\:'"),
    ("unix", "address is missing"),
    ("unix:/x:mode=rw", "mode: expected an octal mode such as 660, not 'rw'"),
    ("unix:/x:mode=889", "mode: expected an octal mode such as 660, not '889'"),
    ("unix:/x:lockfile=yes", "lockfile: expected 0 or 1, not 'yes'"),
    ("systemd", "domain is missing"),
    ("systemd:INET", "it takes either index or name"),
    ("systemd:INET:index=0:name=web", "it takes either index or name"),
    ("systemd:inet:index=0", "domain: expected INET, INET6 or UNIX, not 'inet'"),
    ("systemd:INET:index=first", "index: expected a whole number from 0, not 'first'"),
    ("tcp:80\\", "a single backslash at its end; write '\\\\' for a backslash"),
]


@pytest.mark.usefixtures("pem_files")
@pytest.mark.parametrize(("text", "complaint"), WRONG_SERVERS)
def test_a_servers_string_that_twisted_refuses_we_refuse_with_a_reason(
    text: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=" isn't a valid endpoint: ") as caught:
        ServerEndpoint.parse(text)
    assert str(caught.value).partition(" isn't a valid endpoint: ")[2] == complaint
    with pytest.raises((ValueError, TypeError, IndexError, AttributeError, RuntimeError)):
        endpoints.serverFromString(MemoryReactorClock(), text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tcp:99999", "port: expected a port from 0 to 65535, not '99999'"),
        ("tcp:-1", "port: expected a port from 0 to 65535, not '-1'"),
        ("tcp: 80", "port: expected a port from 0 to 65535, not ' 80'"),
        ("tcp:8_0", "port: expected a port from 0 to 65535, not '8_0'"),
        ("tcp:٨٠", "port: expected a port from 0 to 65535, not '٨٠'"),
        ("tcp:80:backlog=-1", "backlog: expected a whole number from 0, not '-1'"),
        (
            "tcp:80:backlog=99999999999",
            "backlog: expected a whole number from 0, not '99999999999'",
        ),
        (
            "tcp:80:backlog=5:backlog=6",
            r"backlog is given twice; a colon that belongs to an argument is written '\:'",
        ),
        (
            "tcp:80:interface=localhost",
            "interface: expected an IP address (127.0.0.1 for localhost), not 'localhost'",
        ),
        ("tcp:80:interface=eth0", "interface: expected an IP address, not 'eth0'"),
        ("unix:", "address: expected a path, not ''"),
        ("unix:/x:mode=7777", "mode: expected an octal mode such as 660, not '7777'"),
        ("unix:/x:lockfile=2", "lockfile: expected 0 or 1, not '2'"),
        (
            "ssl:443:sslmethod=TLSv1_METHOD",
            "sslmethod: tcpd's TLS speaks 1.2 and newer; leave it out",
        ),
        ("ssl:443:dhParameters=x.pem", "dhParameters: tcpd's TLS needs none; leave it out"),
        ("ssl:443:privateKey=", "privateKey: expected a path, not ''"),
        ("systemd:INET:name=", "name: expected a name, not ''"),
    ],
)
def test_a_servers_string_that_cannot_be_meant_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=" isn't a valid endpoint: ") as caught:
        ServerEndpoint.parse(text)
    assert str(caught.value).partition(" isn't a valid endpoint: ")[2] == complaint


def test_a_socket_path_longer_than_the_kernel_takes_is_refused() -> None:
    assert ServerEndpoint.parse("unix:/" + "x" * 106).known
    with pytest.raises(ValueError, match="expected a path of 107 bytes at most"):
        ServerEndpoint.parse("unix:/" + "x" * 107)
    with pytest.raises(ValueError, match="expected a path of 107 bytes at most"):
        ServerEndpoint.parse("unix:/" + "é" * 54)


WRONG_CLIENTS = [
    ("", "it is empty"),
    ("127.0.0.1:80", "it doesn't begin with a kind; write 'tcp:127.0.0.1:80'"),
    ("tcp", "host is missing"),
    ("tcp:host.example", "port is missing"),
    ("tcp:host.example:http", "port: expected a port from 1 to 65535, not 'http'"),
    ("tcp:h:80:timeout=5s", "timeout: expected a whole number from 1, not '5s'"),
    ("tcp:h:80:timout=5", "unknown argument 'timout'; did you mean 'timeout'?"),
    (
        "tcp:h:80:5",
        r"'5' is one argument too many; a colon that belongs to an argument is written '\:'",
    ),
    ("unix:/x:lockfile=no", "lockfile: expected 0 or 1, not 'no'"),
    ("unix", "path is missing"),
    ("tls:host.example", "port is missing"),
    (
        "tls:h:443:hostname=h",
        "unknown argument 'hostname'; did you mean 'host'?",
    ),
]


@pytest.mark.parametrize(("text", "complaint"), WRONG_CLIENTS)
def test_a_clients_string_that_twisted_refuses_we_refuse_with_a_reason(
    text: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=" isn't a valid endpoint: ") as caught:
        ClientEndpoint.parse(text)
    assert str(caught.value).partition(" isn't a valid endpoint: ")[2] == complaint
    with pytest.raises((ValueError, TypeError, IndexError)):
        endpoints.clientFromString(MemoryReactorClock(), text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tcp:host:0", "port: expected a port from 1 to 65535, not '0'"),
        ("tcp:host:65536", "port: expected a port from 1 to 65535, not '65536'"),
        ("tcp::80", "host: expected a host name or IP address, not ''"),
        ("tcp:ho st:80", "host: expected a host name or IP address, not 'ho st'"),
        (
            r"tcp:[\:\:1]:80",
            "host: expected a host name or IP address, the latter without brackets, not '[::1]'",
        ),
        ("ssl:h:1:privateKey=k.pem", "privateKey is of no use without certKey"),
        ("tls:h:1:privateKey=k.pem", "privateKey is of no use without certificate"),
        ("tcp:h:80:bindAddress=me", "bindAddress: expected an IP address, not 'me'"),
    ],
)
def test_a_clients_string_that_cannot_be_meant_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=" isn't a valid endpoint: ") as caught:
        ClientEndpoint.parse(text)
    assert str(caught.value).partition(" isn't a valid endpoint: ")[2] == complaint


def test_a_kind_that_we_do_not_know_is_passed_on_as_it_is() -> None:
    endpoint = ServerEndpoint.parse(r"Onion:80:controlPort=9051:key\=a=b=c")
    assert (endpoint.kind, endpoint.args) == ("onion", ("80",))
    assert endpoint.options == {"controlPort": "9051", "key=a": "b=c"}
    assert (endpoint.known, endpoint.port, endpoint.tls) == (False, None, None)
    client = ClientEndpoint.parse("tor:host:80")
    assert (client.known, client.host, client.address) == (False, None, "tor:host:80")


@pytest.mark.parametrize("value", [9999, ["tcp:1"], None, True])
def test_anything_but_a_text_is_no_endpoint(value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected an endpoint such as 'tcp:9999'$"):
        ServerEndpoint.parse(value)
    with pytest.raises(ValueError, match=r"^expected an endpoint such as 'tcp:host:7000'$"):
        ClientEndpoint.parse(value)
    with pytest.raises(TypeError):
        Endpoint.parse(value)


def test_a_complaint_is_one_printable_line_of_bounded_length() -> None:
    with pytest.raises(ValueError, match="isn't a valid endpoint") as caught:
        ServerEndpoint.parse("tcp:\x1b[31m\n" + "x" * 5000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_ssl_strings_say_which_files_they_name() -> None:
    tls = ServerEndpoint.parse("ssl:443").tls
    assert tls is not None
    assert (tls.certificate, tls.key, tls.chain) == (Path("server.pem"), Path("server.pem"), None)
    tls = ServerEndpoint.parse("ssl:443:k.pem:c.pem:extraCertChain=e.pem").tls
    assert tls is not None
    assert (tls.certificate, tls.key, tls.chain) == (Path("c.pem"), Path("k.pem"), Path("e.pem"))
    assert ServerEndpoint.parse("tcp:443").tls is None


def test_client_strings_say_what_they_ask_of_tls() -> None:
    tls = ClientEndpoint.parse("ssl:h:443:hostname=name:caCertsDir=ca:certKey=c:privateKey=k").tls
    assert tls is not None
    assert (tls.server_name, tls.authorities) == ("name", Path("ca"))
    assert (tls.certificate, tls.key) == (Path("c"), Path("k"))
    tls = ClientEndpoint.parse("ssl:h:443:certKey=both.pem").tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (Path("both.pem"), Path("both.pem"))
    assert tls.server_name is None  # Twisted asks for no proof then, and so it says here
    tls = ClientEndpoint.parse("tls:h:443:trustRoots=ca").tls
    assert tls is not None
    assert (tls.server_name, tls.authorities, tls.certificate) == ("h", Path("ca"), None)
    assert ClientEndpoint.parse("tcp:h:443").tls is None


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("tcp:80", "tcp:80", True),
        ("tcp:80", "tcp:81", False),
        ("tcp:0", "tcp:0", False),
        ("tcp:80", "tcp:080:backlog=5", True),
        ("tcp:80", "tcp:80:interface=127.0.0.1", True),
        ("tcp:80:interface=0.0.0.0", "ssl:80:interface=127.0.0.1", True),
        ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.2", False),
        ("tcp:80", "tcp6:80", True),
        ("tcp:80:interface=127.0.0.1", "tcp6:80", True),
        ("tcp:80", r"tcp6:80:interface=\:\:1", False),
        ("tcp6:80", r"tcp6:80:interface=\:\:1", True),
        (r"tcp6:80:interface=0\:0\:\:1", r"tcp6:80:interface=\:\:1", True),
        ("tcp:80", "unix:/x", False),
        ("unix:/x", "unix:/x:mode=660", True),
        ("unix:/x", "unix:/y", False),
        ("systemd:INET:name=a", "systemd:INET:name=a", True),
        ("systemd:INET:name=a", "systemd:INET:name=b", False),
        ("systemd:INET:index=0", "systemd:INET6:index=0", True),
        ("onion:80", "onion:80", True),
        ("onion:80", "onion:81", False),
        ("onion:80", "tcp:80", False),
    ],
)
def test_two_strings_clash_when_they_are_the_same_place(one: str, other: str, clash: bool) -> None:
    assert ServerEndpoint.parse(one).clashes_with(ServerEndpoint.parse(other)) is clash
    assert ServerEndpoint.parse(other).clashes_with(ServerEndpoint.parse(one)) is clash


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tcp:80", "tcp:port=80:interface=0.0.0.0", True),
        ("tcp:80", "ssl:80:privateKey=k.pem", True),
        ("tcp6:80", r"tcp:80:interface=\:\:", True),
        ("tcp:80", "tcp:81", False),
        ("tcp:80", "tcp6:80", False),
        ("tcp:80", "tcp:80:interface=127.0.0.1", False),
        ("tcp:80", "tcp:80:backlog=5", False),
        ("unix:/x", "unix:address=/x", True),
        ("unix:/x", "unix:/y", False),
        ("unix:/x", "unix:/x:mode=600", False),
        ("systemd:INET:name=a", "systemd:domain=INET:name=a", True),
        ("systemd:INET:name=a", "systemd:INET:index=0", False),
        ("nosuch:1", "nosuch:1", True),
        ("nosuch:1", "nosuch:1:2", False),
    ],
)
def test_two_strings_are_the_same_socket_if_the_kernel_is_asked_for_the_same(
    one: str, other: str, same: bool
) -> None:
    sockets = [ServerEndpoint.parse(text).socket for text in (one, other)]
    assert (sockets[0] == sockets[1]) is same


@given(st.text(st.sampled_from(":=\\ab0"), max_size=12))
def test_any_string_is_split_as_twisted_splits_it(text: str) -> None:
    try:
        args, options = endpoints._parse(text)
    except RuntimeError:  # Twisted's way of saying that it ends in a backslash
        with pytest.raises(ValueError, match="backslash"):
            split(text)
        return
    mine, pairs = split(text)
    assert (mine, dict(pairs)) == (args, options)


@given(st.text())
def test_any_text_can_be_quoted(text: str) -> None:
    assert split("x:a=" + quote(text)) == (["x"], [("a", text)])
    assert split(quote(text)) == ([text], [])


@given(
    st.sampled_from([ServerEndpoint.parse, ClientEndpoint.parse]),
    st.text(st.sampled_from("tcpunix:=\\/0189.[]port"), max_size=20),
)
def test_any_string_is_accepted_or_refused_with_a_reason(
    parse: Callable[[str], ServerEndpoint | ClientEndpoint], text: str
) -> None:
    try:
        shown = parse(text).address
    except ValueError as error:
        shown = str(error).replace(" isn't a valid endpoint: ", "")
    assert shown.isprintable()
