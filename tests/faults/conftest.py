"""The rows' figures: each row gives its own, a run shows them all, and a file can get them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rows import row_of

FIGURES = pytest.StashKey[dict[int, dict[str, object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", metavar="FILE", help="write the rows' figures to a file (JSON)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def _seen(config: pytest.Config, path: Path) -> dict[str, object]:
    if FIGURES not in config.stash:  # a run of all tests reads this file after it is configured
        config.stash[FIGURES] = {}
    entry = {"script": path.name, "figures": [], "failed": [], "skipped": [], "seconds": 0.0}
    return config.stash[FIGURES].setdefault(row_of(path).number, entry)


def _is_row(path: Path) -> bool:
    return path.parent == Path(__file__).parent and path.name[5:7].isdigit()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Take a row's figure, as it is to stand in the table, and print it."""
    entry = _seen(request.config, request.path)
    given: list[str] = []

    def give(text: str) -> None:
        print(text)
        given.append(text)
        entry["figures"].append(text)

    yield give
    failed = request.node.stash.get(_FAILED, True)
    assert given or failed, "a row has to give a figure"


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = not report.passed
    if _is_row(item.path):
        entry = _seen(item.config, item.path)
        entry["seconds"] += call.duration
        if report.failed:
            entry["failed"].append(item.name)
        elif report.skipped:
            entry["skipped"].append(f"{item.name}: {report.longrepr[2]}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    seen = terminalreporter.config.stash.get(FIGURES, {})
    if seen:
        terminalreporter.section("reliability")
    for number, entry in sorted(seen.items()):
        words = "; ".join(entry["figures"]) or "no figure"
        words += "".join(f"; FAILED {each}" for each in entry["failed"])
        words += "".join(f"; skipped {each}" for each in entry["skipped"])
        terminalreporter.line(f"{number:2} ({entry['seconds']:.1f} s) {words}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--figures", None)
    if path is not None:
        rows = session.config.stash.get(FIGURES, {})
        date = time.strftime("%Y-%m-%d", time.gmtime())
        Path(path).write_text(json.dumps({"date": date, "rows": rows}, indent=1))
