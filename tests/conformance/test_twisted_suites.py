"""Twisted's own suites, on its epoll reactor and on ours: the same outcome, test by test.

What differs is listed here with its reason, by the name of the test method. A difference that
isn't listed fails, and so does one that is listed and no longer there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).with_name("run_suites.py")
# Seconds for both runs, which go side by side; alone on a machine they take about 35.
LIMIT = 240

DIFFERENCES = {
    "test_closePeerOnEMFILE": (
        "Out of descriptors, Twisted accepts and closes whoever connects. tcpd lets them wait in "
        "the backlog and serves them when a descriptor is free."
    ),
    "test_startedListeningLogMessage": (
        "Twisted's ports log that they start. tcpd's say nothing: whoever opens a port does."
    ),
    "test_connectionLostLogMsg": (
        "Twisted's ports log that they stop. tcpd's say nothing: whoever closes a port does."
    ),
    "test_tcpNoDelay": (
        "The test expects TCP_NODELAY to be off at first. tcpd's connections start with it on; "
        "setTcpNoDelay and getTcpNoDelay do as they are told."
    ),
    "test_tcpKeepAlive": (
        "The test expects SO_KEEPALIVE to be off at first. tcpd's connections start with it on; "
        "setTcpKeepAlive and getTcpKeepAlive do as they are told."
    ),
}


def test_twisteds_own_suites_end_on_our_reactor_as_on_twisteds(tmp_path):
    outcomes = _run_side_by_side(tmp_path)
    stock, ours = outcomes["stock"], outcomes["tcpd"]

    assert len(stock) > 900, "the suites were not found"
    passed = [name for name, (outcome, _) in stock.items() if outcome == "passed"]
    assert len(passed) > 0.98 * len(stock), "Twisted itself fails here"

    different = {
        name: f"{stock.get(name, ['not run'])[0]} on stock, "
        f"{ours.get(name, ['not run'])[0]} on ours: {ours.get(name, ['', ''])[1][-1500:]}"
        for name in sorted(stock.keys() | ours.keys())
        if stock.get(name, [None])[0] != ours.get(name, [None])[0]
    }
    undocumented = {
        name: what for name, what in different.items() if name.split(".")[-1] not in DIFFERENCES
    }
    assert not undocumented, "\n".join(f"{name}: {what}" for name, what in undocumented.items())
    gone = DIFFERENCES.keys() - {name.split(".")[-1] for name in different}
    assert not gone, f"no longer different: {sorted(gone)}"


def _run_side_by_side(directory):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    running = {
        which: subprocess.Popen(
            [sys.executable, str(RUNNER), which, str(directory / f"{which}.json")],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for which in ("stock", "tcpd")
    }
    try:
        for which, process in running.items():
            _, errors = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, f"{which}: {errors.decode(errors='replace')[-3000:]}"
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return {which: json.loads((directory / f"{which}.json").read_text()) for which in running}
