"""Several methods side by side: like Table 1 of Hussain et al. 2021, with the test between them, and what each is."""

from __future__ import annotations

from collections.abc import Sequence

from InnerEarAILib.evaluation.comparison import CaseFigures, EarFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.metrics import paired_test, summarise
from InnerEarAILib.evaluation.published import published_dice, published_landmarks
from InnerEarAILib.evaluation.tables import Table, by_group, spread
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

TESTED = ("DSC", "HD (mm)", "landmarks (mm)")
"""Measures of which every two methods are tested."""


def method_tables(outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    """What the methods are and were trained on; for each data set their figures side by side and tests between them."""
    groups: dict[str, list[tuple[Outcome, list[CaseFigures]]]] = {}
    for outcome in outcomes:
        for group, cases in by_group(outcome.figures):
            groups.setdefault(group, []).append((outcome, cases))
    sides = [_side_by_side(group, rows) for group, rows in groups.items()]
    tests = [pairs_table(group, rows, measure) for group, rows in groups.items() for measure in TESTED]
    return tuple(table for table in (conditions_table(outcomes), *sides, *tests) if table.rows)


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


def pairs_table(group: str, rows: Sequence[tuple[Outcome, Sequence[CaseFigures]]], measure: str) -> Table:
    """Every two methods that have a measure on a data set: how far apart they are, and the test's p."""
    name, digits = MEASURES[measure]
    methods = [(outcome.model, _ears(cases)) for outcome, cases in rows]
    methods = [(model, ears) for model, ears in methods if summarise(getattr(e, name) for e in ears.values()).count]
    cells = [
        (
            model,
            *(
                "" if column <= row else _apart(ears, other, name, digits)
                for column, (_, other) in enumerate(methods[1:], start=1)
            ),
        )
        for row, (model, ears) in enumerate(methods[:-1])
    ]
    return Table(
        f"Tests on {group}: {measure}",
        "Mean of the row less the column's over the ears of both; p of Wilcoxon's signed-rank test, two-sided; ears.",
        ("model", *(model for model, _ in methods[1:])),
        tuple(cells),
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


def _apart(first: dict, second: dict, name: str, digits: int) -> str:
    ours, theirs = _paired(first, second, name)
    test = paired_test(ours, theirs)
    if not test.pairs:
        return "–"
    mean = summarise(one - other for one, other in zip(ours, theirs, strict=True)).mean
    return f"{mean:+.{digits}f}, p {test.p_value:.2g}, n {test.pairs}"


def _differs(first: dict, second: dict, name: str) -> bool:
    return paired_test(*_paired(first, second, name)).p_value < SIGNIFICANT


def _paired(first: dict, second: dict, name: str) -> tuple[list[float], list[float]]:
    """A figure of the ears that both have been judged on."""
    shared = [key for key in first if key in second]
    return [getattr(first[key], name) for key in shared], [getattr(second[key], name) for key in shared]
