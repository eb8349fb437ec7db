"""Why a socket can't be had, in words for operators; what listeners say is in test_listener."""

from pathlib import Path

import pytest

from tcpd import plain_errors


@pytest.mark.parametrize(("says", "first"), [("0\n", 0), ("512\n", 512), (None, 1024)])
def test_the_kernel_says_which_ports_are_privileged(
    says: str | None, first: int, monkeypatch, tmp_path: Path
) -> None:
    sysctl = tmp_path / "ip_unprivileged_port_start"
    if says is not None:
        sysctl.write_text(says)
    monkeypatch.setattr(plain_errors, "_UNPRIVILEGED", sysctl)
    assert plain_errors._first_free_port() == first
