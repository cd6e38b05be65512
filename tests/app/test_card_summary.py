"""The card in a minute: numbers come from the card's own table, and what it lacks is left out."""

from afcore import paths
from afcore.app.card_summary import charts_of, met, rows_of

TABLE = """
| ability | measured | 95 % | language side alone | n | chance | bar | met? |
|---|---|---|---|---|---|---|---|
| held-out labels among 10 options, zero-shot (23) | 15.8% | 8% to 21% | 9.0% (5% to 12%) | 135 | 10.0% | reported |  |
| held-out labels, 8 shots | 49.1% | 44% to 60% | 30.0% (25% to 36%) | 135 | 10.0% | 60 % | **no** |
| refuses answerable questions | 3.2% | 1% to 5% |  | 250 |  | at most 10 % | yes |
| caption: CIDEr | 1.11 | 0.89 to 1.36 |  | 300 | 0.03 | reported |  |

| kind | n | measured | chance | met? |
|---|---|---|---|---|
| what | 10 | 60.0 % | 0 % | yes |
"""


def test_rows_and_charts_are_what_the_table_says():
    rows = rows_of(TABLE)
    assert [row.measured for row in rows] == [0.158, 0.491, 0.032] and met(rows) == (1, 2)
    [chart] = charts_of(rows)
    assert chart.shares == {"without examples": 0.158, "with 8 examples": 0.491}
    assert charts_of([]) == [] and met([]) == (0, 0)


def test_the_shipped_card_has_all_four():
    charts = charts_of(rows_of((paths.MINI / "README.md").read_text(encoding="utf-8")))
    assert len(charts) == 4 and all(0 <= share <= 1 for chart in charts for share in chart.shares.values())
