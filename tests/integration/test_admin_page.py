"""The status page in headless Chromium, on the real daemon."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers.browser import MISSING, Browser
from helpers.daemon import Daemon, tcpd
from helpers.reload_house import free_port

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

TOKEN = "0123456789abcdef0123456789abcdef"
EVIL = b"<script>document.title='stolen'</script><img src=x onerror=alert(1)>\x1b[2J\xe2\x80\xae"
HANDLER = '''
from twisted.internet.protocol import Factory, Protocol


class Telling(Protocol):
    def dataReceived(self, data):
        self.factory_session.emit("heard", words=data.decode("utf-8", "replace"))
        self.transport.write(data)


class Tell(Factory):
    """Tell what was heard."""

    def buildSession(self, session):
        protocol = Telling()
        protocol.factory_session = session
        return protocol
'''
ROWS = "#sessions tbody tr"
# What sticks out of a box that cuts off or scrolls, or of the window.
STICKS_OUT = """
const found = [];
for (const each of document.querySelectorAll("button, select, input, td, th, dd, li, .pill")) {
  const own = each.getBoundingClientRect();
  if (!each.checkVisibility() || !own.width) continue;
  for (let box = each.parentElement; box; box = box.parentElement) {
    if (getComputedStyle(box).overflowX === "visible" && box !== document.documentElement) continue;
    const whole = box === document.documentElement;
    const there = whole ? { left: 0, right: innerWidth } : box.getBoundingClientRect();
    if (own.right <= there.right + 0.5 && own.left >= there.left - 0.5) continue;
    found.push(`${each.tagName} ${each.textContent}`);
    break;
  }
}
return found;
"""
MANY = """
[listeners.telemetry]
listen = ["tcp:0:interface=127.0.0.1", "unix:telemetry.sock:mode=660"]
handler = "tell.py:Tell"
[connectors.backup-of-the-collector]
connect = "tcp:127.0.0.1:1"
[sinks.events]
kind = "jsonl"
options = { path = "events.jsonl" }
"""
WIDTHS = (360, 768, 1024, 1250, 1300, 1359, 1440, 1701, 1920)


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(shared: Browser) -> Browser:
    """The browser, as it is on a desk by day."""
    shared.look()
    return shared


@contextmanager
def running(directory: Path, port: int = 0, more: str = "") -> Iterator[Daemon]:
    (directory / "tell.py").write_text(HANDLER)
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    (directory / "tcpd.toml").write_text(
        '[listeners.echo]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        '[listeners.tell]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "tell.py:Tell"\n'
        '[connectors.uplink]\nconnect = "tcp:127.0.0.1:1"\n'
        f'[admin]\nlisten = "tcp:{port}:interface=127.0.0.1"\ntoken_file = "token"\n{more}'
    )
    with tcpd("--config", "tcpd.toml", cwd=directory) as daemon:
        daemon.port("admin")
        yield daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def page(browser: Browser, daemon: Daemon) -> Iterator[Browser]:
    """The page, open and live; whoever makes its console complain has failed."""
    browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
    browser.wait(lambda: browser.text("#state") == "running")
    yield browser
    complaints = browser.complaints()
    browser.driver.get("about:blank")
    assert complaints == []


def show_token(page: Browser) -> None:
    """Answer the question for the token, once it is asked."""
    page.wait(lambda: page.one("#ask-token").is_displayed())
    page.one("#token").send_keys(TOKEN)
    page.click("#token-ok")


def open_session(page: Browser) -> None:
    page.wait(lambda: len(page.all(ROWS)) == 1)
    page.click(ROWS)
    page.wait(lambda: "TCP, as the kernel sees it" in page.text("#detail-body"))


def test_it_shows_what_there_is(page: Browser, daemon: Daemon) -> None:
    assert page.texts("#listeners .name") == ["echo", "tell"]
    assert f"127.0.0.1:{daemon.port('echo')}" in page.text("#listeners tbody")
    assert page.texts("#connectors .name") == ["uplink"]
    assert page.text("#none") == "Nobody is connected."
    with daemon.connect("echo") as client:
        client.sendall(b"x" * 5000)
        page.wait(lambda: "4.9 KiB" in page.text(ROWS))
        name = "{}:{}".format(*client.getsockname())
        assert name in page.text(ROWS)
        page.wait(lambda: "session.opened" in page.text("#events"))
        # What it was answered it doesn't read, so its end is a reset.
    page.wait(lambda: "peer-reset after" in page.text("#events"))
    page.wait(lambda: not page.all(ROWS))


def test_it_begins_with_what_has_happened_and_shows_nothing_twice(
    browser: Browser, daemon: Daemon
) -> None:
    def events() -> list[str]:
        return [each for each in browser.texts("#events b") if each != "connector.changed"]

    with daemon.connect("tell") as client:
        client.sendall(b"before")
        client.recv(6)
    browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
    before = ["session.closed", "heard", "session.opened", *["listener.changed"] * 2]
    browser.wait(lambda: events() == before)
    browser.click('#heads [data-key="in"] button')  # opens the stream anew
    with daemon.connect("echo"):
        browser.wait(lambda: len(events()) > len(before))
        assert events() == ["session.opened", *before]
    assert browser.complaints() == []
    browser.driver.get("about:blank")


def test_it_asks_nobody_else_for_anything(page: Browser, daemon: Daemon) -> None:
    script = "return performance.getEntriesByType('resource').map((each) => each.name)"
    found = page.run(script)
    ours = f"http://127.0.0.1:{daemon.port('admin')}/"
    assert len(found) >= 5
    assert [each for each in found if not each.startswith(ours)] == []


def test_sessions_are_sorted_and_filtered_by_the_daemon(page: Browser, daemon: Daemon) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect("echo")) for _ in range(3)]
        for size, client in zip((2000, 9000, 100), clients, strict=True):
            client.sendall(b"x" * size)
        ports = [str(client.getsockname()[1]) for client in clients]

        def order() -> list[str]:
            names = page.texts(f"{ROWS} td.who span:first-child")
            return [each.rpartition(":")[2] for each in names]

        page.wait(lambda: len(order()) == 3)
        page.click('#heads [data-key="in"] button')
        page.wait(lambda: order() == [ports[1], ports[0], ports[2]])
        assert page.one('#heads [data-key="in"]').get_attribute("aria-sort") == "descending"
        page.click('#heads [data-key="in"] button')
        page.wait(lambda: order() == [ports[2], ports[0], ports[1]])
        page.one("#filter").send_keys(f":{ports[0]}")
        page.wait(lambda: order() == [ports[0]])
        page.one("#filter").send_keys("nothing")
        page.wait(lambda: page.text("#none") == "No session fits.")


def test_the_close_button_asks_for_the_token_and_closes(page: Browser, daemon: Daemon) -> None:
    with daemon.connect("echo") as client:
        open_session(page)
        page.click("#do-close")
        show_token(page)
        assert client.recv(1) == b""
        page.wait(lambda: ": operator-closed, after " in page.text("#detail-sub"))
        assert not page.one("#do-close").is_enabled()
    page.wait(lambda: "operator-closed" in page.text("#events"))
    page.forgive("401")
    page.forgive("404")


def test_who_has_no_token_hears_that_it_is_needed(page: Browser, daemon: Daemon) -> None:
    page.click("#reload")
    page.wait(lambda: page.one("#ask-token").is_displayed())
    page.one("#token").send_keys("wrong-token-altogether")
    page.click("#token-ok")
    page.wait(lambda: "no longer, right" in page.text("#token-why"))
    page.wait(lambda: page.one("#ask-token").is_displayed())
    page.click("#ask-token button[value='']")
    page.wait(lambda: "the token is wrong" in page.text("#notice"))
    page.forgive("401")


def test_who_finds_no_free_stream_hears_so_and_may_show_the_token(
    browser: Browser, daemon: Daemon
) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            client = stack.enter_context(daemon.connect("admin"))
            client.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
        browser.wait(lambda: "too many event streams are open: 64 of 64" in browser.text("#link"))
        assert "show the token" in browser.text("#link")
        browser.click("#show-token")
        show_token(browser)
        browser.wait(lambda: browser.text("#state") == "running")
        assert not browser.one("#show-token").is_displayed()
        assert not browser.one("#link").is_displayed()
    browser.forgive("503")
    assert browser.complaints() == []
    browser.driver.get("about:blank")


def test_a_script_that_a_session_sends_is_a_text(page: Browser, daemon: Daemon) -> None:
    with daemon.connect("tell") as client:
        open_session(page)
        page.click("#do-tap")
        show_token(page)
        page.wait(lambda: page.text("#do-tap") == "Stop watching")
        page.wait(lambda: _is_tapped(page, client))
        client.sendall(EVIL)
        text = EVIL.decode().replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
        for way in ("in", "out"):
            page.wait(lambda way=way: text in page.texts(f"#bytes .{way} .text"))
            assert "3c 73 63 72 69 70 74 3e" in "".join(page.texts(f"#bytes .{way} .hex"))
        page.click("#as-text")
        assert page.one("#bytes .text").is_displayed()
        assert not page.one("#bytes .hex").is_displayed()
        page.wait(lambda: "words=<script>" in page.text("#events"))
        assert "\\x1b[2J" in page.text("#events")
        assert len(page.all("script")) == 1
        assert page.all("img[onerror]") == []
        assert "stolen" not in page.driver.title
        page.click("#detail-close")
    page.forgive("401")


def _is_tapped(page: Browser, client: socket.socket) -> bool:
    client.sendall(b"?")
    seen = bool(page.all("#bytes .piece"))
    page.run("document.querySelector('#bytes').replaceChildren()")
    return seen


def test_a_tap_ends_with_its_session(page: Browser, daemon: Daemon) -> None:
    with daemon.connect("echo") as client:
        open_session(page)
        page.click("#do-tap")
        show_token(page)
        page.wait(lambda: _is_tapped(page, client))
    page.wait(lambda: "The session is over: peer-" in page.text("#tap-state"))
    page.wait(lambda: page.text("#do-tap") == "Watch bytes")
    page.wait(lambda: page.text("#detail-sub").startswith("It has ended at "))
    page.forgive("401")
    page.forgive("404")


def test_a_listener_is_suspended_and_resumed(page: Browser, daemon: Daemon) -> None:
    page.click("#listeners tbody tr:first-child .do button")
    show_token(page)
    page.wait(lambda: page.text("#listeners tbody .pill") == "suspended")
    page.click("#listeners tbody tr:first-child .do button")
    page.wait(lambda: page.text("#listeners tbody .pill") == "up")
    page.forgive("401")


def test_a_panel_keeps_what_it_has_and_asks_no_more_when_its_session_has_ended(
    page: Browser, daemon: Daemon
) -> None:
    count = (
        "return performance.getEntriesByType('resource')"
        ".filter((each) => each.name.includes('/api/sessions/')).length"
    )

    def next_snapshot() -> None:
        before = page.text("#facts")  # how long it is up changes each second
        page.wait(lambda: page.text("#facts") != before)

    with daemon.connect("echo") as client:
        client.sendall(b"x" * 5000)
        left = 5000
        while left:
            left -= len(client.recv(left))
        open_session(page)
        before = page.run(count)
        page.wait(lambda: page.run(count) > before)  # while it lasts it is asked for
    page.wait(lambda: ": peer-closed, after " in page.text("#detail-sub"))
    next_snapshot()
    asked = page.run(count)
    for _ in range(3):
        next_snapshot()
    assert page.run(count) == asked
    assert "In5,000 (0)" in page.text("#detail-body")
    assert "Round trip" in page.text("#detail-body")
    page.click("#detail-close")
    page.click("#events li.link-to")  # its end is the newest that is known
    assert ": peer-closed, after " in page.text("#detail-sub")
    assert "In5,000 (0)" in page.text("#detail-body")


def test_a_panel_tells_of_a_connectors_session_that_it_has_never_seen(
    browser: Browser, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        with running(tmp_path, more=f'[connectors.link]\nconnect = "{target}"\n') as daemon:
            server.accept()[0].close()
            server.close()  # so that there is no second one
            browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
            browser.wait(lambda: "session.closed" in browser.text("#events"))
            browser.click("#events li.link-to")
            browser.wait(lambda: ": peer-closed, after " in browser.text("#detail-sub"))
            assert "Connectorlink" in browser.text("#detail-body")
            browser.driver.get("about:blank")


def test_rate_and_sum_are_of_the_same_connections(browser: Browser, tmp_path: Path) -> None:
    def tiles() -> list[str]:
        return browser.texts("#tiles .tile span")[1:3]

    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        target = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        more = f'[connectors.link]\nconnect = "{target}"\n'
        daemon = stack.enter_context(running(tmp_path, more=more))
        browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
        link = stack.enter_context(server.accept()[0])
        client = stack.enter_context(daemon.connect("echo"))
        client.sendall(b"x" * 2048)
        link.sendall(b"x" * 3072)
        browser.wait(lambda: tiles() == ["5.0 KiB since the start, with connectors"] * 2)
        browser.driver.get("about:blank")


def test_a_session_shows_its_round_trip_by_which_nobody_is_sorted(
    page: Browser, daemon: Daemon
) -> None:
    with daemon.connect("echo"):
        page.wait(lambda: page.all(ROWS))
        assert page.text("#heads .rtt") == "RTT"
        assert page.all("#heads .rtt button") == []
        assert page.text(f"{ROWS} .rtt").endswith("s")


@pytest.mark.parametrize("key", ["\ue007", " "])  # Enter, Space
def test_a_session_is_opened_by_the_keyboard(page: Browser, daemon: Daemon, key: str) -> None:
    with daemon.connect("echo"):
        for place in (ROWS, "#events li.link-to"):
            page.wait(lambda place=place: page.all(f"{place} button"))
            page.one(f"{place} button").send_keys(key)
            page.wait(lambda: page.one("#detail").is_displayed())
            page.wait(lambda: "Round trip" in page.text("#detail-body"))
            page.click("#detail-close")


def test_a_listener_that_goes_is_chosen_no_more(
    page: Browser, daemon: Daemon, tmp_path: Path
) -> None:
    page.run(
        "const of = document.querySelector('#of'); of.value = 'tell';"
        "of.dispatchEvent(new Event('change'))"
    )
    with daemon.connect("echo"):
        page.wait(lambda: page.text("#none") == "No session fits.")
        path = tmp_path / "tcpd.toml"
        tell = '[listeners.tell]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "tell.py:Tell"\n'
        text = path.read_text()
        assert tell in text
        path.write_text(text.replace(tell, ""))
        os.kill(daemon.pid, signal.SIGHUP)
        page.wait(lambda: "tell is gone" in page.text("#notice"))
        page.wait(lambda: len(page.all(ROWS)) == 1)
        assert page.one("#of").get_attribute("value") == ""


def test_a_sink_that_is_well_again_tells_why_and_when_it_failed(
    browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    more = '[sinks.events]\nkind = "jsonl"\noptions = { path = "events.jsonl" }\n'
    why = "events.jsonl is a symbolic link; name its target"
    with running(tmp_path, more=more) as daemon:
        browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
        browser.wait(lambda: browser.text("#sinks .pill") == "waiting" and file.exists())
        assert browser.text("#sinks .error") == ""
        file.unlink()
        file.symlink_to("elsewhere")
        daemon.connect("echo").close()
        browser.wait(lambda: browser.text("#sinks .error").endswith(why))
        assert "failed" not in browser.text("#sinks .error")
        file.unlink()
        browser.wait(lambda: browser.text("#sinks .error").startswith("failed last at "))
        when, _, rest = browser.text("#sinks .error").partition(": ")
        assert re.search(r"\b20\d\d\b.*\d:\d\d", when)
        assert rest.endswith(why)
        assert browser.complaints() == []
        browser.driver.get("about:blank")


def test_nothing_is_cut_off(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, more=MANY) as daemon, daemon.connect("telemetry") as client:
        browser.open(f"http://127.0.0.1:{daemon.port('admin')}/")
        client.sendall(b"x" * 5000)
        browser.wait(lambda: "4.9 KiB" in browser.text(ROWS))
        found = {}
        for width in WIDTHS:
            browser.look(width, dark=width % 3 == 0)
            found[width] = browser.run(STICKS_OUT)
            if (wide := browser.run("return document.documentElement.scrollWidth")) > width:
                found[width].append(f"the page is {wide} wide")
        assert {width: each for width, each in found.items() if each} == {}
        browser.driver.get("about:blank")


@contextmanager
def hanging(daemon: Daemon) -> Iterator[None]:
    """A daemon that does nothing, and whose connections stay open."""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def later(page: Browser, seconds: int) -> None:
    """Have the page's clock go before."""
    page.run(
        "const now = performance.now.bind(performance);"
        f"performance.now = () => now() + {seconds * 1000};"
    )


