"""The configuration: defaults as documented, bounds, frozen sections."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm, label


def test_an_empty_file_is_a_whole_run():
    config = RunConfig()
    assert (config.account.balance, config.account.margin_mode, config.account.leverage) == (10_000.0, "cross", 5.0)
    execution = config.execution
    assert (execution.fill, execution.latency_bars, execution.slippage_bps) == ("next_open", 0, 0.0)
    assert (execution.intrabar, execution.joint, execution.rebalance) == ("adverse", "common", "on_change")
    assert (execution.band, execution.insufficient_margin) == (0.05, "clip")
    assert (config.funding.source, config.data.mark, config.data.allow_gaps) == ("history", "mark", False)
    assert (config.liquidation.then, config.report.enabled, config.report.assets) == ("continue", True, "inline")


def test_what_the_venue_decides_is_left_open():
    config = RunConfig()
    assert (config.fees.taker, config.fees.maker) == (None, None)
    assert (config.funding.paid_from, config.funding.price) == (None, None)
    rules = config.liquidation.model_dump(exclude={"then"})
    assert set(rules.values()) == {None}


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("account", {"balance": 0}),
        ("account", {"balance": float("inf")}),
        ("account", {"leverage": 0}),
        ("account", {"leverage": float("nan")}),
        ("account", {"margin_mode": "portfolio"}),
        ("fees", {"taker": 1.0}),
        ("execution", {"latency_bars": -1}),
        ("execution", {"latency_bars": 1.5}),
        ("execution", {"slippage_bps": 10_000}),
        ("execution", {"slippage_bps": -1}),
        ("execution", {"rebalance": "sometimes"}),
        ("funding", {"source": "guess"}),
        ("liquidation", {"step_from_tier": 1}),
        ("liquidation", {"close_fee": -0.1}),
        ("data", {"mark": "last"}),
        ("report", {"enable": True}),
        ("stop", {}),
    ],
)
def test_values_out_of_bounds_and_unknown_keys_are_refused(section, values):
    with pytest.raises(ValidationError):
        RunConfig.model_validate({section: values})


def test_sections_are_frozen():
    config = RunConfig()
    with pytest.raises(ValidationError):
        config.account = config.account
    with pytest.raises(ValidationError):
        config.account.balance = 1.0


def test_tables_are_keyed_by_symbol():
    config = RunConfig.model_validate(
        {
            "instruments": {"BTC/USDT:USDT": {"lot": 0.001}},
            "tiers": {"*": [{"maintenance_margin_rate": 0.01, "max_leverage": 20}]},
        }
    )
    assert config.instruments["BTC/USDT:USDT"].lot == 0.001
    assert config.tiers["*"][0].notional_cap == float("inf")


def test_labels_are_lower_case_names():
    members = (ContractKind.INVERSE, MarginMode.ISOLATED, TierForm.PROGRESSIVE)
    assert [label(m) for m in members] == ["inverse", "isolated", "progressive"]
