"""What docs/admin.md shows is what happens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.daemon import PATIENCE, Daemon, tcpd

from tcpd.admin.views import SORTS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "admin.md").read_text("utf-8")
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def examples() -> list[tuple[str, str]]:
    """Return the commands of the document, each with its output."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    """The document's own daemon, on other ports."""
    place = tmp_path_factory.mktemp("admin")
    (configuration,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    text = configuration.replace("tcp:9999", "tcp:0").replace("tcp:9990", "tcp:0")
    (place / "tcpd.toml").write_text(text)
    (setup,) = re.findall(r"^\(umask.*$", DOCUMENT, re.MULTILINE)
    subprocess.run(["bash", "-c", setup], cwd=place, check=True)
    assert (place / "admin.token").stat().st_mode & 0o777 == 0o600
    with tcpd("--config", "tcpd.toml", cwd=place) as daemon:
        daemon.port("admin")
        yield daemon, place


def shape_of(value: Any) -> Any:
    """Return a value without what differs from run to run; what may be null is anything."""
    if isinstance(value, dict):
        # These two have the reasons that there were.
        reasons = ("refused", "closed")
        return {k: "a value" if k in reasons else shape_of(each) for k, each in value.items()}
    if isinstance(value, list):
        return [shape_of(each) for each in value[:1]]
    return "a value"


def data_of(text: str) -> list[Any]:
    """Return the data of Server-Sent Events."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def run(command: str, place: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("command", "shown"), examples(), ids=[c[:60] for c, _ in examples()])
def test_an_example(command: str, shown: str, daemon: tuple[Daemon, Path]) -> None:
    running, place = daemon
    with running.connect("echo") as client:
        client.sendall(b"hello\n")
        assert client.recv(6) == b"hello\n"
        address = f"http://localhost:{running.port('admin')}"
        sessions = f"curl -s '{address}/api/sessions?sort=-id&limit=1'"
        one = json.loads(run(sessions, place))["sessions"][0]["id"]
        command = command.replace("http://localhost:9990", address).replace("c5af1995-3", one)
        shown = shown.replace("c5af1995-3", one)
        if " -sN " in command:
            said = stream(command, place, lambda: client.sendall(b"hello\n"), client.close)
            wanted, got = data_of(shown), data_of(said)
            shapes = [shape_of(each) for each in got]
            assert all(shape_of(each) in shapes for each in wanted)
            return
        said = run(command, place)
        if command.endswith("/suspend"):  # the next example needs it
            run(command.removesuffix("suspend") + "resume", place)
    if not shown.startswith("{"):
        assert said == shown
    elif "\n" in shown:
        assert shape_of(json.loads(said)) == shape_of(json.loads(shown))
    else:
        assert json.loads(said) == json.loads(shown)


def stream(command: str, place: Path, speak: Any, leave: Any) -> str:
    """Read a stream while a session says something, then leaves."""
    reader = subprocess.Popen(
        ["bash", "-c", "exec " + command.replace("-sN", "-sN --max-time 3")],
        cwd=place, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(0.7)  # curl has to be connected: only what happens from then on is told
    speak()
    time.sleep(0.3)
    leave()
    said, _ = reader.communicate(timeout=PATIENCE)
    return said


def test_all_paths_are_in_the_tables() -> None:
    from tcpd.admin.api import Api

    paths = {route.path for route in Api(None, None, None, None).routes()}  # type: ignore[arg-type]
    shown = {
        path.replace("ID", "{id}").replace("NAME", "{name}")
        for path in re.findall(r"^\| `(/\S+)` \|", DOCUMENT, re.MULTILINE)
    }
    assert paths - shown == {"/healthz", "/readyz"}
    assert shown <= paths


def test_all_sorts_are_named() -> None:
    line = re.search(r"Sessions are sorted by (.*?);", DOCUMENT, re.DOTALL)
    assert line is not None
    assert re.findall(r"`([a-z-]+)`", line[1]) == list(SORTS)
