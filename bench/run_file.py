"""A run as a JSON file: when, on what, and every single sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All there is to know of a run.

    Attributes:
        date: the day, as 2026-01-31.
        machine: facts about the machine, by their names.
        seconds: how long each measurement took.
        samples: what was measured.
    """

    date: str
    machine: Mapping[str, str]
    seconds: float
    samples: Sequence[Sample]

    def write(self, path: Path) -> None:
        """Write the run to a file."""
        whole = {
            "date": self.date,
            "machine": dict(self.machine),
            "seconds": self.seconds,
            "samples": [sample.as_dict() for sample in self.samples],
        }
        path.write_text(json.dumps(whole, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Return the run that a file holds.

        Raises:
            ValueError: it doesn't hold one.
        """
        try:
            whole = json.loads(path.read_text())
            samples = [Sample(**sample) for sample in whole.pop("samples")]
            return cls(samples=samples, **whole)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} isn't a run of this benchmark: {error}") from None
