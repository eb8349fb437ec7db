"""Listeners under a reload: which socket is kept, who serves whom; and it is all or nothing."""

import os
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trustme
from helpers.reload_house import House, free_port
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs

from tcpd.net.port import Port

LOOPBACK = "interface=127.0.0.1"


@pytest.fixture
def house(tmp_path: Path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    yield house
    house.close()


def echo(name: str, *addresses: str, more: str = "") -> str:
    listen = ", ".join(f"'{each}'" for each in addresses)
    return f"[listeners.{name}]\nlisten = [{listen}]\n{more}\n"


def tcp(port: int) -> str:
    return f"tcp:{port}:{LOOPBACK}"


def number_of(port) -> int:
    return port.getHost().port


def test_what_has_not_changed_is_left_alone(house) -> None:
    house.start(echo("a", tcp(0)))
    (port,) = house.ports("a")
    terms = house.daemon.listeners["a"].serving.terms
    event = house.reload()
    assert event.changes == ()
    assert house.changes == []
    assert house.ports("a") == [port]
    assert house.daemon.listeners["a"].serving.terms is terms
    assert house.talk(house.connect(number_of(port))) == b"x"


def test_a_listener_comes_and_goes_and_its_sessions_stay(house) -> None:
    house.start(echo("a", tcp(0)))
    event = house.reload(echo("a", tcp(0)) + echo("b", tcp(0)))
    assert event.changes == ("listener b is new",)
    (port,) = house.ports("b")
    number = number_of(port)
    assert house.changes == [("b", f"127.0.0.1:{number}", True)]
    client = house.connect(number)
    departed = house.daemon.listeners["b"]
    event = house.reload(echo("a", tcp(0)))
    assert event.changes == ("listener b is gone; 1 session goes on",)
    assert house.changes == [("b", f"127.0.0.1:{number}", False)]
    house.reactor.turn()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))
    assert house.talk(client) == b"x"
    assert departed.serving in house.daemon.roster._departing
    client.close()
    house.reactor.turn(3)
    assert house.daemon.roster._departing == []
    assert not departed.running


def test_addresses_are_compared_one_by_one(house) -> None:
    house.start(echo("a", tcp(0), tcp(free_port())))
    stays, goes = house.ports("a")
    new = free_port()
    house.reload(echo("a", tcp(new), tcp(0)))
    assert [number_of(port) for port in house.ports("a")] == [number_of(stays), new]
    assert house.ports("a")[0] is stays
    assert sorted(house.changes) == sorted(
        [("a", f"127.0.0.1:{number_of(goes)}", False), ("a", f"127.0.0.1:{new}", True)]
    )
    assert house.talk(house.connect(new)) == b"x"


def test_a_socket_goes_to_the_listener_that_asks_for_it(house) -> None:
    house.start(echo("a", tcp(0)))
    (port,) = house.ports("a")
    number = number_of(port)
    early = house.connect(number)
    waiting = socket.create_connection(("127.0.0.1", number))  # in the backlog
    house.clients.append(waiting)
    event = house.reload(echo("b", tcp(0)))
    assert event.changes == ("listener a is gone; 1 session goes on", "listener b is new")
    assert number_of(house.ports("b")[0]) == number
    house.reactor.turn(3)
    assert house.talk(waiting) == b"x"
    assert house.talk(house.connect(number)) == b"x"
    assert house.talk(early) == b"x"
    names = [serving.origin.name for serving in house.daemon.servings()]
    assert names == ["b", "a"]
    assert len(house.daemon.listeners["b"].serving.origin.sessions) == 2


def test_two_listeners_may_exchange_their_sockets(house) -> None:
    one, two = free_port(), free_port()
    house.start(echo("a", tcp(one)) + echo("b", tcp(two), more='handler = "discard"'))
    house.reload(echo("a", tcp(two)) + echo("b", tcp(one), more='handler = "discard"'))
    house.reactor.turn()
    assert [number_of(port) for port in house.ports("a")] == [two]
    assert house.talk(house.connect(two)) == b"x"
    assert house.talk(house.connect(one)) is None


