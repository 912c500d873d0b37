"""Funding of a real account as exchanges list it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.engine.funding_file import FundingTable, read_funding
from backtester.errors import DataError, UnknownNameError

BTC = "BTC/USDT:USDT"
MS = 1_704_096_000_000  # 2024-01-01 08:00 UTC


def read(folder: Path, text: str, name: str = "funding.csv") -> FundingTable:
    (folder / name).write_text(text, encoding="utf-8")
    return read_funding(folder / name, [BTC])


def rows(table: FundingTable) -> list[tuple]:
    return table.frame.with_columns(pl.col("time").dt.epoch("ms")).rows()


@pytest.mark.parametrize(
    "text",
    [
        f"time,symbol,funding_payment\n{MS + 3},{BTC},-1.5\n",
        f"symbol,incomeType,income,asset,time\nBTCUSDT,FUNDING_FEE,-1.5,USDT,{MS}\nBTCUSDT,COMMISSION,-9,USDT,{MS}\n",
        f"symbol,execType,execFee,execQty,execTime\nBTCUSDT,Funding,1.5,2,{MS}\nBTCUSDT,Trade,9,2,{MS}\n",
        f"instId,type,balChg,ts\nBTC-USDT-SWAP,8,-1.5,{MS}\nBTC-USDT-SWAP,2,-9,{MS}\n",
        f"timestamp,symbol,amount,code\n{MS},{BTC},-1.0,USDT\n{MS + 400},{BTC},-0.5,USDT\n",
    ],
)
def test_what_was_paid(tmp_path: Path, text: str) -> None:
    """1.5 paid at 08:00: negative to the account, whoever writes it; parts of one settlement are added up."""
    assert rows(read(tmp_path, text)) == [(MS, BTC, -1.5)]


def test_json_and_other_contracts(tmp_path: Path) -> None:
    listed = [
        {"timestamp": MS, "symbol": BTC, "amount": 2.0, "info": {}},
        {"timestamp": MS, "symbol": "ETH/USDT:USDT", "amount": 3.0, "info": {}},
    ]
    table = read(tmp_path, json.dumps(listed), "funding.json")
    assert rows(table) == [(MS, BTC, 2.0)]
    assert "Left out: 1 settlement of funding" in table.notices[0].text
    with pytest.raises(UnknownNameError):
        read(tmp_path, json.dumps(listed[1:]), "funding.json")


def test_bad_values_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2, column 'income': 'x' is no number"):
        read(tmp_path, f"symbol,income,time\nBTCUSDT,1,{MS}\nBTCUSDT,x,{MS}\n")
    with pytest.raises(DataError, match="row 1, column 'income': None is no amount"):
        read(tmp_path, f"symbol,income,time\nBTCUSDT,,{MS}\n")
    with pytest.raises(DataError, match="no column for funding_payment"):
        read(tmp_path, f"symbol,time\nBTCUSDT,{MS}\n")
