"""The base of every strategy: a frozen model of its parameters, and expressions over bars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from backtester.errors import StrategyError
from backtester.strategy.fault import blaming
from backtester.strategy.indicators import Indicator, split_ref
from backtester.strategy.params import choices_of, parameter_error

if TYPE_CHECKING:
    from typing import Self

UNSUPPORTED = (
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "stop_price",
    "take_profit_price",
    "limit_price",
    "leverage",
    "on_bar",
)
TARGET_ONLY = "this version trades target exposure with market orders only"
_WAY_ON = {
    "leverage": "Set the account's leverage in the run file ([account] leverage) or with --leverage.",
    "on_bar": "Write the decision as target(), or as signals() when no expression can say it.",
}


class Strategy(BaseModel):
    """A trading rule: parameters, indicators per symbol, and the wanted exposure at each bar's close.

    Subclasses declare parameters with ``Param`` and override ``target`` (with ``indicators``), or ``signals`` where no
    expression can say the rule. Instances are frozen, comparable and hashable.

    Attributes
    ----------
    name : str
        What the command line calls it; the class name in snake case unless set.
    warmup : int or None
        Bars before the first decision that the rule needs; None: measured.
    reads : tuple of str
        Columns that ``signals`` reads, where they go beyond what expressions show.

    Examples
    --------
    >>> import polars as pl
    >>> from backtester.strategy import Param, Strategy, sma
    >>> class Trend(Strategy):
    ...     fast: int = Param(24, ge=2)
    ...     slow: int = Param(168, ge=3)
    ...     def indicators(self):
    ...         return {"fast": sma("close", self.fast), "slow": sma("close", self.slow)}
    ...     def target(self):
    ...         return pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(-1.0)
    >>> Trend(fast=12)
    Trend(fast=12, slow=168)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    name: ClassVar[str] = ""
    warmup: ClassVar[int | None] = None
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **params: Any) -> None:
        cls = type(self)
        if not _is_overridden(cls, "target") and not _is_overridden(cls, "signals"):
            raise StrategyError(
                f"Strategy {cls.name!r} decides nothing: it has neither target() nor signals().",
                "Write target(self) returning a polars expression of the wanted exposure.",
            )
        try:
            super().__init__(**params)
        except ValidationError as error:
            raise parameter_error(cls, error) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = snake_case(cls.__name__)
        _refuse_unsupported(cls)
        if cls.warmup is not None and (not isinstance(cls.warmup, int) or cls.warmup < 0):
            raise StrategyError(f"Strategy {cls.name!r}: warmup must be a whole number of bars, got {cls.warmup!r}.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for name, info in type(self).model_fields.items():
            choices = choices_of(info)
            if choices and getattr(self, name) not in choices:
                shown = ", ".join(map(str, choices))
                raise PydanticCustomError("choice", "it must be one of {shown}", {"name": name, "shown": shown})
        self.check_params()
        return self

    def check_params(self) -> None:
        """Raise ``ValueError`` where parameters do not fit together; override where they can clash."""

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return what is computed of each symbol's own history, by the name of its column.

        Returns
        -------
        dict of str to Indicator or polars.Expr
            Expressions read the bars' columns; every entry is evaluated for each symbol alone.
        """
        return {}

    def target(self) -> pl.Expr:
        """Return the wanted exposure at each bar's close.

        Returns
        -------
        polars.Expr
            Signed fraction of equity; null keeps what is there. It reads bars and indicators, and may look across
            symbols with ``.over("open_time")``. Nothing is decided for a symbol before each of its indicators (those
            made by ``sma`` and the like) has had a first value, whatever the expression says there.
        """
        raise NotImplementedError

    def signals(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return decisions that no expression can say; override instead of ``target``.

        Parameters
        ----------
        bars : polars.DataFrame
            Sorted by symbol, then ``open_time``; the indicators' columns are there too.

        Returns
        -------
        polars.DataFrame
            ``open_time, symbol, target``: one row per bar, in the same order.
        """
        raise NotImplementedError

    @property
    def uses(self) -> frozenset[str]:
        """The bars' columns that this instance reads, as far as expressions and ``reads`` tell."""
        indicators = declared_indicators(self)
        names = set(self.reads)
        for item in indicators.values():
            names |= item.columns if isinstance(item, Indicator) else set(item.meta.root_names())
        if not _is_overridden(type(self), "signals"):
            names |= set(declared_target(self).meta.root_names())
        return frozenset(names - set(indicators))

    @property
    def references(self) -> tuple[str, ...]:
        """The symbols that ``ref`` reads, sorted."""
        found = (split_ref(name) for name in self.uses)
        return tuple(sorted({pair[0] for pair in found if pair}))

    def warmup_bars(self, bars: pl.DataFrame) -> int:
        """Return the bars before the first decision that the rule needs.

        Parameters
        ----------
        bars : polars.DataFrame
            History to measure on, as ``evaluate`` takes it.

        Returns
        -------
        int
            ``warmup`` where the class states it, else measured; all that is there when no start can be forgotten.
        """
        if self.warmup is not None:
            return self.warmup
        from backtester.strategy.causality import measured_warmup  # noqa: PLC0415 - it evaluates strategies

        return measured_warmup(self, bars)


def declared_indicators(strategy: Strategy) -> dict[str, Indicator | pl.Expr]:
    """Return ``strategy.indicators()``, checked: names to indicators or expressions.

    Raises
    ------
    StrategyError
        With the strategy's own line when it raises or returns something else.
    """
    with blaming(type(strategy), "indicators"):
        declared: object = strategy.indicators()
        if not isinstance(declared, dict):
            raise TypeError(f"indicators() must return a dict of names, got {type(declared).__name__}")
        for name, item in declared.items():
            if not isinstance(name, str) or not isinstance(item, Indicator | pl.Expr):
                what = type(item).__name__
                raise TypeError(f"indicators() must map names to indicators or expressions, got {name!r}: {what}")
    return dict(declared)


def declared_target(strategy: Strategy) -> pl.Expr:
    """Return ``strategy.target()``, checked to be an expression.

    Raises
    ------
    StrategyError
        With the strategy's own line when it raises or returns something else.
    """
    with blaming(type(strategy), "target"):
        declared: object = strategy.target()
        if isinstance(declared, Indicator):
            raise TypeError("target() returned an indicator: name it in indicators() and write pl.col(name)")
        if isinstance(declared, int | float):
            raise TypeError(f"target() returned the number {declared}: write pl.lit({float(declared)})")
        if not isinstance(declared, pl.Expr):
            raise TypeError(f"target() must return a polars expression, got {type(declared).__name__}")
    return declared


def overrides_signals(strategy: Strategy) -> bool:
    """Return whether the strategy decides by ``signals`` instead of ``target``."""
    return _is_overridden(type(strategy), "signals")


def snake_case(name: str) -> str:
    """Return a class name as the command line spells it: ``CrossMomentum`` is ``cross_momentum``."""
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", parted).lower()


def _is_overridden(cls: type[Strategy], method: str) -> bool:
    return getattr(cls, method) is not getattr(Strategy, method)


def _refuse_unsupported(cls: type[Strategy]) -> None:
    """Refuse what this version would otherwise ignore in silence, and parameters that hide the surface's own names."""
    for name in cls.model_fields:
        if hasattr(Strategy, name):
            raise StrategyError(
                f"Strategy {cls.name!r} has a parameter {name!r}, which every strategy has already.",
                "Choose another name.",
            )
    for name in UNSUPPORTED:
        if name in cls.model_fields or hasattr(cls, name):
            raise StrategyError(
                f"Strategy {cls.name!r} defines {name!r}, but {TARGET_ONLY}.",
                _WAY_ON.get(name, f"Leave {name!r} out, or express the exit in target() (0.0 closes)."),
            )
    if _is_overridden(cls, "target") and _is_overridden(cls, "signals"):
        raise StrategyError(
            f"Strategy {cls.name!r} defines both target() and signals().", "Keep one: signals() alone would be used."
        )
