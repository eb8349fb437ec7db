"""Ports: who is accepted, when, and what each error of accept(2) does; sockets in files."""

import errno
import fcntl
import os
import socket
import stat
from contextlib import ExitStack
from unittest import mock

import pytest
from helpers.net_loop import HandReactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

from tcpd.errors import TcpdError
from tcpd.net.acceptor import Acceptor
from tcpd.net.lingering import lingering_on
from tcpd.net.network import Network
from tcpd.net.port import BATCH, STARVED_RETRY


class Quiet(Factory):
    protocol = Protocol
    noisy = False


class Place:
    """Counts how often it is left."""

    def __init__(self):
        self.left = 0

    def leave(self):
        self.left += 1


class Gate:
    """An acceptor that notes what it is asked."""

    def __init__(self, *, admits=True, fails=False):
        self.admitting = admits
        self.fails = fails
        self.asked = []
        self.accepted = []
        self.gone = []
        self.places = []
        self.accept_failures = []

    def doStart(self):
        pass

    def doStop(self):
        pass

    def admits(self, address):
        self.asked.append(address)
        if not self.admitting:
            return None
        self.places.append(Place())
        return self.places[-1]

    def accept_failed(self, reason):
        self.accept_failures.append(reason)

    def arriving(self, transport):
        pass

    def identified(self, transport):
        return True

    def accept(self, transport):
        if self.fails:
            raise RuntimeError("accept fails")
        transport.protocol = Protocol()
        transport.protocol.makeConnection(transport)
        self.accepted.append(transport)

    def abandoned(self, transport, reason):
        self.gone.append((transport.close_cause, transport.getPeer()))


@pytest.fixture
def reactor():
    reactor = HandReactor()
    yield reactor
    reactor.close()


def listen(reactor, factory, **settings):
    return Network(reactor).listenTCP(0, factory, interface="127.0.0.1", **settings)


def connect(port):
    return socket.create_connection(("127.0.0.1", port.getHost().port))


def test_an_acceptor_is_asked_before_anything_is_built(reactor):
    gate = Gate()
    assert isinstance(gate, Acceptor)
    port = listen(reactor, gate)
    with connect(port) as client:
        reactor.turn()
        assert gate.asked == [IPv4Address("TCP", *client.getsockname())]
        assert gate.accepted[0].getPeer() == gate.asked[0]


def test_who_is_not_admitted_costs_nothing_but_a_close(reactor):
    gate = Gate(admits=False)
    port = listen(reactor, gate)
    with connect(port) as client:
        reactor.turn()
        assert client.recv(1) == b""
    assert not gate.accepted
    assert reactor.readers == [port]


def test_an_acceptor_that_fails_before_its_session_hears_that_it_is_over(reactor):
    gate = Gate(fails=True)
    port = listen(reactor, gate)
    with mock.patch("tcpd.net.transport.StreamTransport.log") as log, connect(port):
        reactor.turn()
        assert log.failure.call_count == 1
    assert [cause for cause, _ in gate.gone] == ["handler-failed"]
    assert reactor.readers == [port]


def test_a_factory_of_twisteds_that_refuses_or_fails_harms_only_its_connection(reactor):
    factory = Quiet()
    port = listen(reactor, factory)
    factory.buildProtocol = mock.Mock(side_effect=[None, RuntimeError, Protocol()])
    with connect(port) as refused, connect(port) as failed, connect(port):
        with mock.patch("tcpd.net.port.Port.log") as log:
            reactor.turn(3)
        assert log.failure.call_count == 1
        assert refused.recv(1) == failed.recv(1) == b""
        assert len(reactor.readers) == 2


def test_reasons_to_hold_back_count_once_each(reactor):
    port = listen(reactor, Quiet())
    port.hold("sessions")
    port.hold("sessions")
    port.hold("memory")
    assert port not in reactor.readers
    port.release("sessions")
    assert port not in reactor.readers
    port.release("memory")
    assert port in reactor.readers


