"""`tcpd-client` at a prompt: a real process on a pseudo-terminal, and a person who types."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import stat
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.client_run import LIMIT, Peer, Terminal, echo, read_all, reset, until_gone


def say(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(data)
        until_gone(connection)

    return serve


def test_a_line_is_sent_and_the_answer_shown_above_the_prompt(tmp_path: Path) -> None:
    with Peer(echo) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect(f"* connected to {peer.address}; Ctrl-D ends your side, Ctrl-C leaves")
        terminal.ready()
        terminal.type("grüße €\r")
        terminal.expect("> grüße €")
        terminal.expect("< grüße €")
        terminal.type("\x04")
        terminal.expect("* closed by the peer")
        assert terminal.finish() == 0


def heard_from(tmp_path: Path, typed: str, *flags: str) -> bytes:
    heard: list[bytes] = []
    with (
        Peer(lambda c: heard.append(read_all(c))) as peer,
        Terminal(peer.address, *flags, state=tmp_path) as terminal,
    ):
        terminal.ready()
        terminal.type(typed)
        terminal.type("\x04")
        assert terminal.finish() == 0
    return heard[0]


@pytest.mark.parametrize(
    ("flags", "typed", "sent"),
    [
        ([], "one\rtwo\r", b"one\ntwo\n"),
        (["--eol", "lf"], "one\r", b"one\n"),
        (["--eol", "crlf"], "one\r\r", b"one\r\n\r\n"),
        (["--eol", "none"], "one\rtwo\r", b"onetwo"),
        ([], "a\\n\r", b"a\\n\n"),
        (["--escape"], "a\\n\\x00\r", b"a\n\x00\n"),
        (["--hex"], "48 65 0a\r", b"He\n"),
        (["--hex", "--eol", "crlf"], "48\r", b"H\r\n"),
        (["--eol", "crlf"], "\x1b[200~one\rtwo\x1b[201~\r", b"one\r\ntwo\r\n"),
    ],
)
def test_what_is_typed_is_sent_as_chosen(
    flags: list[str], typed: str, sent: bytes, tmp_path: Path
) -> None:
    assert heard_from(tmp_path, typed, *flags) == sent


def test_lines_can_be_edited(tmp_path: Path) -> None:
    left, home = "\x1b[D", "\x01"
    assert heard_from(tmp_path, f"helo{left}l{home}> \x0b\x19\r") == b"> hello\n"


def test_nothing_the_peer_says_reaches_the_terminal_raw(tmp_path: Path) -> None:
    data = b"\x1b]0;owned\x07\x1b[2J\xc2\x9b31m\x00\xff \x7f\r\nplain\n"
    with Peer(say(data)) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect("plain")
        assert r"< \x1b]0;owned\x07\x1b[2J\u009b31m\0\xff \x7f\r" in terminal.text
        assert b"\x1b]0;" not in terminal.raw
        assert b"\x1b[2J" not in terminal.raw
        assert b"\xc2\x9b" not in terminal.raw


def test_what_the_peer_says_never_looks_like_what_the_client_says(tmp_path: Path) -> None:
    with Peer(say(b"* closed by the peer\n> rm\n")) as peer:
        with Terminal(peer.address, state=tmp_path) as terminal:
            terminal.expect("< * closed by the peer")
            terminal.expect("< > rm")


def test_with_crlf_the_line_end_is_silent(tmp_path: Path) -> None:
    with Peer(say(b"one\r\ntwo\n.")) as peer:
        with Terminal(peer.address, "--eol", "crlf", state=tmp_path) as terminal:
            terminal.expect(r"two\n")
            assert r"\r" not in terminal.text


def test_a_line_that_has_not_ended_is_shown_above_the_prompt(tmp_path: Path) -> None:
    def login(connection: socket.socket) -> None:
        connection.sendall(b"login: ")
        name = connection.recv(100).strip()
        connection.sendall(b"hello " + name)
        connection.recv(100)
        connection.sendall(b", and goodbye\n")

    with Peer(login) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect("< login:")
        terminal.type("joe\r")
        terminal.expect("< login:  ...")  # now it stays above what answered it
        terminal.expect("> joe")
        terminal.expect("< hello joe")
        terminal.type("x\r")
        terminal.expect("< , and goodbye")
        assert terminal.finish() == 0


def test_hex_is_typed_and_shown_as_a_dump_with_offsets(tmp_path: Path) -> None:
    with Peer(echo) as peer, Terminal(peer.address, "--hex", state=tmp_path) as terminal:
        terminal.ready()
        terminal.type("00 1b 41\r")
        terminal.expect("< 00000000  00 1b 41   ")
        terminal.expect("|..A|")
        terminal.type("42\r")
        terminal.expect("< 00000003  42 ")


def test_a_wrong_line_is_named_and_stays_to_be_mended(tmp_path: Path) -> None:
    with Peer(echo) as peer, Terminal(peer.address, "--hex", state=tmp_path) as terminal:
        terminal.ready()
        terminal.type("41 4\r")
        terminal.expect("half a byte: '4'; hex digits come in pairs")
        terminal.type("\x052\r")  # Ctrl-E, then the missing digit
        terminal.expect("|AB|")


def test_typed_lines_are_remembered_from_one_run_to_the_next(tmp_path: Path) -> None:
    up = "\x1b[A"
    assert heard_from(tmp_path, "first\rsecond\r") == b"first\nsecond\n"
    assert heard_from(tmp_path, f"{up}{up}\r") == b"first\n"
    file = tmp_path / "tcpd" / "client_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_nothing_is_remembered_where_that_is_not_wanted(tmp_path: Path) -> None:
    assert heard_from(tmp_path, "secret\r", "--no-history") == b"secret\n"
    assert not (tmp_path / "tcpd").exists()


def test_a_history_that_can_not_be_kept_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "tcpd").write_text("not a directory")
    with Peer(echo) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect("* no history: ")
        terminal.type("hello\r")
        terminal.expect("< hello")


def test_ctrl_d_ends_our_side_and_waits_for_the_peer(tmp_path: Path) -> None:
    go_on = threading.Event()

    def answer(connection: socket.socket) -> None:
        said = read_all(connection)
        go_on.wait(LIMIT)
        connection.sendall(b"you said " + said)

    with Peer(answer) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.ready()
        terminal.type("hello\r\x04")
        terminal.expect("* your side has ended; waiting for the peer")
        go_on.set()
        terminal.expect("< you said hello")
        assert terminal.finish() == 0


def test_ctrl_d_without_half_close_tells_the_peer_nothing(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        assert connection.recv(100) == b"ping\n"
        connection.sendall(b"pong\n")
        assert connection.recv(100) == b""
        with contextlib.suppress(OSError):
            connection.sendall(b"EOF\n")

    with Peer(answer) as peer:
        with Terminal(peer.address, "-N", "--wait", "300ms", state=tmp_path) as terminal:
            terminal.ready()
            terminal.type("ping\r\x04")
            terminal.expect("pong")
            assert terminal.finish() == 0
            assert "EOF" not in terminal.text


def test_a_peer_that_does_not_finish_in_time_is_left(tmp_path: Path) -> None:
    with Peer(until_gone) as peer:
        with Terminal(peer.address, "--wait", "50ms", state=tmp_path) as terminal:
            terminal.ready()
            terminal.type("\x04")
            terminal.expect("* the peer did not close within 50ms")
            assert terminal.finish() == 1


def test_ctrl_c_leaves_and_the_terminal_is_as_it_was(tmp_path: Path) -> None:
    with Peer(until_gone) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.ready()
        assert termios.tcgetattr(terminal.slave) != terminal.before
        terminal.type("unsent\x03")
        assert terminal.finish() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before
        assert not fcntl.fcntl(terminal.slave, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_kill_puts_the_terminal_back_too(tmp_path: Path) -> None:
    with Peer(until_gone) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.ready()
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.finish() == 128 + signal.SIGTERM
        assert termios.tcgetattr(terminal.slave) == terminal.before
        assert not fcntl.fcntl(terminal.slave, fcntl.F_GETFL) & os.O_NONBLOCK


def test_it_ends_when_its_terminal_goes_away(tmp_path: Path) -> None:
    with Peer(until_gone) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.ready()
        terminal.hang_up()
        assert terminal.process.wait(LIMIT) == 128 + signal.SIGHUP


def test_a_reset_is_told_and_is_status_1(tmp_path: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        reset(connection)

    with Peer(serve) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.ready()
        terminal.type("x\r")
        terminal.expect("* connection reset by the peer")
        assert terminal.finish() == 1


def test_no_connection_is_one_line_and_no_prompt(tmp_path: Path) -> None:
    with Terminal(f"unix:{tmp_path}/none", state=tmp_path) as terminal:
        assert terminal.finish() == 1
        assert terminal.text.startswith("tcpd-client: cannot connect to unix:")
        assert terminal.text.count("\n") == 1


def test_reconnect_brings_a_new_connection_and_keeps_the_line(tmp_path: Path) -> None:
    path = tmp_path / "s"
    flags = ["--reconnect", "--reconnect-max", "50ms"]
    with Peer(lambda c: reset(c) if c.recv(100) else None, path=path):
        terminal = Terminal(f"unix:{path}", *flags, state=tmp_path)
        with contextlib.ExitStack() as stack:
            stack.enter_context(terminal)
            terminal.ready()
            path.unlink()
            terminal.type("x\r")
            terminal.expect("no such file or directory; trying again in ")
            terminal.type("again\r")
            terminal.expect("not connected; the line stays here")
            stack.enter_context(Peer(echo, path=path))
            terminal.expect("* connected to ")
            terminal.type("\r")
            terminal.expect("< again")
            terminal.type("\x04")
            assert terminal.finish() == 0


def test_leaving_while_there_is_no_connection_is_status_1(tmp_path: Path) -> None:
    with Peer(lambda c: c.recv(100) and None) as peer:
        with Terminal(
            peer.address, "--reconnect", "--reconnect-max", "1h", state=tmp_path
        ) as terminal:
            terminal.ready()
            peer.stop()
            terminal.type("x\r")
            terminal.expect("closed by the peer; trying again in ")
            terminal.type("\x03")
            assert terminal.finish() == 1


def test_details_are_shown_as_status_lines(tmp_path: Path) -> None:
    with Peer(echo) as peer, Terminal(peer.address, "-v", state=tmp_path) as terminal:
        terminal.expect(f"tcpd-client: connected to {peer.address} from 127.0.0.1:")
        terminal.ready()
        terminal.type("hello\r")
        terminal.expect("< hello")
        terminal.type("\x04")
        terminal.expect("* sent 6 bytes, received 6 bytes in ")
        assert terminal.finish() == 0


def test_details_go_to_a_standard_error_that_is_elsewhere(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Peer(echo) as peer, log.open("wb") as stderr:
        with Terminal(peer.address, "-v", state=tmp_path, stderr=stderr) as terminal:
            terminal.ready()
            terminal.type("\x04")
            assert terminal.finish() == 0
    assert "sent 0 bytes, received 0 bytes" in log.read_text()
    assert "sent 0 bytes" not in terminal.text


def test_a_flood_is_shown_whole_and_keys_are_heard_in_it(tmp_path: Path) -> None:
    heard = threading.Event()

    def flood(connection: socket.socket) -> None:
        def listen() -> None:
            if connection.recv(100) == b"stop\n":
                heard.set()

        threading.Thread(target=listen, daemon=True).start()
        number = 0
        while not heard.is_set():
            connection.sendall(b"".join(b"line %d.\n" % (number + i) for i in range(100)))
            number += 100
        connection.sendall(b"%d lines.\n" % number)

    with Peer(flood) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect("line 1000.")
        terminal.type("stop\r")
        assert terminal.finish() == 0
        shown = terminal.text
    total = int(shown.rpartition(" lines.")[0].rpartition("< ")[2])
    whole = {int(n) for n in re.findall(r"< line (\d+)\.", shown)}
    # The line in the midst of which "stop" was sent is shown in two pieces.
    assert len(set(range(total)) - whole) <= 1


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    with Peer(say(b"hi \x1b[2J\n")) as peer:
        with Terminal(peer.address, state=tmp_path, TERM="dumb") as terminal:
            terminal.expect(r"hi \x1b[2J")
            assert b"\x1b" not in terminal.raw


def test_it_may_be_stopped_before_it_has_begun(tmp_path: Path) -> None:
    # A peer that is gone at once must not leave a prompt standing.
    with Peer(lambda c: None) as peer, Terminal(peer.address, state=tmp_path) as terminal:
        terminal.expect("* closed by the peer")
        assert terminal.finish() == 0
