"""From the expression of a target to a program of small steps, or the reason why polars has to evaluate it.

The tree of an expression is read from ``Expr.meta.serialize(format="json")``. What is not known to the last key is
refused, never guessed: polars then evaluates the target as it always did. The rules of types (whole numbers, truths,
null, values that are the same for all bars) follow polars 2.1, since they decide how it calculates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester.strategy.columns import KEYS
from backtester.strategy.target_tiles import TAKES, Op

Shape = tuple[tuple[int, int], ...]
_EXACT = 1 << 53  # whole numbers up to here are floats without loss
_MOST_WHOLE = (1 << 31) - 1  # whole numbers of no stated type are counted in 32 bits
_SIZES = {"Int8": (1 << 7) - 1, "Int16": (1 << 15) - 1, "Int32": _MOST_WHOLE, "Int64": _MOST_WHOLE}


@dataclass(frozen=True)
class TargetProgram:
    """How a target is calculated, bar by bar.

    Attributes
    ----------
    ops : tuple of (int, int)
        Steps in postfix order: an ``Op`` and its argument. Sets with equal ``ops`` can be worked through together.
    columns : tuple of str
        Columns that are read, by place.
    literals : tuple of float
        Numbers, by place.
    """

    ops: Shape
    columns: tuple[str, ...]
    literals: tuple[float, ...]

    @property
    def steps(self) -> NDArray[np.int64]:
        """The steps as compiled code reads them: shape (steps, 3) of op, argument and entries of the stack taken."""
        return steps_of(self.ops)


@lru_cache(maxsize=256)
def steps_of(ops: Shape) -> NDArray[np.int64]:
    """Return steps as ``TargetProgram.steps`` does; not to be written to."""
    steps = np.array([(op, argument, TAKES[Op(op)]) for op, argument in ops], np.int64).reshape(-1, 3)
    steps.flags.writeable = False
    return steps


class Refused(Exception):  # noqa: N818 - it leaves this module as text, never as an error
    """Why a program cannot be made."""


class _WholeNumbers(Refused):
    """Whole numbers are calculated with: whether they may be too large depends on their values."""


class _Kind(Enum):
    NUMBER = "a number"
    WHOLE = "a whole number"
    TRUTH = "true or false"
    NULL = "null"


@dataclass(frozen=True)
class _Type:
    """What is known of a part of the expression.

    Attributes
    ----------
    kind : _Kind
        What it gives.
    is_one : bool or None
        Polars keeps it as one value for all bars, with which it calculates otherwise than with a column. None: it
        depends on the bars, since a choice that falls the same way on all of them gives its branch as it is.
    has_signs : bool
        The sign of a zero is that of polars; false where it depends on ``is_one``. It shows in a division alone.
    bound, size : int
        Of whole numbers: the largest that may occur, and the largest that their type holds.
    """

    kind: _Kind
    is_one: bool | None = False
    bound: int = 0
    size: int = _EXACT
    has_signs: bool = True


_NUMBERS = (_Kind.NUMBER, _Kind.WHOLE)
Node = Mapping[str, Any]


@dataclass(frozen=True)
class _Template:
    """A program whose numbers are places in the text that it was read from."""

    ops: Shape
    columns: tuple[str, ...]
    literals: tuple[tuple[int, float], ...]  # place among the text's numbers, or -1 and the number itself


# -- texts with places instead of numbers ------------------------------------------------------------------------------

# A quote inside a name is written \" in JSON: these patterns meet literals alone.
_FLOAT = re.compile(r'\{"(?:Dyn":\{"Float|Scalar":\{"Float64)":(-?\d[^{}]*)\}\}')
_WHOLE_OR_FLOAT = re.compile(r'\{"(?:Dyn":\{"Float|Scalar":\{"Float64|(Dyn":\{"Int))":(-?\d[^{}]*)\}\}')


def program_of(text: str, inlined: Sequence[tuple[str, str]] = ()) -> TargetProgram:
    """Return the program of a target.

    Parameters
    ----------
    text : str
        The target's expression as polars' JSON.
    inlined : sequence of (str, str)
        Columns that are expressions themselves, over columns of the bars: name and JSON.

    Raises
    ------
    Refused
        With the reason, for people.
    """
    try:
        return _filled(text, inlined, are_whole_free=True)
    except _WholeNumbers:
        return _filled(text, inlined, are_whole_free=False)


def _filled(text: str, inlined: Sequence[tuple[str, str]], *, are_whole_free: bool) -> TargetProgram:
    """Return a template's program with the numbers of a text."""
    numbers: list[float] = []

    def place(match: re.Match[str]) -> str:
        is_whole = are_whole_free and match.group(1) is not None
        numbers.append(_number(match.group(2 if are_whole_free else 1), is_whole=is_whole))
        return f'{{"{"Whole" if is_whole else "Number"}":{len(numbers) - 1}}}'

    pattern = _WHOLE_OR_FLOAT if are_whole_free else _FLOAT
    key = pattern.sub(place, text)
    found = _template(key, tuple((name, pattern.sub(place, part)) for name, part in inlined))
    if not isinstance(found, _Template):
        raise found
    return TargetProgram(
        found.ops, found.columns, tuple(numbers[k] if k >= 0 else number for k, number in found.literals)
    )


