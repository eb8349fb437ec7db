"""The table in docs/reliability.md: all rows, in the scripts' own words, each with a figure."""

import pytest
from faults.rows import COUNT, DOCS, END, START, Row, all_rows, replaced, row_of, table, table_in


def test_every_row_is_a_script_with_its_number():
    rows = all_rows()
    assert [row.number for row in rows] == list(range(1, COUNT + 1))
    assert [row.script[:8] for row in rows] == [f"test_{row.number:02}_" for row in rows]


def test_the_table_says_what_the_scripts_say():
    # If it doesn't: python tests/faults/report.py --texts
    assert [tuple(cells[:-1]) for cells in table_in(DOCS.read_text())] == [
        row.cells for row in all_rows()
    ]


def test_every_row_of_the_table_has_a_figure_that_was_measured():
    for cells in table_in(DOCS.read_text()):
        assert any(letter.isdigit() for letter in cells[-1]), cells
        assert not any(word in cells[-1] for word in ("not measured", "not run", "FAILED")), cells


ROW = Row(number=3, fault="a | b", criterion="holds", best="none", script="test_03_x.py")


def test_cells_survive_the_table():
    text = f"before\n{START}\n{table([ROW], {3: '1 | 2'})}\n{END}\nafter"
    assert table_in(text) == [[*ROW.cells, "1 | 2"]]
    assert table_in(f"{START}\n{table([ROW], {})}\n{END}")[0][-1] == "not measured"


def test_only_what_stands_between_the_markers_is_replaced():
    assert replaced(f"a\n{START}\nold\n{END}\nb", "new") == f"a\n{START}\n\nnew\n\n{END}\nb"
    for text in ("", START, END, f"{END}{START}", f"{START}{START}{END}", f"{START}{END}{END}"):
        with pytest.raises(ValueError, match="expected one line"):
            replaced(text, "new")


def test_a_script_has_to_begin_with_its_row(tmp_path):
    script = tmp_path / "test_07_x.py"
    script.write_text(
        '"""Row 7: a\nfault.\n\nMust hold: this;\nthat.\n\nBest known: x.\n\nHow."""\n'
    )
    row = row_of(script)
    assert (row.number, row.fault, row.criterion, row.best) == (7, "a fault", "this; that", "x")
    script.write_text('"""Row 7: no more."""\n')
    with pytest.raises(ValueError, match=r"test_07_x\.py: expected a docstring"):
        row_of(script)
