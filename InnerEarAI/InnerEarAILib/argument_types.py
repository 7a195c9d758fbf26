"""What the commands' arguments may be: types for `argparse`, whose message says in words what is wrong."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from pathlib import Path


def given_path(text: str) -> Path:
    """A path; the empty text, as of an unset variable, is none."""
    if not text:  # which pathlib takes for the current folder
        raise ArgumentTypeError("the path is empty")
    return Path(text)


def whole_number(text: str) -> int:
    """A whole number from 0."""
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is no whole number") from None
    if number < 0:
        raise ArgumentTypeError(f"{text} is negative")
    return number


def positive_number(text: str) -> int:
    """A whole number from 1."""
    number = whole_number(text)
    if number == 0:
        raise ArgumentTypeError(f"{text} is not at least 1")
    return number


def positive_minutes(text: str) -> float:
    """A time budget: finite, more than 0."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is no number") from None
    if not 0 < number < math.inf:  # NaN is neither
        raise ArgumentTypeError(f"{text} is not a positive number of minutes")
    return number
