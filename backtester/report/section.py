"""One section of the page: heading, how to read it, template, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from backtester.report.table import Table


@dataclass(frozen=True)
class Plot:
    """A figure with the sentence that stands for it where it cannot be seen.

    Attributes
    ----------
    name : str
        Identifier within the page.
    label : str
        What it shows, for assistive technology.
    figure : plotly.graph_objects.Figure
        The figure.
    choice : str
        Entry in the section's selector that shows this figure; empty: always shown.
    """

    name: str
    label: str
    figure: go.Figure
    choice: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    id : str
        Anchor.
    title : str
        Heading.
    short : str
        Name in the list of contents.
    lead : str
        One sentence: how to read it.
    template : str
        File under ``templates`` that renders it, with ``section`` and the keys of ``context``. The usual one shows
        ``facts`` (name, label and text each), figures, ``note`` and tables; ``empty`` where there is neither.
    plots : tuple of Plot
        Figures.
    tables : tuple of Table
        Tables that the page's script sorts.
    context : dict
        What else the template needs.
    styles, scripts : tuple of str
        Files under ``templates`` that the page carries for this section, once however many sections name them.
    """

    id: str
    title: str
    short: str
    lead: str
    template: str = "plots.html.j2"
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
