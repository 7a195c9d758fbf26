"""Fields of a configuration's dataclasses: of their annotated types and in range, or refused in one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS = {
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
}
"""How the sentence calls one value of a type, and several."""


def dataclass_of(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table of a file; lists become tuples.

    Raises:
        ValueError: if a key is unknown, a field without a default is missing, or the class refuses a value.
    """
    known = {entry.name: entry for entry in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{where} has the unknown entry {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        return kind(**{name: _as_tuples(value) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{where} is incomplete: {error}") from None


def check_types(of: Any) -> None:
    """Refuses a dataclass with a value that is not of its field's annotated type; whole numbers are numbers, too.

    Raises:
        ValueError: that names the field, what it must be, and what it is.
    """
    hints = get_type_hints(type(of))
    for name in hints:
        value = getattr(of, name)
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} must be {_told(hints[name])}, got {_shown(value)}")


def check_at_least(least: float, of: Any, *names: str) -> None:
    """Refuses fields with a number below `least`.

    Raises:
        ValueError: that names the field.
    """
    for name in names:
        if not getattr(of, name) >= least:
            raise ValueError(f"{name} must be at least {least:g}, got {getattr(of, name)}")


def check_positive(of: Any, *names: str) -> None:
    """Refuses fields with a number that is not above 0.

    Raises:
        ValueError: that names the field.
    """
    for name in names:
        if not getattr(of, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(of, name)}")


def check_shares(of: Any, *names: str) -> None:
    """Refuses fields with a number that is no share, 0 to 1.

    Raises:
        ValueError: that names the field.
    """
    for name in names:
        if not 0 <= getattr(of, name) <= 1:
            raise ValueError(f"{name} must be a share, 0 to 1, got {getattr(of, name)}")


def check_ranges(of: Any, *names: str) -> None:
    """Refuses fields with two numbers above 0 of which the first is the larger.

    Raises:
        ValueError: that names the field.
    """
    for name in names:
        low, high = getattr(of, name)
        if not 0 < low <= high:
            raise ValueError(f"{name} must be the smaller and the larger end of a range above 0, got {[low, high]}")


def check_weights(of: Any, name: str, known: Collection[str]) -> None:
    """Refuses a field that does not weigh known kinds against each other.

    Raises:
        ValueError: that names the field.
    """
    weights: Mapping[str, float] = getattr(of, name)
    if unknown := sorted(set(weights) - set(known)):
        raise ValueError(f"{name} has the unknown entry {', '.join(unknown)}; known are {', '.join(known)}")
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"{name} must weigh at least one of {', '.join(known)} above 0, and none below")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(inner) for inner in value) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        kinds = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is Ellipsis else inner
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and all(_fits(key, inner[0]) and _fits(one, inner[1]) for key, one in pairs)
    return isinstance(value, kind)


def _told(kind: Any, many: bool = False) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind][many]
    if origin is Literal:
        return " or ".join(filter(None, (", ".join(inner[:-1]), inner[-1])))
    if origin in (Union, UnionType):
        return " or ".join(_told(one) for one in inner if one is not NoneType)
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"{'lists' if many else 'a list'} of {count}{_told(inner[0], many=True)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a table of {_told(inner[1], many=True)}"
    return f"a {kind.__name__}"


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
