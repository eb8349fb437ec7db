"""A daemon inside a program of its own: stopping it is a Deferred, and the program goes on."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.daemon import PATIENCE

PROGRAM = """
import os, signal, socket
from twisted.internet import {reactor}reactor as chosen
chosen.install()
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.internet.protocol import Factory, Protocol
from tcpd.config.load import load
from tcpd.daemon import Daemon
from tcpd.registry import build_handler
from tcpd.sd_notify import ServiceManager
from pathlib import Path

daemon = Daemon(load(Path("tcpd.toml"), build_handler), reactor, ServiceManager({{}}))
before = signal.getsignal(signal.SIGTERM)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at one go: a thread speaks, too

def start():
    daemon.startService()
    (port,) = daemon.listeners["heap"].ports
    client = socket.create_connection(("127.0.0.1", port.getHost().port))
    reactor.callLater(0.2, stop, client)

def stop(client):
    assert len(daemon.listeners["heap"].serving.origin.sessions) == 1
    both = DeferredList([daemon.stopService(), daemon.stopService()])
    both.addCallback(stopped)
    reactor.callInThread(read, client)

def read(client):
    total = 0
    while data := client.recv(1 << 20):
        total += len(data)
    say("read", total)

def stopped(result):
    say("stopped", [ok for ok, _ in result], daemon.running)
    reactor.callLater(0.2, again)

def again():
    daemon.startService()
    say("again", len(daemon.listeners["heap"].ports))
    daemon.stopService().addCallback(lambda _: reactor.stop())

reactor.callWhenRunning(start)
reactor.run()
"""


@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_stopping_is_a_deferred(tmp_path: Path, reactor: str) -> None:
    (tmp_path / "heap.py").write_text(
        "from twisted.internet.protocol import Protocol\n"
        "class Heap(Protocol):\n"
        "    def connectionMade(self):\n"
        "        self.transport.write(bytes(10_000_000))\n"
    )
    (tmp_path / "tcpd.toml").write_text(
        '[listeners.heap]\nlisten = "tcp:0:interface=127.0.0.1"\nhandler = "heap.py:Heap"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(reactor=reactor)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert sorted(said[:2]) == ["read 10000000", "stopped [True, True] 0"]
    assert said[2:] == ["again 1"]
    assert done.returncode == 0
