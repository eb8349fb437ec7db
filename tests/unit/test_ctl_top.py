"""tcpdctl top: frames that fit, and keys on a real pseudo-terminal."""

import os
import re
import signal
import time

import pytest
from helpers.ctl_run import RUNNING, SESSION, Screen, Site

from tcpd.ctl.screen import Choices, Look, frame
from tcpd.ctl.terminal import keys_of
from tcpd.ctl.text import Paint, cut, pad, width_of

STATUS = {
    **RUNNING,
    "sessions": {"open": 3, "total": 9},
    "listeners": [{"name": "gateway", "state": "up", "rate": {"in": 5.0, "out": None}}],
}


def session(number, **more):
    return {
        **SESSION,
        "id": f"90928d41-{number}",
        "client": {"address": f"192.0.2.{number % 256}", "port": 5000},
        **more,
    }


def look(count, total=None):
    return Look(status=STATUS, sessions=[session(n) for n in range(count)], total=total or count)


@pytest.mark.parametrize("columns", [20, 40, 80, 81, 132, 300])
@pytest.mark.parametrize("rows", [5, 24, 60])
@pytest.mark.parametrize("kind", ["plain", "typing", "asked", "help", "message", "trouble"])
def test_a_frame_fits(columns, rows, kind):
    long = "x" * 500
    wide = session(3, listener="漢字" * 30, client={"address": "2001:db8::" + "1:" * 20, "port": 9})
    shown = Look(status=STATUS | {"version": long}, sessions=[wide, session(1)] * 40, total=80)
    choices = Choices(text=long)
    values = {"plain": None, "typing": long, "asked": wide, "help": True}
    setattr(choices, kind if kind != "plain" else "text", values.get(kind, long) or "")
    lines = frame(shown, choices, columns, rows, Paint(False))
    assert len(lines) == rows
    assert all(width_of(line) <= columns for line in lines)


def test_what_eighty_columns_show():
    lines = frame(look(3), Choices(), 80, 24, Paint(False))
    assert lines[0].startswith("tcpd 0.1.0  process 42  running  up 5m3s")
    assert lines[1].startswith("3 sessions open, 9 in all  in 5 B/s  out -")
    assert lines[3].split() == [
        "ID",
        "LISTENER",
        "CLIENT",
        "AGE",
        "IDLE",
        "IN/S",
        "OUT/S",
        "QUEUED",
    ]
    assert lines[4].split()[:5] == [">", "90928d41-0", "gateway", "192.0.2.0:5000", "1m15s"]
    assert lines[-1].startswith("q leave")


def test_where_there_is_room_the_round_trip_is_shown_before_the_totals():
    widths = range(80, 132)
    heads = {each: frame(look(3), Choices(), each, 24, Paint(False))[3] for each in widths}
    first = {name: min(w for w, line in heads.items() if name in line.split())
             for name in ("RTT", "IN", "OUT")}  # fmt: skip
    assert 80 < first["RTT"] < first["IN"] < first["OUT"] < 120
    lines = frame(look(3), Choices(), 120, 24, Paint(False))
    assert lines[3].index("RTT") + 3 == lines[4].index("12.3ms") + 6
    unknown = Look(status=STATUS, sessions=[session(1, rtt=None)], total=1)
    assert " - " in frame(unknown, Choices(), 120, 24, Paint(False))[4]


def test_a_narrow_terminal_shows_who():
    lines = frame(look(3), Choices(), 36, 10, Paint(False))
    assert lines[3].split()[:2] == ["ID", "CLIENT"]
    assert "90928d41-0  192.0.2.0:5000" in lines[4]
    assert "~" not in lines[3] + lines[4]
    lines = frame(look(3), Choices(asked=session(1)), 30, 10, Paint(False))
    assert lines[-1].startswith("y r n? close 90928d41-1")


def test_without_colours_a_mark_shows_what_is_chosen():
    choices = Choices(chosen="90928d41-1")
    lines = frame(look(3), choices, 80, 24, Paint(False))
    assert [line[:2] for line in lines[3:8]] == ["  ", "  ", "> ", "  ", ""]
    lines = frame(look(3), choices, 80, 24, Paint(True))
    assert [line.startswith("\x1b[7m") for line in lines[3:8]] == [True, False, True, False, False]


