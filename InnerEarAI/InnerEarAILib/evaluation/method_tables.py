"""Several methods side by side: like Table 1 of Hussain et al. 2021, with the test between them, and what each is."""

from __future__ import annotations

from collections.abc import Sequence

from InnerEarAILib.evaluation.comparison import COMPARED_MARGIN_MM, CaseFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.groups import by_group
from InnerEarAILib.evaluation.metrics import Summary, holm_adjusted, summarise
from InnerEarAILib.evaluation.paired import Difference, difference
from InnerEarAILib.evaluation.published import published_dice, published_landmarks
from InnerEarAILib.evaluation.tables import FEWER_EARS, Table, spread, spread_of
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

HOLM = "Holm 1979"

SHARED_EARS = "ears shared with the first row"

DIFFERENT_EARS = (
    " The rows are not of the same ears, so that their means do not compare the methods; the tests do, on the ears "
    "that two rows share."
)
"""Of a table whose methods were judged on different ears."""


def method_tables(outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    """What the methods are and were trained on; for each data set their figures side by side and tests between them."""
    groups: dict[str, list[tuple[Outcome, list[CaseFigures]]]] = {}
    for outcome in outcomes:
        for group, cases in by_group(outcome.figures):
            groups.setdefault(group, []).append((outcome, cases))
    sides = [_side_by_side(group, rows) for group, rows in groups.items()]
    runs = [runs_table(group, rows) for group, rows in groups.items()]
    tests = [pairs_table(group, rows, measure) for group, rows in groups.items() for measure in TESTED]
    return tuple(table for table in (conditions_table(outcomes), *sides, *runs, *tests) if table.rows)


def conditions_table(outcomes: Sequence[Outcome]) -> Table:
    """What was run, for how long, on what: from the cards."""
    rows = tuple(
        (
            outcome.model,
            METHODS[outcome.card.method],
            f"{outcome.card.spacing_mm:g} mm, tile {outcome.card.tile_voxels}, "
            f"cube of {outcome.card.region_voxels * outcome.card.spacing_mm:.1f} mm",
            str(outcome.views) if outcome.views else "–",
            outcome.card.trained_on,
            published_dice(outcome.card) or "–",
            published_landmarks(outcome.card) or "–",
        )
        for outcome in outcomes
        if outcome.card is not None
    )
    return Table(
        "Methods",
        "The last two columns are figures of the papers, measured on other scans and in other ways.",
        ("model", "method", "sees", "views", "trained on", "in the paper: DSC", "in the paper: landmarks (voxels)"),
        rows,
    )


def pairs_table(group: str, rows: Sequence[tuple[Outcome, Sequence[CaseFigures]]], measure: str) -> Table:
    """Every two methods that have a measure on a data set: how far apart they are, and the test's p."""
    name, digits = MEASURES[measure]
    methods = [(outcome.model, cases) for outcome, cases in rows if _summary(cases, name).count]
    pairs = {
        (row, column): difference(methods[row][1], methods[column][1], name)
        for row in range(len(methods))
        for column in range(row + 1, len(methods))
    }
    tested = [place for place, apart in pairs.items() if apart.patients]
    adjusted = dict(zip(tested, holm_adjusted([pairs[place].p_value for place in tested]), strict=True))
    cells = tuple(
        (
            model,
            *(
                _told(pairs[row, column], adjusted.get((row, column)), digits) if column > row else ""
                for column in range(1, len(methods))
            ),
        )
        for row, (model, _) in enumerate(methods[:-1])
    )
    return Table(
        f"Tests on {group}: {measure}",
        "Mean of the row less the column's over the n patients of the ears that both have, a patient's ears by their "
        "mean; its 95 % confidence interval (bootstrap); p of Wilcoxon's signed-rank test over these patients, "
        f"two-sided; the same adjusted for the number of comparisons in this table, {len(tested)} ({HOLM}).",
        ("model", *(model for model, _ in methods[1:])),
        cells,
    )


def runs_table(group: str, rows: Sequence[tuple[Outcome, Sequence[CaseFigures]]]) -> Table:
    """How far the runs of each pooled method are apart: mean and spread over the runs of each run's mean."""
    cells = []
    for outcome, _ in rows:
        runs = [[case for case in run.figures if case.group == group] for run in outcome.runs]
        runs = [cases for cases in runs if cases]
        if runs:
            means = [_over_runs(runs, name, digits) for name, digits in MEASURES.values()]
            ears = ", ".join(str(_ears(cases)) for cases in runs)
            cells.append((outcome.model, str(len(runs)), ears, *means))
    return Table(
        f"Runs on {group}",
        "Mean ± SD (median) over the runs of a method of the mean over the ears that a run was judged on. n: ears of "
        "each run that have the figure, where not all do.",
        ("model", "runs", "ears of each", *MEASURES),
        tuple(cells),
    )


def _over_runs(runs: Sequence[Sequence[CaseFigures]], name: str, digits: int) -> str:
    summaries = [_summary(cases, name) for cases in runs]
    told = spread(summarise(summary.mean for summary in summaries), digits)
    counts = [summary.count for summary in summaries]
    if not any(counts) or counts == [_ears(cases) for cases in runs]:
        return told
    return f"{told} (n {', '.join(map(str, counts))})"


def _side_by_side(group: str, rows: Sequence[tuple[Outcome, Sequence[CaseFigures]]]) -> Table:
    marks = {name: _marks([cases for _, cases in rows], name) for name, _ in MEASURES.values()}
    shared = _shared_with_the_first([cases for _, cases in rows])
    cells = [
        (
            outcome.model,
            str(_ears(cases)),
            *((str(shared[place]),) if shared else ()),
            *(
                spread_of(_summary(cases, name), digits, _ears(cases)) + ("*" if marks[name][place] else "")
                for name, digits in MEASURES.values()
            ),
        )
        for place, (outcome, cases) in enumerate(rows)
    ]
    return Table(
        f"Methods on {group}",
        f"Mean ± SD (median). {FEWER_EARS} * p < {SIGNIFICANT:g} against the first row, Wilcoxon's signed-rank test "
        f"over the patients of the ears of both, adjusted for the rows below it ({HOLM}). Acc and Spe are shares of "
        f"the box {COMPARED_MARGIN_MM:g} mm round the true labyrinth, and what is invented beyond it counts as wrong. "
        "AUC is that of the mask, the mean of Rec and Spe. The paper's are of whole volumes."
        f"{DIFFERENT_EARS if shared else ''}",
        ("model", "ears", *((SHARED_EARS,) if shared else ()), *MEASURES),
        tuple(cells),
    )


def _shared_with_the_first(methods: Sequence[Sequence[CaseFigures]]) -> list[int]:
    """How many ears each method has in common with the first; nothing where all have the same."""
    ears = [{(case.name, ear.side) for case in cases for ear in case.ears} for cases in methods]
    return [] if all(one == ears[0] for one in ears) else [len(ears[0] & one) for one in ears]


def _marks(methods: Sequence[Sequence[CaseFigures]], name: str) -> list[bool]:
    """Whether each method differs from the first one."""
    tests = [difference(methods[0], cases, name) for cases in methods[1:]]
    tested = [place for place, test in enumerate(tests, start=1) if test.patients]
    adjusted = holm_adjusted([tests[place - 1].p_value for place in tested])
    below = {place for place, p_value in zip(tested, adjusted, strict=True) if p_value < SIGNIFICANT}
    return [place in below for place in range(len(methods))]


def _told(apart: Difference, adjusted: float | None, digits: int) -> str:
    if adjusted is None:
        return "–"
    low, high = apart.interval
    interval = f" [{low:+.{digits}f}, {high:+.{digits}f}]" if low == low else ""
    of = f"n {apart.patients}" if apart.patients == apart.ears else f"n {apart.patients} ({apart.ears} ears)"
    return f"{apart.mean:+.{digits}f}{interval}, p {apart.p_value:.2g}, adjusted {adjusted:.2g}, {of}"


def _summary(cases: Sequence[CaseFigures], name: str) -> Summary:
    return summarise(getattr(ear, name) for case in cases for ear in case.ears)


def _ears(cases: Sequence[CaseFigures]) -> int:
    return sum(len(case.ears) for case in cases)
