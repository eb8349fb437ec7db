"""Sockets from the service manager: found by name or index, and checked, or refused with why."""

import os
import socket

import pytest
from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface.verify import verifyObject

from tcpd.errors import TcpdError
from tcpd.sd_listen import FIRST, InheritedEndpoint, InheritedSockets, _check

PID = 4711


def passed(count, names=None, pid=PID):
    environ = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count)}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    return InheritedSockets.from_environment(environ, PID)


def test_names_stand_for_descriptors_in_order():
    assert passed(2, "echo:http").names == ("echo", "http")


def test_sockets_without_names_count_all_the_same():
    assert passed(2).names == ("", "")
    assert passed(2, "echo").names == ("echo", "")
    assert passed(1, "echo:http").names == ("echo",)


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": str(PID)}])
def test_without_the_variables_nothing_was_passed(environ):
    assert InheritedSockets.from_environment(environ, PID).names == ()


def test_what_was_passed_to_another_process_is_not_ours():
    assert passed(1, "echo", pid=PID + 1).names == ()


def test_a_count_that_is_no_number_counts_nothing():
    assert passed("many").names == ()


@pytest.mark.parametrize(
    ("sockets", "name", "index", "problem"),
    [
        (passed(0), "echo", None, "passed no sockets"),
        (passed(0), None, 0, "passed no sockets"),
        (passed(2, "a:b"), "echo", None, r"passed: 0 \(a\), 1 \(b\); the name is FileDescr"),
        (passed(1), "echo", None, "without names .* write index=0 in place of the name"),
        (passed(2, "e:e"), "e", None, "2 sockets have this name; listen on index=0 and index=1"),
        (passed(1, "a\x1b"), None, 1, r"there is no socket 1; .* 0 \(a\\x1b\)"),
    ],
)
def test_a_socket_that_is_not_there_is_refused_with_what_is(sockets, name, index, problem):
    with pytest.raises(TcpdError, match=problem):
        sockets.find("INET", name=name, index=index)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_listening_socket_of_the_family_is_right(listening):
    _check(listening.fileno(), "INET")


def test_another_family_is_named(listening):
    with pytest.raises(TcpdError, match=r"family INET, not INET6; write systemd:domain=INET$"):
        _check(listening.fileno(), "INET6")


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as plain, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for each in (plain, datagrams):
            with pytest.raises(TcpdError, match=r"not a listening stream socket.*Accept=no"):
                _check(each.fileno(), "INET")


def test_what_is_no_socket_is_refused():
    reading, writing = os.pipe()
    with (
        os.fdopen(reading),
        os.fdopen(writing, "wb"),
        pytest.raises(TcpdError, match="isn't a socket"),
    ):
        _check(reading, "INET")


class Adopting:
    def __init__(self):
        self.adopted = []

    def adoptStreamPort(self, descriptor, family, factory):
        self.adopted.append((descriptor, family))
        return "port"


def endpoint_on(listening, options, names):
    """Have a socket be the one that `names` says, as if it had been passed."""
    reactor = Adopting()
    sockets = InheritedSockets(names=("",) * (listening.fileno() - FIRST) + names)
    return reactor, InheritedEndpoint(reactor, sockets, options)


def test_the_endpoint_adopts_the_socket_and_may_do_so_again(listening):
    reactor, endpoint = endpoint_on(listening, {"domain": "INET", "name": "echo"}, ("echo",))
    verifyObject(IStreamServerEndpoint, endpoint)
    opened = []
    endpoint.listen(None).addCallback(opened.append)
    endpoint.listen(None).addCallback(opened.append)
    assert opened == ["port", "port"]
    assert reactor.adopted == [(listening.fileno(), socket.AF_INET)] * 2
    assert not os.get_blocking(listening.fileno())
    assert not os.get_inheritable(listening.fileno())


def test_the_endpoint_fails_only_when_it_is_to_listen(listening):
    reactor, endpoint = endpoint_on(listening, {"domain": "INET", "index": "999"}, ("echo",))
    failures = []
    endpoint.listen(None).addErrback(failures.append)
    assert "there is no socket 999" in failures[0].getErrorMessage()
    assert reactor.adopted == []
