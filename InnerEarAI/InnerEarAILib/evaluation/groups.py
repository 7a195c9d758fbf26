"""Figures of many cases: which belong together, and what is told of all ears of a group or of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from InnerEarAILib.evaluation.calibration import Calibration, sum_of
from InnerEarAILib.evaluation.comparison import CaseFigures
from InnerEarAILib.evaluation.metrics import RankCorrelation, Summary, rank_correlation, summarise
from InnerEarAILib.evaluation.suite import EARLESS_PREFIX, NORMAL_GROUPS, TURNED_PREFIX, USUAL_PREFIX

USUAL_SHARE = 0.95
"""Share of normal ears whose mean standard deviation counts as usual."""

LEAST_NORMAL_EARS = 20
"""Fewer normal ears say nothing of what is usual."""


def by_group(cases: Sequence[CaseFigures]) -> list[tuple[str, list[CaseFigures]]]:
    """The cases by group, groups in the order in which they first appear; normal ears first, scans without one last."""
    groups: dict[str, list[CaseFigures]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    ranks = {group: rank for rank, group in enumerate(NORMAL_GROUPS, start=-len(NORMAL_GROUPS))}

    def rank(group: str) -> int:
        return 2 if group.startswith(EARLESS_PREFIX) else 1 if group.startswith(TURNED_PREFIX) else ranks.get(group, 0)

    return sorted(groups.items(), key=lambda pair: rank(pair[0]))


def reported(cases: Iterable[CaseFigures]) -> tuple[CaseFigures, ...]:
    """The cases that figures are told of: all but those that say what deviation is usual."""
    return tuple(case for case in cases if not case.group.startswith(USUAL_PREFIX))


def lying_as_drawn(cases: Iterable[CaseFigures]) -> Iterator[CaseFigures]:
    """The cases without turned copies, so that each ear counts once."""
    return (case for case in cases if not case.group.startswith(TURNED_PREFIX))


def deviations(case: CaseFigures) -> list[float]:
    """Mean standard deviations of everything that was found in a scan, or of its middle where there was nothing."""
    return [*(ear.mean_standard_deviation for ear in case.ears), *case.false_deviations, case.deviation_without_ear]


def normal_deviations(cases: Iterable[CaseFigures]) -> Summary:
    """Mean standard deviations of the normal ears; what is taken for an ear beside them does not count."""
    return summarise(ear.mean_standard_deviation for case in cases if case.group in NORMAL_GROUPS for ear in case.ears)


def deviation_against_dice(cases: Iterable[CaseFigures]) -> RankCorrelation:
    """Does the signal tell how good a result is? Over the found ears but those of turned copies, which count once."""
    ears = [ear for case in lying_as_drawn(cases) for ear in case.ears if ear.found]
    return rank_correlation((ear.mean_standard_deviation for ear in ears), (ear.dice for ear in ears))


def usual_deviations(cases: Iterable[CaseFigures]) -> list[float]:
    """Mean standard deviations of the normal ears that say what is usual."""
    ears = [ear for case in cases if case.group.startswith(USUAL_PREFIX) for ear in case.ears]
    return [ear.mean_standard_deviation for ear in ears if np.isfinite(ear.mean_standard_deviation)]


def usual_standard_deviation(cases: Sequence[CaseFigures]) -> float | None:
    """The 95th percentile over the normal ears that were judged for it alone; None where these are too few."""
    values = usual_deviations(cases)
    return float(f"{np.quantile(values, USUAL_SHARE):.4g}") if len(values) >= LEAST_NORMAL_EARS else None


def calibration(cases: Iterable[CaseFigures], kind: str = "calibration") -> Calibration:
    """All cases but turned copies together; kind: one of comparison.CALIBRATIONS."""
    return sum_of(getattr(case, kind) for case in lying_as_drawn(cases))


def orientation_changes(cases: Sequence[CaseFigures]) -> list[tuple[str, str, float, float]]:
    """Original's name, the turn, Dice of the turned copy, and its change, for every ear of every turned copy."""
    originals = {case.name: case for case in cases}
    return [
        (case.original, case.group, ear.dice, ear.dice - before.dice)
        for case in cases
        if case.original in originals
        for ear, before in zip(case.ears, originals[case.original].ears, strict=True)
    ]