def test_a_daemon_that_hangs_is_not_called_running(page: Browser, daemon: Daemon) -> None:
    def seconds() -> int:
        found = re.fullmatch(r"no answer for (\d+) s", page.text("#link"))
        return int(found[1]) if found else 0

    with hanging(daemon):
        first = page.wait(seconds)
        assert first >= 5
        assert page.text("#state") == "no answer"
        assert page.one("#link").is_displayed()
        assert "stale" in page.run("return document.body.className")
        page.wait(lambda: seconds() > first)
    page.wait(lambda: page.text("#state") == "running")
    assert not page.one("#link").is_displayed()
    assert "stale" not in page.run("return document.body.className")


def test_a_connection_on_which_nothing_comes_is_given_up(page: Browser, daemon: Daemon) -> None:
    page.run(
        "const fetched = window.fetch; window.asked = 0;"
        "window.fetch = (...all) => { window.asked += 1; return fetched(...all); };"
    )
    with hanging(daemon):
        later(page, 30)
        page.wait(lambda: re.fullmatch(r"no answer for \d+ s; trying again", page.text("#link")))
        page.wait(lambda: page.run("return window.asked") == 1)
        later(page, 30)  # nor is a request waited for that nobody answers
        page.wait(lambda: page.run("return window.asked") == 2)
        assert page.text("#state") == "no answer"
    page.wait(lambda: page.text("#state") == "running")
    assert not page.one("#link").is_displayed()
    before = page.text("#facts")
    page.wait(lambda: page.text("#facts") != before)
    page.forgive("ERR_")


