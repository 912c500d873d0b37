"""Files of executed trades: whose columns are known, what is refused and how it is named."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.engine.account_file import unified_names
from backtester.engine.fill_file import FillTable, in_units, read_fills, with_symbols, within
from backtester.errors import DataError, UnknownNameError, UsageError

BTC, ETH, INVERSE = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USD:BTC"
MS = 1_704_096_000_000  # 2024-01-01 08:00 UTC
COLUMNS = [
    "time",
    "symbol",
    "side",
    "quantity",
    "price",
    "fee",
    "fee_currency",
    "liquidity",
    "position_side",
    "order_id",
]


def csv(folder: Path, text: str) -> FillTable:
    path = folder / "trades.csv"
    path.write_text(text, encoding="utf-8")
    return read_fills(path)


def rows(table: FillTable) -> list[tuple]:
    """Times in ms, then the columns in order."""
    return table.frame.with_columns(pl.col("time").dt.epoch("ms")).select(COLUMNS).rows()


def test_plain_columns_and_the_order_of_time(tmp_path: Path) -> None:
    table = csv(
        tmp_path,
        "time,symbol,side,quantity,price,fee,liquidity,position_side,order_id\n"
        "2024-01-01 09:00,BTC/USDT:USDT,sell,0.5,42000.5,10.5,maker,long,7\n"
        f"{MS},BTC/USDT:USDT,buy,0.5,42000,,,,\n",
    )
    assert rows(table) == [
        (MS, BTC, "buy", 0.5, 42000.0, None, None, None, None, None),
        (MS + 3_600_000, BTC, "sell", 0.5, 42000.5, 10.5, None, "maker", "long", "7"),
    ]
    assert table.frame["file_row"].to_list() == [2, 1]
    assert table.notices == ()


def test_signed_quantities_need_no_side(tmp_path: Path) -> None:
    table = csv(tmp_path, f"time;symbol;quantity;price\n{MS};BTCUSDT;-2;10\n{MS};BTCUSDT;3;10\n")
    assert table.frame.select("side", "quantity").rows() == [("sell", 2.0), ("buy", 3.0)]


def test_exports_and_answers_of_exchanges(tmp_path: Path) -> None:
    """Each says the same: 2 units sold at 100 as taker for a fee of 0.1."""
    texts = {
        "binance export": "Date(UTC),Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit\n"
        "2024-01-01 08:00:00,BTCUSDT,SELL,100,2,200,0.1 USDT,0\n",
        "binance answer": "symbol,id,orderId,side,price,qty,realizedPnl,quoteQty,commission,commissionAsset,time,"
        f"positionSide,maker,buyer\nBTCUSDT,1,9,SELL,100,2,0,200,0.1,USDT,{MS},BOTH,false,false\n",
        "bybit answer": "symbol,orderId,side,orderQty,execPrice,execQty,execFee,execTime,isMaker,execType\n"
        f"BTCUSDT,9,Sell,5,100,2,0.1,{MS},false,Trade\nBTCUSDT,,Sell,0,99,2,0.3,{MS},false,Funding\n",
        "bybit export": "Contracts,Order Type,Direction,Filled Price,Filled Quantity,Fees,Order No.,Timestamp (UTC)\n"
        "BTCUSDT,MARKET,SELL,100,2,0.1,9,08:00 2024-01-01\n",
    }
    for name, text in texts.items():
        table = csv(tmp_path, text)
        (row,) = table.frame.to_dicts()
        assert (row["symbol"], row["side"], row["quantity"], row["price"]) == ("BTCUSDT", "sell", 2.0, 100.0), name
        assert row["fee"] == 0.1, name
        assert row["liquidity"] == (None if "export" in name else "taker"), name
        assert row["position_side"] is None, name
        assert row["time"].timestamp() * 1000 == MS, name
        assert not row["in_contracts"], name
    assert csv(tmp_path, texts["binance export"]).frame["fee_currency"].to_list() == ["USDT"]
    (notice,) = csv(tmp_path, texts["bybit answer"]).notices
    assert notice.text == "Left out: 1 settlement of funding among the trades."


def test_okx_counts_contracts_and_writes_charges_as_negative(tmp_path: Path) -> None:
    answer = {
        "code": "0",
        "data": [
            {"instId": "BTC-USDT-SWAP", "side": "buy", "posSide": "long", "fillSz": "3", "fillPx": "100",
             "fee": "-0.15", "feeCcy": "USDT", "execType": "T", "ordId": "5", "ts": str(MS)},
            {"instId": "BTC-USDT-SWAP", "side": "sell", "posSide": "long", "fillSz": "1", "fillPx": "101",
             "fee": "0.02", "feeCcy": "USDT", "execType": "M", "ordId": "6", "ts": str(MS + 1)},
        ],
    }  # fmt: skip
    path = tmp_path / "okx.json"
    path.write_text(json.dumps(answer), encoding="utf-8")
    table = in_units(with_symbols(read_fills(path), [BTC, ETH]), {BTC: 0.01, ETH: 0.1})
    assert rows(table) == [
        (MS, BTC, "buy", 0.03, 100.0, 0.15, "USDT", "taker", "long", "5"),
        (MS + 1, BTC, "sell", 0.01, 101.0, -0.02, "USDT", "maker", "long", "6"),
    ]


def test_ccxt_trades_are_nested_and_count_contracts(tmp_path: Path) -> None:
    trade = {"timestamp": MS, "datetime": "2024-01-01T08:00:00.000Z", "symbol": BTC, "order": "5", "side": "buy",
             "takerOrMaker": "maker", "price": 100.0, "amount": 3.0, "cost": 3.0,
             "fee": {"cost": 0.15, "currency": "BNB"}, "fees": [], "info": {"side": "x"}}  # fmt: skip
    path = tmp_path / "ccxt.json"
    path.write_text(json.dumps([trade]), encoding="utf-8")
    table = in_units(with_symbols(read_fills(path), [BTC]), {BTC: 0.01})
    assert rows(table) == [(MS, BTC, "buy", 0.03, 100.0, 0.15, "BNB", "maker", None, "5")]


def test_contracts_only_where_the_column_says_so(tmp_path: Path) -> None:
    sizes = {BTC: 0.01}
    text = f"time,symbol,side,{{}},price\n{MS},{BTC},buy,3,100\n"
    for column, units in (("contracts", 0.03), ("quantity", 3.0), ("amount", 3.0)):
        table = in_units(with_symbols(csv(tmp_path, text.format(column)), [BTC]), sizes)
        assert table.frame["quantity"].to_list() == [units], column
    coin = f"time,symbol,side,qty,baseQty,price\n{MS},BTCUSD_PERP,buy,3,0.006,50000\n"
    table = in_units(with_symbols(csv(tmp_path, coin), [BTC, INVERSE]), {INVERSE: 100.0})
    assert table.frame.select("symbol", "quantity").rows() == [(INVERSE, 300.0)]


def test_fees_that_are_all_negative_were_paid(tmp_path: Path) -> None:
    text = f"time,symbol,side,quantity,price,fee,liquidity\n{MS},BTCUSDT,buy,1,100,-0.05,taker\n"
    table = csv(tmp_path, text)
    assert table.frame["fee"].to_list() == [0.05]
    assert [notice.code for notice in table.notices] == ["fills_fee_sign"]
    rebate = csv(tmp_path, text.replace("taker", "maker"))
    assert (rebate.frame["fee"].to_list(), rebate.notices) == ([-0.05], ())
    both = csv(tmp_path, text + f"{MS},BTCUSDT,buy,1,100,0.05,taker\n")
    assert both.frame["fee"].to_list() == [-0.05, 0.05]


def test_closing_sides_name_the_leg(tmp_path: Path) -> None:
    text = f"time,symbol,side,quantity,price\n{MS},BTCUSDT,Open Long,1,100\n{MS},BTCUSDT,close_short,-1,100\n"
    with pytest.raises(DataError, match=r"row 2, column 'quantity': '-1' is negative, and the side is buy"):
        csv(tmp_path, text)
    table = csv(tmp_path, text.replace("-1", "1"))
    assert table.frame.select("side", "position_side").rows() == [("buy", "long"), ("buy", "short")]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("{ms},BTCUSDT,buy,1,0", "row 2, column 'price': '0' is no price"),
        ("{ms},BTCUSDT,buy,1,inf", "row 2, column 'price': 'inf' is no number"),
        ("{ms},BTCUSDT,buy,,100", "row 2, column 'quantity': None is no quantity"),
        ('{ms},BTCUSDT,buy,"1,5",100', "row 2, column 'quantity': '1,5' is no number"),
        ("{ms},BTCUSDT,bought,1,100", "row 2, column 'side': 'bought' is not known here"),
        ("{ms},BTCUSDT,,1,100", "row 2, column 'side': None is no side"),
        ("{ms},,buy,1,100", "row 2, column 'symbol': None is no symbol"),
        ("yesterday,BTCUSDT,buy,1,100", "row 2 has no time: 'yesterday'"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, row: str, text: str) -> None:
    with pytest.raises(DataError) as caught:
        csv(tmp_path, f"time,symbol,side,quantity,price\n{MS},BTCUSDT,buy,1,100\n{row.format(ms=MS)}\n")
    assert text in str(caught.value)
    assert str(tmp_path / "trades.csv") in str(caught.value)
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        read_fills(tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(UsageError, match=r"is no \.csv"):
        read_fills(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"no column for price, quantity \(the file has time, symbol\)"):
        csv(tmp_path, f"time,symbol\n{MS},BTCUSDT\n")
    with pytest.raises(DataError, match="no rows"):
        csv(tmp_path, "time,symbol,side,quantity,price\n")
    for name, content in (("a.json", "{"), ("b.parquet", "x"), ("c.json", '{"data": 3}')):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=name):
            read_fills(tmp_path / name)


def test_names_of_contracts() -> None:
    known = [BTC, INVERSE, "BTC/USDC:USDC", "ETH/USDT", "1000PEPE/USDT:USDT"]
    spelled = ["BTCUSDT", "BTC-USDT-SWAP", "BTCUSD", "BTCUSD_PERP", "BTC-USD-SWAP", "BTCPERP", "ETHUSDT", BTC, "DOGE"]
    found = unified_names(spelled, known, "file")
    assert list(found.values()) == [BTC, BTC, INVERSE, INVERSE, INVERSE, "BTC/USDC:USDC", "ETH/USDT", BTC, None]
    assert unified_names(["PEPE", "1000PEPE"], known, "file") == {"PEPE": None, "1000PEPE": "1000PEPE/USDT:USDT"}
    assert unified_names(["BTCUSDT", "BTC/USDT"], ["BTC/USDT", BTC], "file") == {"BTCUSDT": BTC, "BTC/USDT": "BTC/USDT"}
    with pytest.raises(DataError, match=r"'BTC' may be BTC/USDT:USDT or BTC/USD:BTC or BTC/USDC:USDC"):
        unified_names(["BTC"], known, "file")


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    table = csv(
        tmp_path,
        "time,symbol,side,quantity,price\n"
        f"{MS},BTCUSDT,buy,1,100\n{MS + 1},DOGEUSDT,buy,1,1\n{MS + 2},BTCUSDT,sell,1,100\n",
    )
    known = with_symbols(table, [BTC])
    assert known.frame["file_row"].to_list() == [1, 3]
    assert "Left out: 1 trade of fills" in known.notices[0].text
    assert "in DOGEUSDT, not among" in known.notices[0].text
    inside = within(known, MS, MS + 2)
    assert inside.frame["file_row"].to_list() == [1]
    assert "1 trade of fills" in inside.notices[-1].text
    assert within(known, MS, MS + 3) is known
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTCUSDT'"):
        with_symbols(table, [ETH])


def test_a_trade_that_stands_in_the_file_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    head = "tradeId,time,symbol,side,quantity,price\n"
    rows = [f"7,{MS},BTCUSDT,buy,1,100", f"8,{MS},BTCUSDT,buy,1,100", f"7,{MS},BTCUSDT,buy,1,100"]
    path.write_text(head + "\n".join(rows))
    with pytest.raises(DataError, match=r"rows 1 and 3 are the same trade, tradeId '7'\.") as refused:
        read_fills(path)
    assert "overlap" in refused.value.hint
    unlike = [
        f"7,{MS},BTCUSDT,buy,1,100",
        f"7,{MS},ETHUSDT,buy,1,100",  # numbered by contract
        f"7,{MS},BTCUSDT,sell,1,100",  # with oneself
        f"7,{MS},BTCUSDT,buy,2,100",  # another fill of an order called 7
        f",{MS},BTCUSDT,buy,1,100",
        f",{MS},BTCUSDT,buy,1,100",
    ]
    path.write_text(head + "\n".join(unlike))
    assert read_fills(path).frame.height == 6


def test_a_decimal_comma_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fills.csv"
    path.write_text(f"time;symbol;side;quantity;price\n{MS};BTCUSDT;buy;1,250;42000,5\n")
    with pytest.raises(DataError, match="'42000,5' is no number") as refused:
        read_fills(path)
    assert "decimal point" in refused.value.hint
    path.write_text(f"time;symbol;side;quantity;price\n{MS};BTCUSDT;buy;one;42000.5\n")
    with pytest.raises(DataError, match="'one' is no number") as refused:
        read_fills(path)
    assert "decimal point" not in refused.value.hint
