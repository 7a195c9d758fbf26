"""Several methods side by side: like Table 1 of Hussain et al. 2021, with the test between them, and what each is."""

from __future__ import annotations

from collections.abc import Sequence

from InnerEarAILib.evaluation.comparison import CaseFigures, EarFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.metrics import paired_test, summarise
from InnerEarAILib.evaluation.published import published_dice, published_landmarks
from InnerEarAILib.evaluation.tables import Table, by_group, comparison_table, spread
from InnerEarAILib.networks.methods import METHODS

SIGNIFICANT = 0.05
"""Hussain et al. 2021, "Evaluation"."""

MEASURES = {
    "DSC": ("dice", 3),
    "JI": ("iou", 3),
    "Acc": ("accuracy", 3),
    "Pre": ("precision", 3),
    "Rec": ("recall", 3),
    "Spe": ("specificity", 3),
    "AUC": ("roc_area", 3),
    "HD (mm)": ("hausdorff_mm", 2),
    "landmarks (mm)": ("landmarks_mm", 2),
}
"""Column, field of EarFigures, digits."""


def method_tables(outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    """What the methods are and were trained on; their figures side by side, a table a data set; tests between pairs."""
    groups: dict[str, list[tuple[Outcome, list[CaseFigures]]]] = {}
    for outcome in outcomes:
        for group, cases in by_group(outcome.figures):
            groups.setdefault(group, []).append((outcome, cases))
    sides = [_side_by_side(group, rows) for group, rows in groups.items()]
    pairs = [
        comparison_table(first.model, first.figures, second.model, second.figures)
        for place, first in enumerate(outcomes)
        for second in outcomes[place + 1 :]
    ]
    return tuple(table for table in (conditions_table(outcomes), *sides, *pairs) if table.rows)


def conditions_table(outcomes: Sequence[Outcome]) -> Table:
    """What was run, for how long, on what: from the cards."""
    rows = tuple(
        (
            outcome.model,
            METHODS[outcome.card.method],
            f"{outcome.card.spacing_mm:g} mm, tile {outcome.card.tile_voxels}",
            outcome.card.trained_on,
            published_dice(outcome.card) or "–",
            published_landmarks(outcome.card) or "–",
        )
        for outcome in outcomes
        if outcome.card is not None
    )
    return Table(
        "Methods",
        "The last two columns are figures of the papers, measured on other scans after longer trainings.",
        ("model", "method", "sees", "trained on", "in the paper: DSC", "in the paper: landmarks (voxels)"),
        rows,
    )


def _side_by_side(group: str, rows: Sequence[tuple[Outcome, Sequence[CaseFigures]]]) -> Table:
    first = _ears(rows[0][1])
    cells = []
    for place, (outcome, cases) in enumerate(rows):
        ears = _ears(cases)
        cells.append(
            (
                outcome.model,
                str(len(ears)),
                *(
                    spread(summarise(getattr(ear, name) for ear in ears.values()), digits)
                    + ("*" if place and _differs(first, ears, name) else "")
                    for name, digits in MEASURES.values()
                ),
            )
        )
    return Table(
        f"Methods on {group}",
        f"Mean ± SD (median). * p < {SIGNIFICANT:g} against the first row, Wilcoxon's signed-rank test over the ears "
        "of both. Voxel figures are over the box round both labyrinths.",
        ("model", "ears", *MEASURES),
        tuple(cells),
    )


def _ears(cases: Sequence[CaseFigures]) -> dict[tuple[str, str], EarFigures]:
    return {(case.name, ear.side): ear for case in cases for ear in case.ears}


def _differs(first: dict, second: dict, name: str) -> bool:
    shared = [key for key in first if key in second]
    pairs = [[getattr(ears[key], name) for key in shared] for ears in (first, second)]
    return paired_test(*pairs).p_value < SIGNIFICANT
