"""``backtester venue``: list the rule packs and show their rules with source and date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtester.cli.options import JsonOption

if TYPE_CHECKING:
    from backtester.domain.venues import Figure, VenuePack

app = typer.Typer(
    help="List venues and show their rules.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="Rules of this day, UTC; without it the newest.")
]


@app.command("list")
def list_venues(as_json: JsonOption = False) -> None:
    """List the venues whose rules are shipped."""
    from backtester.cli.output import print_json, print_table
    from backtester.domain.venues import load_pack, pack_names

    packs = [load_pack(name) for name in pack_names()]
    if as_json:
        print_json([_summary(pack) for pack in packs])
        return
    rows = []
    for pack in packs:
        rules = pack.rules_at(float("inf"))
        newest = str(max(pack.changes(), default="-"))
        fees = f"{rules.taker_fee:g} / {rules.maker_fee:g}"
        rows.append((pack.name, rules.settle, fees, rules.takeover, rules.step, rules.tier_form, newest))
    columns = ("name", "settle", "taker / maker", "takeover", "step", "tiers", "changed")
    print_table(columns, rows, whole=range(len(columns)))


@app.command("show")
def show_venue(
    name: Annotated[str, typer.Argument(help="Name of a venue, or the path of a pack of your own (.toml).")],
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the rules of a venue, each with its evidence, source and date."""
    from backtester.cli.output import print_json, print_table
    from backtester.domain.venues import EVIDENCE, load_pack
    from backtester.engine.run_file import parse_time

    pack = load_pack(name)
    moment = float("inf") if at is None else float(parse_time(at, "--at"))
    figures = pack.figures_at(moment)
    if as_json:
        rules = {key: figure.model_dump(mode="json") for key, figure in figures.items()}
        print_json({**_summary(pack), "about": pack.about.strip(), "at": at, "evidence": EVIDENCE, "rules": rules})
        return
    typer.echo(f"{pack.title} ({pack.name}), {'newest rules' if at is None else 'rules of ' + at}\n")
    typer.echo(pack.about.strip())
    typer.echo(f"Exchanges in ccxt: {', '.join(pack.exchanges) or 'none'}.")
    rows = [
        (key, _text(figure.value), figure.evidence, _source(figure), str(figure.as_of))
        for key, figure in figures.items()
    ]
    print_table(("rule", "value", "evidence", "source", "as of"), rows)
    changes = _changes(pack)
    if changes:
        print_table(("from", "rule", "value", "evidence", "source"), changes, title="Changes")
    used = {figure.evidence for figure in figures.values()}
    typer.echo("Evidence: " + "; ".join(f"{word}: {text}" for word, text in EVIDENCE.items() if word in used) + ".")


def _summary(pack: VenuePack) -> dict[str, object]:
    rules = pack.rules_at(float("inf"))
    return {
        "name": pack.name,
        "title": pack.title,
        "extends": pack.extends or None,
        "exchanges": list(pack.exchanges),
        "settle": rules.settle,
        "taker_fee": rules.taker_fee,
        "maker_fee": rules.maker_fee,
        "changes": [str(day) for day in pack.changes()],
    }


def _changes(pack: VenuePack) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each figure that a dated block sets, oldest first."""
    dated = sorted((b for b in pack.blocks if b.valid_from is not None), key=lambda b: b.start)
    return [
        (str(block.valid_from), key, _text(figure.value), figure.evidence, _source(figure))
        for block in dated
        for key, figure in block.figures.items()
    ]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _source(figure: Figure) -> str:
    return f"{figure.source}\n{figure.note}" if figure.note else figure.source
