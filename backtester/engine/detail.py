"""Replaying on bars finer than those of the decisions."""

from __future__ import annotations

from backtester.domain.config import RunConfig
from backtester.engine.resolve import known_pack
from backtester.engine.result import Notice
from backtester.errors import ConfigError, DataError, format_time
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import bar_source, check_symbols, stored_timeframes, trade_source
from backtester.market.store import Store


def with_detail(config: RunConfig, store: Store) -> RunConfig:
    """Return a configuration whose ``data.detail`` can be replayed; one equal to the timeframe is left out.

    Parameters
    ----------
    config : RunConfig
        With symbols and timeframe.
    store : Store
        Where the bars are stored.

    Raises
    ------
    ConfigError
        The finer bars do not divide those of the decisions.
    DataError
        They are not stored and cannot be built.
    """
    data = config.data
    if data.detail is None:
        return config
    signal_ms, step_ms = timeframe_ms(str(data.timeframe)), timeframe_ms(data.detail)
    if signal_ms % step_ms:
        raise ConfigError(
            f"data.detail = {data.detail} does not divide data.timeframe = {data.timeframe}.",
            "The finer bars must fill each bar of the decisions, as 5m does 1h.",
        )
    venue = known_pack(data.venue, store)[0].name
    check_symbols(store, venue, data.symbols)
    for symbol in data.symbols:
        if bar_source(store, venue, symbol, "trade", step_ms) is None:
            stored = [timeframe_name(ms) for ms in stored_timeframes(store, venue, symbol, "trade")]
            raise DataError(
                f"{venue} {symbol} trade {data.detail}",
                f"no bars from which the finer ones come (stored: {', '.join(stored) or 'none'})",
                hint="Fetch or import them, name a longer --detail, or leave it out.",
            )
    return (
        config if signal_ms != step_ms else config.model_copy(update={"data": data.model_copy(update={"detail": None})})
    )


def detail_notices(config: RunConfig, store: Store, panel: Panel) -> list[Notice]:
    """Return what a run on finer bars must tell: which they are, and where no decisions could be made.

    Parameters
    ----------
    config : RunConfig
        Resolved.
    store : Store
        Where the bars are stored.
    panel : Panel
        The replayed bars.
    """
    if config.data.detail is None:
        return []
    signal = str(config.data.timeframe)
    text = (
        f"Decisions are made on bars of {signal}; orders, funding and margin are replayed on bars of "
        f"{timeframe_name(panel.timeframe_ms)} (data.detail)."
    )
    found = [Notice("detail", "assumption", text)]
    signal_ms = timeframe_ms(signal)
    for symbol in config.data.symbols:
        source = trade_source(store, panel.venue, symbol, signal_ms)
        if source.end + signal_ms <= panel.end:
            text = f"{symbol}: the bars of {signal} end at {format_time(source.end)}: nothing is decided after that."
            found.append(Notice("decisions_end", "warning", text))
    return found