def test_a_unix_sockets_file_stays_when_its_listener_gets_another_name(house, tmp_path) -> None:
    path = tmp_path / "s.sock"
    house.start(echo("a", f"unix:{path}"))
    inode = path.stat().st_ino
    house.reload(echo("b", f"unix:{path}"))
    house.reactor.turn()
    assert path.stat().st_ino == inode
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        house.reactor.turn(3)
        assert house.talk(client) == b"x"
    house.reload(echo("c", tcp(0)))
    house.reactor.turn()
    assert not path.exists()
    assert not path.with_name("s.sock.lock").is_symlink()


def test_another_mode_of_a_unix_socket_is_another_file(house, tmp_path) -> None:
    path = tmp_path / "s.sock"
    house.start(echo("a", f"unix:{path}:mode=600"))
    house.reload(echo("a", f"unix:{path}:mode=660"))
    house.reactor.turn()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert [up for _, _, up in house.changes] == [False, True]


def test_another_interface_of_the_same_port_takes_the_place_of_the_first(house) -> None:
    number = free_port()
    house.start(echo("a", tcp(number)))
    waiting = socket.create_connection(("127.0.0.1", number))
    house.clients.append(waiting)
    house.reload(echo("a", f"tcp:{number}"))
    assert house.changes == [
        ("a", f"127.0.0.1:{number}", False),
        ("a", f"0.0.0.0:{number}", True),
    ]
    assert house.talk(waiting) == b"x"
    assert house.talk(house.connect(number)) == b"x"


@pytest.mark.parametrize("told_beforehand", [True, False])
def test_nothing_is_closed_in_vain_or_else_it_is_opened_again(
    house, monkeypatch, told_beforehand
) -> None:
    number, other = free_port(), free_port()
    house.start(echo("a", tcp(number), tcp(other)))
    ports = house.ports("a")
    early = house.connect(number)
    if not told_beforehand:  # the ports were opened by root, say, who we are no more
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with socket.create_server(("127.0.0.2", other)):
        event = house.reload(echo("a", f"tcp:{number}", f"tcp:{other}"))
    assert event.errors == (f"listener 'a' cannot listen on *:{other}: address already in use",)
    assert house.changes == []
    assert (house.ports("a") == ports) is told_beforehand
    for each in (number, other):
        assert house.talk(house.connect(each)) == b"x"
    assert house.talk(early) == b"x"


@pytest.mark.parametrize("interface", ["", ":interface=0.0.0.0", r":interface=\:\:"])
def test_who_waits_for_a_place_goes_on_waiting_when_a_reload_is_refused(house, interface) -> None:
    number = free_port()
    waits = "limits = { sessions = 1, at_limit = 'wait' }"
    house.start(echo("a", tcp(number), more=waits))
    (port,) = house.ports("a")
    inside = house.connect(number)
    assert house.talk(inside) == b"x"
    waiting = house.connect(number)
    with socket.create_server(("127.0.0.2", number)):
        event = house.reload(echo("a", f"tcp:{number}{interface}", more=waits))
    (error,) = event.errors
    assert error.startswith("listener 'a' cannot listen on ")
    assert error.endswith(f":{number}: address already in use")
    assert house.ports("a") == [port]
    assert port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    assert house.talk(waiting) is None
    assert not house.daemon.listeners["a"].serving.refusals.counts
    inside.close()
    house.reactor.turn(6)
    assert house.hear(waiting) == b"x"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ":interface=127.0.0.1"),
        (":interface=127.0.0.1", r":interface=\:\:"),
        (r":interface=\:\:", ""),
        (":interface=127.0.0.1", ":interface=127.0.0.1:backlog=7"),
    ],
)
def test_an_address_takes_the_place_of_one_that_it_overlaps(house, before, after) -> None:
    number = free_port()
    house.start(echo("a", f"tcp:{number}{before}"))
    open_session = house.connect(number)
    waiting = socket.create_connection(("127.0.0.1", number))
    house.clients.append(waiting)
    event = house.reload(echo("a", f"tcp:{number}{after}"))
    assert event.changes == ("listener a: listen changed",)
    assert [up for _, _, up in house.changes] == [False, True]
    (port,) = house.ports("a")
    assert port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    for client in (open_session, waiting, house.connect(number)):
        assert house.talk(client) == b"x"


