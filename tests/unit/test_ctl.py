"""tcpdctl: each command against an admin site that says what the test wants."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.ctl_run import CTL, RUNNING, SESSION, Site, closed_port

from tcpd.admin.stream import KEEP_ALIVE
from tcpd.admin.views import MOST_SESSIONS, SORTS
from tcpd.capture.settings import SUFFIXES
from tcpd.config.schema import LogLevel
from tcpd.ctl import api, commands, options
from tcpd.ctl.main import main

EVIL = "\x1b[2J\x07<script>\u202e\x7f\x9b"
STATUS = {
    **RUNNING,
    "sessions": {"open": 1, "total": 9},
    "loop": {"lag": 0.0004, "lag_max": 0.003},
    "process": {"rss": 45 << 20, "cpu": 3.2, "fds": 18, "max_fds": 1024},
    "listeners": [
        {
            "name": "gateway",
            "handler": "echo",
            "addresses": ["127.0.0.1:9999"],
            "state": "suspended",
            "sessions": {"open": 1, "total": 9, "limit": None},
            "refused": {"denied": 3, "rate": 4},
            "bytes": {"in": 2048, "out": 5},
            "rate": {"in": None, "out": None},
            "handler_failures": 0,
        }
    ],
    "connectors": [{"name": "uplink", "handler": "echo", "target": "tcp:h:1", "state": "waiting"}],
    "sinks": [
        {"name": "file", "kind": "jsonl", "state": "failing", "last_error": EVIL},
        {
            "name": "well",
            "kind": "redis",
            "state": "waiting",
            "last_error": "",
            "past_error": f"away {EVIL}",
            "failed_at": 1795400000.0,
        },
    ],
    "last_reload": {"at": 1795400000.0, "ok": False, "errors": ["tcpd.toml:3: no"]},
}


@pytest.fixture
def site():
    site = Site()
    site.answers["GET /api/status"] = (200, STATUS)
    site.answers["GET /api/sessions"] = (200, {"total": 1, "sessions": [SESSION]})
    return site


@pytest.fixture
def run(site, tmp_path, capsys):
    with site.serve(tmp_path / "admin.sock") as where:

        def run(*arguments):
            status = main([*arguments, where])
            out, err = capsys.readouterr()
            return status, out, err

        yield run


def is_harmless(text):
    return all(each.isprintable() or each == "\n" for each in text)


def test_status(run):
    status, out, err = run("status")
    assert (status, err) == (0, "")
    assert "tcpd 0.1.0, process 42, running for 5m3s" in out
    assert "45.0 MiB of memory" in out
    assert re.search(r"^gateway +echo +suspended +1 +- +9 +7 ", out, re.MULTILINE)
    assert re.search(r"^uplink +echo +waiting ", out, re.MULTILINE)
    assert re.search(r"^well +redis .*  past, 2026-11-23T\S+Z: away ", out, re.MULTILINE)
    assert "refused\n          tcpd.toml:3: no" in out
    assert is_harmless(out)


ESCAPED = r"refused \n\t'a\x1b[2J'"
"""Words of the daemon's own, in which it has escaped already what others said."""


def test_what_the_daemon_has_escaped_is_not_escaped_again(run, site):
    words = ESCAPED + "\x1b[2J\n"  # and what no tcpd would send doesn't reach the terminal
    shown = ESCAPED + r"\x1b[2J\n"
    sinks = [
        {"name": "a", "state": "failing", "last_error": words},
        {"name": "b", "past_error": words, "failed_at": 1795400000.0},
    ]
    connector = STATUS["connectors"][0] | {"target": words}
    listener = STATUS["listeners"][0] | {"addresses": [words]}
    last = {"at": 1795400000.0, "ok": False, "errors": [words]}
    site.answers["GET /api/status"] = (
        200,
        {"sinks": sinks, "connectors": [connector], "listeners": [listener], "last_reload": last},
    )
    out = run("status")[1]
    assert is_harmless(out)
    assert out.count(shown) == 5
    site.answers["POST /api/reload"] = (200, {"changes": [words]})
    assert run("reload")[1] == f"{shown}\n"
    site.answers["POST /api/reload"] = (409, {"error": "no", "errors": [words]})
    assert run("reload")[2] == f"{shown}\ntcpdctl: no\n"
    sinks[0]["last_error"] = "x" * 130
    assert f"{'x' * 120}... (10 more)\n" in run("status")[1]


