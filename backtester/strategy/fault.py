"""What a user is told when a strategy raises: its own file, line and text, never the stack of this package."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from backtester.errors import BacktesterError, StrategyError

if TYPE_CHECKING:
    from backtester.strategy.base import Strategy

_HOME = str(Path(__file__).resolve().parent.parent)
_shown_from: Path | None = None
_LONGEST = 400  # characters of a foreign message: polars can print whole plans


@contextmanager
def blaming(strategy: type[Strategy], method: str) -> Iterator[None]:
    """Turn whatever is raised inside into a ``StrategyError`` that names the strategy's own line.

    Parameters
    ----------
    strategy : type of Strategy
        The strategy whose code, or whose expression, runs inside.
    method : str
        Where that comes from: ``"target"``, ``"indicators"``, ``"signals"``.
    """
    try:
        yield
    except BacktesterError:
        raise
    except (Exception, SystemExit) as error:  # one set of many that leaves the program must not end the others
        raise strategy_fault(strategy, method, error) from error


def strategy_fault(strategy: type[Strategy], method: str, error: BaseException, when: str = "") -> StrategyError:
    """Return the error to raise when a strategy's method, or the expression it gave, failed.

    Parameters
    ----------
    strategy : type of Strategy
        The strategy.
    method : str
        Where the failing thing comes from: ``"target"``, ``"indicators"``, ``"signals"``.
    error : BaseException
        What was raised.
    when : str
        The call that raised, of a method that is called for every bar: "at the close at …".

    Returns
    -------
    StrategyError
        With the strategy's own line, or the line of the method when the expression failed later, inside polars.
    """
    file, line = _own_line(strategy, error) or _method_line(strategy, method, str(error))
    text = " ".join(str(error).split()) or "no message"
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + " …"
    message = f"Strategy {strategy.name!r} raised {type(error).__name__} in {method}(){when and f' {when}'}: {text}"
    return StrategyError(message, place_text(file, line))


def show_from(folder: Path) -> None:
    """Name files as a process in another folder does, from now on: a worker may be elsewhere."""
    global _shown_from  # noqa: PLW0603 - one process shows files in one way
    _shown_from = folder


def place_text(file: str, line: int) -> str:
    """Return ``file:line: the line's text``, the file relative to the current folder where it lies below it."""
    if not file:
        return "Its source is not available."
    path, here = Path(file), _shown_from or Path.cwd()
    shown = path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path
    linecache.checkcache(file)  # the file may have been edited since it was read
    source = linecache.getline(file, line).strip()
    return f"{shown}:{line}: {source}" if source else f"{shown}:{line}"


def method_place(strategy: type[Strategy], method: str, mention: str = "") -> str:
    """Return the place of a method, at the first of its lines that has ``mention`` in quotes."""
    return place_text(*_method_line(strategy, method, f'"{mention}"' if mention else ""))


def own_files(strategy: type[Strategy]) -> frozenset[str]:
    """Return the source files of a strategy and of its bases outside this package."""
    files = set()
    for base in strategy.__mro__:
        bare = [getattr(value, "__func__", value) for value in vars(base).values()]  # without @staticmethod
        functions = [value for value in bare if inspect.isfunction(value)]
        files |= {function.__code__.co_filename for function in functions if "pydantic" not in function.__module__}
    return frozenset(file for file in files if not _is_ours(file))


def _is_ours(file: str) -> bool:
    inside = file.startswith(_HOME)
    return inside and not file.startswith(str(Path(_HOME) / "bundled"))


def _own_line(strategy: type[Strategy], error: BaseException) -> tuple[str, int] | None:
    """Return the deepest line of the strategy's own files in the traceback, causes included."""
    files = own_files(strategy)
    found: tuple[str, int] | None = None
    seen: BaseException | None = error
    while seen is not None and found is None:
        step: TracebackType | None = seen.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename in files:
                found = (step.tb_frame.f_code.co_filename, step.tb_lineno)
            step = step.tb_next
        seen = seen.__cause__ or seen.__context__
    return found


def _method_line(strategy: type[Strategy], method: str, message: str) -> tuple[str, int]:
    """Return the line of a method that mentions what the message quotes; its first line otherwise."""
    function = inspect.unwrap(getattr(strategy, method))
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getfile(function)
    except (OSError, TypeError):
        return "", 0
    for quoted in re.findall(r"""["'`]([^"'`]+)["'`]""", message):
        for offset, text in enumerate(lines):
            if f'"{quoted}"' in text or f"'{quoted}'" in text:
                return file, first + offset
    return file, first
