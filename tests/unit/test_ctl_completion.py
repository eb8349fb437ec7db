"""Completion: what is offered, and the scripts in real shells."""

import os
import pty
import select
import shutil
import signal
import subprocess
import termios
import time

import pytest
from helpers.ctl_run import CTL, Site

from tcpd.ctl.completion import SCRIPTS, complete, split
from tcpd.ctl.main import find_daemon
from tcpd.ctl.options import COMMANDS


@pytest.fixture
def where(tmp_path):
    site = Site()
    names = {"listeners": [{"name": "gateway"}, {"name": "$(x)"}], "connectors": [{"name": "up"}]}
    site.answers["GET /api/status"] = (200, names)
    sessions = [{"id": "90928d41-1"}, {"id": "90928d41-2"}, {"id": "`x`"}]
    site.answers["GET /api/sessions"] = (200, {"total": 3, "sessions": sessions})
    with site.serve(tmp_path / "admin.sock") as where:
        yield where


def offered(capsys, line, shell="fish"):
    assert complete([shell, line], lambda given: find_daemon(given, {})) == 0
    return capsys.readouterr().out.split()


def test_commands_and_options(capsys):
    assert offered(capsys, "tcpdctl ") == list(COMMANDS)
    assert offered(capsys, "tcpdctl s") == ["status", "sessions", "show", "suspend"]
    assert offered(capsys, "tcpdctl --url http://h:1 --json st") == ["status"]
    assert offered(capsys, "tcpdctl close --re") == ["--reset"]
    assert "--filter" in offered(capsys, "tcpdctl sessions --")
    assert offered(capsys, "tcpdctl nonsense ") == []


def test_values(capsys):
    assert offered(capsys, "tcpdctl sessions --sort ra") == ["rate-in", "rate-out", "rate"]
    assert offered(capsys, "tcpdctl sessions --sort=ag") == ["--sort=age"]
    assert offered(capsys, "tcpdctl sessions --sort=ag", "bash") == ["age"]
    assert offered(capsys, "tcpdctl loglevel ") == ["debug", "info", "warn", "error", "critical"]
    assert offered(capsys, "tcpdctl completion z") == ["zsh"]
    assert offered(capsys, "tcpdctl capture st") == ["start", "stop"]
    assert offered(capsys, "tcpdctl check ") == ["FILES"]
    assert offered(capsys, "tcpdctl --socket ") == ["FILES"]
    assert offered(capsys, "tcpdctl capture start --listener a --file ") == []
    assert "session.closed" in offered(capsys, "tcpdctl tail --event ")


def test_what_only_the_daemon_knows(capsys, where):
    ids = ["90928d41-1", "90928d41-2"]
    assert offered(capsys, f"tcpdctl {where} show ") == ids
    assert offered(capsys, f"tcpdctl {where} capture start --session 90928d41-2") == ids[1:]
    assert offered(capsys, f"tcpdctl {where} drain ") == ["gateway"]
    assert offered(capsys, f"tcpdctl tail {where} --listener ") == ["gateway", "up"]
    assert offered(capsys, "tcpdctl --socket /nonexistent show ") == []


def test_a_line_that_is_typed_halfway():
    assert split("tcpdctl 'a b' c") == (["a b"], "c")
    assert split("tcpdctl a ") == (["a"], "")
    assert split("tcpdctl 'a") == ([], "'a")
    assert split("") == ([], "")


@pytest.fixture
def path(tmp_path):
    """A PATH on which tcpdctl is this one."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    command = bin_ / "tcpdctl"
    command.write_text(f'#!/bin/sh\nexec {" ".join(CTL)} "$@"\n')
    command.chmod(0o755)
    return f"{bin_}:{os.environ['PATH']}"


def in_bash(path, line):
    """Return what bash has to choose from at the end of a line."""
    program = f"""
        source <(tcpdctl completion bash)
        COMP_LINE={line!r}
        COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=(tcpdctl) COMP_CWORD=0
        complete -p tcpdctl >/dev/null || exit 9
        _tcpdctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "syntax error" not in done.stderr
    return done.stdout.split()


def test_the_script_in_bash(path, where):
    assert in_bash(path, "tcpdctl se") == ["sessions"]
    assert in_bash(path, f"tcpdctl {where} close ") == ["90928d41-1", "90928d41-2"]
    assert in_bash(path, "tcpdctl sessions --sort=-rate-") == ["-rate-in", "-rate-out"]
    assert in_bash(path, "tcpdctl check ") == []


def needs(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")


class Prompt:
    """An interactive shell on a terminal, and a person who types."""

    def __init__(self, path, *command):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (24, 400))  # so that no line is folded
            os.environ |= {"PATH": path, "PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}
            os.execvp(command[0], command)
        self.shown = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, text):
        end = time.monotonic() + 20
        while text not in self.shown:
            left = max(0, end - time.monotonic())
            assert select.select([self.master], [], [], left)[0], self.shown
            self.shown += os.read(self.master, 65536).decode()
        self.shown = self.shown.partition(text)[2]

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes(path, where, tmp_path, shell):
    """The same as a person meets it: a line editor, a Tab."""
    needs(shell)
    options = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-f", "-i")}[shell]
    before = {"bash": "", "zsh": "autoload -Uz compinit && compinit -u -D; "}[shell]
    with Prompt(path, shell, *options) as prompt:
        prompt.expect("ready> ")
        prompt.type(f"{before}source <(tcpdctl completion {shell}); echo do''ne\n")
        prompt.expect("done")
        prompt.expect("ready> ")
        prompt.type("tcpdctl drai\t")
        prompt.expect("tcpdctl drain ")
        prompt.type(f"\x15tcpdctl {where} drain ga\t")
        prompt.expect("gateway ")
        prompt.type(f"\x15tcpdctl {where} show 9\t")
        prompt.expect("0928d41-")  # which of the two is still open
        prompt.type("\x15tcpdctl sessions --sort=-rate-o\t")
        prompt.expect("rate-out ")
        prompt.type("\x15tcpdctl tail --event session.cl\t")
        prompt.expect("session.closed ")
        prompt.type(f"\x15tcpdctl check {tmp_path}/adm\t")
        prompt.expect("admin.sock")
        prompt.type(f"\x15tcpdctl --socket={tmp_path}/adm\t")
        prompt.expect("admin.sock")


def in_fish(path, line, cwd):
    """Return what fish has to choose from at the end of a line."""
    done = subprocess.run(
        ["fish", "--no-config", "-c", "tcpdctl completion fish | source; complete -C $argv", line],
        env={**os.environ, "PATH": path, "HOME": str(cwd)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [each.partition("\t")[0] for each in done.stdout.splitlines()]


def test_the_script_in_fish(path, where, tmp_path):
    needs("fish")
    assert in_fish(path, "tcpdctl se", tmp_path) == ["sessions"]
    assert in_fish(path, f"tcpdctl {where} close ", tmp_path) == ["90928d41-1", "90928d41-2"]
    assert in_fish(path, f"tcpdctl {where} drain ", tmp_path) == ["gateway"]
    sorts = in_fish(path, "tcpdctl sessions --sort=-rate-", tmp_path)
    assert sorts == ["--sort=-rate-in", "--sort=-rate-out"]
    assert "admin.sock" in in_fish(path, "tcpdctl check adm", tmp_path)
    assert "--socket=admin.sock" in in_fish(path, "tcpdctl --socket=adm", tmp_path)


@pytest.mark.parametrize("shell", list(SCRIPTS))
def test_the_scripts_parse(shell):
    needs(shell)
    subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)
