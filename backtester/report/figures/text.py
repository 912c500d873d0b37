"""Texts of others inside figures, which read a little HTML."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text that plotly shows as it is, tags and all."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