def test_what_could_not_be_opened_again_is_not_closed_for_another(house, monkeypatch) -> None:
    number = free_port()
    house.start(echo("a", tcp(number)))
    (port,) = house.ports("a")

    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("tcpd.reload.again.socket.socket.bind", refuse, raising=False)
        event = house.reload(echo("a", f"tcp:{number}"))
    (error,) = event.errors
    assert error == (
        f"listener 'a' cannot take *:{number}, since 127.0.0.1:{number} of listener 'a' would have"
        " to be closed for it, and couldn't be opened again: this user has no permission to bind"
        " it; restart tcpd to change this address"
    )
    assert house.ports("a") == [port]
    assert house.changes == []
    assert house.talk(house.connect(number)) == b"x"


def test_a_unix_socket_in_a_directory_of_somebody_else_is_not_closed(
    house, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "s.sock"
    house.start(echo("a", f"unix:{path}:mode=600"))
    before = path.stat().st_ino
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *arguments, **more: False)
        event = house.reload(echo("a", f"unix:{path}:mode=660"))
    assert "this user can't write to its directory; restart tcpd" in event.errors[0]
    assert (path.stat().st_ino, house.changes) == (before, [])
    tmp_path.chmod(0o1777)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 54321)
        event = house.reload(echo("a", f"unix:{path}:mode=660"))
    assert "its file is another user's; restart tcpd" in event.errors[0]
    assert (path.stat().st_ino, house.changes) == (before, [])


def test_what_can_not_be_opened_again_after_all_is_said_to_be_lost(house, monkeypatch) -> None:
    number = free_port()
    house.start(echo("a", tcp(number)))

    def refuse(self):
        raise CannotListenError("", number, PermissionError(13, "Permission denied"))

    monkeypatch.setattr(Port, "_bind", refuse)
    with capturedLogs() as logs:
        house.reload(echo("a", f"tcp:{number}"))
    assert house.changes == [("a", f"127.0.0.1:{number}", False)]
    said = [each["log_format"] for each in logs]
    assert not any("nothing has changed" in each for each in said)
    (lost,) = [each["lost"] for each in logs if "lost" in each]
    assert lost == f"127.0.0.1:{number}"
    assert house.messages[-1]["STATUS"].endswith(f"; 127.0.0.1:{number} is closed")


def test_if_one_port_is_in_use_none_is_opened_and_everything_stays(house) -> None:
    house.start(echo("a", tcp(0)) + echo("b", tcp(0)))
    ports = house.ports("a") + house.ports("b")
    free = free_port()
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        event = house.reload(
            echo("a", tcp(0), more='handler = "discard"')
            + echo("c", tcp(0), tcp(free))
            + echo("d", tcp(busy))
        )
        house.reactor.turn()
        assert event.errors == (
            f"listener 'd' cannot listen on 127.0.0.1:{busy}: address already in use",
        )
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert house.changes == []
    assert house.ports("a") + house.ports("b") == ports
    for port in ports:
        assert house.talk(house.connect(number_of(port))) == b"x"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free))