def test_which_of_many_are_shown():
    lines = frame(look(5, total=80), Choices(offset=20), 80, 10, Paint(False))
    assert lines[2].startswith("21 to 25 of 80 shown, by rate")


def test_what_peers_say_is_escaped_in_a_frame():
    evil = "\x1b[2J\x9b\u202e"
    shown = Look(
        status={"version": evil, "state": evil, "listeners": [{"name": evil, "state": evil}]},
        sessions=[session(1, id=evil, listener=evil, client={"address": evil, "port": 1})],
        total=1,
    )
    for more in ({}, {"typing": evil}, {"message": evil}, {"trouble": evil}, {"listener": evil}):
        lines = frame(
            shown, Choices(text=evil, asked=shown.sessions[0], **more), 120, 24, Paint(False)
        )
        assert all(line.isprintable() for line in lines)


def test_the_chosen_session_stays_chosen():
    choices = Choices()
    before = look(5, total=8)
    choices.move(2, before, 5)
    assert choices.chosen == "90928d41-2"
    after = Look(status=STATUS, sessions=before.sessions[::-1], total=8)
    assert choices.place_in(after) == 2
    choices.move(9, before, 5)  # beyond the last: the list moves along
    assert (choices.chosen, choices.offset) == ("90928d41-4", 3)
    choices.move(-99, before, 5)
    assert (choices.chosen, choices.offset) == ("90928d41-0", 0)
    Choices().move(1, look(0), 5)


def test_sorting():
    choices = Choices(sort="-rate")
    choices.sort_by_next(1)
    assert choices.sort == "-queued"
    choices.sort_by_next(1)
    assert choices.sort == "client"
    choices.turn_round()
    assert choices.sort == "-client"


def test_keys():
    assert keys_of("q\x1b[A\x1bOB\x1b[5~\r\x7f") == [
        "q",
        "up",
        "down",
        "page-up",
        "enter",
        "backspace",
    ]
    assert keys_of("\x1b") == ["escape"]
    assert keys_of("a\x15\x17") == ["a", "erase-line", "erase-word"]
    assert keys_of("\x1b[1;5Ax\x1b[24~y\x01") == ["x", "y"]


def test_widths():
    assert width_of("漢字a\u0301") == 5
    assert cut("漢字漢字", 5) == "漢字~"
    assert cut("abc", 3) == "abc"
    assert pad("漢", 4, right=True) == "  漢"


# -- on a terminal --------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    site = Site()
    site.answers["GET /api/status"] = (200, STATUS)
    site.answers["GET /api/sessions"] = (200, {"total": 2, "sessions": [session(1), session(2)]})
    site.answers["POST /api/sessions/90928d41-2/close"] = (200, {})
    return site


@pytest.fixture
def where(site, tmp_path):
    with site.serve(tmp_path / "admin.sock") as where:
        yield where


def asked(site, what):
    return [each for each in site.asked if what in each[1]]


def test_q_leaves_and_the_terminal_is_restored(where):
    with Screen("top", where) as screen:
        lines = screen.expect("90928d41-2")
        assert len(lines) == 24
        assert all(len(line) <= 80 for line in lines)
        screen.type("q")
        assert screen.finish() == 0
        assert screen.is_restored()
        # An erasure behind a line that fills its row would take its last character.
        assert re.search(r"[^\r\n]\x1b\[[JK]", screen.raw.replace("\x1b[H", "\n")) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(where, number):
    with Screen("top", where) as screen:
        screen.expect("90928d41-2")
        screen.process.send_signal(number)
        assert screen.finish() == 128 + number
        assert screen.is_restored()


def test_ctrl_c_restores_the_terminal(where):
    with Screen("top", where) as screen:
        screen.expect("90928d41-2")
        screen.type("\x03")
        assert screen.finish() == 0
        assert screen.is_restored()


