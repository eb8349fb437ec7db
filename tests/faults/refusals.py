"""What a log says of refusals."""

from __future__ import annotations

import re


def refused(log: str, reason: str) -> int:
    """Return how many refusals for one reason a log tells of, one by one or in summaries."""
    alone = len(re.findall(rf" refused [^ ]+: .* \({reason}\)$", log, re.MULTILINE))
    return alone + sum(map(int, re.findall(rf"(?:: |, ){reason} (\d+)", log)))
