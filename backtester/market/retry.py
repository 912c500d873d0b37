"""When a request that failed is asked again: growing pauses with jitter, and what the server asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

_TRANSIENT = frozenset({408, 418, 425, 429})  # 418 is how some venues answer a client that ignored 429


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is repeated, and after which pauses.

    Attributes
    ----------
    attempts : int
        Requests in all, the first one included.
    first_delay : float
        Pause after the first failure [s]; it doubles from one to the next.
    cap : float
        Longest pause of our own [s].
    patience : float
        Longest pause that a server may ask for [s]; one that asks for more is given up.

    Examples
    --------
    >>> RetryPolicy(attempts=2).delay(2, None, Random(0)) is None
    True
    >>> RetryPolicy().delay(1, 3.0, Random(0)) >= 3.0
    True
    """

    attempts: int = 6
    first_delay: float = 0.5
    cap: float = 30.0
    patience: float = 300.0

    def delay(self, attempt: int, retry_after: float | None, random: Random) -> float | None:
        """Return how long to wait before the next request, None where there should be no other.

        Parameters
        ----------
        attempt : int
            Number of the request that has just failed, from 1.
        retry_after : float or None
            What the server asks for [s], from `retry_after_seconds`.
        random : random.Random
            Spreads the pauses of clients that failed together.

        Returns
        -------
        float or None
            Seconds: between a half and the whole of the doubling pause, and never less than the server asks for.
        """
        if attempt >= self.attempts:
            return None
        whole = min(self.cap, self.first_delay * 2.0 ** min(attempt - 1, 62))
        own = whole * (0.5 + 0.5 * random.random())
        if retry_after is None:
            return own
        if retry_after > self.patience:
            return None
        # all who were told the same second would come back in it
        return retry_after + own if retry_after > 0 else own


def is_transient(status: int) -> bool:
    """Return whether an HTTP status means that the same request may succeed later."""
    return status in _TRANSIENT or 500 <= status < 600


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return what a ``Retry-After`` header asks for, None where it is absent or no time.

    Parameters
    ----------
    header : str or None
        A count of seconds, or an HTTP date.
    now : datetime
        The present, with its zone.

    Returns
    -------
    float or None
        Seconds, at least 0.
    """
    if header is None:
        return None
    text = header.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
