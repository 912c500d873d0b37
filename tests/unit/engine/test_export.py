"""Tables of a run as CSV, XLSX and Parquet."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from backtester import analytics
from backtester.engine import export
from backtester.engine.excel import LONGEST_TEXT
from backtester.engine.export import TABLES, export_tables
from backtester.engine.result import FRAMES, Result
from backtester.errors import StoreError, UnknownNameError, UsageError
from tests.unit.report import sample

FORMULAS = ["=1+1", "+2", "-3", "@SUM(A1)", "\tx", "plain", "a=b"]
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture(scope="module")
def result() -> Result:
    return analytics.complete(sample.make(1, 24 * 20))


def with_texts(result: Result, texts: list[str]) -> Result:
    fills = pl.concat([result.fills] * 8).head(len(texts)).with_columns(pl.Series("reason", texts))
    return replace(result, fills=fills)


def cells(path: Path, sheet: int) -> list[dict[str, str | float]]:
    """Return the rows of a sheet: what stands in each cell by its column; formulas are refused."""
    with zipfile.ZipFile(path) as archive:
        root = ET.fromstring(archive.read(f"xl/worksheets/sheet{sheet}.xml"))
    rows = []
    for row in root.iter(f"{SHEET}row"):
        found: dict[str, str | float] = {}
        for cell in row.iter(f"{SHEET}c"):
            assert cell.find(f"{SHEET}f") is None, "a formula"
            column = re.sub(r"\d", "", cell.attrib["r"])
            value, text = cell.find(f"{SHEET}v"), cell.find(f"{SHEET}is/{SHEET}t")
            if text is not None:
                found[column] = text.text or ""
            elif value is not None:
                found[column] = float(value.text or "nan")
        rows.append(found)
    return rows


def test_csv_holds_every_row_with_times_in_utc(result: Result, tmp_path: Path) -> None:
    paths = export_tables(result, tmp_path)
    assert {path.stem for path in paths} == {"summary", *FRAMES, "bars"}
    assert {path.parent for path in paths} == {tmp_path / result.run_id}
    with (tmp_path / result.run_id / "fills.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result.fills.height
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["time"])
    assert float(rows[0]["price"]) == result.fills["price"][0]
    summary = pl.read_csv(tmp_path / result.run_id / "summary.csv")
    assert summary.filter(pl.col("metric") == "sharpe")["value"][0] == result.summary["sharpe"]


def test_parquet_gives_the_same_frames(result: Result, tmp_path: Path) -> None:
    paths = export_tables(result, tmp_path, "parquet", ["fills", "equity"])
    assert [path.name for path in paths] == ["equity.parquet", "fills.parquet"]
    assert pl.read_parquet(paths[0]).equals(result.equity)
    assert pl.read_parquet(paths[1]).schema == result.fills.schema


def test_excel_has_a_sheet_for_each_table(result: Result, tmp_path: Path) -> None:
    (path,) = export_tables(result, tmp_path, "xlsx", ["trades", "fills"])
    with zipfile.ZipFile(path) as archive:
        names = re.findall(r'<sheet name="(\w+)"', archive.read("xl/workbook.xml").decode())
    assert names == ["about", "fills", "trades"]
    about = " ".join(str(value) for row in cells(path, 1) for value in row.values())
    assert "UTC; Excel knows no time zones" in about
    heading, first, *rest = cells(path, 2)
    assert list(heading.values()) == result.fills.columns
    assert 1 + len(rest) == result.fills.height
    days = result.fills["time"][0].timestamp() / 86_400 + 25_569
    assert first["A"] == pytest.approx(days, abs=1e-9)
    price = "ABCDEFGHIJKLMNOP"[result.fills.columns.index("price")]
    assert first[price] == pytest.approx(result.fills["price"][0], rel=1e-15)


def test_text_never_becomes_a_formula(result: Result, tmp_path: Path) -> None:
    hostile = with_texts(result, FORMULAS)
    export_tables(hostile, tmp_path, "csv", ["fills"])
    with (tmp_path / result.run_id / "fills.csv").open(encoding="utf-8", newline="") as file:
        found = [row["reason"] for row in csv.DictReader(file)]
    assert found == ["'=1+1", "'+2", "'-3", "'@SUM(A1)", "'\tx", "plain", "a=b"]
    (path,) = export_tables(hostile, tmp_path, "xlsx", ["fills"])
    column = "ABCDEFGHIJKLMNOP"[hostile.fills.columns.index("reason")]
    assert [row[column] for row in cells(path, 2)[1:]] == FORMULAS


def test_what_is_no_number_is_an_empty_cell_and_long_texts_are_cut(result: Result, tmp_path: Path) -> None:
    odd = pl.DataFrame(
        {"a": [float("nan"), float("inf"), None, 1.5], "b": ["x" * 40_000, "\x00\x07", None, "1"], "c": [1, 2, 3, 4]}
    )
    strange = replace(result, fills=odd)
    (path,) = export_tables(strange, tmp_path, "xlsx", ["fills"])
    _, *rows = cells(path, 2)
    assert ["A" in row for row in rows] == [False, False, False, True]
    assert len(str(rows[0]["B"])) == LONGEST_TEXT
    assert rows[3]["B"] == "1"
    export_tables(strange, tmp_path, "csv", ["fills"])
    lines = (tmp_path / result.run_id / "fills.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith(",xxx")


def test_more_rows_than_a_sheet_holds_are_refused(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "EXCEL_ROWS", 100)
    with pytest.raises(UsageError, match=r"(?s)a sheet of Excel holds 100.*--format parquet or csv"):
        export_tables(result, tmp_path, "xlsx", ["bars", "trades"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="--tables trades"):
        export_tables(result, tmp_path, "xlsx", ["bars", "trades"])


def test_what_is_there_is_not_replaced_unless_asked(result: Result, tmp_path: Path) -> None:
    for kind in ("csv", "xlsx"):
        export_tables(result, tmp_path, kind, ["trades"])  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="exists"):
            export_tables(result, tmp_path, kind, ["trades"])  # type: ignore[arg-type]
        export_tables(result, tmp_path, kind, ["trades"], overwrite=True)  # type: ignore[arg-type]
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_wrong_names_and_places_are_refused(result: Result, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'fills'"):
        export_tables(result, tmp_path, "csv", ["fill"])
    with pytest.raises(UnknownNameError, match="Did you mean 'xlsx'"):
        export_tables(result, tmp_path, "xls")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no table 'assumptions'"):
        export_tables(result, tmp_path, "csv", ["assumptions"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_tables(result, tmp_path / "file", "csv", ["fills"])
    assert "assumptions" in TABLES
