"""Row 29: privilege drop; `systemd-analyze security --offline=true` on our unit.

Must hold: no capabilities, NoNewPrivs; exposure at most 1.2.

Best known: sample unit 1.2.

Started as root with `--uid` and `--gid`, the daemon opens a port below 1024 and is then nobody: the
kernel says that it has no capability and no group of root's. Started as its unit has it started, by
setpriv in place of systemd, it has none from the beginning, nor can it get any.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from faults.harness import LOOPBACK, tcpd

UNIT = Path(__file__).parents[2] / "etc" / "systemd" / "tcpd.service"
NOBODY = 65534
EXPOSURE = 1.2


# What User=, CapabilityBoundingSet= and NoNewPrivileges= of the unit do.
AS_THE_UNIT = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs"
AS_THE_UNIT += " --bounding-set=-all --inh-caps=-all"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="to give up root's privileges takes root")


def free_low_port():
    """Return a port below 1024 that nobody listens on."""
    for port in range(1023, 600, -1):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("every port is taken")


def status_of(daemon):
    """Return what proc(5) says of a process."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert set(status["Uid"]) == set(status["Gid"]) == {str(NOBODY)}
    assert "0" not in status["Groups"]
    return status


def capabilities(status):
    """Return the capabilities that a process has or could take."""
    return {kind: status[kind][0] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


NONE = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), "0" * 16)


@as_root
def test_the_daemon_gives_up_what_it_has(tmp_path, figure):
    port = free_low_port()
    config = f'[listeners.echo]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
    flags = [f"--uid={NOBODY}", f"--gid={NOBODY}"]
    with tcpd(tmp_path, config, twistd=flags) as daemon:
        daemon.assert_serves()
        status = status_of(daemon)
        figure(f"after --uid: port {port}, CapEff {int(status['CapEff'][0], 16):x}")
        assert daemon.port() == port
        assert capabilities(status) == NONE


@as_root
@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="setpriv (Debian: util-linux) isn't installed"
)
def test_under_the_unit_it_never_has_any(figure):
    with tempfile.TemporaryDirectory() as directory:  # which a user without rights can reach
        os.chown(directory, NOBODY, NOBODY)
        config = f"[listeners.echo]\n{LOOPBACK}\n"
        with tcpd(Path(directory), config, before=AS_THE_UNIT.split()) as daemon:
            daemon.assert_serves()
            status = status_of(daemon)
            figure(f"under the unit: NoNewPrivs {status['NoNewPrivs'][0]}")
            assert capabilities(status) == NONE
            assert int(status["CapBnd"][0], 16) == 0
            assert status["NoNewPrivs"] == ["1"]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze (Debian: systemd) is not installed",
)
def test_the_unit_exposes_little(figure):
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", UNIT],
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = float(re.search(r"exposure level for tcpd.service: ([0-9.]+)", done.stdout)[1])
    figure(f"exposure {exposure}")
    assert exposure <= EXPOSURE
    unit = UNIT.read_text().splitlines()
    assert "NoNewPrivileges=yes" in unit
    assert "CapabilityBoundingSet=" in unit