def _number(text: str, *, is_whole: bool) -> float:
    if not is_whole:
        return float(text)
    value = int(text)
    if abs(value) > _EXACT:
        raise Refused(f"target() has the whole number {value}, which no float holds")
    return float(value)


@lru_cache(maxsize=1024)
def _template(text: str, inlined: tuple[tuple[str, str], ...]) -> _Template | Refused:
    """Return the template of a text; each is read once, however many sets share it."""
    trees = {name: json.loads(part) for name, part in inlined}
    reader = _Reader(trees)
    try:
        reader.read_target(json.loads(text))
        for name in trees:
            _Reader(trees).read({"Column": name})  # not read by the target, it may still be what polars refuses
    except Refused as refused:
        return type(refused)(*refused.args)  # without its traceback
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return Refused(f"target() has a form that is not known ({type(error).__name__}: {error})")
    return _Template(tuple(reader.ops), tuple(reader.columns), tuple(reader.literals))


# -- the tree ----------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads a tree and writes the steps of a program, operands before what is done with them."""

    def __init__(self, inlined: Mapping[str, Node]) -> None:
        self.ops: list[tuple[int, int]] = []
        self.columns: list[str] = []
        self.literals: list[tuple[int, float]] = []
        self._inlined = inlined
        self._inside = ""  # the indicator whose expression is being read

    def read_target(self, node: Node | str) -> None:
        """Write the steps of a whole expression, which has to give numbers."""
        kind = self.read(node).kind
        if kind not in _NUMBERS:
            raise self._refused(f"gives {kind.value}, not a number")

    def read(self, node: Node | str) -> _Type:
        """Write the steps of a node and return what it gives."""
        kind, content = _single(node)
        readers: dict[str, Callable[[Any], _Type]] = {
            "Column": self._column,
            "Literal": self._literal,
            "BinaryExpr": self._binary,
            "Function": self._function,
            "Ternary": self._ternary,
            "Cast": self._cast,
            "Alias": self._alias,
        }
        if kind not in readers:
            raise self._refused(_foreign(kind, content))
        return readers[kind](content)

    def _refused(self, what: str) -> Refused:
        return Refused(f"indicator {self._inside!r} {what}" if self._inside else f"target() {what}")

    def _step(self, op: Op, argument: int = 0) -> None:
        self.ops.append((int(op), argument))

    def _column(self, name: str) -> _Type:
        if name in KEYS:
            raise self._refused(f"reads {name}, which is no number")
        if name in self._inlined:
            if self._inside:
                raise self._refused(f"reads the indicator {name!r}")
            self._inside = name
            found = self.read(self._inlined[name])
            if found.kind is _Kind.NULL:
                raise self._refused("is always null")
            self._inside = ""
            return replace(found, is_one=False)  # a column of its own by now
        if name not in self.columns:
            self.columns.append(name)
        self._step(Op.COLUMN, self.columns.index(name))
        return _Type(_Kind.NUMBER)

    def _literal(self, content: Node) -> _Type:
        kind, value = _single(content)
        if kind in {"Number", "Whole"}:
            return self._constant((value, 0.0), _Kind.NUMBER if kind == "Number" else _Kind.WHOLE, _EXACT, _EXACT)
        if kind == "Dyn":
            kind, value = _single(value)
            if kind == "Int" and type(value) is int:
                return self._constant((-1, float(value)), _Kind.WHOLE, abs(value), _EXACT)
        elif kind == "Scalar":
            kind, value = _single(value)
            if kind == "Null" and value == "Null":
                self._step(Op.NULL)
                return _Type(_Kind.NULL, is_one=True)
            if kind == "Boolean" and type(value) is bool:
                self._step(Op.TRUE if value else Op.FALSE)
                return _Type(_Kind.TRUTH, is_one=True)
            if kind in _SIZES and type(value) is int and abs(value) <= _EXACT:
                return self._constant((-1, float(value)), _Kind.WHOLE, abs(value), _SIZES[kind])
        what = "a number that is not finite" if value is None else f"a literal of type {kind}"
        raise self._refused(f"has {what}")

    def _constant(self, literal: tuple[int, float], kind: _Kind, bound: int, size: int) -> _Type:
        self.literals.append(literal)
        self._step(Op.LITERAL, len(self.literals) - 1)
        return _Type(kind, is_one=True, bound=bound, size=size)

    def _alias(self, content: Sequence[Any]) -> _Type:
        inner, _ = content
        return self.read(inner)

    # -- two operands --------------------------------------------------------------------------------------------------

    def _binary(self, content: Node) -> _Type:
        left_node, op, right_node = _fields(content, "left", "op", "right")
        begin = len(self.ops)
        left = self.read(left_node)
        middle = len(self.ops)
        right = self.read(right_node)
        if op in _ARITHMETIC:
            if op == "Plus" and left.is_one and right.is_one is False:  # the one value on top
                self.ops[begin:] = self.ops[middle:] + self.ops[begin:middle]
            return self._calculated(op, left, right)
        if op in _COMPARISONS:
            return self._compared(op, left, right)
        if op in _LOGIC:
            self._demand(_Kind.TRUTH, left, right, what=f"joins by {_LOGIC[op][1]}")
            self._step(_LOGIC[op][0])
            return self._joined_truth(left, right)
        raise self._refused(f"uses the operator {_snake(op)}")

    def _joined_truth(self, *types: _Type) -> _Type:
        """Return the type of truths that are joined; polars leaves out what a constant one decides, or fails."""
        if True in (kinds := {item.is_one for item in types}) and len(kinds) > 1:
            raise self._refused("joins a constant truth with others")
        return _Type(_Kind.TRUTH, _are_one(*types))

    def _demand_lengths(self, *types: _Type) -> None:
        """Refuse a choice beside a constant: where it falls the same way on all bars, polars loses the length."""
        if {None, True} <= {item.is_one for item in types}:
            raise self._refused("compares a choice with a constant")

    def _calculated(self, op: str, left: _Type, right: _Type) -> _Type:
        self._demand_numbers(left, right)
        is_whole = left.kind is right.kind is _Kind.WHOLE
        has_signs = left.has_signs and right.has_signs
        is_one = _are_one(left, right)
        if op == "TrueDivide":
            if right.is_one is None or (right.is_one and left.is_one is None):
                raise self._refused("divides by a choice, or a choice by a constant")
            if not right.has_signs:
                raise self._refused("divides by a sum with a choice")
        elif op != "Multiply" and None in {left.is_one, right.is_one}:
            has_signs = is_whole
        if not is_whole or op == "TrueDivide":
            self._step(_arithmetic_step(op, left, right))
            return _Type(_Kind.NUMBER, is_one, has_signs=has_signs)
        self._step(Op.MULTIPLY_WHOLE if op == "Multiply" else _ARITHMETIC[op])
        bound = left.bound * right.bound if op == "Multiply" else left.bound + right.bound
        size = min(left.size, right.size, _MOST_WHOLE)
        if bound > size:
            raise _WholeNumbers("target() calculates with whole numbers that may become too large: write 1.0 for 1")
        return _Type(_Kind.WHOLE, is_one, bound, size)

    def _compared(self, op: str, left: _Type, right: _Type) -> _Type:
        self._demand_lengths(left, right)
        is_one = _are_one(left, right)
        if left.kind is right.kind is _Kind.TRUTH and op in {"Eq", "NotEq"}:
            self._step(Op.SAME_TRUTH if op == "Eq" else Op.OTHER_TRUTH)
        else:
            self._demand_numbers(left, right)
            self._step(_COMPARISONS[op])
        return _Type(_Kind.TRUTH, is_one)

    def _demand(self, kind: _Kind, *types: _Type, what: str) -> None:
        for item in types:
            if item.kind is not kind:
                raise self._refused(f"{what} what is {item.kind.value}")

    def _demand_numbers(self, *types: _Type) -> None:
        for item in types:
            if item.kind not in _NUMBERS:
                hint = ": write .cast(pl.Float64)" if item.kind is _Kind.TRUTH else ""
                raise self._refused(f"calculates with {item.kind.value}{hint}")

    # -- choices -------------------------------------------------------------------------------------------------------

    def _ternary(self, content: Node) -> _Type:
        predicate, truthy, falsy = (self.read(node) for node in _fields(content, "predicate", "truthy", "falsy"))
        self._demand(_Kind.TRUTH, predicate, what="asks in when()")
        joined = self._joined(truthy, falsy)
        if predicate.is_one and truthy.is_one is not falsy.is_one:
            raise self._refused("asks in when() what is the same for all bars")
        self._step(Op.CHOOSE_TRUTH if joined.kind is _Kind.TRUTH else Op.CHOOSE)
        is_one = _same_or_unknown(*(item for item in (truthy, falsy) if item.kind is not _Kind.NULL))
        return replace(joined, is_one=None if is_one and not predicate.is_one else is_one)

    def _joined(self, one: _Type, other: _Type) -> _Type:
        """Return the type that holds both of two alternatives."""
        is_one = _are_one(one, other)
        known = [item for item in (one, other) if item.kind is not _Kind.NULL]
        kinds = {item.kind for item in known}
        if _Kind.TRUTH in kinds and len(kinds) > 1:
            raise self._refused("mixes numbers with true and false")
        bound, size = max(one.bound, other.bound), min(one.size, other.size)
        has_signs = one.has_signs and other.has_signs
        if len(kinds) == 1:
            return _Type(known[0].kind, is_one, bound, size, has_signs)
        return _Type(_Kind.NUMBER if kinds else _Kind.NULL, is_one, has_signs=has_signs)

    def _cast(self, content: Node) -> _Type:
        inner, dtype, options = _fields(content, "expr", "dtype", "options")
        name = dtype["Literal"]
        found = self.read(inner)
        if options not in {"Strict", "NonStrict"} or not isinstance(name, str):
            raise self._refused("casts in a way that is not known")
        if name == "Float64":
            if found.kind is _Kind.TRUTH:
                self._step(Op.AS_NUMBER)
            return _Type(_Kind.NUMBER, found.is_one, has_signs=found.has_signs)
        if name == "Boolean" and found.kind is not _Kind.NULL:
            if found.kind is not _Kind.TRUTH:
                self._step(Op.AS_TRUTH)
            return _Type(_Kind.TRUTH, found.is_one)
        if name in _SIZES and found.kind is _Kind.TRUTH:
            self._step(Op.AS_NUMBER)
            return _Type(_Kind.WHOLE, found.is_one, 1, _SIZES[name])
        raise self._refused(f"casts {found.kind.value} to {name}")

    # -- functions -----------------------------------------------------------------------------------------------------

    def _function(self, content: Node) -> _Type:
        inputs, function = _fields(content, "input", "function")
        name, options = _function_name(function)
        if name in _WITH_OPTIONS:
            return _WITH_OPTIONS[name](self, inputs, options)
        if name in _FUNCTIONS and options is None:
            return _FUNCTIONS[name](self, inputs)
        raise self._refused(f"uses {_WORDS.get(name, name)}")

    def _sign_and_size(self, inputs: Sequence[Node], *, op: Op) -> _Type:
        (node,) = inputs
        found = self.read(node)
        self._demand_numbers(found)
        is_whole = found.kind is _Kind.WHOLE
        self._step(Op.NEGATE_WHOLE if is_whole and op is Op.NEGATE else op)
        if is_whole and found.bound >= found.size and op is not Op.SIGN and found.is_one is not True:
            raise _WholeNumbers("target() calculates with whole numbers that may become too large: write 1.0 for 1")
        return replace(found, bound=1) if op is Op.SIGN else found

    def _not(self, inputs: Sequence[Node]) -> _Type:
        (node,) = inputs
        found = self.read(node)
        self._demand(_Kind.TRUTH, found, what="negates by ~")
        self._step(Op.NOT)
        return found

    def _question(self, inputs: Sequence[Node], *, ops: Sequence[Op], is_of_null: bool) -> _Type:
        (node,) = inputs
        found = self.read(node)
        if found.kind is _Kind.NULL or (not is_of_null and found.kind is not _Kind.NUMBER):
            raise self._refused(f"asks of {found.kind.value} whether it {_snake(ops[0].name)}")
        for op in ops:
            self._step(op)
        return _Type(_Kind.TRUTH, found.is_one)

    def _first_known(self, inputs: Sequence[Node], *, is_choice: bool) -> _Type:
        types = [self.read(inputs[0])]
        found = types[0]
        for node in inputs[1:]:
            other = self.read(node)
            if _Kind.NULL in {found.kind, other.kind}:
                raise self._refused("fills null with null")
            if found.is_one and other.is_one is not True:
                raise self._refused("fills one value for all bars by bars")
            found = self._joined(found, other)
            self._step(Op.FILL_NULL_TRUTH if found.kind is _Kind.TRUTH else Op.FILL_NULL)
            types.append(other)
        return replace(found, is_one=_same_or_unknown(*types)) if is_choice else found

    def _between(self, inputs: Sequence[Node], options: Any) -> _Type:
        (closed,) = _fields(options, "closed")
        lower = Op.GREATER_EQUAL if closed in {"Both", "Left"} else Op.GREATER
        upper = Op.LESS_EQUAL if closed in {"Both", "Right"} else Op.LESS
        if closed not in {"Both", "Left", "Right", "None"}:
            raise self._refused("asks is_between in a way that is not known")
        node, low, high = inputs
        types: list[_Type] = []
        for bound, op in ((low, lower), (high, upper)):
            pair = self.read(node), self.read(bound)
            self._demand_numbers(*pair)
            self._demand_lengths(*pair)
            self._step(op)
            types += pair
        self._step(Op.AND)
        return _Type(_Kind.TRUTH, _are_one(*types))

    def _clip(self, inputs: Sequence[Node], options: Any) -> _Type:
        has_min, has_max = _fields(options, "has_min", "has_max")
        node, *bounds = inputs
        found = self.read(node)
        if found.kind is not _Kind.NUMBER:
            raise self._refused(f"clips {found.kind.value}")
        for bound in bounds:
            if set(bound) != {"Literal"} or self.read(bound).kind not in _NUMBERS:
                raise self._refused("clips to what is no number")
        if len(bounds) != has_min + has_max or not bounds:
            raise self._refused("clips in a way that is not known")
        self._step(Op.CLIP if len(bounds) == 2 else (Op.AT_LEAST if has_min else Op.AT_MOST))
        return found

    def _extreme(self, inputs: Sequence[Node], *, op: Op) -> _Type:
        found = self.read(inputs[0])
        self._demand_numbers(found)
        for node in inputs[1:]:
            other = self.read(node)
            self._demand_numbers(other)
            self._demand_lengths(found, other)
            self._step(op)
            found = self._joined(found, other)
        return found

    def _all_or_any(self, inputs: Sequence[Node], *, op: Op) -> _Type:
        types = []
        for place, node in enumerate(inputs):
            types.append(self.read(node))
            if place:
                self._step(op)
        self._demand(_Kind.TRUTH, *types, what="joins")
        return self._joined_truth(*types)


