"""docs/tcpdctl.md and --help tell what holds."""

import contextlib
import io
import re
from pathlib import Path

from tcpd.config.load import build_config
from tcpd.ctl.ending import STATUSES
from tcpd.ctl.options import COMMANDS, SOCKET, parse_options
from tcpd.registry import build_handler
from tcpd.toml_file import TomlFile

GUIDE = (Path(__file__).parents[2] / "docs" / "tcpdctl.md").read_text("utf-8")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def help_of(*command):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        parse_options([*command, "--help"])
    return shown.getvalue()


def rows_below(heading):
    text = GUIDE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `?([^`|]+?)`? \| (.*) \|$", text, re.MULTILINE))


def test_the_commands_are_those_of_the_parser():
    told = rows_below("command | what it does")
    assert told == {name: summary for name, (summary, _) in COMMANDS.items()}


def test_the_statuses_are_ours():
    assert rows_below("status | meaning") == {str(k): words for k, words in STATUSES.items()}
    assert all(f"{status:<3} {words}" in help_of() for status, words in STATUSES.items())


def test_the_options_agree():
    known = set(FLAG.findall(help_of()))
    for name in COMMANDS:
        known |= set(FLAG.findall(help_of(name)))
    told = set(FLAG.findall(GUIDE)) - {"--check-config"}
    assert told <= known
    assert known - {"--version"} <= told
    assert f"`{SOCKET}`" in GUIDE


def test_the_example_loads():
    (text,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    file = TomlFile.parse(text, "docs")
    assert build_config(file.table, file, build_handler).admin is not None
