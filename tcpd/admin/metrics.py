"""The numbers for Prometheus, in its text format.

Rules:
- All is read when a scrape comes, in the reactor's own thread; nothing is pushed.
- Labels are bounded. `listener`, `handler` and `sink` have names from the configuration, `reason`
  has words of ours; what a peer says is in none.
- A counter never goes backwards while the process lasts.
- With many sessions or listeners the work is done in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tcpd.admin.census import Buckets, Census, take_census
from tcpd.admin.house import House
from tcpd.admin.metric_table import METRICS, Spec
from tcpd.admin.turns import Turns

CONTENT_TYPE = CONTENT_TYPE_LATEST


class HouseCollector(Collector):
    """Gives the metrics of one census, as prometheus-client's registries want them.

    Args:
        house: the daemon.
        census: the numbers.
    """

    def __init__(self, house: House, census: Census) -> None:
        self._house = house
        self._census = census

    def collect(self) -> Iterator[Metric]:
        """Give each metric, made when its turn comes."""
        for spec in METRICS:
            yield _family(spec, self._house, self._census)


class _One(Collector):
    """A single metric, for who asks for a whole registry."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


async def exposition(house: House) -> tuple[bytes, str]:
    """Return all metrics in Prometheus's text format, and its media type.

    Args:
        house: the daemon.
    """
    turns = Turns(house.reactor)
    census = await take_census(house, turns)
    parts = []
    for metric in HouseCollector(house, census).collect():
        parts.append(generate_latest(_One(metric)))
        await turns.others()
    return b"".join(parts), CONTENT_TYPE


def _family(spec: Spec, house: House, census: Census) -> Metric:
    """Return the metric with all its samples."""
    if spec.kind == "histogram":
        histogram = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        for values, buckets in spec.read(house, census):
            if isinstance(buckets, Buckets):
                histogram.add_metric(values, _cumulative(buckets), buckets.sum)
        return histogram
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = kind(spec.name, spec.help, labels=spec.labels)
    for values, value in spec.read(house, census):
        if not isinstance(value, Buckets):
            family.add_metric(values, value)
    return family


def _cumulative(buckets: Buckets) -> Sequence[tuple[str, float]]:
    bounds = [*map(floatToGoString, buckets.bounds), "+Inf"]
    return list(zip(bounds, accumulate(buckets.counts), strict=True))
