"""Row 28: a symlink where the log, pid, recording or capture file should be.

Must hold: refused with a clear error.

Best known: none measured.

Whoever may write in a directory of the daemon's could have it write anywhere, as the user that it
is. The link leads to a file that exists, or nowhere. (The handler `logging` writes recordings.)
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor

from faults.harness import BIN, LOOPBACK

LISTENER = f"[listeners.echo]\n{LOOPBACK}\n"
CASES = {
    "log": ([], f'{LISTENER}[log]\nfile = "link"\n'),
    "twistd's log": (["--logfile=link"], LISTENER),
    "pid": (["--pidfile=link"], LISTENER),
    "capture": ([], f'{LISTENER}capture = {{ path = ".", format = "jsonl" }}\n'),
    "recording": ([], f'{LISTENER}handler = "logging"\noptions = {{ path = "link" }}\n'),
}
# A capture's file is called after its listener.
LINKS = {"capture": "echo.jsonl"}


def refused(directory, what, target):
    """Try one; return whether it was refused, in one line that says why."""
    flags, config = CASES[what]
    directory.mkdir()
    (directory / "tcpd.toml").write_text(config)
    link, file = directory / LINKS.get(what, "link"), directory / "target"
    if target is not None:
        file.write_text(target)
    link.symlink_to("target")
    process = subprocess.Popen(
        [BIN / "twistd", "-n", "--pidfile=", *flags, "tcpd", "--config=tcpd.toml"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _output, said = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:  # it runs
        process.kill()
        _output, said = process.communicate()
    print(what, target, process.returncode, said)
    untouched = file.read_text() == target if target is not None else not file.exists()
    clear = said.count("\n") == 1 and link.name in said and "symbolic link" in said
    return process.returncode in (1, 2, 78) and untouched and clear and link.is_symlink()


def test_links_are_refused(tmp_path, figure):
    # twistd takes a number in a pid file for a process that may still run.
    cases = [(what, target) for what in CASES for target in ("4194305", None)]
    with ThreadPoolExecutor(2) as pool:
        tried = pool.map(lambda case: refused(tmp_path / f"{case[0]} {case[1]}", *case), cases)
        seen = dict(zip(cases, tried, strict=True))
    figure(f"{sum(seen.values())} of {len(seen)} refused, with the reason")
    assert all(seen.values()), seen
