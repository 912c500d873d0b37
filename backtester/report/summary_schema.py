"""The JSON schema of a run's ``summary.json``: a file of the package, versioned as the summary is."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

SCHEMA_FILE = "summary.schema.json"


def schema_text() -> str:
    """Return the schema as it is shipped."""
    return files("backtester.report").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


@cache
def summary_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12) of ``summary.json``.

    ``schema_version`` in it is the version of the summary. A new key keeps the version, so programs should pass over
    keys that they do not know; a key that changes its meaning or goes raises it.
    """
    content: dict[str, Any] = json.loads(schema_text())
    return content
