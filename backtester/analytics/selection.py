"""What choosing the best of many trials does to its figures."""

from __future__ import annotations

import math
from statistics import NormalDist

YEAR_DAYS = 365


def expected_best_sharpe(trials: int, days: int) -> float | None:
    """Return the annual Sharpe ratio that the best of trials without any skill is expected to show.

    Parameters
    ----------
    trials : int
        Trials that do not depend on each other.
    days : int
        Daily returns that each is measured on.

    Returns
    -------
    float or None
        Sharpe ratio a year, 0 for one trial; None where fewer than two days were measured.

    Notes
    -----
    The largest of N draws of a normal distribution with mean 0 and deviation s is about
    ``s * ((1 - g) * q(1 - 1/N) + g * q(1 - 1/(N e)))`` with Euler's constant g and the normal quantile q (Bailey and
    Lopez de Prado 2014, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 94-107). Here s is the
    sampling error of a Sharpe ratio of 0 on independent normal daily returns, ``sqrt(365 / days)`` a year. Trials that
    resemble each other count for fewer, so that the figure is an upper estimate for them; fat tails widen the error.
    """
    if days < 2:
        return None
    if trials < 2:
        return 0.0
    quantile = NormalDist().inv_cdf
    euler = 0.5772156649015329
    extreme = (1 - euler) * quantile(1 - 1 / trials) + euler * quantile(1 - 1 / (trials * math.e))
    return math.sqrt(YEAR_DAYS / days) * extreme
