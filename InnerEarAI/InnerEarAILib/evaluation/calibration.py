"""Is what is said of a voxel's certainty true? Counts of wrong voxels by stated standard deviation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

CALIBRATION_EDGES = (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Borders of the classes of stated standard deviation; the largest possible one is 0.5."""


class DeviationClass(NamedTuple):
    """The voxels whose stated standard deviation lies between two of CALIBRATION_EDGES.

    Attributes:
        voxels: how many.
        wrong: how many of them differ from the truth.
        expected: how many would, were each labelled the likelier way by a probability of that standard deviation.
    """

    voxels: int
    wrong: int
    expected: float


Calibration = tuple[DeviationClass, ...]
"""One for each pair of neighbours in CALIBRATION_EDGES."""

NO_VOXELS: Calibration = (DeviationClass(0, 0, 0.0),) * (len(CALIBRATION_EDGES) - 1)
"""Nothing was stated, or nothing compared."""


def calibration_of(stated: np.ndarray, wrong: np.ndarray) -> Calibration:
    """The classes of some voxels.

    Args:
        stated: standard deviation of each, 0 to 0.5; NaN where none is stated, which does not count.
        wrong: bool, of the same shape.
    """
    known = np.isfinite(stated)
    deviation = np.clip(stated[known].astype(np.float64), 0, CALIBRATION_EDGES[-1])
    classes = np.digitize(deviation, CALIBRATION_EDGES[1:-1])
    weights = (None, wrong[known], wrong_share(deviation))
    counts = (np.bincount(classes, one, minlength=len(NO_VOXELS)) for one in weights)
    return calibration_from(zip(*counts, strict=True))


def calibration_from(rows: Iterable[Sequence[float]]) -> Calibration:
    """The classes from (voxels, wrong, expected) of each.

    Raises:
        TypeError, ValueError: if they are something else.
    """
    return tuple(DeviationClass(int(voxels), int(wrong), round(float(expected), 3)) for voxels, wrong, expected in rows)


def sum_of(calibrations: Iterable[Calibration]) -> Calibration:
    """All voxels of several; of none NO_VOXELS."""
    return calibration_from(np.sum([NO_VOXELS, *calibrations], axis=0, dtype=np.float64))


def wrong_share(deviation: np.ndarray) -> np.ndarray:
    """How often the likelier of two labels is wrong: the smaller p with √(p (1 − p)) = deviation, 0 to 0.5."""
    return (1 - np.sqrt(1 - 4 * deviation**2)) / 2
