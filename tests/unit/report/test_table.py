"""Tables as data: what is shown, what is sorted, filtered and saved, and where a row goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from backtester.report.table import Column, build, milliseconds

FRAME = pl.DataFrame(
    {
        "symbol": ["A", "B"],
        "side": ["long", "short"],
        "time": [datetime(2024, 1, 1, tzinfo=UTC), None],
        "held": [timedelta(hours=2), timedelta(seconds=1.5)],
        "share": [0.5, float("nan")],
        "size": [1, 2],
    },
    schema_overrides={"time": pl.Datetime("ms", "UTC"), "held": pl.Duration("ms")},
)
COLUMNS = [
    Column("symbol", "Position", lambda r: (r["symbol"], r["side"]), is_number=False, also="side"),
    Column("time", "Time", lambda r: "now"),
    Column("held", "Held, part", lambda r: ("long", f"{r['share']} %"), also="share"),
    Column("size", "Size", lambda r: str(r["size"])),
]


def test_the_payload_has_every_raw_value_and_its_kind() -> None:
    told = build("t", "T", FRAME, COLUMNS).payload()
    assert told["keys"] == [["A", 1_704_067_200_000, 7200.0, 1, "long", 0.5], ["B", None, 1.5, 2, "short", None]]
    assert [(f["key"], f["label"], f["kind"]) for f in told["fields"]] == [
        ("symbol", "Position", "text"),
        ("time", "Time", "time"),
        ("held", "Held", "duration"),
        ("size", "Size", "number"),
        ("side", "Side", "text"),
        ("share", "Part", "percent"),
    ]
    assert "focus" not in told


def test_a_focus_names_figure_and_span_of_each_row() -> None:
    def focus(row: dict) -> tuple[str, int, int] | None:
        return None if row["time"] is None else ("price-1", milliseconds(row["time"]), milliseconds(row["time"]) + 5)

    assert build("t", "T", FRAME, COLUMNS, focus=focus).payload()["focus"] == [
        "price-1:1704067200000:1704067200005",
        None,
    ]
    assert "focus" not in build("t", "T", FRAME, COLUMNS, focus=lambda row: None).payload()


def test_a_cut_table_knows_how_many_rows_there_are() -> None:
    table = build("t", "T", FRAME, COLUMNS, 1)
    assert (len(table.rows), len(table.keys), table.total) == (1, 1, 2)


def test_an_empty_frame_is_an_empty_table() -> None:
    table = build("t", "T", FRAME.clear(), COLUMNS)
    assert (table.rows, table.keys, len(table.kinds)) == ([], [], 6)


def test_texts_made_at_once_and_ready_places_are_cut_with_the_rows() -> None:
    columns = [Column("symbol", "A", lambda r: "", bulk=lambda f: [(s, "second" * 20) for s in f["symbol"]], length=9)]
    table = build("t", "T", FRAME, columns, 1, focus=["a:1:2", "b:1:2"])
    assert table.rows == [[("A", "secondse\u2026")]]
    assert table.focus == ["a:1:2"]