def test_a_hold_in_the_midst_of_a_batch_stops_it(reactor):
    gate = Gate()
    port = listen(reactor, gate)
    gate.admits = lambda address: port.hold("cap") or Place()
    with connect(port), connect(port):
        reactor.turn(3)
        assert len(gate.accepted) == 1


class Accepting:
    """A listening socket whose accept says what the test wants."""

    def __init__(self, real, *results):
        self.results = list(results)
        self.calls = 0
        self.real = real

    def accept(self):
        self.calls += 1
        if not self.results:
            raise BlockingIOError
        result = self.results.pop(0)
        if isinstance(result, int):
            raise OSError(result, os.strerror(result))
        return result

    def __getattr__(self, name):
        return getattr(self.real, name)


def faked(port, *results):
    port.socket = Accepting(port.socket, *results)
    return port.socket


@pytest.mark.parametrize(
    "code",
    [
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ETIMEDOUT,
    ],
)
def test_a_connection_that_failed_is_passed_over(reactor, code):
    port = listen(reactor, Quiet())
    accepting = faked(port, code, code)
    assert port.doRead() is None
    assert accepting.calls == 3


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_out_of_descriptors_it_waits_and_says_so_once(reactor, code):
    port = listen(reactor, Quiet())
    faked(port, *[code] * 20)
    with mock.patch("tcpd.net.port.Port.log") as log:
        for _ in range(20):
            port.doRead()
            assert port not in reactor.readers
            reactor.advance(STARVED_RETRY)
            assert port in reactor.readers
    assert log.warn.call_count == 1


def test_what_accepting_fails_at_is_told_to_the_acceptor(reactor):
    gate = Gate()
    port = listen(reactor, gate)
    faked(port, errno.ECONNABORTED, errno.EPERM, errno.EMFILE)
    port.doRead()
    assert gate.accept_failures == ["failed", "failed", "starved"]
    port.stopListening()


def test_a_released_descriptor_ends_the_wait_at_once(reactor):
    gate = Gate()
    port = listen(reactor, gate)
    with connect(port):
        reactor.turn()
        real = port.socket
        faked(port, errno.EMFILE)
        port.doRead()
        assert port not in reactor.readers
        port.socket = real
        gate.accepted[0].abortConnection()
        reactor.turn()
        assert port in reactor.readers
    assert not reactor.getDelayedCalls()


def test_out_of_descriptors_those_that_linger_make_room(reactor):
    gate = Gate()
    port = listen(reactor, gate)
    with connect(port) as lingering:
        lingering.send(b"never read")
        reactor.turn()
        gate.accepted[0].stopReading()
        gate.accepted[0].loseConnection()
        reactor.turn()
        assert len(lingering_on(reactor)) == 1
        assert gate.places[0].left == 0
        with connect(port):
            faked(port, errno.EMFILE)
            port.doRead()
        assert len(lingering_on(reactor)) == 0
        assert gate.places[0].left == 1
        assert gate.accept_failures == []
        assert port in reactor.readers  # it hasn't stopped to accept
    reactor.turn()


