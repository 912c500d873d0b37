"""Sections that other packages add to the page: found by entry points, kept from harming the rest of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.html_file import environment
from backtester.report.section import Section

GROUP = "backtester.report_sections"
"""Entry-point group: each names a callable that takes a `Result` and returns a `Section`, or None for none."""

SectionMaker = Callable[[Result], "Section | None"]
_ERROR_LENGTH = 600
_HEIGHT = 360
_MARGIN = {"l": 48, "r": 16, "t": 34, "b": 40}
"""Height and margins of a figure that states none [px]."""


def added_sections(result: Result, taken: set[str] | frozenset[str] = frozenset()) -> list[Section]:
    """Return the sections that installed packages add to a run's page, by the names of their entry points.

    One that fails, however it does, becomes a small box with its name and its error.

    Parameters
    ----------
    result : Result
        The run.
    taken : set of str
        Anchors of the page that are in use.
    """
    made: list[Section] = []
    used = set(taken)
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        section = _made(point, result)
        if section is not None:
            anchor = _free(_anchor(section.id or point.name), used)
            used.add(anchor)
            made.append(replace(section, id=anchor))
    return made


def _made(point: EntryPoint, result: Result) -> Section | None:
    """Return the section of one entry point, or the box that says why there is none."""
    try:
        maker: SectionMaker = point.load()
        section = maker(result)
        if section is None:
            return None
        _check(section)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - other people's code, which must not cost the page
        return _box(point, error)
    return section


def _check(section: Section) -> None:
    """Refuse what would break the page: no section, texts that are none, a template or file that cannot be rendered.

    Raises
    ------
    Exception
        Whatever is wrong with it.
    """
    if not isinstance(section, Section):
        raise TypeError(f"it returned {type(section).__name__}, not a backtester.report.section.Section")
    for name in ("id", "title", "short", "lead"):
        if not isinstance(getattr(section, name), str):
            raise TypeError(f"{name} of the section is {type(getattr(section, name)).__name__}, not str")
    made = environment()
    for name in (*section.styles, *section.scripts):
        made.get_template(name)  # an unknown one would end the whole page
    for plot in section.plots:
        layout = plot.figure.layout
        if layout.height is None:
            layout.height = _HEIGHT
        if layout.margin.t is None and layout.margin.l is None:
            layout.margin = _MARGIN
    made.get_template(section.template).render(section=section, **section.context)


def _box(point: EntryPoint, error: BaseException) -> Section:
    """Return what stands in place of a section that failed."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    package = point.dist.name if point.dist is not None else ""
    return Section(
        id=point.name,
        title=numbers.shorten(point.name),
        short=numbers.shorten(point.name, 30),
        lead=f"This section is added by {numbers.shorten(package or point.value)}; it is no part of the report itself.",
        template="section_error.html.j2",
        context={"origin": numbers.shorten(point.value, 160), "error": numbers.shorten(text, _ERROR_LENGTH)},
    )


def _anchor(name: str) -> str:
    """Return a text as the address of a page can have it."""
    return "added-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "section")


def _free(anchor: str, used: set[str]) -> str:
    return next(one for one in _numbered(anchor) if one not in used)


def _numbered(anchor: str) -> Iterator[str]:
    yield anchor
    number = 2
    while True:
        yield f"{anchor}-{number}"
        number += 1
