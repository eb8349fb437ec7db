"""The lean reactor as a reactor: time, threads, signals, processes, logs, and twistd."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest


def run(script, **settings):
    """Run a script with the lean reactor installed; gives what it printed."""
    preamble = "from tcpd.net.reactor import install\nreactor = install()\n"
    ran = subprocess.run(
        [sys.executable, "-c", preamble + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        **settings,
    )
    assert ran.stderr == ""
    return ran.stdout


def test_it_is_the_process_reactor_and_its_clock_is_monotonic():
    assert (
        run(
            """
            import time
            from twisted.internet import reactor as installed
            from twisted.internet.interfaces import IReactorFDSet, IReactorTCP, IReactorUNIX
            assert installed is reactor and reactor.seconds is time.monotonic
            assert IReactorTCP.providedBy(reactor) and IReactorUNIX.providedBy(reactor)
            time.time = lambda: 0.0  # somebody sets the wall clock back
            reactor.callLater(0.05, lambda: (print("due"), reactor.stop()))
            reactor.run()
            """
        )
        == "due\n"
    )


def test_timed_calls_come_in_order_and_one_that_raises_harms_no_other():
    assert (
        run(
            """
            from twisted.logger import globalLogBeginner
            globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
            for delay in (0.03, 0.01, 0.02):
                reactor.callLater(delay, print, delay)
            reactor.callLater(0.015, lambda: 1 / 0)
            reactor.callLater(0, reactor.callLater, 0, print, "at once")
            cancelled = reactor.callLater(0.025, print, "never")
            reactor.callLater(0.02, cancelled.cancel)
            reactor.callLater(0.05, reactor.stop)
            reactor.run()
            """
        )
        == "at once\n0.01\n0.02\n0.03\n"
    )


def test_threads_and_calls_from_them():
    assert (
        run(
            """
            import threading
            from twisted.internet.threads import deferToThread
            def back(name):
                print(name != threading.current_thread().name)
                reactor.stop()
            def work():
                return threading.current_thread().name
            def start():
                deferToThread(work).addCallback(lambda name: reactor.callFromThread(back, name))
            reactor.callWhenRunning(start)
            reactor.run()
            """
        )
        == "True\n"
    )


def test_processes():
    assert (
        run(
            """
            from twisted.internet.utils import getProcessOutputAndValue
            ended = getProcessOutputAndValue("/bin/sh", ["-c", "echo out; exit 3"])
            ended.addCallback(print)
            ended.addCallback(lambda _: reactor.stop())
            reactor.run()
            """
        )
        == "(b'out\\n', b'', 3)\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it(number):
    assert (
        run(
            f"""
            import os
            reactor.addSystemEventTrigger("before", "shutdown", print, "stopping")
            reactor.callLater(0.05, os.kill, os.getpid(), {int(number)})
            reactor.run()
            """
        )
        == "stopping\n"
    )


def test_records_that_a_handler_logs_bear_its_connections_prefix():
    assert (
        run(
            """
            import socket
            from twisted.internet.protocol import Factory, Protocol
            from twisted.python import log
            class Logs(Protocol):
                def dataReceived(self, data):
                    log.msg("heard")
                    log.callWithContext({"more": 1}, log.msg, "nested")
                    reactor.callLater(0, log.msg, "outside")
                    reactor.callLater(0, reactor.stop)
            seen = []
            log.addObserver(lambda event: seen.append((event["message"], event["system"])))
            factory = Factory.forProtocol(Logs)
            factory.noisy = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            client = socket.create_connection(("127.0.0.1", port.getHost().port))
            client.sendall(b"x")
            reactor.run()
            for message, system in seen:
                if message[:1] in [("heard",), ("nested",), ("outside",)]:
                    print(*message, system)
            """
        )
        == "heard Logs,0,127.0.0.1\nnested Logs,0,127.0.0.1\noutside -\n"
    )


def test_a_handler_that_leaves_the_reactor_s_loop_by_an_exception_does_not_stop_it():
    assert (
        run(
            """
            from twisted.logger import globalLogBeginner
            globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
            import os
            class Reader:
                def __init__(self, fd):
                    self.fileno = lambda: fd
                def doRead(self):
                    raise SystemExit("no")
                def connectionLost(self, reason):
                    print("reader lost")
                    reactor.callLater(0.01, reactor.stop)
                def logPrefix(self):
                    return "reader"
            ours, theirs = os.pipe()
            reactor.addReader(Reader(ours))
            os.write(theirs, b"x")
            reactor.run()
            """
        )
        == "reader lost\n"
    )


def test_what_is_written_in_a_timed_call_leaves_with_one_send_before_the_loop_sleeps():
    assert (
        run(
            """
            import socket
            from twisted.internet.protocol import Factory, Protocol
            class Speaks(Protocol):
                def connectionMade(self):
                    reactor.callLater(0, self.speak)
                def speak(self):
                    for word in (b"one ", b"two ", b"three"):
                        self.transport.write(word)
                    reactor.callLater(0.02, reactor.stop)
            factory = Factory.forProtocol(Speaks)
            factory.noisy = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            client = socket.create_connection(("127.0.0.1", port.getHost().port))
            reactor.run()
            print(client.recv(100).decode())
            """
        )
        == "one two three\n"
    )


def test_its_name_is_known_to_twistd(tmp_path):
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "--help-reactors",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert any("tcpd" in line and "lean" in line for line in ran.stdout.splitlines())
