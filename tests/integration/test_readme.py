"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from helpers.daemon import BIN, run_tcpd, tcpd

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

CONFIGURATION = """\
[listeners.shout]
listen = "tcp:9999"
handler = "shout.py:Shuot"

[listeners.mail]
listen = ["tcp:2525", "unix:/run/mail.sock:mode=66O"]
handler = "logging"
options = { format = "hexx" }

[connectors.uplink]
connect = "tls:collector.example:7000"
reconect = { max = "1 minute" }
"""


def output_of(command: str) -> list[str]:
    """Return the lines that the README shows below a command."""
    match = re.search(rf"^\$ {re.escape(command)}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert match is not None, f"the README doesn't show {command!r}"
    return match[1].splitlines()


def shape_of(line: str) -> str:
    """Return a log line without what differs from run to run."""
    line = re.sub(r"^\S+Z ", "", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)
    line = re.sub(r"[0-9a-f]{8}-\d+", "SESSION", line)
    return re.sub(r"[\d.]+m?s,", "DURATION,", line)


def client(port: int, data: bytes) -> bytes:
    return subprocess.run(
        [str(BIN / "tcpd-client"), "127.0.0.1", str(port)],
        input=data, capture_output=True, check=True, timeout=30,
    ).stdout  # fmt: skip


def write_shout(directory: Path) -> None:
    match = re.search(r"^```python\n(# shout\.py\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert match is not None
    (directory / "shout.py").write_text(match[1])


def test_the_protocol_of_ones_own(tmp_path: Path) -> None:
    write_shout(tmp_path)
    shown = output_of("twistd -n tcpd --handler shout.py:Shout")
    with tcpd("--port", "0", "--handler", "shout.py:Shout", cwd=tmp_path) as daemon:
        assert client(daemon.port(), b"hello, world\n") == b"HELLO, WORLD\n"
        daemon.wait_for("peer-closed")
        daemon.stop()
    said = [shape_of(line) for line in daemon.output.splitlines()]
    assert [line for line in said if line in map(shape_of, shown)] == [*map(shape_of, shown)]
    assert output_of('echo "hello, world" | tcpd-client 127.0.0.1 9999') == ["HELLO, WORLD"]


def test_the_recorder_before_another_handler(tmp_path: Path) -> None:
    shown = output_of("twistd -n tcpd --handler logging --option then=echo")
    arguments = ("--port", "0", "--handler", "logging", "--option", "then=echo")
    with tcpd(*arguments, cwd=tmp_path) as daemon:
        client(daemon.port(), b"hello\r\n\x1b[2J")
        daemon.wait_for("peer-closed")
    said = [shape_of(line) for line in daemon.output.splitlines()]
    assert said[-3:] == [shape_of(line) for line in shown]


def test_the_mistakes_of_a_configuration(tmp_path: Path) -> None:
    write_shout(tmp_path)
    (tmp_path / "tcpd.toml").write_text(CONFIGURATION)
    done = run_tcpd("--config", "tcpd.toml", "--check-config", cwd=tmp_path)
    assert done.returncode == 78
    assert done.stderr.splitlines() == output_of("twistd tcpd --config tcpd.toml --check-config")


def test_the_list_of_handlers(tmp_path: Path) -> None:
    done = run_tcpd("--list-handlers", cwd=tmp_path)
    assert done.stdout.splitlines() == output_of("twistd -n tcpd --list-handlers")


def test_the_greeter(tmp_path: Path) -> None:
    config = ROOT / "etc" / "examples" / "greeter.toml"
    with tcpd("--config", str(config), "--port", "0", cwd=tmp_path) as daemon:
        said = client(daemon.port(), b"Ann\nexit\n").decode()
    shown = [line[2:] for line in output_of("tcpd-client 127.0.0.1 6000") if line[:2] == "< "]
    # The client marks a line that has not ended with an ellipsis.
    lines = [line.removesuffix(" ...") if line.endswith(" ...") else line + "\n" for line in shown]
    assert said == "".join(lines)


def test_every_page_that_is_linked_exists() -> None:
    pages = re.findall(r"\]\(((?!https?:)[^)#]+)", README)
    assert len(pages) >= 6
    assert [page for page in pages if not (ROOT / page).is_file()] == []