def test_every_problem_is_told_once(house, tmp_path) -> None:
    house.start(echo("a", tcp(0)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        missing = tmp_path / "no" / "s.sock"
        with capturedLogs() as logs:
            event = house.reload(echo("b", tcp(busy)) + echo("c", f"unix:{missing}"))
    assert len(event.errors) == 2
    told = [each["problem"] for each in logs if "problem" in each]
    assert told == list(event.errors)


HANDLER = "handler = '{file}:{name}'\n"
SOURCE = """
from helpers.reload_house import Handler
class One(Handler):
    word = b"one"
class Two(Handler):
    word = b"two"
class Fails(Handler):
    word = b""
    fails = True
"""


@pytest.fixture
def handler(tmp_path):
    """Return a function that gives the `handler` line for a class."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return lambda name: HANDLER.format(file=path, name=name)


@pytest.fixture
def told():
    from helpers.reload_house import Handler

    Handler.told.clear()
    return Handler.told


def test_new_sessions_get_the_new_handler_and_the_old_one_stops_with_its_last(
    house, handler, told
) -> None:
    house.start(echo("a", tcp(0), tcp(0), more=handler("One")))
    number = number_of(house.ports("a")[0])
    early, earlier = house.connect(number), house.connect(number)
    event = house.reload(echo("a", tcp(0), tcp(0), more=handler("Two")))
    assert event.changes == ("listener a: handler changed",)
    assert (house.hear(early), house.hear(house.connect(number))) == (b"one", b"two")
    assert told == ["start", "start"]
    early.close()
    house.reactor.turn(3)
    assert told == ["start", "start"]
    earlier.close()
    house.reactor.turn(3)
    assert told == ["start", "start", "stop"]
    for client in house.clients:
        client.close()
    house.daemon.stopService()
    house.reactor.turn(3)
    assert told == ["start", "start", "stop", "stop"]


def test_a_handler_that_fails_to_start_leaves_the_old_one_in_place(house, handler, told) -> None:
    house.start(echo("a", tcp(0), more=handler("One")))
    event = house.reload(
        echo("a", tcp(0), more=handler("Fails")) + echo("b", tcp(0), more=handler("Two"))
    )
    assert len(event.errors) == 1
    assert "failed to start: RuntimeError: not today" in event.errors[0]
    house.reactor.turn()
    assert told == ["start", "start", "stop"]  # that of b was
    assert house.hear(house.connect(number_of(house.ports("a")[0]))) == b"one"


def test_a_handler_whose_listener_gets_another_address_is_not_stopped(house, handler, told) -> None:
    number = free_port()
    house.start(echo("a", tcp(number), more=handler("One")))
    factory = house.daemon.listeners["a"].serving.factory
    house.reload(echo("a", f"tcp:{number}", more=handler("One")))
    house.reload(echo("a", tcp(0), more=handler("One")))
    house.reactor.turn()
    assert house.daemon.listeners["a"].serving.factory is factory
    assert told == ["start"]
    house.reload(echo("b", tcp(0), more=handler("One")))
    house.reactor.turn()
    assert house.daemon.listeners["b"].serving.factory is factory
    assert told == ["start"]


def test_a_file_of_python_that_has_changed_is_loaded(house, handler, told, tmp_path) -> None:
    house.start(echo("a", tcp(0), more=handler("One")))
    (tmp_path / "mine.py").write_text(SOURCE.replace("one", "eins"))
    event = house.reload()
    assert event.changes == ("listener a: a file that its handler is made of has changed",)
    assert house.hear(house.connect(number_of(house.ports("a")[0]))) == b"eins"
    assert told == ["start", "start", "stop"]
    assert house.reload().changes == ()


def test_limits_count_who_is_there_and_lists_hold_for_newcomers(house) -> None:
    house.start(echo("a", tcp(0)))
    number = number_of(house.ports("a")[0])
    early = house.connect(number)
    event = house.reload(echo("a", tcp(0), more="limits = { sessions = 1 }"))
    assert event.changes == ("listener a: limits.sessions changed",)
    assert house.hear(house.connect(number)) == b""  # refused
    assert house.talk(early) == b"x"
    house.reload(echo("a", tcp(0), more='access = { deny = ["127.0.0.0/8"] }'))
    assert house.hear(house.connect(number)) == b""
    assert house.talk(early) == b"x"
    house.reload(echo("a", tcp(0)))
    assert house.talk(house.connect(number)) == b"x"


@pytest.mark.parametrize("kept", [True, False])
def test_a_listener_that_gets_another_name_goes_on_counting(house, kept) -> None:
    limits = "limits = { sessions = 2, per_address = 1 }"
    numbers = [free_port(), free_port()]
    house.start(echo("a", *map(tcp, numbers), more=limits))
    early = house.connect(numbers[0])
    gate = house.daemon.listeners["a"].serving.gate
    house.reload(echo("b", *map(tcp, numbers if kept else numbers[:1]), more=limits))
    renamed = house.daemon.listeners["b"].serving.gate
    assert renamed.open == (1 if kept else 0)
    assert (renamed is gate) is kept
    assert house.talk(early) == b"x"
    early.close()
    house.reactor.turn(3)
    assert renamed.open == 0
    assert house.talk(house.connect(numbers[0])) == b"x"
    assert renamed.open == 1


def test_a_full_listener_that_waits_holds_the_ports_that_it_gets(house) -> None:
    full = 'limits = { sessions = 1, at_limit = "wait" }'
    house.start(echo("a", tcp(0), more=full))
    early = house.connect(number_of(house.ports("a")[0]))
    house.reload(echo("a", tcp(0), tcp(0), more=full))
    late = house.connect(number_of(house.ports("a")[1]))
    assert house.talk(late) is None
    early.close()
    house.reactor.turn(6)
    assert house.hear(late) == b"x"


TRUSTED = 'proxy = { trusted = ["127.0.0.1"] }'
HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n"


def test_a_proxy_may_come_and_go_before_an_open_socket(house) -> None:
    house.start(echo("a", tcp(0)))
    (port,) = house.ports("a")
    number = number_of(port)
    early = house.connect(number)
    event = house.reload(echo("a", tcp(0), tcp(0), more=TRUSTED))
    assert event.changes == ("listener a: listen and proxy changed",)
    for each in house.ports("a"):
        behind = house.connect(number_of(each))
        assert house.talk(behind, HEADER + b"x") == b"x"
    assert house.talk(early) == b"x"
    house.reload(echo("a", tcp(0)))
    assert house.talk(house.connect(number)) == b"x"
    house.reload(echo("b", tcp(0), more=TRUSTED))
    assert house.talk(house.connect(number), HEADER + b"x") == b"x"
    house.reload(echo("c", tcp(0)))
    assert house.talk(house.connect(number)) == b"x"


def test_deadlines_hold_for_sessions_to_come(house) -> None:
    house.start(echo("a", tcp(0)))
    number = number_of(house.ports("a")[0])
    early = house.connect(number)
    event = house.reload(echo("a", tcp(0), more="deadlines = { lifetime = '5s' }"))
    assert event.changes == ("listener a: deadlines.lifetime changed",)
    late = house.connect(number)
    for _ in range(30):
        house.reactor.advance(0.5)
        house.reactor.turn()
    assert (house.hear(early), house.hear(late)) == (None, b"")


def test_a_listener_that_is_gone_is_swept_until_its_sessions_are(house) -> None:
    lifetime = "deadlines = { lifetime = '5s' }"
    house.start(echo("a", tcp(0), more=lifetime))
    client = house.connect(number_of(house.ports("a")[0]))
    house.reload(echo("b", tcp(free_port())))
    for _ in range(30):
        house.reactor.advance(0.5)
        house.reactor.turn()
    assert house.hear(client) == b""
    assert house.daemon.roster._departing == []


# -- TLS -------------------------------------------------------------------------------------


def issue(authority, path):
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)


def handshake(house, authority, number):
    """Shake hands and return the connection and the server's certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    inner = socket.create_connection(("127.0.0.1", number))
    inner.setblocking(False)
    client = context.wrap_socket(inner, server_hostname="127.0.0.1", do_handshake_on_connect=False)
    house.clients.append(client)
    for _ in range(20):
        try:
            client.do_handshake()
            break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            house.reactor.turn(2)
    return client, client.getpeercert(binary_form=True)


def tls_talk(house, client):
    client.send(b"x")
    house.reactor.turn(3)
    return client.recv(100)


def test_certificates_are_read_again_and_sessions_do_not_notice(house, tmp_path) -> None:
    authority = trustme.CA()
    issue(authority, tmp_path / "a.pem")
    house.start(echo("a", tcp(0), more="tls = { certificate = 'a.pem' }"))
    number = number_of(house.ports("a")[0])
    early, before = handshake(house, authority, number)
    assert house.reload().changes == ()
    issue(authority, tmp_path / "a.pem")
    event = house.reload()
    assert event.changes == ("listener a: the files of its TLS have changed",)
    _, after = handshake(house, authority, number)
    assert before != after
    assert tls_talk(house, early) == b"x"


def test_an_endpoint_strings_own_certificate_is_read_again(house, tmp_path) -> None:
    authority = trustme.CA()
    path = tmp_path / "a.pem"
    issue(authority, path)
    house.start(echo("a", f"ssl:0:privateKey={path}:{LOOPBACK}"))
    number = number_of(house.ports("a")[0])
    _, before = handshake(house, authority, number)
    issue(authority, path)
    house.reload()
    assert handshake(house, authority, number)[1] != before


def test_tls_is_switched_on_and_off_on_an_open_socket(house, tmp_path) -> None:
    authority = trustme.CA()
    issue(authority, tmp_path / "a.pem")
    secure = echo("a", tcp(0), more="tls = { certificate = 'a.pem' }")
    house.start(echo("a", tcp(0)))
    (port,) = house.ports("a")
    plain = house.connect(number_of(port))
    house.reload(secure)
    early, _ = handshake(house, authority, number_of(port))
    assert tls_talk(house, early) == b"x"
    assert house.talk(plain) == b"x"
    house.reload(echo("a", tcp(0)))
    assert house.talk(house.connect(number_of(port))) == b"x"
    assert tls_talk(house, early) == b"x"
    assert house.ports("a") == [port]


def test_a_certificate_that_is_wrong_refuses_the_reload(house, tmp_path) -> None:
    authority = trustme.CA()
    issue(authority, tmp_path / "a.pem")
    house.start(echo("a", tcp(0), more="tls = { certificate = 'a.pem' }"))
    number = number_of(house.ports("a")[0])
    (tmp_path / "a.pem").write_text("no certificate")
    event = house.reload()
    assert len(event.errors) == 1
    assert "certificate" in event.errors[0]
    assert tls_talk(house, handshake(house, authority, number)[0]) == b"x"


# -- what isn't a port of ours ---------------------------------------------------------------


def test_a_broken_port_is_opened_anew(house) -> None:
    number = free_port()
    house.start(echo("a", tcp(number)))
    (port,) = house.ports("a")
    port.stopReading()
    port.connectionLost(None)  # as after an error of accept(2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))
    house.reload()
    assert house.ports("a") != [port]
    assert house.talk(house.connect(number)) == b"x"


def test_what_takes_privileges_that_are_gone_says_so(house, monkeypatch) -> None:
    house.start(echo("a", tcp(0)))

    def refuse(self):
        from twisted.internet.error import CannotListenError

        raise CannotListenError("", 80, PermissionError(13, "Permission denied"))

    monkeypatch.setattr(Port, "_bind", refuse)
    monkeypatch.setattr("tcpd.plain_errors._first_free_port", lambda: 1024)
    text = echo("a", tcp(0)) + echo("b", tcp(80))
    (error,) = house.reload(text).errors
    assert error.endswith("ports below 1024 need root or the capability CAP_NET_BIND_SERVICE")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert (
        house.reload(text)
        .errors[0]
        .endswith("; tcpd gave up its privileges when it started, so this takes a restart")
    )
