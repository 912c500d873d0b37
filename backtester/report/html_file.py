"""From templates to a file: everything is escaped, nothing is loaded, the file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backtester.errors import StoreError

if TYPE_CHECKING:  # a page without figures is written without plotly, which takes a while to import
    from backtester.report.section import Plot, Section


def write_html(target: Path, text: str) -> Path:
    """Write a page; it appears whole or not at all.

    Parameters
    ----------
    target : Path
        The file; its folder is made.
    text : str
        The page.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    _write_whole(target, text)
    return target


def _write_whole(target: Path, text: str) -> None:
    """Write a text under a temporary name, flush it, and give it its own."""
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"The report cannot be written to {target}: {error.strerror or error}.",
            "Free space or choose another --out.",
        ) from error


ASSETS_FOLDER = "assets"


def shared_library(folder: Path) -> str:
    """Return the file name of the library in a folder of its own, written there unless it is.

    Parameters
    ----------
    folder : Path
        Where pages look for it; made where it is missing.

    Returns
    -------
    str
        A name that holds version and digest: pages of another version find their own beside it.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    import plotly  # noqa: PLC0415
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    script = get_plotlyjs()
    content = script.encode()
    name = f"plotly-{plotly.__version__}-{hashlib.sha256(content).hexdigest()[:10]}.min.js"
    target = folder / name
    if not target.is_file() or target.read_bytes() != content:  # a damaged one may have its size
        _write_whole(target, script)
    return name


@cache
def environment() -> Environment:
    """Return the template environment: everything is escaped, unknown names are errors."""
    made = Environment(
        loader=PackageLoader("backtester.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["figure_json"] = figure_json
    made.globals["inline"] = _inline
    made.globals["render_section"] = render_section
    return made


def render_section(section: Section) -> Markup:
    """Return a section's HTML."""
    template = environment().get_template(section.template)
    return Markup(template.render(section=section, **section.context))  # noqa: S704  templates escape what they are given


def figure_json(plot: Plot) -> Markup:
    """Return a figure as JSON that cannot end the script element around it; the page adds the theme."""
    import plotly.io as pio  # noqa: PLC0415

    spec = plot.figure.to_plotly_json()
    spec["layout"].pop("template", None)
    return safe_json(pio.json.to_json_plotly(spec))


def safe_json(text: str) -> Markup:
    """Return JSON that cannot end the script element around it."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  every character that HTML could read is escaped above


def _inline(name: str) -> Markup:
    """Return a style sheet or script of the package."""
    loader = environment().loader
    source = loader.get_source(environment(), name)[0] if loader is not None else ""
    return Markup(_script_safe(source))  # noqa: S704  a file of this package


def _script_safe(source: str) -> str:
    """Return a script in which no string can close the element around it."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def plotly_script() -> Markup:
    """Return the library that draws figures."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    return Markup(_script_safe(get_plotlyjs()))  # noqa: S704  a file of the plotly package
