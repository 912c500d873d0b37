"""Which series values what is held from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.domain.config import CollateralConfig
from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.engine.collateral import Account, CollateralRow, collateral_rows
from backtester.engine.resolve import collateral_of
from backtester.engine.run_file import build_config
from backtester.errors import ConfigError, DataError, UnknownNameError
from backtester.market.panel import load_panel
from backtester.market.schema import TIME, DatasetKey, instrument_frame
from backtester.market.store import Store

H, T0, VENUE = 3_600_000, 1_735_689_600_000, "test"
PERP, SPOT = "BTC/USDT:USDT", "BTC/USDT"


def put(store: Store, symbol: str, series: str, timeframe: str = "1h", level: float = 100.0) -> None:
    count = 48
    frame = pl.DataFrame({"open_time": pl.Series(T0 + np.arange(count, dtype=np.int64) * H).cast(TIME)})
    frame = frame.with_columns(pl.lit(level).alias(name) for name in ("open", "high", "low", "close"))
    store.write(DatasetKey(VENUE, symbol, series, timeframe), frame.with_columns(volume=1.0), source="test")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    put(store, PERP, "trade")
    return store


def rows(store: Store, traded: tuple[str, ...] = (PERP,), **held: dict[str, object]) -> tuple[CollateralRow, ...]:
    collateral = {asset: CollateralConfig.model_validate(values) for asset, values in held.items()}
    return collateral_rows(collateral, store, Account(VENUE, "USDT", H, traded))


def test_spot_values_an_asset_before_index_and_mark(store: Store) -> None:
    held = {"quantity": 2.0, "haircut": 0.1}
    put(store, PERP, "mark")
    (row,) = rows(store, BTC=held)
    assert (row.name, row.symbol, row.series, row.quantity, row.haircut) == (SPOT, PERP, "mark", 2.0, 0.1)
    put(store, PERP, "index")
    (row,) = rows(store, BTC=held)
    assert (row.symbol, row.series) == (PERP, "index")
    put(store, SPOT, "trade")
    (row,) = rows(store, BTC=held)
    assert (row.name, row.symbol, row.series, row.is_traded) == (SPOT, SPOT, "trade", False)
    (row,) = rows(store, (PERP, SPOT), BTC=held)
    assert (row.name, row.is_traded) == (SPOT, True)


def test_assets_of_one_series_share_a_row(store: Store) -> None:
    put(store, SPOT, "trade")
    wrapped = {"quantity": 1.0, "symbol": SPOT}
    (row,) = rows(store, BTC={"quantity": 2.0}, WBTC=wrapped)
    assert (row.name, row.quantity, row.assets) == (SPOT, 3.0, ("BTC", "WBTC"))
    with pytest.raises(ConfigError, match="BTC and WBTC with different haircuts"):
        rows(store, BTC={"quantity": 2.0, "haircut": 0.1}, WBTC=wrapped)


def test_an_asset_without_a_series_is_refused_with_a_way_on(store: Store) -> None:
    with pytest.raises(DataError) as caught:
        rows(store, USDC={"quantity": 100.0})
    text = str(caught.value)
    assert "USDC/USDT trade or USDC/USDT:USDT index or USDC/USDT:USDT mark" in text
    assert "--symbol USDC/USDT)" in text
    assert "[collateral.USDC] symbol" in text
    put(store, "USDC/USDT", "trade", level=1.0)
    assert rows(store, USDC={"quantity": 100.0})[0].symbol == "USDC/USDT"
    with pytest.raises(UnknownNameError, match="USDD/USDT"):
        rows(store, USDC={"quantity": 100.0, "symbol": "USDD/USDT"})


def test_what_values_nothing_is_refused(store: Store) -> None:
    put(store, SPOT, "trade")
    put(store, PERP, "index")
    with pytest.raises(ConfigError, match="USDT is the settlement currency"):
        rows(store, USDT={"quantity": 1.0})
    with pytest.raises(ConfigError, match="BTC/USDC is not priced in USDT"):
        rows(store, BTC={"quantity": 1.0, "symbol": "BTC/USDC"})
    with pytest.raises(ConfigError, match="BTC/USDT is traded, and its trades value the asset"):
        rows(store, (SPOT,), BTC={"quantity": 1.0, "symbol": PERP})


def test_a_panel_takes_the_row_in(store: Store) -> None:
    put(store, PERP, "index", level=99.0)
    spot = Instrument(symbol="ETH/USDT", kind=ContractKind.SPOT)
    store.write(DatasetKey(VENUE, "ETH/USDT", "instrument", "event"), instrument_frame(spot), source="test")
    put(store, "ETH/USDT", "trade", level=10.0)
    config = build_config(
        {
            "data": {"venue": "test.toml", "symbols": ["ETH/USDT"], "timeframe": "1h"},
            "collateral": {"BTC": {"quantity": 0.5}},
        }
    )
    config = config.model_copy(update={"data": config.data.model_copy(update={"venue": VENUE})})
    (row,) = collateral_of(config, store)
    panel = load_panel(store, VENUE, ("ETH/USDT",), "1h", hidden=[row.hidden_series])
    assert panel.symbols == ("ETH/USDT", "BTC/USDT")
    assert panel.trade.close[:, 7].tolist() == [10.0, 99.0]
    assert collateral_of(build_config({}), store) == ()