def test_columns_stand_below_each_other(run):
    head, row = run("sessions")[1].splitlines()
    for name, text in (("LISTENER", "gateway"), ("CLIENT", "192.0.2.1:5000"), ("NOTES", "tls")):
        assert head.index(name) == row.index(text)
    flush = (("AGE", "1m15s"), ("RTT", "12.3ms"), ("IN/S", "1.5 KiB/s"), ("OUT/S", "-  "))
    for name, text in flush:
        assert head.index(name) + len(name) == row.index(text, 40) + len(text.rstrip())
    assert "tls paused" in row


@pytest.mark.parametrize(
    "command",
    ["status", "sessions", "show 90928d41-7", "close 90928d41-7", "drain gateway",
     "suspend gateway", "resume gateway", "capture start --listener gateway", "reload",
     "captures", "loglevel", "loglevel debug", "handlers", "top"],
)  # fmt: skip
def test_every_command_has_json_that_is_harmless(run, site, command):
    evil = {"x": EVIL}
    lists = ("captures", "handlers")
    for key in ("sessions/90928d41-7", "loglevel", *lists):
        site.answers[f"GET /api/{key}"] = (200, [evil] if key in lists else evil)
    for key in ("sessions/90928d41-7/close", "listeners/gateway/drain", "capture", "reload",
                "listeners/gateway/suspend", "listeners/gateway/resume", "loglevel"):  # fmt: skip
        site.answers[f"POST /api/{key}"] = (200, evil)
    status, out, err = run(*command.split(), "--json")
    assert (status, err) == (0, "")
    assert is_harmless(out)
    assert out.isascii()
    # docs/tcpdctl.md tells so.
    assert len(out.splitlines()) > 1
    assert isinstance(json.loads(out), list if command in lists else dict)


def test_what_peers_say_is_escaped(run, site):
    hostile = SESSION | {
        "id": EVIL,
        "listener": EVIL,
        "hop": EVIL,
        "client": {"address": EVIL, "port": 1},
        EVIL: {EVIL: EVIL},
    }
    site.answers["GET /api/sessions"] = (200, {"total": 1, "sessions": [hostile]})
    site.answers["GET /api/sessions/x"] = (200, hostile)
    site.answers["POST /api/sessions/x/close"] = (409, {"error": EVIL, "hint": EVIL})
    site.answers["POST /api/reload"] = (409, {"error": EVIL, "errors": [EVIL]})
    site.answers["GET /api/handlers"] = (200, [{"name": EVIL, "summary": EVIL, "source": EVIL}])
    capture = dict.fromkeys((*CAPTURE, "listener", "session"), EVIL)
    site.answers["GET /api/captures"] = (200, [capture])
    for command in ("sessions", "show x", "close x", "reload", "captures", "handlers"):
        _, out, err = run(*command.split())
        assert is_harmless(out + err), command
        assert r"\x1b[2J" in out + err


def test_sessions_asks_for_what_is_wanted(run, site):
    run("sessions", "--listener", "gateway", "--filter", "a&b", "--sort", "-rate", "--limit", "5")
    assert site.asked[0][1] == (
        "/api/sessions?listener=gateway&filter=a%26b&sort=-rate&limit=5&offset=0"
    )


def test_all_sessions_are_listed_page_by_page(run, site, monkeypatch):
    monkeypatch.setattr(commands, "PAGE", 2)
    pages = iter([["1", "2"], ["2", "3"], ["4"]])  # 2 has moved to the next page
    site.answers["GET /api/sessions"] = (
        200,
        lambda: {"total": 4, "sessions": [SESSION | {"id": each} for each in next(pages)]},
    )
    _, out, err = run("sessions")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["1", "2", "3", "4"]
    assert err == ""


