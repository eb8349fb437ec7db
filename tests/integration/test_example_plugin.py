"""The example plugin, installed beside tcpd into a fresh environment, serves under `twistd`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.daemon import BIN, PATIENCE, Daemon

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "tcpd-keyvalue"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
BROKEN = "[tcpd.handlers]\nbroken = no_such_module:Handler\n"


class Installed:
    """A fresh environment that holds tcpd and the plugin, and a directory outside the checkout."""

    def __init__(self, home):
        self.cwd = home / "elsewhere"
        self.cwd.mkdir()
        self.python = home / "venv" / "bin" / "python"
        venv.create(home / "venv", with_pip=False)
        (self.site,) = (home / "venv" / "lib").glob("python*/site-packages")
        # What tcpd depends on is here already; it is only looked up, nothing of ours is with it.
        (self.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(self, source, directory):
        """Build and install from a copy, so that nothing is written into the checkout."""
        generated = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
        directory.mkdir()
        for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            if (source / name).exists():
                shutil.copy(source / name, directory)
        for name in ("tcpd", "twisted", "tcpd_keyvalue"):
            if (source / name).is_dir():
                shutil.copytree(source / name, directory / name, ignore=generated)
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", self.python, "install"]
        result = subprocess.run(
            [*pip, "--no-deps", directory], cwd=self.cwd, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr

    def run(self, *arguments):
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.cwd,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def twistd(self, *arguments):
        return self.run(BIN / "twistd", "-n", "tcpd", *arguments)

    @contextmanager
    def daemon(self, *arguments):
        process = subprocess.Popen(
            [self.python, BIN / "twistd", "-n", "tcpd", "--port", "0", *arguments],
            cwd=self.cwd,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        daemon = Daemon(process)
        try:
            yield daemon
        finally:
            daemon.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    home = tmp_path_factory.mktemp("plugin")
    environment = Installed(home)
    environment.install(ROOT, home / "tcpd-source")
    environment.install(PLUGIN, home / "plugin-source")
    return environment


def test_it_is_installed_outside_the_checkout(installed):
    result = installed.run(
        "-c", "import tcpd, tcpd_keyvalue as k; print(tcpd.__file__, k.__file__)"
    )
    assert result.stdout.split() == [
        str(installed.site / "tcpd" / "__init__.py"),
        str(installed.site / "tcpd_keyvalue" / "__init__.py"),
    ]


def test_it_is_listed_with_its_summary_and_package(installed):
    result = installed.twistd("--list-handlers")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("keyvalue ")]
    assert "Keep values by key, for every client of a listener to see." in line
    assert "tcpd-keyvalue 1.0" in line


def test_it_serves_by_its_name_with_its_options(installed):
    options = ("--option", "most_keys=1")
    with installed.daemon("--handler", "keyvalue", *options) as daemon, daemon.connect() as client:
        client.sendall(b"SET a 1\nSET b 2\nGET a\n")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            assert answers.read() == b"OK\nERROR full\nVALUE 1\n"


def test_its_options_are_checked_like_any_others(installed):
    result = installed.twistd("--handler", "keyvalue", "--option", "most_keys=0")
    assert result.stderr == "tcpd: --option most_keys: expected 1 or more, not 0\n"
    assert result.returncode == 2


def test_its_own_tests_pass_there(installed):
    shutil.copytree(PLUGIN / "tests", installed.cwd / "tests")
    result = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_a_plugin_that_fails_to_load_says_so_and_stops_only_who_asks_for_it(installed):
    broken = installed.site / "broken-0.1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (broken / "entry_points.txt").write_text(BROKEN)
    try:
        listed = installed.twistd("--list-handlers")
        assert "No module named 'no_such_module'" in listed.stdout + listed.stderr
        assert "keyvalue " in listed.stdout
        with installed.daemon("--handler", "keyvalue") as daemon:
            daemon.connect().close()
        result = installed.twistd("--handler", "broken")
        assert result.returncode == 2
        assert result.stderr.startswith("tcpd: --handler: the plugin 'broken' (no_such_module:")
        assert result.stderr.count("\n") == 1
    finally:
        shutil.rmtree(broken)
