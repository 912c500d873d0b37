"""How each exchange answers through ccxt: page sizes, reach of its history, where figures of its own stand.

ccxt unifies the calls, not the limits behind them. An exchange without an entry gets `Profile`'s defaults and the page
size that ccxt states for it; a page that comes back shorter than asked for is completed by asking for the rest, so a
limit that is too large here costs requests, never rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Profile:
    """What one exchange allows.

    Attributes
    ----------
    bars_per_page : int
        Bars of one answer; 0: what ccxt states.
    price_bars_per_page : int
        The same for mark, index and premium; 0: like ``bars_per_page``.
    longest_window_ms : int
        Longest span of one request [ms]; 0: no limit.
    newest_bars : int
        How many of the newest bars of a timeframe the exchange keeps; 0: all.
    settlements_per_page : int
        Settlements of one answer.
    settlements_reach_ms : int
        How far back settlements are kept [ms]; 0: all.
    settlement_pages : {"window", "numbered"}
        Whether a request names a span, or the number of a page counted from the newest.
    settlement_end : str
        Raw parameter that bounds a request of settlements from above where ccxt passes ``until`` on to none.
    settlement_mark : str
        Raw field of a settlement that holds its mark price.
    volume_in_contracts : bool
        Whether ccxt hands on volumes in contracts.
    ticker_volume : str
        Raw field of a ticker that holds the volume in base currency, where ccxt hands on that in contracts.
    raw_candles : mapping of str to str
        Series that ccxt has as a raw call only: name of its method by series.
    raw_tiers : str
        Method of ccxt for the margin tiers of one contract, where ccxt has them as a raw call only.
    timeframes : mapping of str to str
        The exchange's names of timeframes that ccxt names otherwise.
    settlement_pause_seconds : float
        Least time between two requests of settlements, where that is longer than ccxt keeps [s].
    funding_info : str
        Method of ccxt for a raw list of funding terms apart from the contracts; empty: they stand with the contracts.
    funding_fields : tuple of str
        Raw fields of the interval, the cap and the floor of rates; empty: not published.
    funding_unit_hours : float
        What the interval is counted in [hours].
    request_cost : float
        Pauses of ccxt's rate limit that one full page costs.
    options : mapping
        Options of ccxt for this exchange.
    """

    bars_per_page: int = 0
    price_bars_per_page: int = 0
    longest_window_ms: int = 0
    newest_bars: int = 0
    settlements_per_page: int = 100
    settlements_reach_ms: int = 0
    settlement_pages: Literal["window", "numbered"] = "window"
    settlement_end: str = ""
    settlement_mark: str = ""
    volume_in_contracts: bool = False
    ticker_volume: str = ""
    raw_candles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    raw_tiers: str = ""
    timeframes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    settlement_pause_seconds: float = 0.0
    funding_info: str = ""
    funding_fields: tuple[str, str, str] = ("", "", "")
    funding_unit_hours: float = 1.0
    request_cost: float = 1.0
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


# with a key ccxt would ask signed addresses of the spot exchange first
_BINANCE_OPTIONS = MappingProxyType({"fetchCurrencies": False, "fetchMargins": False})
_BINANCE_FUNDING = ("fundingIntervalHours", "adjustedFundingRateCap", "adjustedFundingRateFloor")

_SWAPS = MappingProxyType({"fetchMarkets": {"types": ["swap"]}})  # spot, dated contracts and options are not asked for

# Read in the source of ccxt 4.5.90 (each exchange's fetch_ohlcv, fetch_funding_rate_history, parse_ohlcv).
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        # up to 499 bars weigh 2 of the 2,400 a minute, 1,000 (where ccxt cuts a page) weigh 5
        "binanceusdm": Profile(
            499,
            settlements_per_page=1000,
            settlement_mark="markPrice",
            settlement_pause_seconds=0.6,
            funding_info="fapiPublicGetFundingInfo",
            funding_fields=_BINANCE_FUNDING,
            request_cost=2,
            options=_BINANCE_OPTIONS,
        ),
        # COIN-M refuses spans of 200 days and more
        "binancecoinm": Profile(
            499,
            longest_window_ms=199 * _DAY_MS,
            settlements_per_page=1000,
            settlement_mark="markPrice",
            settlement_pause_seconds=0.6,
            funding_info="dapiPublicGetFundingInfo",
            funding_fields=_BINANCE_FUNDING,
            request_cost=2,
            options=_BINANCE_OPTIONS,
        ),
        # newest first within start..end: a window of at most one page comes back whole
        "bybit": Profile(
            1000,
            settlements_per_page=200,
            funding_fields=("fundingInterval", "upperFundingRate", "lowerFundingRate"),
            funding_unit_hours=1 / 60,
            request_cost=5,
            options=MappingProxyType({"fetchMarkets": {"types": ["linear", "inverse"]}}),
        ),
        # 100 candles of mark and index, and of older trades whatever is asked for; settlements of three months, for
        # which ccxt passes no `until` on
        "okx": Profile(
            300,
            100,
            settlements_per_page=100,
            settlements_reach_ms=95 * _DAY_MS,
            settlement_end="after",
            ticker_volume="volCcy24h",
            options=_SWAPS,
        ),
        "blofin": Profile(
            1440,
            ticker_volume="volCurrency24h",
            raw_candles=MappingProxyType(
                {"mark": "publicGetMarketMarkPriceCandles", "index": "publicGetMarketIndexCandles"}
            ),
            raw_tiers="publicGetMarketPositionTiers",
        ),
        "hyperliquid": Profile(
            5000,
            newest_bars=5000,
            settlements_per_page=500,
            request_cost=20,
            options=MappingProxyType({"fetchMarkets": {"types": ["swap", "hip3"]}}),
        ),
        # candles count contracts; ccxt takes weeks counted from 1970 (a Thursday) for weeks
        "gate": Profile(
            1999,
            settlements_per_page=1000,
            volume_in_contracts=True,
            timeframes=MappingProxyType({"1w": "1w"}),
            funding_fields=("funding_interval", "", ""),
            funding_unit_hours=1 / 3600,
            options=MappingProxyType({**_SWAPS, "defaultType": "swap"}),
        ),
        # older bars come from the history endpoint, 200 a page, and of more than 90 days ccxt asks for the beginning
        # only; settlements by page number, newest first
        "bitget": Profile(
            200,
            longest_window_ms=90 * _DAY_MS,
            settlement_pages="numbered",
            funding_fields=("fundInterval", "", ""),
            options=_SWAPS,
        ),
    }
)


def _spot_markets(**more: Any) -> Mapping[str, Any]:
    return MappingProxyType({"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot", **more})


# The same for spot pairs. An exchange without an entry gets what ccxt states.
SPOT_PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "binance": Profile(1000, request_cost=2, options=_spot_markets(fetchCurrencies=False, fetchMargins=False)),
        "bybit": Profile(1000, request_cost=5, options=_spot_markets()),
        "okx": Profile(300, options=_spot_markets()),
        "hyperliquid": Profile(5000, newest_bars=5000, request_cost=20, options=_spot_markets()),
        "gate": Profile(1000, newest_bars=10_000, options=_spot_markets()),
        "bitget": Profile(200, longest_window_ms=90 * _DAY_MS, options=_spot_markets()),
    }
)
