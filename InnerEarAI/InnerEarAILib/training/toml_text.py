"""Configuration tables as TOML, which the standard library reads but does not write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_text(table: Mapping[str, Any]) -> str:
    """A table of texts, numbers, truth values, lists of them and further tables as TOML; `tomllib` reads it back.

    Raises:
        TypeError: if a value is of another type.
    """
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], above: tuple[str, ...]) -> list[str]:
    inner = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    # A plain entry below a header would belong to that header's table.
    lines = [f"{_key(name)} = {_value(value)}" for name, value in table.items() if name not in inner]
    for name, value in inner.items():
        path = (*above, _key(name))
        lines += ["", f"[{'.'.join(path)}]", *_lines(value, path)]
    return lines


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        # JSON's escapes are TOML's as well, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML has no {type(value).__name__}")
