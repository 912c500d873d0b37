"""What commands print: tables and JSON on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TextIO

import typer

_NARROWEST = 5  # letters of a column that may be folded
_json_stream: ContextVar[TextIO | None] = ContextVar("json_stream", default=None)


@contextmanager
def json_alone() -> Iterator[None]:
    """Send to stderr whatever is printed inside, a strategy's ``print()`` too, but for what `print_json` writes."""
    token = _json_stream.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_stream.reset(token)


def print_json(content: object) -> None:
    """Print JSON on stdout; numbers that are not finite become null, since JSON has none."""
    typer.echo(json.dumps(finite(content), indent=2, ensure_ascii=False, default=str), file=_json_stream.get())


def finite(content: object) -> object:
    """Return the same content with null in place of numbers that are not finite."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    right: Sequence[int] = (),
    whole: Sequence[int] = (0,),
) -> None:
    """Print a table on stdout.

    Parameters
    ----------
    columns : sequence of str
        Headings; all empty: none is shown.
    rows : iterable of sequence of str
        Cells as text.
    title : str
        Stands above the table.
    right : sequence of int
        Places of the columns whose figures stand right-aligned.
    whole : sequence of int
        Places of the columns that are never broken over lines, so that what stands there can be copied.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title=title or None, title_justify="left", show_header=any(columns))
    for place, name in enumerate(columns):
        table.add_column(
            name, justify="right" if place in right else "left", overflow="fold", no_wrap=place in {*right, *whole}
        )
    lines = [*rows]
    for row in lines:
        table.add_row(*(Text(cell) for cell in row))
    # Both lines of a cell count: columns that may be folded then have room for their sentences.
    longest = [
        max(cell_len(cell.replace("\n", " ")) for cell in column) for column in zip(columns, *lines, strict=True)
    ]
    needed = sum(size if place in {*right, *whole} else min(size, _NARROWEST) for place, size in enumerate(longest))
    console = Console()
    console.width = max(console.width, needed + 3 * len(longest) + 1)  # rather wider than the screen than cut off
    console.print(table)


def say(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(text, err=True)
