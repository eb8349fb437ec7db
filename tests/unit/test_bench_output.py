import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import main, parse
from bench.chart import chart
from bench.docs import END, START, replaced, update_docs
from bench.figures import Figures
from bench.load import Sample
from bench.run_file import Run
from bench.tables import as_markdown, as_text, case_tables, summary_rows, target_rows

SVG = "{http://www.w3.org/2000/svg}"


def sample(server: str, rate: float, number: int = 0, case: str = "echo/64B/50") -> Sample:
    return Sample(round=number, case=case, server=server, rate=rate, cpu=4.5, user=0.5)


RUN = Run(
    date="2026-01-31",
    machine={"CPU": "a fast one", "cores": "2"},
    seconds=0.8,
    samples=[
        sample("stock", 50_000), sample("tcpd", 100_000),
        sample("stock", 50_000, 1), sample("tcpd", 150_000, 1),
        sample("stock", 1100, case="idle"), sample("tcpd", 2600, case="idle"),
    ],
)  # fmt: skip


def test_a_case_is_a_table_with_medians_spread_and_ratios() -> None:
    (title, rows), (idle, idle_rows) = case_tables(Figures(RUN.samples))
    assert title == "64 B, 50 connections"
    assert [row[0] for row in rows] == ["server", "stock Twisted", "tcpd"]
    assert rows[1][1:5] == ("50,000", "50,000 to 50,000", "2.50x", "2.00x to 3.00x")
    assert rows[2][1:5] == ("125,000", "100,000 to 150,000", "-", "-")
    assert rows[2][-2:] == ("4.50", "50%")
    assert idle == "Memory of an idle session"
    assert idle_rows[2][:2] == ("tcpd", "2,600")


def test_what_was_to_be_reached_says_whether_it_was() -> None:
    rows = list(target_rows(Figures(RUN.samples)))
    assert rows[1] == (
        "64 B, 50 connections", "stock Twisted", "1.90x", "2.50x", "2.00x to 3.00x", "yes",
    )  # fmt: skip
    assert rows[2][0] == "Memory of an idle session"
    assert rows[2][2:] == ("2,500", "2,600", "2,600 to 2,600", "no")


def test_a_load_that_was_busy_all_the_time_is_marked() -> None:
    busy = Sample(round=0, case="echo/64B/50", server="c", rate=1.0, load_busy=0.99)
    ((_title, rows),) = case_tables(Figures([busy]))
    assert rows[1][0] == "C, epoll *"


def test_a_table_lines_up_in_a_terminal_and_is_one_in_markdown() -> None:
    rows = [("server", "rate"), ("tcpd", "1,000")]
    assert as_text(rows) == "server   rate\ntcpd    1,000"
    assert as_markdown(rows) == "| server | rate |\n| --- | ---: |\n| tcpd | 1,000 |"


def test_the_chart_is_well_formed_and_has_a_bar_for_each_server() -> None:
    root = ElementTree.fromstring(chart(Figures(RUN.samples)))
    bars = [each for each in root.iter(f"{SVG}rect") if each.get("x") == "330"]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert len(widths) == 2  # idle is no speed
    assert widths[1] == pytest.approx(2.5 * widths[0], rel=0.01)
    texts = "".join(each.text or "" for each in root.iter(f"{SVG}text"))
    assert "64 B, 50 connections" in texts
    assert "2.50" in texts


def test_a_chart_of_nothing_is_well_formed() -> None:
    ElementTree.fromstring(chart(Figures([])))


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    RUN.write(tmp_path / "run.json")
    assert Run.read(tmp_path / "run.json") == RUN


@pytest.mark.parametrize("text", ["[]", "{}", '{"samples": [{"speed": 1}]}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json isn't a run of this benchmark"):
        Run.read(tmp_path / "other.json")


def test_only_what_stands_between_the_markers_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\n\n{START}\nold\n{END}\n\nThe end.\n")
    update_docs(page, RUN)
    text = page.read_text()
    assert text.startswith(f"# Speed\n\n{START}\n\nMeasured on 2026-01-31: 2 rounds")
    assert text.endswith(f"{END}\n\nThe end.\n")
    assert "old" not in text
    assert "![tcpd beside other servers](performance.svg)" in text
    assert "| 64 B, 50 connections | - | - | - | - | 2.50 (2.00 to 3.00) |" in text
    ElementTree.parse(tmp_path / "performance.svg")
    update_docs(page, RUN)
    assert page.read_text() == text


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{START}{END}"])
def test_a_page_without_the_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md: expected one line '<!-- figures"):
        replaced(text, "new", "page.md")


def test_the_page_that_is_shipped_has_the_markers_and_says_each_option() -> None:
    page = (Path(__file__).parents[2] / "docs/performance.md").read_text()
    replaced(page, "new", "performance.md")
    source = (Path(__file__).parents[2] / "bench/__main__.py").read_text()
    for option in re.findall(r'"(--[a-z]+)"', source):
        assert f"`{option}" in page, option


def test_a_file_can_be_shown_again_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RUN.write(tmp_path / "run.json")
    assert main(["--read", str(tmp_path / "run.json"), "--chart", str(tmp_path / "c.svg")]) == 0
    shown = capsys.readouterr().out
    assert "CPU: a fast one" in shown
    assert "64 B, 50 connections\nserver " in shown
    assert (tmp_path / "c.svg").exists()


def test_a_file_that_is_not_there_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--read", "/nonexistent/run.json"]) == 1
    assert capsys.readouterr().err.startswith("bench: ")


def test_a_quick_run_has_fewer_rounds_unless_they_are_given() -> None:
    assert parse([]).rounds == 8
    assert parse(["--quick"]).rounds == 3
    assert parse(["--quick", "--rounds", "2"]).rounds == 2


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--only", "x"], ["--servers", "x"]])
def test_a_wrong_option_ends_with_status_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2


def test_the_summary_has_a_row_a_case_and_a_column_a_server() -> None:
    rows = list(summary_rows(Figures(RUN.samples)))
    assert rows[0][0] == "tcpd against"
    assert len(rows) == 2  # memory is no speed
    assert len(rows[0]) == len(rows[1]) == 6