def test_a_listener_that_is_not_there(run, site):
    site.answers["GET /api/sessions"] = (200, {"total": 0, "sessions": []})
    status, _, err = run("sessions", "--listener", "gatewya")
    assert status == 4
    assert "did you mean 'gateway'?" in err
    assert run("sessions", "--listener", "uplink")[0] == 0
    assert run("tail", "--listener", "gatewya")[0] == 4


def test_show_tells_the_kernels_view(run, site):
    tcp = {"state": "established", "rtt": 0.0123, "delivery_rate": 2048, "cwnd": 10}
    site.answers["GET /api/sessions/a%2Fb"] = (200, SESSION | {"tcp": tcp, "proxy": None})
    out = run("show", "a/b")[1]
    assert out.startswith("session   90928d41-7\n")
    assert re.search(r"^client +192\.0\.2\.1:5000$", out, re.MULTILINE)
    assert re.search(r"^opened +2026-11-23T02:13:20Z, 1m15s ago$", out, re.MULTILINE)
    assert re.search(r"^in +2\.0 KiB, 1\.5 KiB/s now$", out, re.MULTILINE)
    assert re.search(r"^out +5 B$", out, re.MULTILINE)
    assert re.search(r"^notes +tls paused$", out, re.MULTILINE)
    assert re.search(r"^capture +-$", out, re.MULTILINE)
    assert re.search(r"^tcp\n  state +established\n  rtt +12.3ms\n", out, re.MULTILINE)
    assert re.search(r"delivery_rate +2.0 KiB/s", out)


CAPTURE = {
    "kind": "live",
    "path": "/var/lib/x.pcapng",
    "state": "running",
    "since": 1795400000.0,
    "written": 2048,
    "lost_bytes": 5,
    "problem": "disk full",
}


def test_show_tells_what_tls_and_proxy_say_in_lines_of_their_own(run, site):
    tls = {"version": "TLSv1.3", "peer_certificate": "30" * 700, "peer_names": ["a.b", EVIL]}
    proxy = {
        "version": 2,
        "ssl": {"used": True, "common_name": f"eve {EVIL}", "cipher": None},
        "extensions": "0102" * 20,
    }
    site.answers["GET /api/sessions/x"] = (200, SESSION | {"tls": tls, "proxy": proxy})
    out = run("show", "x")[1]
    assert is_harmless(out)
    assert "{" not in out
    assert "3030" not in out
    assert "\\\\" not in out  # escaped once
    assert re.search(r"^  certificate size +700 bytes$", out, re.MULTILINE)
    assert re.search(r"^  certificate SHA-256 +([0-9A-F]{2}:){31}[0-9A-F]{2}$", out, re.MULTILINE)
    assert re.search(r"^  ssl used +yes$", out, re.MULTILINE)
    assert re.search(r"^  ssl common_name +eve \\x1b\[2J", out, re.MULTILINE)
    assert re.search(r"^  ssl cipher +-$", out, re.MULTILINE)
    assert re.search(r"^  extensions +40 bytes$", out, re.MULTILINE)
    assert json.loads(run("show", "x", "--json")[1])["tls"] == tls


def test_a_capture_is_told_in_words(run, site):
    words = (
        "running since 2026-11-23T02:13:20Z, 2.0 KiB written, 5 B lost, disk full,"
        " /var/lib/x.pcapng"
    )
    site.answers["GET /api/sessions/x"] = (200, SESSION | {"capture": CAPTURE})
    out = run("show", "x")[1]
    assert re.search(rf"^capture +{re.escape(words)}$", out, re.MULTILINE)
    assert "{" not in out
    listener = STATUS["listeners"][0] | {"capture": CAPTURE}
    site.answers["GET /api/status"] = (200, STATUS | {"listeners": [listener]})
    assert f"\ngateway captured: {words}\n" in run("status")[1]


