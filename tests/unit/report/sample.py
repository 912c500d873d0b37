"""A small account of its own, so that analysis and page have whole results to work on whose identities hold.

Linear contracts under cross margin, one maintenance rate, orders at the open, liquidation judged at the mark close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.result import Notice, Result

TIME = pl.Datetime("ms", "UTC")
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
HOUR = 3_600_000
FEE, SLIP, MMR, LIQUIDATION_FEE = 0.0005, 0.0002, 0.01, 0.005
NOTICES = (
    Notice("synthetic", "warning", "The market is synthetic."),
    Notice("tiers_before_date", "assumption", "Margin tiers of 2025-10-01 are used before their date too."),
    Notice("mark_diverges", "warning", "SOL/USDT:USDT: mark and trade differ by more than 5 % in 3 bars."),
)


def market(symbols: int, bars: int, seed: int, step: float = 0.006) -> dict[str, np.ndarray]:
    """Random OHLC, mark and hourly-to-8h funding rates, each of shape (symbols, bars)."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, step, (1, bars)) * 0.7
    moves = common + rng.normal(0, step * 0.7, (symbols, bars)) + 0.06 * step * np.sin(np.arange(bars) / 170.0)
    close = np.resize([60_000.0, 3_000.0, 150.0, 0.4], (symbols, 1)) * np.exp(np.cumsum(moves, axis=1))
    first = close[:, :1] * np.exp(-moves[:, :1])
    opened = np.concatenate([first, close[:, :-1]], axis=1)
    wick = np.abs(rng.normal(0, step / 2, (2, symbols, bars)))
    high, low = np.maximum(opened, close) * (1 + wick[0]), np.minimum(opened, close) * (1 - wick[1])
    basis = 1 + 0.0005 * np.sin(np.arange(bars) / 50.0)
    rate = 0.0001 + 0.0004 * np.sin(np.arange(bars) / 400.0) + rng.normal(0, 0.0001, (symbols, bars))
    return {"open": opened, "high": high, "low": low, "close": close, "basis": basis[None, :], "rate": rate}


def targets(close: np.ndarray, exposure: float, fast: int = 24, slow: int = 168) -> np.ndarray:
    """Exposure of a trend follower, NaN while it has nothing to say."""
    total = np.cumsum(np.pad(close, ((0, 0), (1, 0))), axis=1)
    mean = [(total[:, n:] - total[:, :-n]) / n for n in (fast, slow)]
    out = np.full(close.shape, np.nan)
    out[:, slow - 1 :] = np.where(mean[0][:, slow - fast :] > mean[1], exposure, -exposure)
    return out