@pytest.mark.parametrize("code", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
def test_a_broken_listening_socket_closes_its_port(reactor, code):
    port = listen(reactor, Quiet())
    faked(port, code)
    with mock.patch("tcpd.net.port.Port.log") as log:
        why = port.doRead()
    assert why.errno == code
    assert log.critical.call_count == 1


def test_a_batch_has_an_end(reactor):
    port = listen(reactor, Quiet())
    accepting = faked(port, *[errno.ECONNABORTED] * 3)
    assert port._batch == BATCH
    port.doRead()
    assert accepting.calls == 4
    assert port._batch == 1  # nobody came: the next one alone is asked for
    accepting.results = []
    port.doRead()
    assert port._batch == 1


def test_a_factory_may_want_fewer_at_once(reactor):
    factory = Quiet()
    factory.most_at_once = 2
    port = listen(reactor, factory)
    clients = [connect(port) for _ in range(5)]
    welcomed = []
    port._welcome = lambda sock, address: (welcomed.append(address), sock.close())
    for count in (2, 4, 5):
        port.doRead()
        assert len(welcomed) == count
    assert len(clients) == 5


def test_stopping_leaves_no_timer_and_no_reader(reactor):
    port = listen(reactor, Quiet())
    faked(port, errno.EMFILE)
    port.doRead()
    stopped = []
    port.stopListening().addCallback(stopped.append)
    reactor.advance(0)
    assert stopped
    assert not reactor.getDelayedCalls()
    assert not reactor.readers


def test_an_address_in_use_is_an_error_with_its_name(reactor):
    port = listen(reactor, Quiet())
    with pytest.raises(CannotListenError, match=str(port.getHost().port)):
        Network(reactor).listenTCP(port.getHost().port, Quiet(), interface="127.0.0.1")


def test_a_port_knows_its_own_address_by_every_name_and_remembers_a_few(reactor, monkeypatch):
    monkeypatch.setattr("tcpd.net.sockets.MOST_HOSTS", 2)
    gate = Gate()
    port = Network(reactor).listenTCP(0, gate)
    number = port.getHost().port
    names = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(socket.create_connection((name, number)))
        reactor.turn(4)
        hosts = [transport.getHost() for transport in gate.accepted]
    assert hosts == [IPv4Address("TCP", name, number) for name in names]
    assert hosts[0] is hosts[3]
    assert set(port.hosts) == {("127.0.0.1", number), ("127.0.0.2", number)}


@pytest.mark.parametrize("name", ["127.0.0.2", "::1"])
def test_of_a_port_bound_to_one_address_the_kernel_is_not_asked(reactor, name):
    gate = Gate()
    port = Network(reactor).listenTCP(0, gate, interface=name)
    with socket.create_connection((name, port.getHost().port)):
        reactor.turn(2)
        (transport,) = gate.accepted
        host = transport.getHost()
        assert host is port.hosts[None]
        assert (host.host, host.port) == transport.socket.getsockname()[:2]


@pytest.mark.parametrize("name", ["127.0.0.2", "::1"])
def test_a_transparent_proxy_s_port_has_no_one_address(reactor, name, monkeypatch):
    asked = []

    def getsockopt(self, level, option, *size):
        asked.append((level, option))
        return 1

    monkeypatch.setattr("tcpd.net.listening_socket.ListeningSocket.getsockopt", getsockopt)
    port = Network(reactor).listenTCP(0, Gate(), interface=name)
    assert port.hosts == {}
    assert asked == [(0, 19) if "." in name else (41, 75)]  # <linux/in.h>, <linux/in6.h>


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_what_is_accepted_is_a_plain_socket_with_the_ports_options(reactor, family):
    gate = Gate()
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    port = Network(reactor).listenTCP(0, gate, interface=host)
    with port.socket.dup() as copy:
        assert (copy.family, copy.type) == (family, socket.SOCK_STREAM)
    with socket.create_connection((host, port.getHost().port)):
        reactor.turn()
        accepted = gate.accepted[0].socket
        assert type(accepted) is socket.socket
        assert (accepted.family, accepted.type) == (family, socket.SOCK_STREAM)
        assert not accepted.getblocking()
        assert not accepted.get_inheritable()
        for level, option in [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        ]:
            asked = port.socket.getsockopt(level, option)
            assert accepted.getsockopt(level, option) == asked != 0


class Unready(Quiet):
    def startFactory(self):
        raise RuntimeError("not today")


def test_a_factory_that_fails_at_the_start_leaves_no_socket_open(reactor):
    with socket.create_server(("127.0.0.1", 0)) as lender:
        number = lender.getsockname()[1]
    with pytest.raises(RuntimeError, match="not today") as kept:
        Network(reactor).listenTCP(number, Unready(), interface="127.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number))
    assert kept  # so that no garbage collector has closed the socket for us
    assert not reactor.readers


def test_a_factory_that_fails_at_the_start_leaves_no_file_and_no_lock(reactor, tmp_path):
    with pytest.raises(RuntimeError, match="not today"):
        Network(reactor).listenUNIX(str(tmp_path / "s"), Unready(), wantPID=True)
    assert os.listdir(tmp_path) == []


def test_a_socket_that_was_handed_to_us_is_only_left_by_a_factory_that_fails(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "s"))
        given.listen()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(RuntimeError, match="not today") as kept:
            Network(reactor).adoptStreamPort(given.fileno(), socket.AF_UNIX, Unready())
        assert len(os.listdir("/proc/self/fd")) == before
        assert kept  # as above
    assert (tmp_path / "s").exists()


def test_twisteds_default_backlog_is_made_longer(reactor):
    with mock.patch("tcpd.net.network.Port") as kind:
        network = Network(reactor)
        network.listenTCP(0, Quiet(), 50)
        network.listenTCP(0, Quiet(), 7)
    assert [call.args[2] for call in kind.call_args_list] == [4096, 7]


# -- sockets in files ------------------------------------------------------------------------


def listen_unix(reactor, path, **settings):
    return Network(reactor).listenUNIX(str(path), Quiet(), **settings)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_sockets_file_has_its_mode_whatever_the_umask(reactor, tmp_path, mode):
    before = os.umask(0o077)
    try:
        listen_unix(reactor, tmp_path / "s", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == mode


def test_a_sockets_file_is_never_wider_than_its_mode(reactor, tmp_path):
    before = os.umask(0)
    try:
        with mock.patch("os.chmod"):  # the moment before it
            listen_unix(reactor, tmp_path / "s", mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600


def test_a_socket_that_nobody_listens_to_is_taken_over(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
        dead.listen()
    listen_unix(reactor, tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_a_pid_in_the_lock_says_nothing_of_a_socket_that_nobody_listens_to(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
        dead.listen()
    os.symlink(str(os.getpid()), tmp_path / "s.lock")  # as of pid 1 in a container
    port = listen_unix(reactor, tmp_path / "s", wantPID=True)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    assert os.readlink(tmp_path / "s.lock") == str(os.getpid())
    port.stopListening()
    reactor.advance(0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("pid", [1, os.getppid()])
def test_a_lock_without_its_socket_blocks_nobody(reactor, tmp_path, pid):
    os.symlink(str(pid), tmp_path / "s.lock")
    listen_unix(reactor, tmp_path / "s", wantPID=True)
    assert os.readlink(tmp_path / "s.lock") == str(os.getpid())


def test_what_is_no_lock_stays_and_blocks_nobody(reactor, tmp_path):
    (tmp_path / "a.lock").write_text("precious")
    os.symlink("elsewhere", tmp_path / "b.lock")
    for name in "ab":
        port = listen_unix(reactor, tmp_path / name, wantPID=True)
        port.stopListening()
        reactor.advance(0)
    assert sorted(os.listdir(tmp_path)) == ["a.lock", "b.lock"]
    assert (tmp_path / "a.lock").read_text() == "precious"
    assert os.readlink(tmp_path / "b.lock") == "elsewhere"


def test_a_live_daemon_keeps_its_socket_and_its_lock(reactor, tmp_path):
    listen_unix(reactor, tmp_path / "s", wantPID=True)
    before = (tmp_path / "s").stat().st_ino
    with pytest.raises(CannotListenError, match=f"it is in use by process {os.getpid()}"):
        listen_unix(reactor, tmp_path / "s", wantPID=True)
    assert sorted(os.listdir(tmp_path)) == ["s", "s.lock"]
    assert (tmp_path / "s").stat().st_ino == before


def test_anothers_lock_stays_with_anothers_socket(reactor, tmp_path):
    port = listen_unix(reactor, tmp_path / "s", wantPID=True)
    os.unlink(tmp_path / "s")
    (tmp_path / "s").write_text("somebody else's")
    port.stopListening()
    reactor.advance(0)
    assert sorted(os.listdir(tmp_path)) == ["s", "s.lock"]


def swapped_in(other):
    """Have another file put in a socket's place once it is bound, as a directory's owner can."""

    def binds(sock, path):
        socket_bind(sock, path)
        os.unlink(path)
        os.rename(other, path)

    socket_bind = socket.socket.bind
    return mock.patch.object(socket.socket, "bind", binds)


def test_no_symbolic_link_in_the_sockets_place_is_followed(reactor, tmp_path):
    (tmp_path / "victim").write_text("secret")
    (tmp_path / "victim").chmod(0o600)
    os.symlink(tmp_path / "victim", tmp_path / "link")
    with swapped_in(tmp_path / "link"):
        with pytest.raises(CannotListenError, match="another program has removed it, or put its"):
            listen_unix(reactor, tmp_path / "s", mode=0o666)
    assert stat.S_IMODE((tmp_path / "victim").stat().st_mode) == 0o600
    assert (tmp_path / "s").is_symlink()


def test_a_socket_of_somebody_else_in_its_place_keeps_its_mode(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "alive"))
        alive.listen()
        (tmp_path / "alive").chmod(0o600)
        with swapped_in(tmp_path / "alive"):
            with pytest.raises(CannotListenError, match="another program"):
                listen_unix(reactor, tmp_path / "s", mode=0o666)
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


@pytest.mark.parametrize("moment", ["bind", "listen"])
@pytest.mark.parametrize("left", [["s"], []])
def test_who_loses_the_socket_while_it_is_made_says_so(reactor, tmp_path, moment, left):
    def loses_it(sock, argument):
        before(sock, argument)
        os.unlink(tmp_path / "s")
        for name in left:
            (tmp_path / name).write_text("the winner's")

    before = getattr(socket.socket, moment)
    with mock.patch.object(socket.socket, moment, loses_it):
        with pytest.raises(CannotListenError, match="only one can serve there"):
            listen_unix(reactor, tmp_path / "s")
    assert os.listdir(tmp_path) == left


def test_what_has_taken_a_dead_sockets_place_by_then_is_left_alone(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))

    def loses_it(path):
        os.rename(path, tmp_path / "kept")  # lest its number is given to the next
        (tmp_path / "s").write_text("the winner's")

    with mock.patch("tcpd.net.unix_port.user_of", loses_it):
        with pytest.raises(CannotListenError):
            listen_unix(reactor, tmp_path / "s")
    assert (tmp_path / "s").read_text() == "the winner's"


def test_a_directorys_lock_hinders_nobody_and_keeps_nobody_waiting(reactor, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        listen_unix(reactor, tmp_path / "s")
    finally:
        os.close(directory)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_a_socket_in_use_is_left_alone(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "s"))
        alive.listen()
        with pytest.raises(CannotListenError, match=f"it is in use by process {os.getpid()}"):
            listen_unix(reactor, tmp_path / "s")
    assert (tmp_path / "s").exists()


def test_of_an_abstract_name_in_use_it_says_who_uses_it(reactor, tmp_path):
    name = f"\0{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(name)
        alive.listen()
        with pytest.raises(CannotListenError, match=f"it is in use by process {os.getpid()}"):
            listen_unix(reactor, name)


def test_a_file_that_goes_away_amid_it_is_in_nobodys_way(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))

    def goes(path):
        os.unlink(path)
        raise FileNotFoundError

    with mock.patch("tcpd.net.unix_port.user_of", goes):
        listen_unix(reactor, tmp_path / "s")
    assert stat.S_ISSOCK(os.lstat(tmp_path / "s").st_mode)


def test_a_file_that_is_no_socket_is_left_alone(reactor, tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(CannotListenError, match="there is a file that isn't a socket; remove it"):
        listen_unix(reactor, tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_the_file_goes_with_its_port(reactor, tmp_path):
    port = listen_unix(reactor, tmp_path / "s", wantPID=True)
    port.stopListening()
    reactor.advance(0)
    assert os.listdir(tmp_path) == []


def test_a_file_that_somebody_else_has_put_there_stays(reactor, tmp_path):
    port = listen_unix(reactor, tmp_path / "s")
    os.unlink(tmp_path / "s")
    (tmp_path / "s").write_text("somebody else's")
    port.stopListening()
    reactor.advance(0)
    assert (tmp_path / "s").read_text() == "somebody else's"


def test_a_socket_that_was_handed_to_us_keeps_its_file(reactor, tmp_path):
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "s"))
        given.listen()
        port = Network(reactor).adoptStreamPort(given.fileno(), socket.AF_UNIX, Quiet())
        port.stopListening()
        reactor.advance(0)
    assert (tmp_path / "s").exists()


def test_an_abstract_address_has_no_file(reactor):
    name = f"\0tcpd-test-{os.getpid()}"
    port = listen_unix(reactor, name)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
    assert repr(port).startswith("<unix port @tcpd-test-")


# -- handing on ------------------------------------------------------------------------------


def test_a_successor_serves_the_same_socket_and_nobody_is_turned_away(reactor):
    old, new = Gate(), Gate()
    port = listen(reactor, old)
    clients = [connect(port)]
    heir = port.successor(new)
    clients.append(connect(port))
    assert heir.getHost() == port.getHost()
    port.bequeath(heir)
    port.stopListening()
    clients.append(connect(heir))
    reactor.turn(3)
    clients.append(connect(heir))
    reactor.turn(3)
    assert (len(old.accepted), len(new.accepted)) == (0, 4)
    for client in clients:
        client.close()


def test_a_successor_that_comes_to_nothing_leaves_the_port_as_it_was(reactor):
    old = Gate()
    port = listen(reactor, old)
    heir = port.successor(Gate())
    heir.stopListening()
    with connect(port):
        reactor.turn(3)
    assert len(old.accepted) == 1


def test_a_factory_that_fails_at_the_start_becomes_no_successor(reactor):
    port = listen(reactor, Gate())
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="not today"):
        port.successor(Unready())
    assert len(os.listdir("/proc/self/fd")) == before
    assert port.connected


def test_a_sockets_file_and_lock_go_with_the_successor(reactor, tmp_path):
    port = listen_unix(reactor, tmp_path / "s", wantPID=True)
    heir = port.successor(Quiet())
    port.bequeath(heir)
    port.stopListening()
    reactor.advance(0)
    assert sorted(os.listdir(tmp_path)) == ["s", "s.lock"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    heir.stopListening()
    reactor.advance(0)
    assert os.listdir(tmp_path) == []


def test_who_waits_in_the_backlog_is_accepted_before_a_port_closes(reactor):
    gate = Gate()
    port = listen(reactor, gate)
    with connect(port), connect(port):
        port.accept_waiting()
        assert len(gate.accepted) == 2


def test_who_waits_at_a_successor_is_accepted_too(reactor):
    gate = Gate()
    heir = listen(reactor, Gate()).successor(gate)
    with connect(heir):
        heir.accept_waiting()
        assert len(gate.accepted) == 1


@pytest.mark.parametrize("held", [False, True])
def test_all_who_wait_are_accepted_before_a_port_closes_however_many(reactor, held):
    gate = Gate(admits=False)  # so that nobody keeps a descriptor of ours
    port = listen(reactor, gate)
    with ExitStack() as clients:
        for _ in range(BATCH + 10):
            clients.enter_context(connect(port))
        if held:
            port.hold("full")
        port.accept_waiting()
        assert len(gate.asked) == BATCH + 10
    with connect(port):  # and held it stays
        port.doRead()
        assert len(gate.asked) == BATCH + 10 + (not held)


def test_tls_can_be_switched_off_again(reactor):
    port = listen(reactor, Gate())
    plain = port.server_class
    port.secure(mock.Mock())
    assert port.server_class is not plain
    port.secure(None)
    assert (port.server_class, port.tls) == (plain, None)


# -- the facade ------------------------------------------------------------------------------


def test_a_reactor_that_cannot_watch_descriptors_is_refused():
    from twisted.internet.task import Clock

    with pytest.raises(TcpdError, match="Clock can't watch descriptors"):
        Network(Clock())


def test_the_facade_is_the_reactor_in_all_else(reactor):
    from twisted.internet.interfaces import IReactorFDSet

    network = Network(Network(reactor))
    assert IReactorFDSet.providedBy(network)
    assert network.seconds() == reactor.seconds()
    assert network._real_reactor() is reactor
    with pytest.raises(AttributeError):
        network.no_such_thing  # noqa: B018
