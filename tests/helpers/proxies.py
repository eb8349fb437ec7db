"""Real proxies for tests: Debian's HAProxy and nginx, on ports that the kernel chose."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
HAPROXY = shutil.which("haproxy", path=SBIN)
NGINX = shutil.which("nginx", path=SBIN)
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

_HAPROXY_DEFAULTS = """
defaults
  mode tcp
  timeout connect 10s
  timeout client 30s
  timeout server 30s
"""
_NGINX_FRAME = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log warn;
load_module {module};
events {{ worker_connections 64; }}
stream {{
{servers}
}}
"""


@contextmanager
def haproxy(
    directory: Path, sections: str, hosts: Mapping[str, str]
) -> Iterator[dict[str, tuple[str, int]]]:
    """Run HAProxy until the block ends, and give the address of each place that it listens at.

    Args:
        directory: for its configuration, and where it looks for files.
        sections: of its configuration; `{name}` stands for a place in `bind {name}`.
        hosts: the IP address of each place, by name.
    """
    assert HAPROXY is not None
    with ExitStack() as stack:
        listening = {
            name: stack.enter_context(
                socket.create_server(
                    (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
                )
            )
            for name, host in hosts.items()
        }
        fds = {name: sock.fileno() for name, sock in listening.items()}
        text = _HAPROXY_DEFAULTS + sections.format_map({n: f"fd@{fd}" for n, fd in fds.items()})
        (directory / "haproxy.cfg").write_text(text)
        with _running([HAPROXY, "-db", "-f", "haproxy.cfg"], directory, tuple(fds.values())):
            yield {name: sock.getsockname()[:2] for name, sock in listening.items()}


@contextmanager
def nginx(directory: Path, servers: str) -> Iterator[tuple[str, int]]:
    """Run nginx until the block ends, and give its address.

    Args:
        directory: for its files.
        servers: of its `stream`; `{listen}` stands for its address.
    """
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as sock:
        host, port = sock.getsockname()
        body = servers.replace("{listen}", f"{host}:{port}")
        text = _NGINX_FRAME.format(directory=directory, module=STREAM_MODULE, servers=body)
        (directory / "nginx.conf").write_text(text)
        fd = sock.fileno()
        command = [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf")]
        # It takes sockets over, as it does when it replaces itself.
        with _running(command, directory, (fd,), NGINX=f"{fd};"):
            yield host, port


@contextmanager
def _running(
    command: list[str], directory: Path, fds: tuple[int, ...], **env: str
) -> Iterator[None]:
    log = directory / (Path(command[0]).name + ".out")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **env},
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
            # Who connects waits in the backlog until it has started; if it never did, it says why.
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            process.wait(10)
