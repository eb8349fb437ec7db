"""What tcpd sets out to reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contestants import STOCK, TCPD, TCPD_OFF, UVLOOP, C
from bench.figures import Figure, Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """tcpd against another server in a case: the ratio's median is to be so high at least.

    With no `other`, it is a server's own figure, which is to be so high at most.
    """

    case: str
    other: str
    value: float

    def measured(self, figures: Figures) -> Figure | None:
        """Return what came out, or None if it wasn't measured."""
        if self.other:
            return figures.ratio(self.case, TCPD, self.other)
        return figures.of(self.case, TCPD, lambda sample: sample.rate)

    def reached(self, found: Figure) -> bool:
        """Return whether a figure is good enough."""
        return found.median >= self.value if self.other else found.median <= self.value


def _targets(cases: tuple[str, ...], **values: float) -> list[Target]:
    return [
        Target(case=case, other=other, value=value)
        for case in cases
        for other, value in values.items()
    ]


TARGETS: tuple[Target, ...] = (
    *_targets(
        ("echo/64B/50", "echo/1KiB/50", "echo/64B/1000", "echo/1KiB/1000"),
        **{STOCK: 1.9, UVLOOP: 0.85, C: 0.7},
    ),
    *_targets(("echo/10KiB/50", "echo/100KiB/50"), **{STOCK: 1.7, UVLOOP: 0.95}),
    # What a default configuration may cost: 3%.
    *_targets(("echo/64B/50", "echo/1KiB/50"), **{TCPD_OFF: 0.97}),
    *_targets(("lines",), **{STOCK: 2.3, UVLOOP: 10.0}),
    *_targets(("connects",), **{STOCK: 1.25}),
    *_targets(("tls/1KiB/50",), **{STOCK: 2.5, UVLOOP: 1.05}),
    *_targets(("tls/100KiB/50",), **{STOCK: 5.0}),
    Target(case="idle", other="", value=2500.0),
)
