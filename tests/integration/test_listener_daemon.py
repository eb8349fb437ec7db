"""What can be listened on, and what is said when it can't be: a real daemon, real sockets."""

import re
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import trustme
from helpers.daemon import BIN, PATIENCE, receive_all, run_tcpd, tcpd

REACTORS = ("epoll", "asyncio", "tcpd")
NOBODY = 65534


def assert_echoes(sock: socket.socket, header: bytes = b"") -> None:
    with sock:
        sock.settimeout(PATIENCE)
        sock.sendall(header + b"hello")
        if not isinstance(sock, ssl.SSLSocket):
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == b"hello"
        else:
            assert sock.recv(5) == b"hello"


def connect_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return sock


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(tmp_path: Path, authority: trustme.CA) -> dict[str, Path]:
    """A certificate by an intermediate authority, in files of all sorts."""
    middle = authority.create_child_ca()
    issued = middle.issue_cert("localhost", "127.0.0.1")
    leaf, *chain = [blob.bytes() for blob in issued.cert_chain_pems]
    files = {"cert.pem": leaf, "key.pem": issued.private_key_pem.bytes()}
    files["chain.pem"] = b"".join(chain)
    files["full.pem"] = leaf + b"".join(chain)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {name.removesuffix(".pem"): tmp_path / name for name in files}


def tls_to(address: tuple[str, int], authority: trustme.CA) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context.wrap_socket(
        socket.create_connection(address, timeout=PATIENCE), server_hostname="localhost"
    )


@pytest.mark.parametrize("reactor", REACTORS)
def test_every_kind_of_address_on_every_reactor(
    reactor: str, tmp_path: Path, pem: dict[str, Path], authority: trustme.CA
) -> None:
    (tmp_path / "tcpd.toml").write_text(
        f"""
        [listeners.plain]
        listen = ["tcp:0:interface=127.0.0.1", "unix:plain.sock:mode=600"]
        [listeners.both]
        listen = "tcp6:0"
        [listeners.string]
        listen = "ssl:0:privateKey={pem["key"]}:certKey={pem["cert"]}:extraCertChain={pem["chain"]}\
:interface=127.0.0.1"
        [listeners.table]
        listen = ["tcp:0:interface=127.0.0.1", "unix:table.sock"]
        tls = {{ certificate = "full.pem", key = "key.pem" }}
        """
    )
    arguments = ("--config", "tcpd.toml")
    with tcpd(*arguments, cwd=tmp_path, twistd=(f"--reactor={reactor}",)) as daemon:
        assert_echoes(daemon.connect("plain"))
        daemon.wait_for(r"listener plain listens on unix:plain\.sock ")
        assert stat.S_IMODE((tmp_path / "plain.sock").stat().st_mode) == 0o600
        assert_echoes(connect_unix(tmp_path / "plain.sock"))

        both = daemon.port("both")
        assert_echoes(socket.create_connection(("::1", both), timeout=PATIENCE))
        daemon.wait_for(r"\[::1\]:\d+ -> both \(echo\): 5 bytes in, 5 out, .*, peer-closed")
        assert_echoes(socket.create_connection(("127.0.0.1", both), timeout=PATIENCE))
        daemon.wait_for(r" 127\.0\.0\.1:\d+ -> both \(echo\): 5 bytes in, 5 out, .*, peer-closed")

        for name in ("string", "table"):
            assert_echoes(tls_to(("127.0.0.1", daemon.port(name)), authority))

        daemon.stop()
    assert "Traceback" not in daemon.output
    assert not list(tmp_path.glob("*.sock"))
    assert len(re.findall(r"listener \w+ listens on", daemon.output)) == 6
    assert daemon.output.count("no longer listens on") == 6


def test_an_endpoint_that_believes_anybody_is_refused(tmp_path: Path) -> None:
    done = run_tcpd("--listen", "haproxy:tcp:0", cwd=tmp_path)
    assert done.returncode == 2
    assert "'haproxy:' would believe anybody's PROXY header" in done.stderr
    assert "write 'tcp:0', and say whom to trust: proxy = { trusted = [...] }" in done.stderr


def fails(tmp_path: Path, *arguments: str) -> str:
    """Return the one line that a daemon which can't start says, without its time."""
    done = run_tcpd(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "error: " in line]
    return line.partition("error: ")[2]


