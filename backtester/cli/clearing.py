"""``backtester clearing``: a whole market of accounts through a crash, by the rules of a venue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import (
    DEFAULT_OUT,
    DEFAULT_STORE,
    EndOption,
    JsonOption,
    OutOption,
    QuietOption,
    StartOption,
    StoreOption,
    SymbolsOption,
    TimeframeOption,
)

if TYPE_CHECKING:
    from backtester.clearing.study import ClearingStudy

app = typer.Typer(
    help="Clear a whole market of accounts through a crash: liquidations, insurance fund, deleveraging, shared losses.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

FileOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Market, accounts and rules (TOML, docs/clearing.md)."),
]
DataVenueOption = Annotated[
    str | None, typer.Option("--venue", metavar="NAME", help="Venue of the data, and of the rules without --rules.")
]
AccountsOption = Annotated[
    int | None, typer.Option("--accounts", metavar="N", min=2, help="How many accounts hold the open interest.")
]
InterestOption = Annotated[
    float | None,
    typer.Option("--open-interest", metavar="N", help="Notional of each contract, in the settlement currency."),
]
RulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rules",
        metavar="A,B",
        help="Rule packs; of several the first is the report's, the others are compared with it; all: every venue.",
    ),
]
AccountSeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Of the accounts' draw.")]
InverseOption = Annotated[
    bool, typer.Option("--inverse", help="Clear the same prices on coin-margined contracts of equal notional too.")
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the file: --set clearing.rules.fund_start=1e7."),
]
NoPageOption = Annotated[bool, typer.Option("--no-report", help="Write the numbers without the page.")]

_COUNTED = (
    ("accounts", "Accounts"),
    ("survivors", "Survivors"),
    ("liquidated_accounts", "Liquidated accounts"),
    ("deleveraged_accounts", "Deleveraged accounts"),
    ("clawed_back_accounts", "Accounts that shared a loss"),
)
_AMOUNTS = (
    ("liquidated_notional", "Liquidated notional"),
    ("deleveraged_notional", "Deleveraged notional"),
    ("profit_lost", "Profit lost to deleveraging"),
    ("fund_start", "Insurance fund before"),
    ("fund_low", "Insurance fund, lowest"),
    ("fund_end", "Insurance fund after"),
    ("clawed_back", "Shared loss"),
    ("uncovered_loss", "Loss that nobody covered"),
)


_SHORT = {
    "liquidated_accounts": "liquidated",
    "liquidated_notional": "notional",
    "deleveraged_accounts": "deleveraged",
    "deleveraged_notional": "notional",
    "fund_start": "fund before",
    "fund_low": "lowest",
    "fund_end": "after",
    "clawed_back": "shared loss",
    "conservation_error": "error",
}
"""Columns of a table of many sets of rules, one a row."""
MOST_COLUMNS = 3
"""Sets of rules that stand beside each other; more stand below each other, with fewer figures."""


@app.command("run")
def run(
    *,
    config: FileOption = None,
    venue: DataVenueOption = None,
    symbols: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    start: StartOption = None,
    end: EndOption = None,
    accounts: AccountsOption = None,
    open_interest: InterestOption = None,
    rules: RulesOption = None,
    seed: AccountSeedOption = None,
    inverse: InverseOption = False,
    setting: SettingOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = DEFAULT_OUT,
    no_report: NoPageOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Replay a population of accounts over stored prices, and write who was liquidated, deleveraged and made to pay.

    The accounts are drawn from an open interest and a mix of leverages, or come from a file or from runs of yours.
    Example: backtester clearing run --venue binance --symbols BTC/USDT:USDT --open-interest 5e9 --rules binance,okx
    """
    from backtester.errors import UsageError

    if config is None and venue is None:
        raise UsageError(
            "Neither a file nor a venue is given.",
            "Example: --config clearing.toml, or --venue binance --open-interest 5e9; "
            "`backtester clearing demo` needs neither.",
        )
    options = {"venue": venue, "symbols": symbols, "timeframe": timeframe, "start": start, "end": end}
    _clear(
        config,
        {**options, "accounts": accounts, "open_interest": open_interest, "seed": seed},
        rules=rules,
        inverse=inverse,
        setting=setting,
        store=store,
        out=out,
        report=not no_report,
        as_json=as_json,
        quiet=quiet,
    )


