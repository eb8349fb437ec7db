"""The guide for handler authors does what it says: its examples run, in order, as it shows them."""

import os
import re
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.daemon import PATIENCE, run_tcpd, tcpd

from tcpd.registry import ENTRY_POINT_GROUP

GUIDE = Path(__file__).parents[2] / "docs" / "handlers.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections():
    """Give each section's heading and its fenced blocks: their language and text."""
    for section in re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)[1:]:
        yield section.partition("\n")[0], BLOCK.findall(section)


SECTIONS = dict(sections())


def write_files(directory):
    """Write every file of the guide, whatever its section."""
    for blocks in SECTIONS.values():
        for language, text in blocks:
            if language in ("python", "toml"):
                name = re.match(r"# ([\w.]+)\n", text)[1]
                # Each run chooses a port that is free.
                (directory / name).write_text(text.replace("tcp:9999:", "tcp:0:"))


def commands(text):
    """Give a console block's commands, and what the guide says they print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def runnable(command, daemon):
    """Return a command with this environment's programs and the daemon's real port."""
    command = command.replace("tcpd-client", f"{sys.executable} -m tcpd.client.main")
    command = command.replace("python -m pytest", f"{sys.executable} -m pytest")
    return command.replace("9999", str(daemon.port())) if "9999" in command else command


def play(blocks, directory):
    """Run the commands of a section as a reader would; gives how many showed output."""
    shown = 0
    with ExitStack() as running:
        daemon = None
        for language, text in blocks:
            if language != "console":
                continue
            for command, output in commands(text):
                if command.startswith("twistd -n tcpd ") and not output:
                    running.close()
                    arguments = command.replace("--port 9999", "--port 0").split()[3:]
                    daemon = running.enter_context(tcpd(*arguments, cwd=directory))
                    continue
                shown += 1
                if command.startswith("twistd -n tcpd "):
                    result = run_tcpd(*command.split()[3:], cwd=directory)
                    assert (result.stderr, result.returncode) == (output, 2)
                    continue
                result = subprocess.run(
                    runnable(command, daemon),
                    shell=True,
                    cwd=directory,
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                )
                said = re.sub(r" in [\d.]+s$", "", result.stdout, flags=re.MULTILINE)
                assert (said, result.returncode) == (output, 0), result.stderr
        if daemon is not None:
            daemon.stop()
            assert "Traceback" not in daemon.output
    return shown


@pytest.mark.parametrize(
    ("heading", "outputs"),
    [
        ("Five lines", 1),
        ("State that connections share: a factory", 2),
        ("Options: a dataclass", 4),
        ("Messages of any form: a framing", 1),
        ("Who is there: the session", 1),
        ("Async code", 1),
        ("When tcpd stops", 1),
        ("Test it", 1),
    ],
)
def test_a_section_does_what_it_shows(heading, outputs, tmp_path):
    write_files(tmp_path)
    assert play(SECTIONS[heading], tmp_path) == outputs


def test_every_section_with_a_command_is_played():
    with_commands = {
        heading
        for heading, blocks in SECTIONS.items()
        if any(language == "console" for language, _ in blocks)
    }
    played = test_a_section_does_what_it_shows.pytestmark[0].args[1]
    assert with_commands == {heading for heading, _ in played}


def test_the_packaging_shown_declares_a_handler(tmp_path):
    write_files(tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    (target,) = project["project"]["entry-points"][ENTRY_POINT_GROUP].values()
    module, _, name = target.partition(":")
    assert module in project["tool"]["setuptools"]["py-modules"]
    assert f"class {name}(" in (tmp_path / f"{module}.py").read_text()


def test_the_table_of_contents_is_right():
    listed = re.findall(r"^- \[(.*)\]\(#(.*)\)$", GUIDE.read_text(), re.MULTILINE)
    assert [heading for heading, _ in listed] == list(SECTIONS)
    for heading, anchor in listed:
        assert anchor == re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^#)][^)]*)\)", GUIDE.read_text()):
        assert (GUIDE.parent / target).exists(), target


TRIAL = """
from twisted.trial.unittest import TestCase
from guestbook import Guestbook
from tcpd.testing import Expect, Send, check_handler

class Guests(TestCase):
    def test_right(self):
        check_handler(Guestbook, Send(b"Ada\\n"), Expect(b"1: Ada\\n"))

    def test_wrong(self):
        check_handler(Guestbook, Send(b"Ada\\n"), Expect(b"2: Ada\\n"))
"""


def test_the_helpers_work_under_trial_too(tmp_path):
    write_files(tmp_path)
    (tmp_path / "test_guests.py").write_text(TRIAL)
    result = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "test_guests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "FAILED (errors=1, successes=1)" in result.stdout, result.stdout + result.stderr
    assert r"as written: expected b'2: Ada\n', the handler says b'1: Ada\n'" in result.stdout
