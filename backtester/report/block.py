"""A part of a section under a small heading, for sections that hold several figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backtester.report.section import Plot, Section
from backtester.report.table import Table

TEMPLATE = "blocks.html.j2"
STYLES = ("blocks.css",)


@dataclass(frozen=True)
class Block:
    """Figures and tables that belong together.

    Attributes
    ----------
    id : str
        Identifier within the page, for its selector.
    title : str
        Small heading; empty: none.
    lead : str
        One sentence: how to read it.
    plots : tuple of Plot
        Figures; where the first has a ``choice``, one at a time.
    tables : tuple of Table
        Tables below them.
    facts : tuple of tuple of str
        Key, label and text of figures above them.
    note : str
        What else must be known, below.
    empty : str
        What stands in the place of a block without figures and tables.
    choice_label : str
        Name of the selector.
    """

    id: str
    title: str = ""
    lead: str = ""
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str, str], ...] = ()
    note: str = ""
    empty: str = ""
    choice_label: str = "Symbol"


def block_section(
    blocks: Sequence[Block],
    *,
    id: str,  # noqa: A002  as the section calls it
    title: str,
    short: str,
    lead: str,
    empty: str = "",
    **context: Any,
) -> Section:
    """Return a section of blocks; without any it says ``empty``.

    Parameters
    ----------
    blocks : sequence of Block
        In order.
    id, title, short, lead : str
        See `Section`.
    empty : str
        What a section without blocks says.
    **context
        More for the template.
    """
    return Section(
        id=id,
        title=title,
        short=short,
        lead=lead,
        template=TEMPLATE,
        plots=tuple(plot for block in blocks for plot in block.plots),
        tables=tuple(table for block in blocks for table in block.tables),
        context={"blocks": blocks, "empty": empty, **context},
        styles=STYLES,
    )
