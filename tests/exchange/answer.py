"""What an exchange answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MINUTES = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480}
MINUTES |= {"12h": 720, "1d": 1440, "3d": 4320, "1w": 10080}
TIMEFRAMES_MS = {label: minutes * 60_000 for label, minutes in MINUTES.items()}
FOREVER_MS = 2**53


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes
    ----------
    path : str
        Path without the query.
    query : mapping
        Decoded parameters; of a POST the fields of its JSON, those of an inner object beside them, as texts.
    headers : mapping
        Header fields by lower-case name.
    now : int
        Time of the exchange [ms].
    number : int
        Count of requests before this one.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    now: int
    number: int


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer.

    Attributes
    ----------
    body : object
        Is sent as JSON.
    status : int
        HTTP status.
    headers : mapping
        Further header fields.
    rows : list or None
        The part of the body that is a page of bars or settlements, the same object: a fault may spoil it in place.
    """

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: list[Any] | None = None


class Refused(Exception):
    """The exchange refuses a request; carries its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.body))
        self.answer = answer