@app.command("demo")
def demo(
    *,
    accounts: AccountsOption = None,
    rules: RulesOption = None,
    seed: AccountSeedOption = None,
    inverse: InverseOption = False,
    setting: SettingOption = None,
    out: OutOption = DEFAULT_OUT,
    no_report: NoPageOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Clear a made-up crash: no data is needed, and it takes seconds.

    The price falls by 21 % within 40 minutes and regains half of it; --set shock.fall=0.4 makes it another one.
    """
    _clear(
        None,
        {"accounts": accounts, "seed": seed},
        rules=rules,
        inverse=inverse,
        setting=setting,
        store=DEFAULT_STORE,
        out=out,
        report=not no_report,
        as_json=as_json,
        quiet=quiet,
    )


def _clear(
    config: Path | None,
    options: dict[str, Any],
    *,
    rules: list[str] | None,
    inverse: bool,
    setting: list[str] | None,
    store: Path,
    out: Path,
    report: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from backtester.clearings import clear_market
    from backtester.cli.options import split_list
    from backtester.cli.run import _progress
    from backtester.engine.run_file import merge, parse_setting

    settings: dict[str, Any] = {}
    for text in setting or []:
        settings = merge(settings, parse_setting(text))
    names = split_list(options.pop("symbols", None))
    with _progress(quiet=quiet) as progress:
        study = clear_market(
            config,
            rules=split_list(rules) or None,
            contracts="both" if inverse else None,
            settings=settings,
            data=store,
            out=out,
            report=report,
            progress=progress,
            **options,
            symbols=names or None,
        )
    _print(study, as_json=as_json, quiet=quiet)


def _print(study: ClearingStudy, *, as_json: bool, quiet: bool) -> None:
    """Print the figures of each case, as a table or as JSON, and where the page is."""
    from backtester.cli.output import print_json, print_table, say
    from backtester.engine.folder import REPORT_FILE

    assert study.run_dir is not None  # the commands always write
    page = study.run_dir / REPORT_FILE
    place = page if page.is_file() else study.run_dir
    if as_json:
        report = str(page) if page.is_file() else None
        print_json({"run": study.run_id, "run_dir": str(study.run_dir), "report": report, **study.summary})
        return
    if quiet:
        typer.echo(str(place.resolve()))
        return
    for notice in study.notices:
        say(f"{notice.severity.capitalize()}: {notice.text}")
    summaries = [case.summary for case in study.cases]
    start, end = study.summary["start"][:16], study.summary["end"][:16]
    title = f"{', '.join(study.cases[0].market.symbols)}, {start} to {end} UTC ({study.venue})"
    if len(summaries) > MOST_COLUMNS:
        print_table(("rules", *_SHORT.values()), map(_short_row, summaries), title, right=range(1, len(_SHORT) + 1))
    else:
        rows = [
            *([label, *(f"{s[key]:,}" for s in summaries)] for key, label in _COUNTED),
            *([label, *(_amount(s[key], s["settle"]) for s in summaries)] for key, label in _AMOUNTS),
            ["Error of the books (share of the wallets)", *(f"{s['conservation_error']:.1e}" for s in summaries)],
        ]
        print_table(("", *(s["case"] for s in summaries)), rows, title, right=range(1, len(summaries) + 1))
    typer.echo(f"{'Report' if page.is_file() else 'Folder'}: {place.resolve()}")


def _short_row(summary: dict[str, Any]) -> list[str]:
    """Return the figures of one set of rules, amounts with their sizes in letters."""
    cells = [str(summary["case"])]
    for key in _SHORT:
        value = summary[key]
        if key == "conservation_error":
            cells.append(f"{value:.1e}")
        else:
            cells.append(f"{value:,}" if isinstance(value, int) else _amount_in_letters(value))
    return cells


def _amount_in_letters(value: float) -> str:
    """Return an amount in billions or millions where it is that large."""
    for size, letter in ((1e9, "bn"), (1e6, "m")):
        if abs(value) >= size:
            return f"{value / size:,.2f} {letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == 0 else f"{value:,.2f}"


def _amount(value: float, settle: str) -> str:
    """Return an amount: whole units where it is large, else three digits that count."""
    size = abs(value)
    digits = 0 if size >= 1000 or size == 0 else 2 if size >= 1 else 6
    return f"{value:,.{digits}f} {settle}"
