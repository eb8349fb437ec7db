"""What the soak does to what is around a daemon: its files, its limits, its connector's server.

Each fault takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import random
import re
import resource
import socket
import time

from faults.harness import wait_until
from faults.peers import assert_echoes, receive, reset
from faults.soak_faults import Fault
from faults.soak_field import Field, config

STARVED = 0.1
"""How long there are no descriptors, in seconds."""


def reload(field: Field, chance: random.Random) -> None:
    """Reload; a listener comes or goes by that, and who it serves stays."""
    with field.steering:
        turn = field.turn + 1
        said = field.reload(config(turn, field.uplink))
        if "read again" not in said:
            field.surprises.append(f"a reload was refused: {said}")
            return
        field.turn = turn
        file, wanted = field.directory / "visitor.sock", bool(turn % 2)
        # A port closes, and its file goes, in the turn of the loop after the one that says so.
        wait_until(f"visitor.sock is there: {wanted}", lambda: file.exists() == wanted)
        if turn % 2:
            found = re.search(r"listener visitor listens on [^ ]*:(\d+) ", said)
            assert found is not None, said
            field.ports["visitor"] = int(found[1])
            for sock in (field.connect("visitor"), field.connect_to_file("visitor.sock")):
                field.hold(sock)
                assert_echoes(sock)


def bad_reload(field: Field, chance: random.Random) -> None:
    """Reload a file that has a mistake, or that ends in the middle."""
    with field.steering:
        text = config(field.turn + 1, field.uplink)
        if chance.random() < 0.5:
            text = text.replace("limits", "limmits")
        else:
            text = text[: text.index("[listeners.capped]") + chance.randrange(1, 15)]
        if "nothing has changed" not in field.reload(text):
            field.surprises.append("a bad file was taken")


def rotate(field: Field, chance: random.Random) -> None:
    """Move the log away and have it opened anew."""
    with field.steering:
        field.rotate()


def starve(field: Field, chance: random.Random) -> None:
    """Leave the daemon no descriptor for a moment; who comes meanwhile is served afterwards.

    It has its limit lowered (prlimit(2)), which takes nothing from the sessions that it has.
    """
    pid = field.daemon.pid
    with field.steering, contextlib.ExitStack() as stack:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            socks = [stack.enter_context(field.connect("stalled")) for _ in range(5)]
            socks.append(stack.enter_context(field.connect_to_file("local.sock")))
            time.sleep(STARVED)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        for sock in socks:
            assert_echoes(sock)


def uplink(field: Field, chance: random.Random) -> None:
    """Be the server that the connector looks for; take its connection, end it, and go."""
    with field.uplink_server, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.settimeout(5.0)
        server.bind(("127.0.0.1", field.uplink))
        server.listen()
        try:
            sock, _ = server.accept()
        except TimeoutError:
            field.surprises.append("the connector doesn't come back")
            return
        with sock:
            sock.settimeout(5.0)
            match chance.randrange(4):
                case 0:
                    pass
                case 1:
                    sock.sendall(bytes(chance.randrange(1, 100_000)))
                    reset(sock)
                case 2:
                    assert_echoes(sock)
                case _:
                    sock.sendall(b"hello")
                    sock.shutdown(socket.SHUT_WR)
                    if receive(sock, 10) != b"hello":
                        field.surprises.append("the connector's echo is cut")


HOUSE: dict[str, Fault] = {
    fault.__name__: fault for fault in (reload, bad_reload, rotate, starve, uplink)
}