_ARITHMETIC = {"Plus": Op.ADD, "Minus": Op.SUBTRACT, "Multiply": Op.MULTIPLY, "TrueDivide": Op.DIVIDE}
_COMPARISONS = {
    "Gt": Op.GREATER,
    "GtEq": Op.GREATER_EQUAL,
    "Lt": Op.LESS,
    "LtEq": Op.LESS_EQUAL,
    "Eq": Op.EQUAL,
    "NotEq": Op.NOT_EQUAL,
}
_LOGIC = {"And": (Op.AND, "&"), "Or": (Op.OR, "|"), "Xor": (Op.OTHER_TRUTH, "^")}
_WORDS = {"fill_null_with_strategy": "forward_fill or backward_fill", "temporal_expr": ".dt", "string_expr": ".str"}
_WITH_OPTIONS: Mapping[str, Callable[[_Reader, Sequence[Node], Any], _Type]] = {
    "is_between": _Reader._between,
    "clip": _Reader._clip,
}
_FUNCTIONS: Mapping[str, Callable[[_Reader, Sequence[Node]], _Type]] = {
    "negate": partial(_Reader._sign_and_size, op=Op.NEGATE),
    "abs": partial(_Reader._sign_and_size, op=Op.ABS),
    "sign": partial(_Reader._sign_and_size, op=Op.SIGN),
    "not": _Reader._not,
    "is_null": partial(_Reader._question, ops=[Op.IS_NULL], is_of_null=True),
    "is_not_null": partial(_Reader._question, ops=[Op.IS_NOT_NULL], is_of_null=True),
    "is_nan": partial(_Reader._question, ops=[Op.IS_NAN], is_of_null=False),
    "is_not_nan": partial(_Reader._question, ops=[Op.IS_NAN, Op.NOT], is_of_null=False),
    "is_finite": partial(_Reader._question, ops=[Op.IS_FINITE], is_of_null=False),
    "is_infinite": partial(_Reader._question, ops=[Op.IS_INFINITE], is_of_null=False),
    "fill_null": partial(_Reader._first_known, is_choice=False),
    "coalesce": partial(_Reader._first_known, is_choice=True),
    "min_horizontal": partial(_Reader._extreme, op=Op.LEAST),
    "max_horizontal": partial(_Reader._extreme, op=Op.MOST),
    "all_horizontal": partial(_Reader._all_or_any, op=Op.AND),
    "any_horizontal": partial(_Reader._all_or_any, op=Op.OR),
}


