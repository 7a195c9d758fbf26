"""What an evaluation says of a model: the figures on its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from InnerEarAILib.evaluation.calibration import CALIBRATION_EDGES
from InnerEarAILib.evaluation.comparison import CALIBRATIONS, CaseFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.groups import (
    by_group,
    calibration,
    deviation_against_dice,
    orientation_changes,
    reported,
    usual_deviations,
    usual_standard_deviation,
)
from InnerEarAILib.evaluation.metrics import Summary, summarise

EVALUATION_KEY, USUAL_KEY = "evaluation", "usual_standard_deviation"
"""Under these keys of the card's figures stands what `evaluate --card` computes."""


def card_figures(outcome: Outcome) -> dict[str, Any]:
    """The figures of an evaluation for a model card: JSON-able, with their spread."""
    cases = reported(outcome.figures)
    figures: dict[str, Any] = {EVALUATION_KEY: {"scans": len(cases), "groups": _groups(cases)}}
    usual = usual_standard_deviation(outcome.figures)
    if usual is not None:
        figures[USUAL_KEY] = usual
        figures[EVALUATION_KEY]["usual_from_ears"] = len(usual_deviations(outcome.figures))
    for kind in CALIBRATIONS:
        classes = calibration(cases, kind)
        if any(label.voxels for label in classes):
            figures[EVALUATION_KEY][kind] = {
                "edges": list(CALIBRATION_EDGES),
                "voxels": [label.voxels for label in classes],
                "wrong": [label.wrong for label in classes],
                "expected": [round(label.expected) for label in classes],
            }
    told = deviation_against_dice(cases)
    if np.isfinite(told.coefficient):
        figures[EVALUATION_KEY]["rank_correlation_of_deviation_and_dice"] = round(told.coefficient, 3)
    changes = [abs(change) for _, _, _, change in orientation_changes(cases)]
    if changes:
        figures[EVALUATION_KEY]["largest_change_of_dice_by_orientation"] = round(max(changes), 4)
    earless = [case for case in cases if not case.ears]
    if earless:
        figures[EVALUATION_KEY]["scans_without_an_ear"] = len(earless)
        figures[EVALUATION_KEY]["ears_found_in_them"] = sum(case.false_ears for case in earless)
    return figures


def _groups(cases: Sequence[CaseFigures]) -> dict[str, Any]:
    groups = {}
    for group, members in by_group(cases):
        ears = [ear for case in members for ear in case.ears]
        described: dict[str, Any] = {"scans": len(members), "false_ears": sum(case.false_ears for case in members)}
        if ears:
            described |= {"ears": len(ears), "found": sum(ear.found for ear in ears)}
            told = [ear.side_right for ear in ears if ear.side_right is not None]
            described |= {"right_side": sum(told)} if told else {}
            if absent := sum(ear.absent_landmarks for ear in ears if ear.found):
                invented = sum(ear.invented_landmarks for ear in ears)
                described |= {"absent_landmarks": absent, "invented_landmarks": invented}
            for name in ("dice", "iou", "average_hausdorff_mm", "landmarks_mm", "mean_standard_deviation"):
                described |= _spread(name, summarise(getattr(ear, name) for ear in ears))
        groups[group] = described
    return groups


def _spread(name: str, summary: Summary) -> dict[str, float]:
    figures = {"mean": summary.mean, "sd": summary.deviation, "median": summary.median}
    return {f"{name}_{kind}": float(f"{value:.4g}") for kind, value in figures.items() if np.isfinite(value)}
