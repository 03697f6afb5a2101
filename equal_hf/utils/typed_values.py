"""Values as their types have them, wherever they come from: YAML, a flag, Python.

A type may say more than Python does: `Annotated[int, Range(1)]` holds numbers from 1 on, `Annotated[str, NULL]` may be
null, and `Annotated[float | str, Described("a number or auto")]` has words of its own in messages.

>>> fit("urls", "http://a", list[str]), fit("rate", "1e-4", float | None), fit("concurrency", 8, int)
(['http://a'], 0.0001, 8)
>>> fit("concurrency", None, int)
Traceback (most recent call last):
equal_hf.errors.ConfigError: `concurrency` is null, but a whole number is needed: set it, or leave it out
"""

from __future__ import annotations

import enum
import math
import numbers
import os
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from equal_hf.errors import ConfigError

NULL = "null"  # None in a list of texts, as YAML writes it; a type says by `Annotated[str, NULL]` that it may hold it
_UNIONS = (Union, types.UnionType)
_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Range:
    """What a number may be; part of a type, as `Annotated[int, Range(1)]`.

    Args:
        min (`float`, *optional*): Smallest value.
        max (`float`, *optional*): Largest value.
        above (`float`, *optional*): Every value lies above this one.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value lies in it; NaN does not.

        >>> Range(1).holds(1), Range(above=0, max=1).holds(0), Range(0).holds(float("nan"))
        (True, False, False)
        """
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and value == value
        )

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else None if self.min is None else f"{self.min:g}"
        if self.max is None:
            return low if self.above is not None and low else f"{low} or more"
        if low is None:
            return f"{self.max:g} at most"
        return f"{low} and {self.max:g} at most" if self.above is not None else f"{low} to {self.max:g}"


@dataclass(frozen=True, slots=True)
class Described:
    """What a text stands for, in messages; part of a type, as `Annotated[str, Described("a number or auto")]`.

    Args:
        words (`str`): What is needed.
    """

    words: str


def fit(name: str, value: Any, hint: Any) -> Any:
    """A value as its type has it: a list of one for one value, a number for its text.

    Args:
        name (`str`): The setting.
        value (`Any`): The value, from YAML, flag or Python.
        hint (`Any`): The type, as `get_type_hints` gives it.

    Raises:
        [`ConfigError`]: If it has another type or lies out of range.
    """
    refuse_infinite(name, value)
    found = _fit(value, hint)
    refuse_infinite(name, found)
    if found is _UNFIT:
        shown = "null" if value is None else f"of type {type(value).__name__}"  # the value itself may be secret
        if isinstance(value, bool | int | float):
            shown = repr(value)
        elif isinstance(value, list | tuple):
            shown = f"a list of {', '.join(dict.fromkeys(_kind_of(item) for item in value)) or 'nothing'}"
        quotes = value is not None and not isinstance(value, list | dict) and str in _members(hint)
        remedy = "put it in quotes" if quotes else "set it, or leave it out"
        raise ConfigError(f"`{name}` is {shown}, but {_wanted(hint)} is needed: {remedy}")
    for limit, number in _limits(found, hint):
        if not limit.holds(number):
            raise ConfigError(f"`{name}` is {number}: set it to {limit}")
    return found


def refuse_infinite(name: str, value: Any) -> None:
    """Refuse a number that is not finite, alone or in a list.

    Args:
        name (`str`): The setting; `max_grad_norm` may be infinite, which clips nothing.
        value (`Any`): Its value.

    Raises:
        [`ConfigError`]: If one is NaN or infinite.
    """
    several = isinstance(value, list | tuple)
    for position, number in enumerate(value if several else [value]):
        if isinstance(number, float) and not math.isfinite(number) and (name, number) != ("max_grad_norm", math.inf):
            where = f"`{name}[{position}]`" if several else f"`{name}`"
            raise ConfigError(f"{where} is {number}: set it to a finite number")


def _kind_of(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in _UNIONS else (hint,)


class _Unfit:
    pass


_UNFIT = _Unfit()


def _fit(value: Any, hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return NULL if value is None and NULL in args[1:] else _fit(value, args[0])
    if origin in _UNIONS:
        # What needs no conversion first: "auto" is a text where `float | str` is meant, and 1 is no list of one.
        for strict in (True, False):
            for one in args:
                if (found := _fit(value, one)) is not _UNFIT and (not strict or found is value):
                    return found
        return _UNFIT
    if origin is Literal:
        return value if value in args else _UNFIT
    if origin is list or hint is list:
        item = args[0] if args else Any
        if isinstance(value, dict) or value is None:
            return _UNFIT
        items = [_fit(one, item) for one in (value if isinstance(value, list | tuple) else [value])]
        if any(one is _UNFIT for one in items):
            return _UNFIT
        return value if isinstance(value, list) and items == value else items
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            return _UNFIT
        fitted = {key: _fit(one, args[1]) if args else one for key, one in value.items()}
        if any(one is _UNFIT for one in fitted.values()):
            return _UNFIT
        return value if fitted == value else fitted
    if hint in (bool, int, float, str):
        return _scalar(value, hint)
    if hint is type(None):
        return None if value is None else _UNFIT
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value if isinstance(value, hint | str) else _UNFIT
    return value  # types of the libraries below, which check them


def _scalar(value: Any, hint: type) -> Any:
    if hint is bool and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), _UNFIT)
    if isinstance(value, bool) or hint is bool:
        return value if isinstance(value, bool) and hint is bool else _UNFIT
    if hint is str:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, int):
            return str(value)  # a revision or a name of digits alone is a number in YAML
        return value if isinstance(value, str) else _UNFIT
    if isinstance(value, str):
        try:
            value = hint(value)  # 1e-4 without a point is a text in YAML
        except ValueError:
            return _UNFIT
    if not isinstance(value, numbers.Real) or value != value:
        return _UNFIT
    if isinstance(value, numbers.Integral) or hint is float:
        return value
    return int(float(value)) if float(value).is_integer() else _UNFIT


def _limits(value: Any, hint: Any) -> list[tuple[Range, float]]:
    """Each number of a value, with the range it has to lie in."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        numbers = [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
        return [(one, number) for one in args[1:] if isinstance(one, Range) for number in numbers] + _limits(
            value, args[0]
        )
    if origin in _UNIONS:
        return [found for one in args for found in _limits(value, one)]
    if origin is list and args and isinstance(value, list):
        return [found for item in value for found in _limits(item, args[0])]
    return []


def _wanted(hint: Any) -> str:
    """A type in words.

    >>> _wanted(int | None), _wanted(list[str])
    ('a whole number', 'a text or a list of them')
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((one.words for one in args[1:] if isinstance(one, Described)), _wanted(args[0]))
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(_wanted(one) for one in args if one is not type(None)))
    if origin is list and args:
        return f"{_wanted(args[0])} or a list of them"
    if origin is Literal:
        return " or ".join(map(repr, args))
    return _KINDS.get(origin or hint, str(getattr(hint, "__name__", hint)))