def _are_one(*types: _Type) -> bool | None:
    """Return whether a result of all of these is one value: a column makes it a column."""
    if any(item.is_one is False for item in types):
        return False
    return None if any(item.is_one is None for item in types) else True


def _same_or_unknown(*types: _Type) -> bool | None:
    """Return whether a result is one value where polars may keep some of these alone."""
    kinds = {item.is_one for item in types}
    return kinds.pop() if len(kinds) == 1 else None if kinds else True


def _arithmetic_step(op: str, left: _Type, right: _Type) -> Op:
    """Return the step of an operator for sides that are columns or one value."""
    if op == "Plus" and (left.is_one, right.is_one) in {(True, False), (False, True)}:
        return Op.ADD_ONE_VALUE
    if op == "Minus" and left.is_one is False and right.is_one:
        return Op.SUBTRACT_ONE_VALUE
    if op == "Minus" and left.is_one and right.is_one is False:
        return Op.SUBTRACT_FROM_ONE_VALUE
    if op == "TrueDivide" and left.is_one is False and right.is_one:
        return Op.DIVIDE_BY_ONE_VALUE
    return _ARITHMETIC[op]


def _single(node: Node | str) -> tuple[str, Any]:
    """Return the one key of a node and what stands under it."""
    if isinstance(node, str):
        return node, None
    ((kind, content),) = node.items()
    return kind, content


def _fields(content: Node, *names: str) -> tuple[Any, ...]:
    """Return what stands under names; an unknown one beside them would change the meaning."""
    if set(content) != set(names):
        raise KeyError(", ".join(sorted(set(content) ^ set(names))))
    return tuple(content[name] for name in names)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _function_name(function: Node | str) -> tuple[str, Any]:
    """Return a function's name as users write it, and its options."""
    kind, content = _single(function)
    if kind == "Boolean":
        kind, content = _single(content)
    if kind == "RollingExpr" and isinstance(content, dict):
        kind = f"Rolling{content.get('function', '')}"
    elif kind == "Pow" and isinstance(content, str) and content != "Generic":
        kind = content
    return _snake(kind), content


def _foreign(kind: str, content: Any) -> str:
    """Return what to say of a node that no program has."""
    if kind == "Over":
        keys = content.get("partition_by") if isinstance(content, dict) else None
        return "looks across symbols" if keys == [{"Column": "open_time"}] else "uses .over()"
    if kind == "Agg" and isinstance(content, dict) and len(content) == 1:
        kind = next(iter(content))
    return f"uses {_snake(kind)}"
