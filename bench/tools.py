"""What a run needs on disk: the compiled load and the C server, and a certificate."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
# Of the compiler, in seconds.
PATIENCE = 120.0


class ToolError(Exception):
    """Something that a run needs can't be made; the text says what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The files.

    Attributes:
        load: the load without TLS.
        load_tls: the load with TLS; None where OpenSSL's headers are missing.
        epoll_echo: the C server.
        certificate: a certificate and its key, in PEM.
    """

    load: Path
    load_tls: Path | None
    epoll_echo: Path
    certificate: Path


def make_tools(directory: Path) -> Tools:
    """Compile everything into a directory.

    Raises:
        ToolError: there is no C compiler, or it fails.
    """
    tls: Path | None = directory / "load-tls"
    assert tls is not None
    try:
        _compile(tls, "load.c", "tls.c", libraries=("-lssl", "-lcrypto"))
        certificate = _make_certificate(directory)
    except ToolError:
        tls, certificate = None, directory / "none.pem"
    return Tools(
        load=_compile(directory / "load", "load.c", "plain.c"),
        load_tls=tls,
        epoll_echo=_compile(directory / "epoll-echo", "epoll_echo.c"),
        certificate=certificate,
    )


def _compile(target: Path, *sources: str, libraries: tuple[str, ...] = ()) -> Path:
    files = [SOURCES / source for source in sources]
    _run("cc", "-O2", "-Wall", "-Wextra", "-o", target, *files, *libraries)
    return target


def _make_certificate(directory: Path) -> Path:
    """Make a certificate on P-256, as most servers have one today, by the openssl command."""
    key, both = directory / "key.pem", directory / "certificate.pem"
    certificate = directory / "only.pem"
    _run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", certificate),
    )
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    both.chmod(0o600)
    return both


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    except FileNotFoundError:
        raise ToolError(f"{command[0]} isn't installed, and the benchmark needs it") from None
    except subprocess.CalledProcessError as error:
        problem = error.stderr.decode(errors="replace").strip()
        raise ToolError(f"{command[0]} failed: {problem}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]} took longer than {PATIENCE:.0f} s") from None
