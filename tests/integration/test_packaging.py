"""The wheel, the editable install, the bare checkout: twistd and twist find the plugin in each."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.daemon import BIN, Daemon, receive_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git would ship."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.decode().split("\0")):
        if name.split("/")[0] in ("tcpd", "twisted", "setup.cfg", "pyproject.toml", "README.md",
                                  "LICENSE") and (ROOT / name).is_file():  # fmt: skip
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(source / "dist"), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment into which nothing but the wheel was installed."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return home / "bin"


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, **more}


def start(command: list[str], cwd: Path, env: dict[str, str]) -> Iterator[Daemon]:
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Daemon(process)
    finally:
        process.kill()
        process.communicate()


def serves_echo(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    for daemon in start(command, cwd, env):
        with daemon.connect() as sock:
            sock.sendall(b"are you there?")
            sock.shutdown(1)
            assert receive_all(sock) == b"are you there?"


def test_every_module_and_the_typing_marker_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith("tcpd-")}
    ours = {
        str(path.relative_to(ROOT))
        for path in [
            *(ROOT / "tcpd").rglob("*.py"),
            *(ROOT / "tcpd" / "admin" / "page").iterdir(),
            ROOT / "tcpd" / "py.typed",
        ]
    }
    assert packed == ours | {"twisted/plugins/tcpd_plugin.py"}


@pytest.mark.parametrize("runner", [("twistd", "-n"), ("twist",)], ids=lambda each: each[0])
def test_the_wheel_serves_from_a_fresh_environment(
    runner: tuple[str, ...], fresh: Path, tmp_path: Path
) -> None:
    command = [str(fresh / runner[0]), *runner[1:], "tcpd", "--port", "0"]
    serves_echo(command, tmp_path, environment())


def test_the_wheel_brings_the_client(fresh: Path, tmp_path: Path) -> None:
    command = [str(fresh / "twistd"), "-n", "tcpd", "--port", "0"]
    for daemon in start(command, tmp_path, environment()):
        client = subprocess.run(
            [str(fresh / "tcpd-client"), "127.0.0.1", str(daemon.port())],
            input=b"hello\n", capture_output=True, timeout=30, cwd=tmp_path,
        )  # fmt: skip
        assert (client.returncode, client.stdout, client.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize("runner", [("twistd", "-n"), ("twist",)], ids=lambda each: each[0])
def test_an_editable_install_serves(runner: tuple[str, ...], tmp_path: Path) -> None:
    command = [str(BIN / runner[0]), *runner[1:], "tcpd", "--port", "0"]
    serves_echo(command, tmp_path, environment())


def test_a_bare_checkout_serves_with_nothing_but_its_path(tmp_path: Path, wheel: Path) -> None:
    """The tests' own environment has tcpd installed, so its traces are hidden: -S and paths."""
    checkout = wheel.parents[1]
    site = next(path for path in sys.path if path.endswith("site-packages"))
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for entry in Path(site).iterdir():
        if "tcpd" not in entry.name and not entry.name.endswith(".pth"):
            (libraries / entry.name).symlink_to(entry)
    env = environment(PYTHONPATH=f".:{libraries}")
    program = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    command = [sys.executable, "-S", "-c", program, "-n", "--pidfile=", "tcpd", "--port", "0"]
    serves_echo(command, checkout, env)