def test_captures(run, site):
    site.answers["GET /api/captures"] = (200, [])
    assert run("captures") == (0, "", "")
    of_listener = CAPTURE | {"listener": "gone", "session": "", "sessions": 3}
    of_session = CAPTURE | {"listener": "gateway", "session": "90928d41-7", "problem": ""}
    site.answers["GET /api/captures"] = (200, [of_listener, of_session])
    out = run("captures")[1]
    assert re.sub(" +", " ", out).splitlines() == [
        "OF KIND STATE SINCE SESSIONS WRITTEN LOST FILE",
        "gone live running 2026-11-23T02:13:20Z 3 2.0 KiB 5 B /var/lib/x.pcapng",
        "90928d41-7 live running 2026-11-23T02:13:20Z - 2.0 KiB 5 B /var/lib/x.pcapng",
        "/var/lib/x.pcapng: disk full",
    ]


def test_what_only_another_version_tells_is_shown(run, site):
    more = {"tls": {"alpn": ["h2", "x"], "sni": None}, "zone": "eu", "later": {"rtt": 0.5}}
    site.answers["GET /api/sessions/x"] = (200, SESSION | more)
    out = run("show", "x")[1]
    assert re.search(r"^zone +eu$", out, re.MULTILINE)
    assert out.endswith("\ntls\n  alpn  h2 x\n  sni   -\nlater\n  rtt  0.5s\n")


def test_refusals_are_told_by_reason(run):
    assert "\ngateway refused: denied 3, rate 4\n" in run("status")[1]


