"""Sockets that are passed to tcpd, by the tool that does it as systemd would."""

import os
import shutil
import socket
import ssl
from contextlib import contextmanager

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, receive_all, run_tcpd, running

ACTIVATE = shutil.which("systemd-socket-activate")
needs_activation = pytest.mark.skipif(
    ACTIVATE is None, reason="systemd-socket-activate (Debian: systemd) is not installed"
)


def free_port(host="127.0.0.1", family=socket.AF_INET):
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextmanager
def activated(*sockets, tcpd, cwd, names=None, twistd=("-n", "--pidfile=")):
    """Run the tool, which starts tcpd as soon as somebody connects to one of the sockets."""
    command = [ACTIVATE, *(f"--listen={each}" for each in sockets)]
    command += [f"--fdname={names}"] if names else []
    command += [BIN / "twistd", *twistd, "tcpd", *tcpd]
    with running(*command, cwd=cwd) as daemon:
        daemon.wait_for(rf"Listening on .* as {2 + len(sockets)}\.")
        yield daemon


def assert_echoes(connection):
    with connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"hello"


@needs_activation
@pytest.mark.parametrize(
    ("names", "endpoint"),
    [("echo", "systemd:domain=INET:name=echo"), (None, "systemd:domain=INET:index=0")],
)
def test_a_passed_tcp_socket_is_served(tmp_path, names, endpoint):
    port = free_port()
    with activated(
        f"127.0.0.1:{port}", tcpd=[f"--listen={endpoint}"], cwd=tmp_path, names=names
    ) as daemon:
        # Who connects before tcpd runs is served by it all the same.
        assert_echoes(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        assert_echoes(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        daemon.wait_for(rf"listener main listens on 127\.0\.0\.1:{port} ")
        assert daemon.stop() == 0


@needs_activation
def test_a_passed_unix_socket_is_served_and_its_file_left_to_its_owner(tmp_path):
    path = tmp_path / "echo.sock"
    options = ["--listen=systemd:domain=UNIX:name=local"]
    with activated(path, tcpd=options, cwd=tmp_path, names="local") as daemon:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            assert_echoes(connection)
        assert daemon.stop() == 0
    assert path.is_socket()


@needs_activation
def test_of_several_sockets_each_is_found_by_its_name(tmp_path):
    ports = [free_port(), free_port()]
    config = tmp_path / "two.toml"
    config.write_text(
        '[listeners.first]\nlisten = "systemd:domain=INET:name=one"\n'
        '[listeners.second]\nlisten = "systemd:domain=INET:name=two"\nhandler = "discard"\n'
    )
    sockets = [f"127.0.0.1:{port}" for port in ports]
    options = [f"--config={config}"]
    with activated(*sockets, tcpd=options, cwd=tmp_path, names="two:one") as daemon:
        assert_echoes(socket.create_connection(("127.0.0.1", ports[1]), timeout=PATIENCE))
        assert daemon.port("first") == ports[1]
        assert daemon.port("second") == ports[0]
        assert daemon.stop() == 0


@needs_activation
def test_sockets_survive_twistd_going_into_the_background(tmp_path):
    # The parent is what the sockets were passed to; the daemon is another process.
    port = free_port()
    with activated(
        f"127.0.0.1:{port}",
        tcpd=["--listen=systemd:domain=INET:name=echo"],
        cwd=tmp_path,
        names="echo",
        twistd=("--pidfile=twistd.pid", "--logfile=twistd.log"),
    ) as starter:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        assert starter.process.wait(PATIENCE) == 0
        assert_echoes(connection)
        os.kill(int((tmp_path / "twistd.pid").read_text()), 15)


@needs_activation
def test_passed_sockets_speak_tls(tmp_path):
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port = free_port()
    with activated(
        f"127.0.0.1:{port}",
        tcpd=["--listen=systemd:domain=INET:name=echo", "--tls-certificate", str(pem)],
        cwd=tmp_path,
        names="echo",
    ):
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"


@needs_activation
@pytest.mark.parametrize(
    ("names", "endpoint", "problem"),
    [
        ("other", "systemd:domain=INET:name=echo", r"no socket has this name; .*: 0 \(other\);"),
        (None, "systemd:domain=INET:name=echo", "without names .* write index=0"),
        ("echo", "systemd:domain=INET6:name=echo", "write systemd:domain=INET"),
        ("echo", "systemd:domain=INET:index=7", "there is no socket 7"),
    ],
)
def test_a_socket_that_is_not_there_ends_the_start(tmp_path, names, endpoint, problem):
    port = free_port()
    with activated(
        f"127.0.0.1:{port}", tcpd=[f"--listen={endpoint}"], cwd=tmp_path, names=names
    ) as daemon:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            daemon.wait_for(rf"listener 'main' cannot listen on systemd:\w+: .*{problem}")
            assert daemon.stop(0) == 1
    assert "Traceback" not in daemon.output


def test_without_a_service_manager_the_start_fails_and_says_so(tmp_path):
    done = run_tcpd("--listen=systemd:domain=INET:name=echo", cwd=tmp_path)
    assert done.returncode == 1
    assert "the service manager passed no sockets" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_a_check_needs_no_sockets(tmp_path):
    # What ExecStartPre= runs is passed none.
    done = run_tcpd("--listen=systemd:domain=INET:name=echo", "--check-config", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
