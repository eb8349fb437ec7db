"""The files that a configuration names: whether they are there, and can be used.

They are read where they are checked, so that each mistake has the line of the file's name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcpd.capture.settings import CaptureConfig, file_name
from tcpd.config.schema import ClientTLSConfig, LogConfig, ServerTLSConfig
from tcpd.endpoint import TLSArguments
from tcpd.errors import ConfigError, TcpdError
from tcpd.escape import escape_text
from tcpd.fields import Place
from tcpd.net.tls import ClientTLS, ServerTLS


def tls_problems(tls: ServerTLSConfig | ClientTLSConfig, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with the files of a `tls` table.

    Args:
        tls: the table, as far as it is right: anything in it may be missing.
        place: where it stands.
    """
    yield from _pair_problems(tls, place)
    for index, each in enumerate(getattr(tls, "sni", ())):
        yield from _pair_problems(each, place / "sni" / index)
    for key in ("client_ca", "cafile"):
        authorities = getattr(tls, key, None)
        if authorities is not None:
            yield from _authorities_problems(authorities, place / key)


def argument_problems(tls: TLSArguments, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with the files of an endpoint string, which stands at `place`."""
    files = [each for each in (tls.certificate, tls.key, tls.chain) if each is not None]
    problems = [problem for each in dict.fromkeys(files) if (problem := _unreadable(each))]
    if not problems and tls.certificate is not None:
        try:
            ServerTLS(tls.certificate, tls.key, chain=tls.chain)
        except TcpdError as error:
            problems.append(str(error))
    for problem in problems:
        yield place.error(escape_text(problem))
    if tls.authorities is not None:
        yield from _authorities_problems(tls.authorities, place)


def log_problems(log: LogConfig, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with the file of the log."""
    path = log.file
    if path is None:
        return
    at, shown = place / "file", escape_text(str(path))
    if path.is_symlink():
        yield at.error(f"{shown} is a symbolic link", "name its target")
    elif path.is_dir():
        yield at.error(f"{shown} is a directory, not a file")
    elif not path.parent.is_dir():
        yield at.error(f"there is no directory {escape_text(str(path.parent))}", "make it first")


def capture_problems(capture: CaptureConfig, name: object, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with where a capture is written to.

    Args:
        capture: the table, as far as it is right: anything in it may be missing.
        name: the name of the listener or connector, which its file has.
        place: where the table stands.
    """
    path = getattr(capture, "path", None)
    if path is None:
        return
    problems = list(directory_problems(path, place / "path"))
    yield from problems
    if problems or capture.files != "listener":
        return
    file = path / file_name(str(name), capture.format)
    try:
        mode = file.lstat().st_mode
    except OSError:
        return  # there is none yet
    shown = escape_text(str(file))
    if stat.S_ISLNK(mode):
        problem = f"{shown} is a symbolic link, which is never followed"
        yield (place / "path").error(problem, "remove it")
    elif not stat.S_ISREG(mode):
        yield (place / "path").error(f"{shown} isn't a regular file", "remove it")


def directory_problems(path: Path, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with a directory for files that we make; its name stands at `place`."""
    shown = escape_text(str(path))
    if path.is_symlink():
        yield place.error(f"{shown} is a symbolic link", "name its target")
    elif not path.exists():
        yield place.error(f"there is no directory {shown}", "make it first")
    elif not path.is_dir():
        yield place.error(
            f"{shown} isn't a directory", "name one; the files get names of their own"
        )
    elif not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        yield place.error(f"files can't be made in {shown}: permission denied")


def _pair_problems(tls: Any, place: Place) -> Iterator[ConfigError]:
    """Give what is wrong with a certificate and its key."""
    certificate, key = getattr(tls, "certificate", None), getattr(tls, "key", None)
    given = {"certificate": certificate, "key": key}
    problems = {
        name: problem
        for name, path in given.items()
        if path is not None and (problem := _unreadable(path))
    }
    if certificate is not None and not problems:
        try:
            ServerTLS(certificate, key)
        except TcpdError as error:
            problem = str(error)
            name = "key" if key is not None and problem.startswith("key ") else "certificate"
            problems[name] = problem.removeprefix(f"{name} ")
    for name, problem in problems.items():
        yield (place / name).error(escape_text(problem))


def _authorities_problems(path: Path, place: Place) -> Iterator[ConfigError]:
    problem = "" if path.is_dir() else _unreadable(path)
    if not problem:
        try:
            ClientTLS("name", cafile=path)
        except TcpdError as error:
            problem = str(error).removeprefix("authorities ")
    if problem:
        yield place.error(escape_text(problem))


def _unreadable(path: Path) -> str:
    """Return why a file can't be read, or nothing; a pipe or device isn't opened, it may block."""
    try:
        if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
            return f"{path} isn't a regular file"
        with path.open("rb"):
            return ""
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
