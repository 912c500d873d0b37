"""Runs a case through the compiled kernel."""

from __future__ import annotations

import math

import numpy as np

from backtester.domain import enums
from backtester.domain.config import RunConfig
from backtester.domain.enums import (
    ContractKind,
    MarginMode,
    OrderKind,
    RequestKind,
    SettingField,
    TierForm,
    TierUnit,
    TriggerPrice,
    VenueEventKind,
    label,
)
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import (
    Instructions,
    Ladder,
    OwnFills,
    SettingRows,
    TargetRows,
    Transfers,
    VenueEvents,
)
from backtester.engine.prepare import Prepared, prepare
from backtester.engine.replay import ReplayRecords, replay
from backtester.engine.schedule import due_bars
from backtester.kernel.state import NONE, REQUEST
from backtester.market.panel import Bars, Panel, Settlements
from tests.reference.case import Amend, Cancel, Case, Close, Contract, Deleverage, Ohlc, Outcome, Submit

CODES = {
    "position_side": enums.PositionSide,
    "side": enums.Side,
    "liquidity": enums.Liquidity,
    "status": enums.OrderStatus,
}
REASONS = {"fills": enums.FillReason, "orders": enums.RejectReason}
ORDER_CODES = {"kind": enums.OrderKind, "origin": enums.FillReason}
KINDS = {"ledger": enums.LedgerKind, "liquidations": enums.LiquidationKind}


def run_kernel(case: Case) -> Outcome:
    """Return what the kernel makes of a case."""
    return outcome_of(replay(prepared_case(case)))


def prepared_case(case: Case) -> Prepared:
    """Return the kernel's inputs for a case."""
    s = case.settings
    config = RunConfig.model_validate(
        {
            "account": {"balance": s.balance, "position_mode": s.position_mode},
            "fees": {
                "tiers": [{"volume": v, "taker": t, "maker": m} for v, t, m in s.fee_tiers],
                "volume_30d": s.volume_30d,
            },
            "costs": {
                "slippage": s.slippage_model,
                "half_spread_bps": s.half_spread_bps,
                "volatility_factor": s.volatility_factor,
                "impact_factor": s.impact_factor,
                "window": s.cost_window,
            },
            "sizing": {"unit": s.sizing},
            "limits": {
                "gross": s.gross_limit,
                "net": s.net_limit,
                "per_symbol": s.symbol_limit,
                "max_drawdown_stop": s.max_drawdown_stop,
            },
            "execution": {
                "fill": s.fill,
                "latency_bars": s.latency_bars,
                "intrabar": s.intrabar,
                "joint": s.joint,
                "rebalance": s.rebalance,
                "band": s.band,
                "insufficient_margin": s.insufficient_margin,
                "latency_ms": s.latency_ms,
                "trigger": s.trigger,
                "take_profit": s.take_profit,
                "stop_limit_bps": s.stop_limit_bps,
                "limit_bars": s.limit_bars,
                "post_only": s.post_only,
                "through_ticks": s.through_ticks,
                "volume_share": s.volume_share,
            },
            "funding": {"paid_from": s.funding_paid_from, "price": s.funding_price},
            "liquidation": {
                "takeover": s.takeover,
                "step": s.step,
                "step_tiers": s.step_tiers,
                "step_from_tier": s.step_from_tier,
                "step_above_first": s.step_above_first,
                "step_once": s.step_once,
                "fee": s.liquidation_fee,
                "close_fee": s.close_fee,
                "close_fee_basis": s.close_fee_basis,
                "mmr_basis": s.mmr_basis,
                "engine_price": s.engine_price,
                "then": s.then,
                "hedge_tier": s.hedge_tier,
            },
        }
    )
    panel = _panel(case)
    return prepare(
        panel, [_terms(case, i, c) for i, c in enumerate(case.contracts)], config, _told(case, panel, config)
    )


