"""Completion: what is offered, and the script in a real bash."""

import os
import shutil
import subprocess

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


def test_a_tab_in_bash_completes(path, where, tmp_path):
    """The same as a person meets it: readline, a Tab, Enter."""
    import pty
    import select
    import time

    pid, master = pty.fork()
    if pid == 0:
        os.environ |= {"PATH": path, "PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    shown = ""

    def expect(text):
        nonlocal shown
        end = time.monotonic() + 20
        while text not in shown:
            assert select.select([master], [], [], max(0, end - time.monotonic()))[0], shown
            shown += os.read(master, 65536).decode()
        shown = shown.partition(text)[2]

    try:
        expect("ready> ")
        os.write(master, b"source <(tcpdctl completion bash); echo do''ne\n")
        expect("done")
        expect("ready> ")
        os.write(master, b"tcpdctl drai\t")
        expect("tcpdctl drain ")
        os.write(master, b"\x15tcpdctl " + where.encode() + b" drain ga\t")
        expect("gateway ")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_scripts_parse(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")
    subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)