@dataclass
class Account:
    """Wallet, positions and what happened."""

    symbols: tuple[str, ...]
    wallet: float
    takeover: str
    held: list[float] = field(default_factory=list)
    entry: list[float] = field(default_factory=list)
    rows: dict[str, list[tuple]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held = [0.0] * len(self.symbols)
        self.entry = [0.0] * len(self.symbols)
        self.rows = {k: [] for k in ("fills", "funding", "liquidations", "ledger", "positions", "orders")}

    def book(self, time: int, i: int, kind: str, amount: float) -> None:
        if amount:
            self.wallet += amount
            self.rows["ledger"].append((time, self.symbols[i], "USDT", kind, amount, self.wallet))

    def equity(self, mark: list[float]) -> float:
        return self.wallet + sum(q * (m - e) for q, m, e in zip(self.held, mark, self.entry, strict=True))

    def requirement(self, mark: list[float]) -> float:
        return sum(abs(q) * m * MMR for q, m in zip(self.held, mark, strict=True))

    def liquidation_price(self, i: int, mark: list[float]) -> float | None:
        q, e = self.held[i], self.entry[i]
        if not q:
            return None
        spare = self.equity(mark) - q * (mark[i] - e) - (self.requirement(mark) - abs(q) * mark[i] * MMR)
        price = (q * e - spare) / (q - abs(q) * MMR)
        return price if price > 0 else None

    def changed(self, time: int, i: int, mark: list[float]) -> None:
        q = self.held[i]
        side = "long" if q > 0 else "short" if q < 0 else "flat"
        row = (time, self.symbols[i], side, q, self.entry[i] if q else None, abs(q) * mark[i] / 5)
        self.rows["positions"].append((*row, self.liquidation_price(i, mark)))

    def fill(self, time: int, i: int, dq: float, reference: float, order: int, reason: str, at: float | None = None):
        """One part of an order, which either reduces or increases; ``at`` books the profit at another price."""
        sign = math.copysign(1, dq)
        price = reference * (1 + sign * SLIP)
        q, realized = self.held[i], 0.0
        reducing = q * dq < 0
        side = "long" if (q if reducing else dq) > 0 else "short"
        if reducing:
            realized = -dq * ((price if at is None else at) - self.entry[i])
            self.held[i] = 0.0 if dq == -q else q + dq
        else:
            self.entry[i] = (q * self.entry[i] + dq * price) / (q + dq)
            self.held[i] = q + dq
        fee = 0.0 if order < 0 else abs(dq) * price * FEE
        self.book(time, i, "realized_pnl", realized)
        self.book(time, i, "trading_fee", -fee)
        size = (abs(dq), price, abs(dq) * price, fee, realized, abs(dq) * reference * SLIP)
        self.rows["fills"].append(
            (time, order, self.symbols[i], side, "buy" if sign > 0 else "sell", *size, "taker", reason)
        )
        return price, realized

    def liquidate(self, time: int, mark: list[float]) -> None:
        balance, requirement = self.equity(mark), self.requirement(mark)
        for i, q in enumerate(self.held):
            if not q:
                continue
            entry, share = self.entry[i], balance * abs(q) * mark[i] * MMR / requirement
            bankruptcy = mark[i] - share / q
            at = mark[i] if self.takeover == "bankruptcy" else None
            price, realized = self.fill(time, i, -q, mark[i], -1, "liquidation", at)
            fee = clearance = 0.0
            if self.takeover == "bankruptcy":
                clearance, flow = -share, q * (price - bankruptcy)
            else:
                fee = min(abs(q) * price * LIQUIDATION_FEE, max(0.0, self.equity(mark)))
                flow = fee
                if not any(q for j, q in enumerate(self.held) if j != i) and self.wallet < fee:
                    clearance = fee - self.wallet
                    flow -= clearance
            self.book(time, i, "liquidation_fee", -fee)
            self.book(time, i, "insurance_clearance", clearance)
            story = (abs(q), entry, mark[i], bankruptcy if bankruptcy > 0 else None, price, balance, requirement, 0)
            lost = -(realized - fee + clearance)
            side = "long" if q > 0 else "short"
            self.rows["liquidations"].append((time, self.symbols[i], side, "takeover", *story, lost, fee, flow, False))
            self.changed(time, i, mark)
        if self.takeover == "bankruptcy":
            self.wallet = 0.0


FILLS = (
    "time order_id symbol position_side side quantity price notional fee_paid realized_pnl slippage_paid liquidity "
    "reason"
)
FUNDING = "time symbol position_side funding_rate mark_price position_quantity funding_payment"
LIQUIDATIONS = (
    "time symbol position_side kind quantity entry_price trigger_price bankruptcy_price execution_price margin_balance "
    "requirement tier margin_lost liquidation_fee insurance_flow disputed"
)
LEDGER = "time symbol asset kind amount wallet_balance"
POSITIONS = "time symbol position_side position_quantity entry_price margin liquidation_price"
ORDERS = (
    "order_id symbol decision_time due_time end_time target wanted_quantity filled_quantity status reason bars_waited"
)
EQUITY = (
    "open_time close_time equity wallet_balance margin_balance maintenance_margin margin_ratio gross_exposure "
    "net_exposure drawdown"
)
TEXT = {"symbol", "position_side", "side", "liquidity", "reason", "asset", "kind", "status"}


def frame(names: str, rows: list[tuple]) -> pl.DataFrame:
    """A record frame with the types of the run folder, rows or not."""
    schema = {}
    for name in names.split():
        kind = pl.String if name in TEXT else pl.Float64
        if name.endswith("time"):
            kind = TIME
        elif name in {"order_id", "bars_waited", "tier"}:
            kind = pl.Int64
        schema[name] = pl.Boolean if name == "disputed" else kind
    return pl.DataFrame(rows, schema=schema, orient="row")


def make(
    symbols: int = 3,
    bars: int = 24 * 400,
    *,
    exposure: float = 0.6,
    seed: int = 7,
    takeover: str = "market",
    wanted: np.ndarray | None = None,
    timeframe_ms: int = HOUR,
    step: float = 0.006,
    names: tuple[str, ...] | None = None,
    stop: bool = False,
) -> Result:
    """Replay random prices and return the result, without its analysis."""
    series = market(symbols, bars, seed, step)
    symbols_ = names or ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "DOGE/USDT:USDT")[:symbols]
    decided = targets(series["close"], exposure) if wanted is None else wanted
    account = Account(symbols_, 10_000.0, takeover)
    equity = _replay(account, series, decided, timeframe_ms, stop)
    return _result(account, series, decided, equity, timeframe_ms)


