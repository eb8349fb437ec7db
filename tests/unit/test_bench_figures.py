import pytest

from bench import cases, contestants
from bench.figures import Figure, Figures, figure
from bench.load import Sample, sample_of
from bench.process import Cores, choose_cores
from bench.targets import TARGETS, Target


def sample(number: int, server: str, rate: float, case: str = "lines") -> Sample:
    return Sample(round=number, case=case, server=server, rate=rate)


def test_a_figure_is_the_median_with_the_least_and_the_most() -> None:
    assert figure([5.0, 1.0, 2.0]) == Figure(median=2.0, least=1.0, most=5.0)
    assert figure([]) is None


def test_ratios_are_taken_within_rounds_whatever_the_speed_of_the_round() -> None:
    figures = Figures(
        [
            sample(number, server, rate)
            for number, rates in enumerate([(200, 100), (30, 10), (4000, 1000)])
            for server, rate in zip(("tcpd", "stock"), rates, strict=True)
        ]
    )
    assert figures.ratio("lines", "tcpd", "stock") == Figure(median=3.0, least=2.0, most=4.0)
    assert figures.rounds == 3
    twice = figures.ratio("lines", "stock", "tcpd", lambda each: 2 * each.rate)
    assert twice is not None
    assert twice.median == pytest.approx(1 / 3)


def test_a_round_without_a_neighbour_has_no_ratio() -> None:
    figures = Figures([sample(0, "tcpd", 200), sample(1, "stock", 100), sample(2, "tcpd", 50)])
    assert figures.ratio("lines", "tcpd", "stock") is None
    assert figures.of("lines", "uvloop", lambda each: each.rate) is None


def test_lines_are_counted_one_by_one_and_times_divided_by_messages() -> None:
    (lines,) = cases.choose(["lines"])
    result = {
        "messages": 1000, "seconds": 2.0, "p50": 1.0, "p99": 2.0, "p999": 3.0, "server_cpu": 1.0,
        "server_user": 0.75, "server_system": 0.25, "load_cpu": 0.5, "waited": 0.2,
    }  # fmt: skip
    found = sample_of(result, lines, "tcpd", 4)
    assert found.rate == 1000 * 100 / 2.0
    assert found.cpu == pytest.approx(1000.0)  # microseconds
    assert (found.round, found.user, found.server_busy, found.load_busy) == (4, 0.75, 0.5, 0.25)
    assert found.waited == 0.1


def test_a_target_is_reached_from_above_against_others_and_from_below_alone() -> None:
    ratio = Target(case="lines", other="stock", value=2.0)
    assert ratio.reached(Figure(median=2.0, least=1.0, most=3.0))
    assert not ratio.reached(Figure(median=1.99, least=1.0, most=3.0))
    size = Target(case="idle", other="", value=2500.0)
    assert size.reached(Figure(median=2500.0, least=0, most=9999))
    assert not size.reached(Figure(median=2501.0, least=0, most=9999))


def test_every_target_is_about_a_case_and_a_server_that_are_measured() -> None:
    by_name = {case.name: case for case in cases.CASES}
    servers = {each.name: each for each in contestants.CONTESTANTS}
    for target in TARGETS:
        kind = by_name[target.case].kind
        assert kind in servers["tcpd"].kinds
        assert not target.other or kind in servers[target.other].kinds


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["lines"], ["lines"]),
        (["echo/64B"], ["echo/64B/1", "echo/64B/50", "echo/64B/1000"]),
        (["*/1KiB/50", "idle"], ["echo/1KiB/50", "tls/1KiB/50", "idle"]),
        ([], [case.name for case in cases.CASES]),
    ],
)
def test_cases_are_chosen_by_pattern(patterns: list[str], names: list[str]) -> None:
    assert [case.name for case in cases.choose(patterns)] == names


def test_an_unknown_case_or_server_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"--only ech: no such case; there are: echo/64B/1 "):
        cases.choose(["lines", "ech"])
    with pytest.raises(ValueError, match=r"--servers nginx: no such server; there are: c uvloop"):
        contestants.choose(["nginx"])


def test_a_port_is_found_in_what_servers_and_tcpd_print() -> None:
    here = contestants.PORT.search(b"port 4711\n")
    tcpd = contestants.PORT.search(b"... info: listener main listens on 127.0.0.1:4712 (handler")
    assert here is not None
    assert here[1] == b"4711"
    assert tcpd is not None
    assert tcpd[2] == b"4712"
    assert contestants.PORT.search(b"port 47") is not None
    assert contestants.PORT.search(b"listener main listens on 127.0.0.1:47") is None


def test_servers_and_load_get_cores_that_are_no_threads_of_one() -> None:
    def in_pairs(core: int) -> set[int]:
        return {core & ~1, core | 1}

    assert choose_cores([3, 0, 1, 2], in_pairs) == Cores(server=0, load=2)
    assert choose_cores([0, 1], in_pairs) == Cores(server=0, load=1)
    assert choose_cores([5], in_pairs) == Cores(server=None, load=None)


def test_tcpd_with_everything_off_is_measured_where_that_may_show() -> None:
    (bare,) = contestants.choose([contestants.TCPD_OFF])
    assert [case.name for case in cases.CASES if bare.takes(case)] == [
        "echo/64B/50",
        "echo/1KiB/50",
        "connects",
    ]
    (tcpd,) = contestants.choose([contestants.TCPD])
    assert all(tcpd.takes(case) for case in cases.CASES)