def test_a_tap_on_which_nothing_comes_is_given_up(page: Browser, daemon: Daemon) -> None:
    with daemon.connect("echo") as client:
        open_session(page)
        page.click("#do-tap")
        show_token(page)
        page.wait(lambda: _is_tapped(page, client))
        with hanging(daemon):
            later(page, 30)  # a keep-alive may be missing, or two
            page.wait(lambda: "trying again" in page.text("#link"))
            assert page.text("#do-tap") == "Stop watching"
            later(page, 20)
            page.wait(lambda: "has said nothing for 45 s" in page.text("#tap-state"))
            assert page.text("#do-tap") == "Watch bytes"
        page.wait(lambda: page.text("#state") == "running")
    page.forgive("401")
    page.forgive("404")
    page.forgive("ERR_")


def test_by_night_it_is_dark(page: Browser) -> None:
    def light() -> int:
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(each) for each in colour.strip("rgb()").split(","))

    assert light() > 600
    page.look(dark=True)
    assert light() < 120


def test_on_a_phone_nothing_sticks_out(page: Browser, daemon: Daemon) -> None:
    page.look(390, 844)
    with daemon.connect("echo") as client:
        client.sendall(b"x")
        page.wait(lambda: len(page.all(ROWS)) == 1)
        assert page.run("return document.documentElement.scrollWidth") <= 390
        page.run("document.querySelector('#sessions tbody tr').click()")
        page.wait(lambda: "Round trip" in page.text("#detail-body"))
        assert page.run("return document.querySelector('#detail').scrollWidth") <= 390