def _told(case: Case, panel: Panel, config: RunConfig) -> Instructions:
    """Return what a case tells the replay to do."""
    signal_ms = case.signal_bars * case.bar_ms
    rows = sorted(case.targets, key=lambda t: (t.bar, t.symbol, -t.side))
    rungs = [rung for t in rows for rung in t.rungs]
    counts = [len(t.rungs) for t in rows]
    changes = sorted(case.settings_rows, key=lambda s: s.bar)
    moves = sorted(case.transfers, key=lambda t: t.time)
    fills = sorted(case.own_fills, key=lambda f: f.time)
    return Instructions(
        targets=TargetRows(
            _ints(t.bar for t in rows),
            _ints(t.symbol for t in rows),
            _floats(t.value for t in rows),
            _ints(t.side for t in rows),
            _ints(sum(counts[:k]) for k in range(len(counts))),
            _ints(counts),
        ),
        ladder=Ladder(_floats(r[0] for r in rungs), _floats(r[1] for r in rungs)),
        settings=SettingRows(
            _ints(s.bar for s in changes),
            _ints(s.symbol for s in changes),
            _ints(s.side for s in changes),
            _ints(SettingField[s.name.upper()] for s in changes),
            _ints(s.rung for s in changes),
            _floats(s.value for s in changes),
        ),
        transfers=Transfers(_ints(t.time for t in moves), _floats(t.amount for t in moves)),
        own_fills=OwnFills(
            _ints(f.time for f in fills),
            _ints(f.symbol for f in fills),
            _ints(f.side for f in fills),
            _floats(f.quantity for f in fills),
            _floats(f.price for f in fills),
            _floats(math.nan if f.fee is None else f.fee for f in fills),
            _ints(f.is_maker for f in fills),
        ),
        venue_events=_struck(case),
        requests=_requests(case, panel, config, signal_ms) if case.requests else None,
        signal_ms=signal_ms,
    )


def _struck(case: Case) -> VenueEvents:
    """Return a case's deleveragings and clawbacks."""
    rows = sorted(case.venue_events, key=lambda e: e.time)
    kinds = [VenueEventKind.DELEVERAGE if isinstance(e, Deleverage) else VenueEventKind.CLAWBACK for e in rows]

    def column(name, missing=math.nan):
        values = [getattr(e, name, None) for e in rows]
        return [missing if value is None else value for value in values]

    return VenueEvents(
        _ints(kinds),
        _ints(column("time")),
        _ints(column("symbol", 0)),
        _ints(column("side", 0)),
        _floats(column("fraction", 0.0)),
        _floats(column("quantity")),
        _floats(column("price")),
        _floats(column("mark")),
        _floats(column("rate")),
        _floats(column("amount")),
        _ints(column("since", -1)),
    )


def _ints(values):
    return np.array(list(values), np.int64)


def _floats(values):
    return np.array(list(values), np.float64)


def _requests(case: Case, panel: Panel, config: RunConfig, signal_ms: int):
    """Return a case's requests as an on_bar function would have made them."""
    rows = np.zeros(len(case.requests), REQUEST)
    rows["due_bar"] = due_bars(panel, _ints(r.bar for r in case.requests), config, signal_ms)
    for n, asked in enumerate(case.requests):
        row = rows[n]
        row["number"], row["decision_bar"], row["order"] = n, asked.bar, NONE
        for name in ("limit", "trigger", "quantity"):
            row[name] = math.nan
        if isinstance(asked, Submit):
            row["ask"] = RequestKind.SUBMIT
            row["symbol"], row["side"], row["kind"] = asked.symbol, asked.side, OrderKind[asked.kind.upper()]
            row["quantity"] = asked.quantity if asked.buy else -asked.quantity
            row["left"] = asked.quantity
            row["watches"] = TriggerPrice[asked.watches.upper()]
            row["distance"], row["fraction"] = asked.distance or 0.0, asked.fraction or 0.0
            row["reduce_only"], row["post_only"] = asked.reduce_only, asked.post_only
            row["good_for"], row["group"] = asked.good_for, asked.group
            _set_given(row, limit=asked.limit, trigger=asked.trigger)
        elif isinstance(asked, Amend):
            row["ask"], row["request"] = RequestKind.AMEND, asked.request
            _set_given(row, quantity=asked.quantity, limit=asked.limit, trigger=asked.trigger)
        elif isinstance(asked, Cancel) and asked.request is not None:
            row["ask"], row["request"] = RequestKind.CANCEL, asked.request
        else:
            row["ask"] = RequestKind.CLOSE if isinstance(asked, Close) else RequestKind.CANCEL_ALL
            row["symbol"] = NONE if asked.symbol is None else asked.symbol
    return rows


def _set_given(row, **figures):
    for name, figure in figures.items():
        if figure is not None:
            row[name] = figure


def _terms(case: Case, i: int, c: Contract) -> ContractTerms:
    instrument = Instrument(
        symbol=_name(i),
        kind=ContractKind[c.kind.upper()],
        contract_size=c.contract_size,
        lot=c.lot or None,
        tick=c.tick or None,
        min_quantity=c.min_quantity,
        min_notional=c.min_notional,
    )
    tables = [
        TierTable(
            symbol=_name(i),
            valid_from=t.valid_from,
            form=TierForm[t.form.upper()],
            unit=TierUnit[t.unit.upper()],
            tiers=tuple(
                MarginTier(
                    notional_floor=k.floor,
                    notional_cap=k.cap,
                    maintenance_margin_rate=k.rate,
                    max_leverage=k.max_leverage,
                    maintenance_amount=k.amount,
                    slope=k.slope,
                )
                for k in t.tiers
            ),
        )
        for t in c.tables
    ]
    mode = MarginMode[c.margin_mode.upper()]
    return ContractTerms(
        instrument,
        tables,
        mode,
        c.leverage,
        c.taker_fee,
        c.slippage,
        case.settings.close_fee,
        c.maker_fee,
        c.haircut,
        c.holding,
        c.last_bar,
    )


def _name(i: int) -> str:
    return f"C{i}/USDT:USDT"


def _panel(case: Case) -> Panel:
    open_time = np.array(case.open_time, np.int64)
    mark_ms = case.mark_bar_ms or case.bar_ms
    mark_time = open_time
    if case.mark_bar_ms:
        count = len(case.contracts[0].mark.open)
        mark_time = open_time[0] + np.arange(count, dtype=np.int64) * case.mark_bar_ms
    volumes = [c.volume for c in case.contracts]
    bars = len(case.open_time)
    volume = None
    if any(v is not None for v in volumes):
        volume = np.array([v if v is not None else [math.nan] * bars for v in volumes], np.float64)
    index = None
    if any(c.index is not None for c in case.contracts):
        nothing = Ohlc(*[(math.nan,) * bars] * 4)
        index = _bars([c.index or nothing for c in case.contracts])
    return Panel(
        venue="test",
        symbols=tuple(_name(i) for i in range(len(case.contracts))),
        timeframe_ms=case.bar_ms,
        open_time=open_time,
        trade=_bars([c.trade for c in case.contracts]),
        volume=volume,
        mark=_bars([c.mark for c in case.contracts]),
        mark_open_time=mark_time,
        mark_timeframe_ms=mark_ms,
        index=index,
        settlements=tuple(
            Settlements(
                np.array([f.time for f in c.funding], np.int64),
                np.array([f.rate for f in c.funding], np.float64),
                np.array([math.nan if f.mark_price is None else f.mark_price for f in c.funding], np.float64),
                np.full(len(c.funding), 8.0),
            )
            for c in case.contracts
        ),
        mark_is_trade=False,
    )


def _bars(series: list[Ohlc]) -> Bars:
    return Bars(
        *(np.array([getattr(s, name) for s in series], np.float64) for name in ("open", "high", "low", "close"))
    )


def outcome_of(records: ReplayRecords) -> Outcome:
    """Return the kernel's records as the rows that both sides speak of."""
    out = Outcome(
        **{
            name: _rows(name, getattr(records, name))
            for name in ("fills", "funding", "liquidations", "ledger", "orders")
        },
        equity=records.equity.tolist(),
        wallet=records.wallet.tolist(),
        maintenance=records.maintenance.tolist(),
        margin_ratio=records.margin_ratio.tolist(),
        gross=_or_none(records.gross_exposure),
        net=_or_none(records.net_exposure),
        drawdown=records.drawdown.tolist(),
        counts={k: v for k, v in records.counts.items() if k != "takeovers"},
    )
    # an order that needed nothing after waiting keeps a row in the kernel's journal
    out.orders = [row for row in out.orders if not (row["status"] == "dropped" and row["reason"] == "lot")]
    return out


def _or_none(values):
    return [None if math.isnan(v) else v for v in values.tolist()]


def _rows(table, rows):
    out = []
    for row in rows:
        values = {}
        for name in rows.dtype.names:
            value = row[name].item()
            codes = CODES.get(name) or (REASONS.get(table) if name == "reason" else None)
            codes = ORDER_CODES.get(name, codes) if table == "orders" else codes
            codes = codes or (KINDS.get(table) if name == "kind" else None)
            if codes is not None:
                value = label(codes(value))
            elif name == "disputed":
                value = bool(value)
            elif isinstance(value, float) and math.isnan(value):
                value = None
            values[name] = value
        out.append(values)
    return out