def test_a_second_address_in_use_leaves_the_first_closed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says = fails(
            tmp_path, "--listen=unix:first.sock", f"--listen=tcp:{port}:interface=127.0.0.1"
        )
    assert says.endswith(
        f"listener 'main' cannot listen on 127.0.0.1:{port}: address already in use"
    )
    assert not (tmp_path / "first.sock").exists()


def test_of_a_unix_socket_in_use_it_says_who_uses_it(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "s.sock", tmp_path / "elsewhere"
    elsewhere.mkdir()  # away from the first one's twistd.pid
    with tcpd(f"--listen=unix:{path}", cwd=tmp_path) as daemon:
        daemon.wait_for("listens on unix:")
        says = fails(elsewhere, f"--listen=unix:{path}")
    holder = f"it is in use by process {daemon.pid}"
    assert says.endswith(f"cannot listen on unix:{path}: {holder}")


def test_of_a_file_that_is_no_socket_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "s.sock").write_text("precious")
    says = fails(tmp_path, "--listen=unix:s.sock")
    problem = "there is a file that isn't a socket; remove it or choose another path"
    assert says.endswith(f"cannot listen on unix:s.sock: {problem}")
    assert (tmp_path / "s.sock").read_text() == "precious"


BROKEN = """
from twisted.internet.protocol import Factory, Protocol

class Broken(Factory):
    noisy = False
    protocol = Protocol

    def startFactory(self):
        {}["x"]
"""


@pytest.mark.parametrize("where", ["listener", "connector"])
def test_a_handler_that_fails_to_start_is_one_line_and_leaves_nothing(
    where: str, tmp_path: Path
) -> None:
    (tmp_path / "h.py").write_text(BROKEN)
    second = {
        "listener": '[listeners.b]\nlisten = "unix:b.sock"\n',
        "connector": '[connectors.b]\nconnect = "tcp:127.0.0.1:1"\n',
    }[where]
    (tmp_path / "tcpd.toml").write_text(
        f'[listeners.a]\nlisten = "unix:a.sock"\n{second}handler = "./h.py:Broken"\n'
    )
    says = fails(tmp_path, "--config=tcpd.toml")
    place = f"{tmp_path / 'h.py'}:9"
    assert says == f"tcpd: the handler ./h.py:Broken failed to start: KeyError: 'x' ({place})"
    assert not list(tmp_path.glob("a.sock*"))


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (
            "tcp:0:interface=192.0.2.1",
            "192.0.2.1:0: this machine has no such address; 'ip address' lists those it has",
        ),
        ("unix:missing/x.sock", "unix:missing/x.sock: there is no such directory"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_line(
    endpoint: str, says: str, tmp_path: Path
) -> None:
    assert fails(tmp_path, "--listen", endpoint).endswith(f"cannot listen on {says}")


def test_a_certificate_that_cannot_be_used_is_told_before_anything_opens(tmp_path: Path) -> None:
    (tmp_path / "tcpd.toml").write_text(
        '[listeners.a]\nlisten = ["unix:a.sock", "ssl:0:privateKey=none.pem"]\n'
    )
    done = run_tcpd("--config", "tcpd.toml", cwd=tmp_path)
    assert done.returncode == 78
    assert "none.pem" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a.sock").exists()


SETPRIV = shutil.which("setpriv")


def _nobody_may_run_it() -> bool:
    """Whether we may become somebody else, and whether they may read this environment."""
    become = [SETPRIV or "false", f"--reuid={NOBODY}", "--clear-groups"]
    command = [*become, str(BIN / "python"), "-c", "import tcpd.tap"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(
    not _nobody_may_run_it(),
    reason="only root can become somebody else, who must be able to read this environment",
)
@pytest.mark.parametrize("where", ["port", "path"])
def test_what_an_unprivileged_user_may_not_open_is_one_line(where: str, tmp_path: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if where == "port" and first < 2:
        pytest.skip("this kernel lets everybody have every port")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    endpoint, says = {
        "port": (
            f"tcp:{first - 1}:interface=127.0.0.1",
            (
                f"127.0.0.1:{first - 1}: permission denied; ports below {first}"
                " need root or the capability CAP_NET_BIND_SERVICE"
            ),
        ),
        "path": (f"unix:{locked}/x.sock", f"unix:{locked}/x.sock: permission denied"),
    }[where]
    done = subprocess.run(
        [
            *(str(SETPRIV), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
            *("--inh-caps=-all", "--bounding-set=-all"),
            *(str(BIN / "twistd"), "-n", "--pidfile=", "tcpd", "--listen", endpoint),
        ],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert f"listener 'main' cannot listen on {says}\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
