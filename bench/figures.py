"""What many samples say together: medians, spread, and ratios taken within rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median and its spread."""

    median: float
    least: float
    most: float


def figure(values: Iterable[float]) -> Figure | None:
    """Return the figure of some values, or None if there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Figure(median=median(ordered), least=ordered[0], most=ordered[-1])


def _rate(sample: Sample) -> float:
    return sample.rate


class Figures:
    """The figures of a run.

    Args:
        samples: all that was measured.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len({sample.round for sample in self._samples})

    @property
    def waited(self) -> float:
        """How much of the time servers and load had to wait for their cores: the median."""
        return median([sample.waited for sample in self._samples] or [0.0])

    def servers(self, case: str) -> list[str]:
        """Return the names of the servers that were measured in a case."""
        return list(dict.fromkeys(each.server for each in self._samples if each.case == case))

    def of(self, case: str, server: str, what: Callable[[Sample], float]) -> Figure | None:
        """Return one figure of a server in a case; None if it wasn't measured."""
        return figure(what(each) for each in self._of(case, server))

    def ratio(
        self, case: str, server: str, other: str, what: Callable[[Sample], float] = _rate
    ) -> Figure | None:
        """Return by how many times one figure, the speed, is a server's of another's, by rounds.

        Returns:
            None if they weren't measured in one round.
        """
        others = {each.round: what(each) for each in self._of(case, other)}
        return figure(
            what(each) / others[each.round]
            for each in self._of(case, server)
            if others.get(each.round)
        )

    def _of(self, case: str, server: str) -> list[Sample]:
        return [each for each in self._samples if each.case == case and each.server == server]
