"""A part of a section: a small heading, how to read it, its figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtester.report.section import Plot, Section
from backtester.report.table import Table


@dataclass(frozen=True)
class Part:
    """What stands under one small heading.

    Attributes
    ----------
    title : str
        Heading.
    note : str
        One or two sentences: how to read it.
    plots, tables : sequence
        Figures and tables.
    facts : sequence of tuple of str
        Key (as ``data-metric``), name and text of each figure that stands alone.
    empty : str
        What stands there instead where there is neither figure nor table.
    is_half : bool
        Stands beside another half where the window is wide.
    """

    title: str
    note: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str, str]] = ()
    empty: str = ""
    is_half: bool = False

    @property
    def id(self) -> str:
        """What figures are grouped by where a reader chooses among them."""
        return self.plots[0].name if self.plots else ""


def parts_section(id: str, title: str, short: str, lead: str, parts: Sequence[Part]) -> Section:  # noqa: A002 - as Section
    """Return a section of several parts; see `Section`."""
    return Section(
        id=id,
        title=title,
        short=short,
        lead=lead,
        template="parts.html.j2",
        plots=tuple(plot for part in parts for plot in part.plots),
        tables=tuple(table for part in parts for table in part.tables),
        context={"parts": parts},
        styles=("parts.css",),
    )
