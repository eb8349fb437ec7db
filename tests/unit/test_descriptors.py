"""How many files the process may open, beside how many sessions its listeners allow."""

import resource
from dataclasses import replace

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock

from tcpd.admission.rules import Limits
from tcpd.config.schema import AdminConfig, Config, ListenerConfig
from tcpd.descriptors import ADMIN, BESIDES, make_room
from tcpd.endpoint import ServerEndpoint

FOREVER = resource.RLIM_INFINITY


class Kernel:
    """The process's limit, as getrlimit(2) and setrlimit(2) have it."""

    def __init__(self, monkeypatch) -> None:
        self.limits = (1024, 1024)
        self.refuses = False
        self.calls = 0
        monkeypatch.setattr(resource, "getrlimit", lambda which: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.calls += 1
        if self.refuses:
            raise PermissionError
        self.limits = limits


@pytest.fixture
def kernel(monkeypatch) -> Kernel:
    return Kernel(monkeypatch)


def configured(*caps) -> Config:
    address = (ServerEndpoint.parse("tcp:0"),)
    listeners = {
        f"l{number}": ListenerConfig(listen=address, limits=Limits(sessions=cap))
        for number, cap in enumerate(caps)
    }
    return Config(listeners=listeners)


def room_for(*caps, reactor=None) -> list[str]:
    return list(make_room(configured(*caps), reactor or MemoryReactorClock()))


@pytest.mark.parametrize(
    ("limits", "caps", "then"),
    [
        ((1024, 524288), (10000,), 10001 + BESIDES),  # a shell's limits, our defaults
        ((1024, 524288), (10000, 5000), 15002 + BESIDES),
        ((1024, 524288), (10000, "off"), 524288),
        ((1024, FOREVER), (10000,), 10001 + BESIDES),
        ((1024, FOREVER), ("off",), FOREVER),
        ((1024, 10000), (10000,), 10000),  # it fits, though barely
    ],
)
def test_the_limit_is_raised_as_far_as_needed(limits, caps, then, kernel) -> None:
    kernel.limits = limits
    assert room_for(*caps) == []
    assert kernel.limits == (then, limits[1])


def test_each_address_of_the_admin_side_needs_some(kernel) -> None:
    kernel.limits = (1024, FOREVER)
    admin = AdminConfig(listen=(ServerEndpoint.parse("unix:a"), ServerEndpoint.parse("unix:b")))
    assert list(make_room(replace(configured(10000), admin=admin), MemoryReactorClock())) == []
    assert kernel.limits[0] == 10001 + 2 * ADMIN + BESIDES


@pytest.mark.parametrize("soft", [20000, FOREVER])
def test_the_limit_is_never_lowered(soft, kernel) -> None:
    kernel.limits = (soft, soft)
    assert room_for(10) == []
    assert kernel.calls == 0


def test_what_does_not_fit_is_told(kernel) -> None:
    kernel.limits = (1024, 4096)
    (told,) = room_for(10000, 10000)
    assert told == (
        "listeners allow up to 20000 sessions, but this process may open only 4096 files; raise"
        " LimitNOFILE= (systemd) or 'ulimit -Hn' (shell), or lower limits.sessions"
    )
    assert kernel.limits == (4096, 4096)


def test_a_limit_that_may_not_be_raised_is_told_as_it_is(kernel) -> None:
    kernel.limits = (1024, 4096)
    kernel.refuses = True
    (told,) = room_for(2000)
    assert "may open only 1024 files" in told


def test_the_select_reactor_is_left_alone(kernel) -> None:
    kernel.limits = (512, 4096)
    reactor = SelectReactor.__new__(SelectReactor)
    assert room_for(100, reactor=reactor) == []
    (told,) = room_for(2000, reactor=reactor)
    assert told == (
        "listeners allow up to 2000 sessions, but the select reactor can watch only 1024 files;"
        " choose another, or lower limits.sessions"
    )
    assert kernel.calls == 0


def test_without_a_cap_there_is_nothing_to_tell(kernel) -> None:
    kernel.limits = (64, 64)
    assert room_for("off") == []