def test_an_exception_restores_the_terminal(where):
    """A figure that is no number ends it: what isn't foreseen may not leave a broken terminal."""
    program = "from tcpd.ctl import top\ntop.frame = lambda *_: 1 / 0\n"
    program += f"import tcpd.ctl.main\ntcpd.ctl.main.main(['top', {where!r}])"
    from helpers import ctl_run

    before = ctl_run.CTL
    try:
        ctl_run.CTL = [before[0], "-c", program]
        with Screen() as screen:
            assert screen.finish() == 1
            assert "ZeroDivisionError" in screen.raw
            # The traceback comes after the terminal has been given back.
            assert screen.raw.index("\x1b[?1049l") < screen.raw.index("ZeroDivisionError")
            assert screen.is_restored() or "\x1b[?1049l" in screen.raw
    finally:
        ctl_run.CTL = before


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it(where):
    with Screen("top", where) as screen:
        screen.expect("90928d41-2")
        # No shell waits in this session: to an orphan the kernel does nothing, and it goes on.
        os.kill(screen.process.pid, signal.SIGTSTP)
        end = time.monotonic() + 20
        while screen.raw.count("\x1b[?1049h") < 2:
            screen._read(end, "it never came back")
        assert "\x1b[?1049l" in screen.raw
        screen.type("q")
        assert screen.finish() == 0
        assert screen.is_restored()


def test_a_session_is_closed_after_a_question(site, where):
    with Screen("top", "--every", "50ms", where) as screen:
        screen.expect("90928d41-2")
        screen.type("\x1b[B")
        screen.type("k")
        screen.expect(r"close 90928d41-2 of 192\.0\.2\.2:5000\?")
        screen.type("n")
        screen.expect("q leave")
        assert asked(site, "/close") == []
        screen.type("k")
        screen.expect("close 90928d41-2")
        screen.type("y")
        screen.expect("session 90928d41-2: closing")
        screen.type("k")
        screen.expect("close 90928d41-2")
        screen.type("r")
        screen.expect("session 90928d41-2: reset")
        assert [each[3] for each in asked(site, "/close")] == [{"reset": False}, {"reset": True}]
        screen.type("\x1b[Ak")
        screen.expect("close 90928d41-1")
        screen.type("y")
        screen.expect("no such page")  # what the daemon says is told
        screen.type("q")
        assert screen.finish() == 0


def test_filter_and_sort_are_the_daemons_work(site, where):
    with Screen("top", "--every", "50ms", where) as screen:
        screen.expect("90928d41-2")
        screen.type("/one two  \x17")
        screen.expect("filter: one _")
        screen.type("three\x15")
        screen.expect("filter: _")
        screen.type("\x15\x17abcx\x7f")
        screen.expect("filter: abc_")
        screen.type("\r")
        screen.expect("with 'abc'")
        screen.type("s")
        screen.expect("by queued, highest first")
        screen.type("r")
        screen.expect("by queued, lowest first")
        screen.type("?")
        screen.expect("turn the order round")
        screen.type("x ")
        screen.expect("standing still")
        wanted = "filter=abc&sort=queued&limit=19&offset=0"
        end = time.monotonic() + 20
        while not any(each[1].endswith(wanted) for each in asked(site, "/api/sessions")):
            assert time.monotonic() < end
        screen.type("q")
        assert screen.finish() == 0


def test_a_new_size_is_used(where):
    with Screen("top", "--every", "50ms", where) as screen:
        screen.expect("90928d41-2")
        screen.resize(40, 10)
        end = time.monotonic() + 20
        while len(screen.frame) != 10:
            screen._read(end, "it stayed as large")
        assert all(len(line) <= 40 for line in screen.frame)
        screen.type("q")
        assert screen.finish() == 0


def test_a_daemon_that_goes_and_comes_back(site, tmp_path):
    path = tmp_path / "admin.sock"
    with site.serve(path) as where:
        screen = Screen("top", "--every", "50ms", where)
        with screen:
            screen.expect("90928d41-2")
            path.rename(tmp_path / "gone")
            screen.expect("no daemon listens")
            (tmp_path / "gone").rename(path)
            screen.expect("3 sessions open")
            screen.type("q")
            assert screen.finish() == 0


def test_without_a_daemon_the_screen_is_left_alone(tmp_path):
    with Screen("top", f"--socket={tmp_path / 'none'}") as screen:
        assert screen.finish() == 3
        assert "no daemon listens" in screen.raw
        assert "\x1b[?1049h" not in screen.raw
