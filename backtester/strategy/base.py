"""The base of every strategy: a frozen model of its parameters, and expressions over bars."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from backtester.errors import StrategyError
from backtester.strategy.columns import LEGS, METHODS, Exit, Rung, Value
from backtester.strategy.declared import declared_decisions, declared_indicators
from backtester.strategy.indicators import Indicator, split_ref
from backtester.strategy.params import choices_of, parameter_error

if TYPE_CHECKING:
    from typing import Self

    from backtester.kernel.loop import LoopContext

STATE_COLUMNS = 8  # numbers that an on_bar function keeps per symbol, unless the class says otherwise
_OWN_WAYS = ("signals", "on_bar")
_SURFACE = (*METHODS, *_OWN_WAYS)
_NEEDS_TARGET = ("limit_price", "universe")


class Strategy(BaseModel):
    """A trading rule: parameters, indicators per symbol, and the wanted exposure at each bar's close.

    Subclasses declare parameters with ``Param`` and decide in one of four ways: ``target``; ``target_long`` and
    ``target_short`` (hedge mode); ``signals`` where no expression can say the rule; ``on_bar`` where only a loop can.
    The other methods (``stop_loss`` …) are optional. Instances are frozen, comparable and hashable.

    Attributes
    ----------
    name : str
        What the command line calls it; the class name in snake case unless set.
    warmup : int or None
        Bars before the first decision that the rule needs; None: measured.
    reads : tuple of str
        Columns that ``signals`` reads, where they go beyond what expressions show.
    overrides : frozenset of str
        Methods of this class that the subclass defines; found out, not to be set.

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
    overrides: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **params: Any) -> None:
        cls = type(self)
        if not decides(cls):
            raise StrategyError(
                f"Strategy {cls.name!r} decides nothing: it has neither target() nor signals() nor on_bar().",
                "Write target(self) returning a polars expression of the wanted exposure.",
            )
        try:
            super().__init__(**params)
        except ValidationError as error:
            raise parameter_error(cls, error) from None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _refuse_hiding(cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = snake_case(cls.__name__)
        cls.overrides = frozenset(
            name for name in _SURFACE if inspect.getattr_static(cls, name) is not inspect.getattr_static(Strategy, name)
        )
        _refuse_two_ways(cls)
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

    def target(self) -> Value:
        """Return the wanted exposure at each bar's close.

        Returns
        -------
        polars.Expr or float
            In the unit of ``sizing``, a signed fraction of equity unless the run says otherwise; null keeps what is
            there. It reads bars and indicators, and may look across symbols with ``.over("open_time")``. Nothing is
            decided for a symbol before each of its indicators (those made by ``sma`` and the like) has had a first
            value, whatever the expression says there.
        """
        raise NotImplementedError

    def target_long(self) -> Value | None:
        """Return the wanted size of the long leg (at least 0), in place of ``target``; hedge mode alone."""
        return None

    def target_short(self) -> Value | None:
        """Return the wanted size of the short leg (at most 0), in place of ``target``; hedge mode alone."""
        return None

    def limit_price(self) -> Value | Sequence[Rung] | None:
        """Return the limit price of the order that a target makes; null or 0: a market order.

        Returns
        -------
        polars.Expr, float, list of Rung or None
            Several rungs (4 at most) share the order.
        """
        return None

    def stop_loss(self) -> Value | None:
        """Return the distance of the stop from the average entry, as a fraction of it: 0 to below 1.

        As for all settings, null keeps what is in force, 0 switches it off, None leaves the setting out.
        """
        return None

    def stop_price(self) -> Value | None:
        """Return the price of the stop; it wins over ``stop_loss``."""
        return None

    def trailing_stop(self) -> Value | None:
        """Return the distance of the stop from the best price since it was placed, as a fraction of that price."""
        return None

    def take_profit(self) -> Value | Sequence[Exit] | None:
        """Return the distance of the profit target from the average entry, as a fraction of it.

        Returns
        -------
        polars.Expr, float, list of Exit or None
            Several exits (4 at most) close a share each.
        """
        return None

    def take_profit_price(self) -> Value | Sequence[Exit] | None:
        """Return the price of the profit target; it wins over ``take_profit``."""
        return None

    def leverage(self) -> Value | None:
        """Return the leverage of later openings; more than 0, within the symbol's tiers."""
        return None

    def hold_bars(self) -> Value | None:
        """Return after how many bars a position is closed at the market; 0: never."""
        return None

    def cooldown_bars(self) -> Value | None:
        """Return for how many bars nothing opens after a position was closed."""
        return None

    def active(self) -> Value | None:
        """Return whether positions may be opened and increased; what reduces works always."""
        return None

    def universe(self) -> Value | None:
        """Return whether the symbol may be held now; null is no.

        Outside, a position is closed, the target is null, and expressions across symbols do not see the symbol.
        """
        return None

    def signals(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return decisions that no expression can say; override instead of ``target``.

        Parameters
        ----------
        bars : polars.DataFrame
            Sorted by symbol, then ``open_time``; the indicators' columns are there too.

        Returns
        -------
        polars.DataFrame
            ``open_time, symbol, target``: one row per bar, in the same order. ``target_long`` and ``target_short`` may
            stand in place of ``target``, and the columns of settings beside it (``stop_loss``, ``limit_price`` …).
        """
        raise NotImplementedError

    @staticmethod
    def on_bar(ctx: LoopContext, params: Any) -> None:
        """Look at a bar that has closed and ask for orders; override instead of ``target``. It is compiled.

        Parameters
        ----------
        ctx : LoopContext
            Bars, account and own state, read and asked through the functions of ``backtester.strategy.loop``.
        params : NamedTuple of float
            The parameters by name; false is 0, true is 1.
        """
        raise NotImplementedError

    def state(self, symbols: int) -> NDArray[np.float64]:
        """Return what ``ctx.state`` holds before the first bar: numbers that ``on_bar`` keeps from bar to bar.

        Parameters
        ----------
        symbols : int
            Contracts of the run.

        Returns
        -------
        ndarray of float64
            Two dimensions, zeros of shape (symbols, 8) unless overridden.
        """
        return np.zeros((symbols, STATE_COLUMNS))

    @property
    def uses(self) -> frozenset[str]:
        """The bars' columns that this instance reads, as far as expressions and ``reads`` tell."""
        indicators = declared_indicators(self)
        names = set(self.reads)
        for entry in indicators.values():
            names |= entry.columns if isinstance(entry, Indicator) else set(entry.meta.root_names())
        for item in declared_decisions(self).values():
            names |= set(item.expr.meta.root_names())
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


def decides(cls: type[Strategy]) -> bool:
    """Return whether a class says what to trade; a base of others need not."""
    return bool(cls.overrides & {"target", *LEGS, *_OWN_WAYS})


def kind_of(cls: type[Strategy]) -> Literal["expressions", "signals", "loop"]:
    """Return how a class decides: by expressions, by ``signals`` or by ``on_bar``."""
    if "on_bar" in cls.overrides:
        return "loop"
    return "signals" if "signals" in cls.overrides else "expressions"


def snake_case(name: str) -> str:
    """Return a class name as the command line spells it: ``CrossMomentum`` is ``cross_momentum``."""
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", parted).lower()


def _refuse_hiding(cls: type[Strategy]) -> None:
    """Refuse parameters that hide a name of the surface, before pydantic warns of them."""
    for name in vars(cls).get("__annotations__", {}):
        if hasattr(Strategy, name) and "ClassVar" not in str(vars(cls)["__annotations__"][name]):
            way_on = f"Choose another name, for instance {name + '_value'!r}"
            raise StrategyError(
                f"Strategy {snake_case(cls.__name__)!r} has a parameter {name!r}, which every strategy has already.",
                f"{way_on}, and return it in {name}()." if name in METHODS else f"{way_on}.",
            )


def _refuse_two_ways(cls: type[Strategy]) -> None:
    """Refuse a class that decides in two ways, of which one would be passed over in silence."""
    ways = [name for name in ("target", *_OWN_WAYS) if name in cls.overrides]
    ways += ["target_long"] if cls.overrides.intersection(LEGS) else []
    if len(ways) > 1:
        raise StrategyError(f"Strategy {cls.name!r} defines both {ways[0]}() and {ways[1]}().", "Keep one of the two.")
    if "on_bar" in cls.overrides:
        _refuse_unfit_loop(cls)


def _refuse_unfit_loop(cls: type[Strategy]) -> None:
    if not isinstance(inspect.getattr_static(cls, "on_bar"), staticmethod):
        raise StrategyError(
            f"Strategy {cls.name!r} has an on_bar() that is no staticmethod.",
            "Write @staticmethod above def on_bar(ctx, params): it is compiled and sees no self.",
        )
    function = getattr(cls.on_bar, "py_func", cls.on_bar)
    if len(inspect.signature(function).parameters) != 2:
        raise StrategyError(
            f"Strategy {cls.name!r} has an on_bar{inspect.signature(function)}.", "Write it as on_bar(ctx, params)."
        )
    for name in _NEEDS_TARGET:
        if name in cls.overrides:
            raise StrategyError(
                f"Strategy {cls.name!r} defines {name}() beside on_bar(), which makes its own orders.",
                "Ask for limit orders with submit_limit." if name == "limit_price" else f"Leave {name}() out.",
            )