def test_changes_are_posted_as_json_with_the_token(run, site, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    site.answers["POST /api/sessions/x/close"] = (200, {})
    status, out, _ = run("close", "x", "--reset", "--token-file", str(token))
    assert (status, out) == (0, "session x: reset\n")
    _, _, headers, body = site.asked[0]
    assert body == {"reset": True}
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == "localhost"


def test_capture(run, site):
    site.answers["POST /api/capture"] = (200, {"path": "/var/x.pcapng", "written": 2048})
    out = run("capture", "start", "--session", "x", "--format", "jsonl", "--file", "n")[1]
    assert out == "capture of session x: started, /var/x.pcapng\n"
    out = run("capture", "stop", "--listener", "gateway")[1]
    assert out == "capture of listener gateway: stopped, /var/x.pcapng, 2.0 KiB written\n"
    assert [each[3] for each in site.asked] == [
        {"action": "start", "session": "x", "format": "jsonl", "file": "n"},
        {"action": "stop", "listener": "gateway"},
    ]


def test_listeners_are_steered(run, site):
    for name in ("drain", "suspend", "resume"):
        site.answers[f"POST /api/listeners/gateway/{name}"] = (200, {"sessions": 1})
    assert run("drain", "gateway")[1] == "listener gateway: draining, 1 session open\n"
    assert run("suspend", "gateway")[1] == "listener gateway: suspended\n"
    assert run("resume", "gateway")[1] == "listener gateway: resumed\n"
    site.answers["POST /api/listeners/gateway/resume"] = (200, {"state": "down"})
    assert run("resume", "gateway")[:2] == (0, "listener gateway: down\n")
    problem = {"error": "listener 'gateway' is draining"}
    site.answers["POST /api/listeners/gateway/suspend"] = (409, problem)
    status, out, err = run("suspend", "gateway")
    assert (status, out, "is draining" in err) == (1, "", True)


def test_reload(run, site):
    site.answers["POST /api/reload"] = (200, {"ok": True, "changes": ["listener a: added"]})
    assert run("reload")[:2] == (0, "listener a: added\n")
    site.answers["POST /api/reload"] = (200, {"ok": True, "changes": []})
    assert run("reload")[:2] == (0, "nothing has changed\n")
    site.answers["POST /api/reload"] = (409, {"error": "no", "errors": ["t:1: a", "t:2: b"]})
    status, out, err = run("reload")
    assert (status, out) == (78, "")
    assert err == "t:1: a\nt:2: b\ntcpdctl: no\n"
    status, out, err = run("reload", "--json")
    view = {"error": "no", "hint": "", "status": 78, "errors": ["t:1: a", "t:2: b"]}
    assert (status, json.loads(out), err) == (78, view, "")
    site.answers["POST /api/reload"] = (409, {"error": "not now"})
    assert run("reload")[0] == 1


def test_loglevel(run, site):
    site.answers["GET /api/loglevel"] = (200, {"level": "info"})
    site.answers["POST /api/loglevel"] = (200, {"level": "debug"})
    assert run("loglevel")[1] == "info\n"
    assert run("loglevel", "debug")[1] == "debug\n"
    assert site.asked[-1][3] == {"level": "debug"}


def test_a_broken_handler_shows_in_the_status(run, site):
    fine = {"name": "echo", "summary": "Echo.", "source": "built in", "problem": ""}
    site.answers["GET /api/handlers"] = (200, [fine])
    assert run("handlers")[0] == 0
    site.answers["GET /api/handlers"] = (200, [fine, fine | {"problem": "no module"}])
    status, out, _ = run("handlers")
    assert status == 1
    assert "broken: no module" in out


def test_tail(run, site):
    record = {"time": "T", "event.name": "session.closed", "listener": EVIL, "note": 'a "b'}
    lost = 'event: lost\ndata: {"lost": 3}\n\n'
    end = 'event: end\ndata: {"reason": "stopping"}\n\n'
    stream = f"retry: 1000\n\n:\n\ndata: {json.dumps(record)}\n\n{lost}{end}"
    site.answers["GET /api/events"] = (0, stream.encode())
    status, out, err = run("tail", "--event", "session.*")
    assert status == 0
    assert out.startswith("T session.closed listener=")
    assert r'note="a \"b"' in out
    assert is_harmless(out + err)
    assert "3 events were lost" in err
    assert err.endswith("tcpdctl: the daemon ends the stream: stopping\n")
    assert site.asked[0][1] == "/api/events?event=session.%2A"
    status, out, err = run("tail", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        record,
        {"event.name": "lost", "lost": 3},
        {"event.name": "end", "reason": "stopping"},
    ]
    assert err == ""
    site.answers["GET /api/events"] = (0, b"retry: 1000\n\n")  # it was killed
    status, out, err = run("tail", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["event.name"] == "disconnected"
    status, out, err = run("tail")
    assert (status, out) == (0, "")
    assert err.endswith(" has ended\n")


def test_tail_waits_for_the_daemon_and_comes_back(site, tmp_path, capsys, monkeypatch):
    """First there is none, then one that ends; Ctrl-C while it waits again."""
    site.answers["GET /api/events"] = (0, b'data: {"event.name": "a.b"}\n\n')
    path = tmp_path / "admin.sock"
    waits = []
    server = site.serve(path)

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            server.__enter__()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("tcpd.ctl.tail.tail.__defaults__", (sleep,))
    assert main(["tail", "--reconnect", f"--socket={path}"]) == 0
    server.__exit__(None, None, None)
    out, err = capsys.readouterr()
    assert "a.b" in out
    assert "no daemon listens" in err
    assert "is gone; waiting for it" in err
    assert waits == [0.5, 0.5]


@pytest.fixture
def hangs(site, monkeypatch):
    """A daemon that says one thing more, and then nothing, with its connection open."""
    monkeypatch.setattr("tcpd.ctl.api.SILENCE", 0.2)
    gone = threading.Event()
    site.answers["GET /api/events"] = (0, _quiet_after_one(gone))
    yield
    gone.set()


@pytest.mark.usefixtures("hangs")
@pytest.mark.parametrize("on_tcp", [False, True])
def test_tail_ends_when_the_daemon_hangs(site, tmp_path, capsys, on_tcp):
    place = None if on_tcp else tmp_path / "admin.sock"
    with site.serve(place) as where:
        status = main(["tail", "--timeout=0.1", where])
        out, err = capsys.readouterr()
        assert (status, out) == (3, "- a.b\n")
        problem = f"the daemon on {where.partition('=')[2]} has said nothing for 0.2s"
        assert err == f"tcpdctl: {problem}; it hangs, or the way to it is cut\n"
        assert main(["tail", "--timeout=0.3", "--json", where]) == 3  # who asks for more gets it
        out, err = capsys.readouterr()
        assert err == ""
        assert json.loads(out.splitlines()[-1])["error"] == problem.replace("0.2s", "0.3s")


@pytest.mark.usefixtures("hangs")
def test_tail_waits_for_a_daemon_that_hangs(site, tmp_path, capsys, monkeypatch):
    """It hangs, is away when it is asked again, and comes back."""
    path = tmp_path / "admin.sock"
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            path.rename(tmp_path / "away")
        elif len(waits) == 3:
            (tmp_path / "away").rename(path)
        elif len(waits) == 4:
            raise KeyboardInterrupt

    with site.serve(path) as where:
        monkeypatch.setattr("tcpd.ctl.tail.tail.__defaults__", (sleep,))
        assert main(["tail", "--reconnect", "--timeout=0.1", where]) == 0
    out, err = capsys.readouterr()
    assert out == "- a.b\n" * 2
    lines = [each.partition(f" {path} ")[2] for each in err.splitlines()]
    silent = "has said nothing for 0.2s; it hangs, or the way to it is cut; waiting for it"
    assert lines == [silent, "is there again", silent]
    assert waits == [0.5, 1.0, 2.0, 0.5]


# -- where the daemon is, and what goes wrong -----------------------------------------------------


def test_the_daemon_is_found(site, tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.sock"
    with site.serve(path):
        monkeypatch.setenv("TCPDCTL_SOCKET", str(path))
        assert main(["status"]) == 0
        assert main(["--socket", str(tmp_path / "other"), "status"]) == 3
    with site.serve() as where:
        assert main([where, "status"]) == 0  # before the command as well as behind it
        assert main(["status", where]) == 0
        token = tmp_path / "token"
        token.write_text("word")
        monkeypatch.setenv("TCPDCTL_TOKEN_FILE", str(token))
        assert main(["status", where]) == 0
        assert site.asked[-1][2]["Authorization"] == "Bearer word"
        token.write_text("two words")
        assert main(["status", where]) == 2


def test_nobody_listens(tmp_path, capsys):
    path = tmp_path / "none.sock"
    assert main(["status", f"--socket={path}"]) == 3
    assert capsys.readouterr().err == (
        f"tcpdctl: no daemon listens on {path}; is it running, with [admin] in its configuration?\n"
    )
    assert main(["status", f"--url=http://127.0.0.1:{closed_port()}", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["status"] == 3
    assert main(["status", f"--socket={'x' * 300}"]) == 3


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        ((400, {"error": "e"}), 2),
        ((401, {"error": "e"}), 1),
        ((403, {"error": "e"}), 1),
        ((404, {"error": "e"}), 4),
        ((409, {"error": "e"}), 1),
        ((500, {"error": "e"}), 1),
        ((503, []), 1),
        ((200, b"<html>"), 3),
        ((302, {}), 1),
    ],
)
def test_how_it_ends(run, site, answer, ending):
    site.answers["POST /api/listeners/x/drain"] = answer
    status, out, err = run("drain", "x")
    assert (status, out) == (ending, "")
    assert err.startswith("tcpdctl: ")
    assert err.count("\n") == 1


def test_a_missing_token_is_told_in_our_words(site, capsys):
    refusal = {"error": "this needs the token", "hint": "send 'Authorization: Bearer TOKEN'"}
    site.answers["POST /api/reload"] = (401, refusal)
    with site.serve() as where:
        assert main(["reload", where]) == 1
    assert capsys.readouterr().err == ("tcpdctl: this needs the token; give it with --token-file\n")


def test_a_stranger_listens(run, site):
    site.answers["GET /api/events"] = (200, {"no": "stream"})
    assert run("tail")[0] == 3


@pytest.mark.parametrize(
    "words",
    ["", "statu", "show", "sessions --sort size", "sessions --limit x", "capture start",
     "capture start --session a --listener b", "loglevel loud", "completion csh",
     "status --url ftp://x", "status --url http://u:p@h", "status --url http://h/x",
     "status --socket a --url http://h", "tail --event session.clsoed", "top", "--token x status",
     "status --timeout 0"],
)  # fmt: skip
def test_wrong_usage(words):
    done = subprocess.run(
        [*CTL, *words.split()], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    ["show", "close --reset", "capture stat --listener a", "loglevel loud", "status more",
     "completion csh", "tail --event"],
)  # fmt: skip
def test_wrong_usage_names_the_command(words, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr().err.endswith(f"; see tcpdctl {words.split()[0]} --help\n")


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["show", ""], "a session's id"),
        (["close", ""], "a session's id"),
        (["close", "--reset", ""], "a session's id"),
        (["capture", "start", "--session", ""], "a session's id"),
        (["capture", "stop", "--session="], "a session's id"),
        (["capture", "stop", "--listener", ""], "a listener's name"),
        (["drain", ""], "a listener's name"),
        (["suspend", ""], "a listener's name"),
        (["resume", ""], "a listener's name"),
    ],
)
def test_a_name_that_is_empty_is_missing(run, site, words, missing):
    """A script's variable that is empty: the daemon isn't asked for what nobody has named."""
    status, out, err = run(*words)
    assert (status, out, site.asked) == (2, "", [])
    assert f"{missing} is missing" in err
    assert err.endswith(f"; see tcpdctl {words[0]} --help\n")


def test_usage_of_a_command(capsys):
    with pytest.raises(SystemExit):
        main(["show", "--help"])
    assert capsys.readouterr().out.startswith("usage: tcpdctl show [-h] ")


EVERY = ["status", "sessions", "top", "show x", "close x", "drain x", "suspend x", "resume x",
         "capture start --session x", "captures", "tail", "reload", "loglevel",
         "loglevel info", "handlers"]  # fmt: skip


def test_every_command_is_among_them():
    assert {each.split()[0] for each in EVERY} == set(options.COMMANDS) - {"check", "completion"}


def is_one_error(told, ending):
    """Whether what was told is one error as --json has it, and nothing else."""
    status, out, err = told
    view = json.loads(out)
    assert err == ""
    assert out.count("\n") == 1
    assert set(view) == {"error", "hint", "status"}
    return status == view["status"] == ending and view["error"] and is_harmless(out)


@pytest.mark.parametrize("words", EVERY)
def test_an_error_in_json_is_told_once(run, site, words, tmp_path, capsys):
    def run_at(*where):
        return main([*words.split(), "--json", *where]), *capsys.readouterr()

    site.answers.clear()  # everything is unknown
    assert is_one_error(run(*words.split(), "--json"), 4)
    for http, ending in ((400, 2), (401, 1), (403, 1), (409, 1), (500, 1), (302, 1)):
        refusal = (http, {"error": EVIL, "hint": "h"})
        site.answers = dict.fromkeys(_paths(), refusal)
        assert is_one_error(run(*words.split(), "--json"), ending)
    site.answers = dict.fromkeys(_paths(), (200, b"<html>"))
    assert is_one_error(run(*words.split(), "--json"), 3)
    assert is_one_error(run_at(f"--socket={tmp_path / 'none'}"), 3)
    assert is_one_error(run_at(f"--url=http://127.0.0.1:{closed_port()}"), 3)
    assert is_one_error(run_at("--url=ftp://x"), 2)
    assert is_one_error(run_at("--token-file=/nonexistent"), 2)
    assert is_one_error(run_at("--nonsense"), 2)


def _paths():
    paths = ["status", "sessions", "sessions/x", "captures", "events", "loglevel", "handlers"]
    acts = ["sessions/x/close", "capture", "reload", "loglevel"]
    acts += [f"listeners/x/{each}" for each in ("drain", "suspend", "resume")]
    return [f"GET /api/{each}" for each in paths] + [f"POST /api/{each}" for each in acts]


@pytest.mark.parametrize("words", ["", "nonsense", "completion csh", "check", "show"])
def test_wrong_usage_in_json(words, capsys):
    assert is_one_error((main([*words.split(), "--json"]), *capsys.readouterr()), 2)


def test_a_wrong_event_in_json(capsys):
    told = main(["tail", "--json", "--event", "session.clsoed"]), *capsys.readouterr()
    assert is_one_error(told, 2)


def test_a_message_without_end(run, site, monkeypatch):
    monkeypatch.setattr("tcpd.ctl.api.MOST_LINE", 1000)
    site.answers["GET /api/events"] = (0, b"data: " + b"x" * 5000)
    status, out, err = run("tail")
    assert (status, out) == (3, "")
    assert "doesn't answer as tcpd's admin site" in err


# -- output that goes nowhere ---------------------------------------------------------------------


def shell(words, where):
    return subprocess.run(
        ["bash", "-c", words, "bash", *CTL, where],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=60,
    )


def test_output_that_cannot_be_written(site, tmp_path):
    with site.serve(tmp_path / "admin.sock") as where:
        full = shell('"$@" status >/dev/full', where)
        assert full.returncode == 1
        assert full.stderr == "tcpdctl: the output can't be written: No space left on device\n"
        for words in ('"$@" status >&-', '"$@" status --json >&-', '"$@" show x --json >&- 2>&-'):
            closed = shell(words, where)
            assert closed.returncode == (4 if "show" in words else 0), words
            assert closed.stderr == ""


def test_who_reads_it_may_go(site, tmp_path):
    """The events' daemon says nothing more, and tail ends all the same."""
    gone = threading.Event()
    site.answers["GET /api/events"] = (0, _quiet_after_one(gone))
    with site.serve(tmp_path / "admin.sock") as where:
        try:
            done = shell('"$@" tail | head -n1; echo "${PIPESTATUS[0]}"', where)
        finally:
            gone.set()
    assert done.stdout == "- a.b\n141\n"
    assert done.stderr == ""


def _quiet_after_one(gone):
    def stream():
        yield b'data: {"event.name": "a.b"}\n\n'
        gone.wait(60)

    return stream


def test_letters_that_the_output_does_not_know(site, tmp_path):
    listener = STATUS["listeners"][0] | {"name": "gate\u00e9"}
    site.answers["GET /api/status"] = (200, STATUS | {"listeners": [listener]})
    with site.serve(tmp_path / "admin.sock") as where:
        done = shell('"$@" status', where)
    assert done.returncode == 0
    assert r"gate\xe9" in done.stdout


def test_no_twisted_is_loaded_to_ask():
    program = "import sys, tcpd.ctl.main, tcpd.ctl.top, tcpd.ctl.tail, tcpd.ctl.completion\n"
    program += "assert not [m for m in sys.modules if m.split('.')[0] in ('twisted', 'zope')]"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_it_knows_of_the_daemon_is_true():
    assert set(options.SORTS) == set(SORTS)
    assert LogLevel.__args__ == options.LEVELS
    assert set(options.FORMATS) == set(SUFFIXES)
    assert commands.PAGE == MOST_SESSIONS
    assert api.SILENCE == 3 * KEEP_ALIVE


def test_check_needs_no_daemon(tmp_path, capsys):
    file = tmp_path / "tcpd.toml"
    file.write_text('[listeners.a]\nlisten = "tcp:0"\nhandler = "echo"\n')
    assert _check(file) == (0, "ok\n", "")
    file.write_text('[listeners.a]\nlisten = "tcp:x"\nhandler = "ecko"\n')
    status, out, err = _check(file)
    assert (status, out) == (78, "")
    assert err.count(f"{file}:") == 2
    status, out, err = _check(file, "--json")
    assert (status, out.count("\n"), err) == (78, 1, "")
    assert len(json.loads(out)["errors"]) == 2
    assert json.loads(out)["status"] == 78
    assert _check(Path("/nonexistent"))[0] == 78


def _check(file, *more):
    done = subprocess.run([*CTL, "check", str(file), *more], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr
