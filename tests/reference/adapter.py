"""Runs a case through the compiled kernel."""

from __future__ import annotations

import math

import numpy as np

from backtester.domain import enums
from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm, TierUnit, label
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.engine.prepare import ContractTerms, Prepared, TargetRows, prepare
from backtester.engine.replay import ReplayRecords, replay
from backtester.market.panel import Bars, Panel, Settlements
from tests.reference.case import Case, Contract, Ohlc, Outcome

CODES = {
    "position_side": enums.PositionSide,
    "side": enums.Side,
    "liquidity": enums.Liquidity,
    "status": enums.OrderStatus,
}
REASONS = {"fills": enums.FillReason, "orders": enums.RejectReason}
KINDS = {"ledger": enums.LedgerKind, "liquidations": enums.LiquidationKind}


def run_kernel(case: Case) -> Outcome:
    """Return what the kernel makes of a case."""
    return outcome_of(replay(prepared_case(case)))


def prepared_case(case: Case) -> Prepared:
    """Return the kernel's inputs for a case."""
    s = case.settings
    config = RunConfig.model_validate(
        {
            "account": {"balance": s.balance},
            "execution": {
                "fill": s.fill,
                "latency_bars": s.latency_bars,
                "intrabar": s.intrabar,
                "joint": s.joint,
                "rebalance": s.rebalance,
                "band": s.band,
                "insufficient_margin": s.insufficient_margin,
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
            },
        }
    )
    rows = sorted((t.bar, t.symbol, t.value) for t in case.targets)
    targets = TargetRows(
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64),
    )
    return prepare(_panel(case), [_terms(case, i, c) for i, c in enumerate(case.contracts)], config, targets)


def _terms(case: Case, i: int, c: Contract) -> ContractTerms:
    instrument = Instrument(
        symbol=_name(i),
        kind=ContractKind[c.kind.upper()],
        contract_size=c.contract_size,
        lot=c.lot or None,
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
    return ContractTerms(instrument, tables, mode, c.leverage, c.taker_fee, c.slippage, case.settings.close_fee)


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