@pytest.mark.parametrize("size", [(390, 844), (390, 664), (1366, 650)])
def test_who_watches_bytes_sees_them(page: Browser, daemon: Daemon, size: tuple[int, int]) -> None:
    page.look(*size)
    with daemon.connect("echo") as client:
        client.sendall(b"x")
        page.wait(lambda: page.all(ROWS))
        page.run("document.querySelector('#sessions tbody tr').click()")
        page.wait(lambda: "Round trip" in page.text("#detail-body"))
        page.click("#do-tap")
        show_token(page)
        page.wait(lambda: _is_tapped(page, client))
        script = (
            "const at = (what) => document.querySelector(what).getBoundingClientRect();"
            "const [box, panel] = [at('#bytes'), at('#detail')];"
            "const end = Math.min(panel.bottom, innerHeight);"
            "return [box.top - panel.top, end - box.bottom, box.height];"
        )
        above, below, height = page.run(script)
        assert above >= 0
        assert below >= 0
        assert height > 100
        assert page.one("#do-tap").is_displayed()
    page.forgive("401")


def test_it_comes_back_after_a_restart_and_says_so(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port) as daemon:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait(lambda: browser.text("#state") == "running")
        first = daemon.pid
        browser.wait(lambda: len(browser.texts("#events b")) >= 2)
        daemon.stop(signal.SIGTERM)
    browser.wait(lambda: browser.text("#state") == "unreachable")
    assert browser.one("#link").is_displayed()
    with running(tmp_path, port) as daemon:
        browser.wait(lambda: browser.text("#state") == "running")
        browser.wait(lambda: "tcpd was restarted" in browser.text("#notice"))
        browser.wait(lambda: str(daemon.pid) in browser.text("#facts"))
        assert daemon.pid != first
        assert not browser.one("#link").is_displayed()
        # What the old one did is there still, below what the new one does.
        browser.wait(lambda: browser.texts("#events b").count("listener.changed") >= 4)
        browser.forgive("ERR_")
        assert browser.complaints() == []
        browser.driver.get("about:blank")
