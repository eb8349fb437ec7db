"""docs/client.md tells of every option, and of none that doesn't exist."""

import contextlib
import io
import re
from pathlib import Path

from tcpd.client.options import parse_options

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*")


def test_the_guide_and_the_options_agree() -> None:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        parse_options(["--help"])
    known = set(FLAG.findall(shown.getvalue())) - {"-h"}
    told = set(FLAG.findall(GUIDE))
    assert told <= known
    assert {flag for flag in known if flag.startswith("--")} - {"--version", "--verbose"} <= told
