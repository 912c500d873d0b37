"""Funding: cash between longs and shorts."""

from __future__ import annotations

from backtester.kernel._jit import entry


@entry
def funding_payment(position_quantity: float, mark_value: float, funding_rate: float) -> float:
    """Return the cash that one settlement moves out of the holder's wallet.

    Parameters
    ----------
    position_quantity : float
        Signed size [base, or quote for inverse]; long is positive.
    mark_value : float
        Mark price in value space [settlement currency per unit]; negative for inverse contracts.
    funding_rate : float
        Rate of this settlement [fraction of notional]; positive means that longs pay.

    Returns
    -------
    float
        Payment [settlement currency], positive when the holder pays.

    Notes
    -----
    Assumes finite inputs. Source: accounting specification, section 1.
    """
    return position_quantity * abs(mark_value) * funding_rate
