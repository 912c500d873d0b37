"""Colours and layout shared by every figure.

One set of line colours serves light and dark: each stands out at 3:1 from both backgrounds, and they differ in
lightness and hue for colour-blind readers (gains blue, losses orange, always with a sign or a label beside them). What
belongs to the background (text, grid, zero lines) comes from the template that the page exchanges on a theme switch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import plotly.graph_objects as go

GAIN = "#2f7fc1"
LOSS = "#cf5f14"
ACCENT = "#2f7fc1"
SECOND = "#0e8f78"
THIRD = "#9a63c4"
MUTED = "#7d8793"
ALERT = "#d13a5e"
THIRD_FILL = "rgba(154, 99, 196, 0.22)"
LOSS_FILL = "rgba(207, 95, 20, 0.20)"
ACCENT_FILL = "rgba(47, 127, 193, 0.28)"
GAIN_SHADE = "rgba(14, 143, 120, 0.13)"
LOSS_SHADE = "rgba(207, 95, 20, 0.13)"

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

SURFACES: dict[str, dict[str, str]] = {
    "light": {"page": "#f5f6f8", "panel": "#ffffff", "text": "#1b2330", "muted": "#5a6675", "grid": "#e7eaef"},
    "dark": {"page": "#0e1217", "panel": "#161c24", "text": "#e6eaf0", "muted": "#9aa6b5", "grid": "#28313d"},
}

SCALES: dict[str, dict[str, list[tuple[float, str]]]] = {
    "light": {
        "diverging": [(0, "#9c3f05"), (0.25, "#ee9a5e"), (0.5, "#f1f3f6"), (0.75, "#64a8df"), (1, "#12548c")],
        "sequential": [(0, "#e9f0f6"), (0.5, "#6ba7d8"), (1, "#0d426f")],
        "sequentialminus": [(0, "#f8efe7"), (0.5, "#ea9557"), (1, "#843503")],
    },
    "dark": {
        "diverging": [(0, "#ffb680"), (0.25, "#b9601f"), (0.5, "#222b36"), (0.75, "#2f79b8"), (1, "#96cdf6")],
        "sequential": [(0, "#1f2934"), (0.5, "#2f79b8"), (1, "#aedafa")],
        "sequentialminus": [(0, "#2b2520"), (0.5, "#b9601f"), (1, "#ffc194")],
    },
}
"""Colours of values: orange is bad and blue is good wherever a scale has both; the middle is the background's."""


def template(name: str) -> dict[str, Any]:
    """Return the plotly template of a theme: what depends on the background.

    Parameters
    ----------
    name : {"light", "dark"}
        The theme.
    """
    surface = SURFACES[name]
    axis = {
        "gridcolor": surface["grid"],
        "zerolinecolor": surface["grid"],
        "linecolor": surface["grid"],
        "tickcolor": surface["grid"],
        "tickfont": {"color": surface["muted"], "size": 11},
        "title": {"font": {"color": surface["muted"], "size": 11}},
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "color": surface["text"], "size": 12},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"font": {"color": surface["muted"], "size": 12}},
            "colorscale": SCALES[name],
            "hoverlabel": {
                "bgcolor": surface["panel"],
                "bordercolor": surface["muted"],
                "font": {"family": FONT, "color": surface["text"], "size": 12},
            },
            "modebar": {
                "bgcolor": "rgba(0,0,0,0)",
                "color": surface["muted"],
                "activecolor": surface["text"],
            },
        }
    }


@cache
def _light() -> go.layout.Template:
    """Return the light template as plotly's own object, which it takes over ten times as fast as a dict."""
    return go.layout.Template(template("light"))


def layout(height: int) -> dict[str, Any]:
    """Return what every figure's layout has in common, for ``figure.update_layout``."""
    return {
        "template": _light(),
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        "dragmode": "zoom",
        "separators": ".,",
    }


def time_axis(**extra: Any) -> dict[str, Any]:
    """Return a time axis whose labels fit inside any width; times are UTC."""
    return {"type": "date", "automargin": True, "hoverformat": "%Y-%m-%d %H:%M UTC", "nticks": 8} | extra


def value_axis(**extra: Any) -> dict[str, Any]:
    """Return a value axis whose labels stand on the right, as traders read them."""
    return {"automargin": True, "side": "right", "nticks": 6, "fixedrange": False} | extra
