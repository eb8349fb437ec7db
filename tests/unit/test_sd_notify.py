"""What the service manager is told, and when its watchdog wants to be fed."""

import os

import pytest
from helpers.service_manager import Manager
from twisted.logger import globalLogPublisher

from tcpd.sd_notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = tmp_path / "notify" if request.param == "path" else f"@tcpd-test-{os.getpid()}"
    with Manager(address) as manager:
        yield manager


@pytest.fixture
def events():
    caught = []
    globalLogPublisher.addObserver(caught.append)
    yield caught
    globalLogPublisher.removeObserver(caught.append)


def test_a_state_is_one_message_with_a_line_for_each_key(manager):
    ServiceManager(manager.environ).notify(READY="1", STATUS="serving, 2 listeners")
    assert manager.receive() == {"READY": "1", "STATUS": "serving, 2 listeners"}
    assert not manager.pending()


def test_a_line_break_in_a_state_can_not_begin_another_key(manager):
    ServiceManager(manager.environ).notify(STATUS="a\nSTOPPING=1\rb\0c")
    assert manager.receive() == {"STATUS": r"a\nSTOPPING=1\rb\0c"}


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_service_manager_nothing_is_said(environ, events):
    ServiceManager(environ).notify(READY="1")
    assert events == []


@pytest.mark.parametrize("address", ["gone", "@tcpd-test-nobody", "/" + "x" * 200])
def test_a_manager_that_can_not_be_told_is_a_warning_and_no_error(address, events, tmp_path):
    if address == "gone":
        address = str(tmp_path / address)
    ServiceManager({"NOTIFY_SOCKET": address}).notify(READY="1")
    (event,) = events
    assert event["log_level"].name == "warn"
    assert "can't tell the service manager" in event["log_format"]


def test_a_manager_that_does_not_read_never_stops_us(manager, events):
    service = ServiceManager(manager.environ)
    for _ in range(10_000):  # Linux keeps some for a slow reader: net.unix.max_dgram_qlen
        service.notify(STATUS="x")
        if events:
            break
    assert events, "10000 messages were kept"
    assert manager.receive() == {"STATUS": "x"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ, interval):
    assert ServiceManager(environ).watchdog_interval == interval