def _replay(account: Account, series: dict, decided: np.ndarray, timeframe_ms: int, stop: bool) -> list[tuple]:
    opened = series["open"].T.tolist()
    mark_open = (series["open"] * series["basis"]).T.tolist()
    mark_close = (series["close"] * series["basis"]).T.tolist()
    rate, wanted = series["rate"].T.tolist(), decided.T.tolist()
    last = [math.nan] * len(account.symbols)
    peak, order, rows, stopped = account.wallet, 0, [], False
    for t in range(len(opened)):
        now = START + t * timeframe_ms
        if now % (8 * HOUR) == 0:
            for i, q in enumerate(account.held):
                if q:
                    paid = -q * mark_open[t][i] * rate[t][i]
                    side = "long" if q > 0 else "short"
                    account.rows["funding"].append(
                        (now, account.symbols[i], side, rate[t][i], mark_open[t][i], q, paid)
                    )
                    account.book(now, i, "funding", paid)
        total = max(account.equity(mark_open[t]), 0.0)
        for i, target in enumerate(wanted[t - 1] if t and not stopped else []):
            if math.isnan(target) or target == last[i]:
                continue
            last[i] = target
            dq = target * total / opened[t][i] - account.held[i]
            if dq == 0:
                continue
            q = account.held[i]
            if q * dq < 0:
                account.fill(now, i, math.copysign(min(abs(dq), abs(q)), dq), opened[t][i], order, "target")
            if q * (q + dq) < 0 or q * dq >= 0:
                account.fill(now, i, dq if q * dq >= 0 else q + dq, opened[t][i], order, "target")
            account.changed(now, i, mark_open[t])
            account.rows["orders"].append(
                (order, account.symbols[i], now, now, now, target, dq, dq, "filled", "none", 0)
            )
            order += 1
        mark, end = mark_close[t], now + timeframe_ms
        if any(account.held) and account.equity(mark) <= account.requirement(mark):
            account.liquidate(end - 1, mark)
            stopped = stop
        value = account.equity(mark)
        need = account.requirement(mark)
        peak = max(peak, value)
        gross = sum(abs(q) * m for q, m in zip(account.held, mark, strict=True))
        net = sum(q * m for q, m in zip(account.held, mark, strict=True))
        alive = value > 0
        shown = (gross / value, net / value) if alive else (None, None) if gross else (0.0, 0.0)
        ratio = need / value if alive else 0.0
        rows.append((now, end, value, account.wallet, value, need, ratio, *shown, value / peak - 1))
    return rows


def _result(account: Account, series: dict, decided: np.ndarray, equity: list, timeframe_ms: int) -> Result:
    count = decided.shape[1]
    opens = START + np.arange(count) * timeframe_ms
    bars = pl.concat(
        pl.DataFrame({"open_time": opens, "symbol": [name] * count})
        .with_columns(pl.Series(k, series[k][i]) for k in ("open", "high", "low", "close"))
        .with_columns(pl.lit(1.0).alias("volume"))
        .with_columns(
            pl.Series(f"mark_{k}", series[k][i] * series["basis"][0]) for k in ("open", "high", "low", "close")
        )
        .with_columns(pl.lit(None, pl.Float64).alias("index_close"), pl.col("open_time").cast(TIME))
        for i, name in enumerate(account.symbols)
    ).sort("open_time", maintain_order=True)
    config = RunConfig.model_validate(
        {
            "data": {"symbols": account.symbols, "timeframe": "1h" if timeframe_ms == HOUR else "1m"},
            "execution": {"slippage_bps": 2.0},
            "liquidation": {"takeover": account.takeover, "fee": LIQUIDATION_FEE},
            "instruments": {name: {"kind": "linear", "lot": 0.001} for name in account.symbols},
            "strategy": {"name": "trend", "params": {"fast": 24, "slow": 168, "exposure": 0.6}},
        }
    )
    return Result(
        run_id="20260101-120000-trend",
        config=config,
        symbols=account.symbols,
        timeframe_ms=timeframe_ms,
        settle="USDT",
        synthetic=True,
        equity=frame(EQUITY, equity),
        fills=frame(FILLS, account.rows["fills"]),
        funding=frame(FUNDING, account.rows["funding"]),
        liquidations=frame(LIQUIDATIONS, account.rows["liquidations"]),
        ledger=frame(LEDGER, account.rows["ledger"]),
        positions=frame(POSITIONS, account.rows["positions"]),
        orders=frame(ORDERS, account.rows["orders"]),
        targets=pl.DataFrame(schema={"open_time": TIME, "symbol": pl.String, "target": pl.Float64}),
        bars=bars,
        counts={"disputed_bars": 0, "coarse_unchecked": 0},
        notices=NOTICES,
        manifest={"command": "backtester run trend --venue synthetic", "versions": {"backtester": "0.1.0"}},
        strategy_name="trend",
    )


def flat(bars: int = 72) -> Result:
    """A run that never trades."""
    return make(1, bars, wanted=np.full((1, bars), np.nan))


def one_trade(bars: int = 24 * 20) -> Result:
    """A run with one round trip."""
    wanted = np.full((1, bars), np.nan)
    wanted[0, 10], wanted[0, 200] = 1.0, 0.0
    return make(1, bars, wanted=wanted)


def one_day() -> Result:
    """A run of one day with an open position at its end."""
    wanted = np.full((1, 24), np.nan)
    wanted[0, 2] = 0.5
    return make(1, 24, wanted=wanted)


def liquidated(bars: int = 24 * 30) -> Result:
    """A run whose account is gone on the first day, all margin to the fund."""
    wanted = np.full((1, bars), np.nan)
    wanted[0, 2], wanted[0, 300] = 60.0, -20.0
    return make(1, bars, wanted=wanted, takeover="bankruptcy", seed=3)
