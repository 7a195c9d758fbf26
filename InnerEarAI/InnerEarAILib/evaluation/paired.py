"""Two methods on the same ears: how far they are apart, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from InnerEarAILib.evaluation.comparison import CaseFigures, EarFigures
from InnerEarAILib.evaluation.metrics import NAN, mean_interval, paired_test

EarsByKey = dict[tuple[str, str], tuple[str, EarFigures]]
"""Patient and figures of each ear, by case and side."""


@dataclass(frozen=True)
class Difference:
    """A figure of one method less that of another.

    Attributes:
        ears: that have the figure by both.
        patients: whose ears these are; the two ears of one are alike, and count once, by their mean.
        mean: over the patients; NaN where there are none.
        interval: its 95 % confidence interval; see metrics.mean_interval.
        p_value: see metrics.PairedTest, over the patients.
    """

    ears: int
    patients: int
    mean: float
    interval: tuple[float, float]
    p_value: float


def difference(first: Sequence[CaseFigures], second: Sequence[CaseFigures], name: str) -> Difference:
    """How far two methods are apart in a figure, over the patients of the ears that both have been judged on.

    Args:
        first, second: their figures of one group, within which patients are told apart.
        name: field of EarFigures.
    """
    ours, theirs = _ears(first), _ears(second)
    patients: dict[str, list[tuple[float, float]]] = {}
    for key, (patient, ear) in ours.items():
        pair = (getattr(ear, name), getattr(theirs[key][1], name)) if key in theirs else (NAN, NAN)
        if np.isfinite(pair).all():
            patients.setdefault(patient, []).append(pair)
    if not patients:
        return Difference(0, 0, NAN, (NAN, NAN), 1.0)
    means = np.array([np.mean(pairs, axis=0) for pairs in patients.values()])
    apart = means[:, 0] - means[:, 1]
    test = paired_test(means[:, 0], means[:, 1])
    ears = sum(len(pairs) for pairs in patients.values())
    return Difference(ears, test.pairs, float(apart.mean()), mean_interval(apart), test.p_value)


def _ears(cases: Sequence[CaseFigures]) -> EarsByKey:
    return {(case.name, ear.side): (case.patient or case.name, ear) for case in cases for ear in case.ears}
