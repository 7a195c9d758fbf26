"""What an ablation leaves: a line a run, a table a variation with its spread over the folds, bars, and one page."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from InnerEarAILib.evaluation.ablation import AblationRun
from InnerEarAILib.evaluation.catalogue import BASE
from InnerEarAILib.evaluation.comparison import CaseFigures
from InnerEarAILib.evaluation.figures import canvas, svg_text
from InnerEarAILib.evaluation.held_out import VALIDATION_GROUP
from InnerEarAILib.evaluation.metrics import mean_of_all, summarise
from InnerEarAILib.evaluation.report import html_page, write_text
from InnerEarAILib.evaluation.tables import Table, spread
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM

FIGURES = {"DSC": ("dice", 1.0, 3), "landmarks (voxels)": ("landmarks_mm", 1 / PAPER_VOXEL_MM, 2)}
"""Column, field of EarFigures, factor, digits."""


def write_ablation_report(output: Path, runs: Sequence[AblationRun], conditions: str) -> tuple[Path, ...]:
    """Writes ablation.csv, ablation.md and ablation.html; each is whole or as it was.

    Args:
        output: folder of the ablation.
        runs: all there are.
        conditions: a sentence on what was run, for how long, on what.

    Raises:
        InputError: if the folder cannot be written to.
    """
    if failed := failures(runs):
        conditions = f"{conditions} Not judged, so that means are over fewer ears: {' '.join(failed)}"
    table = ablation_table(runs, conditions)
    bars = {name: svg for name in FIGURES if (svg := _bars(runs, name))}
    sections = [("Ablations", conditions, (table,), bars)]
    texts = {
        "ablation.csv": ablation_rows(runs),
        "ablation.md": table.markdown(),
        "ablation.html": html_page("InnerEarAI: ablations", sections),
    }
    return tuple(write_text(output / name, text) for name, text in texts.items())


def failures(runs: Sequence[AblationRun]) -> list[str]:
    """A sentence for every scan that a run could not be judged on."""
    return [f"{run.variation.name}, fold {run.fold}: {sentence}" for run in runs for sentence in run.outcome.failed]


def ablation_rows(runs: Sequence[AblationRun]) -> str:
    """One line of CSV for each run and data set."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("variation", "aspect", "change", "value_is_ours", "fold", "minutes", "group", "ears", *FIGURES))
    for run in runs:
        for group in _groups([run]):
            cases = _cases(run, group)
            means = [_mean(cases, name) for name in FIGURES]
            figures = ["" if np.isnan(mean) else f"{mean:.6g}" for mean in means]
            changed = "; ".join(_changes(run))
            told = (run.variation.name, run.variation.aspect, changed, run.variation.ours, run.fold)
            writer.writerow((*told, f"{run.minutes:.2f}", group, len(cases), *figures))
    return stream.getvalue()


def ablation_table(runs: Sequence[AblationRun], conditions: str) -> Table:
    """A row a variation: its difference and its figures on each data set, mean ± SD (median) over the folds."""
    groups = _groups(runs)
    rows = []
    for name in dict.fromkeys(run.variation.name for run in runs):
        own = [run for run in runs if run.variation.name == name]
        cells = [
            spread(summarise(_mean(_cases(run, group), figure) for run in own), digits)
            for group in groups
            for figure, (_, _, digits) in FIGURES.items()
        ]
        told = ", ".join(_changes(own[0])) or "–"
        minutes = mean_of_all(run.minutes for run in own)
        rows.append((name, told, "ours" if own[0].variation.ours else "paper", str(len(own)), f"{minutes:.1f}", *cells))
    heads = [f"{group}: {figure}" for group in groups for figure in FIGURES]
    return Table(
        "Ablations",
        f"{conditions} Mean ± SD (median) over the folds of the mean over the ears; voxels of {PAPER_VOXEL_MM} mm.",
        ("variation", "difference", "value from", "folds", "minutes a run", *heads),
        tuple(rows),
    )


def _bars(runs: Sequence[AblationRun], figure: str) -> str:
    """A bar a variation that has the figure: on the scans that the fold holds out, and on the mean of the test sets."""
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    groups = _groups(runs)
    tests = [group for group in groups if group != VALIDATION_GROUP]
    kinds = {VALIDATION_GROUP: [VALIDATION_GROUP]} | ({"test sets": tests} if tests else {})
    summaries = {
        (name, kind): summarise(
            mean_of_all(_mean(_cases(run, group), figure) for group in members)
            for run in runs
            if run.variation.name == name
        )
        for name in dict.fromkeys(run.variation.name for run in runs)
        for kind, members in kinds.items()
    }
    names = list(dict.fromkeys(name for (name, _), summary in summaries.items() if summary.count))
    if not names:
        return ""
    canvas_figure, axes = canvas(height=1.2 + 0.3 * len(names) * len(kinds))
    thick = 0.8 / len(kinds)
    for place, kind in enumerate(kinds):
        heights = [summaries[name, kind].mean for name in names]
        errors = np.nan_to_num([summaries[name, kind].deviation for name in names])
        at = np.arange(len(names)) + (place - (len(kinds) - 1) / 2) * thick
        axes.barh(
            at, np.nan_to_num(heights), thick, xerr=errors if errors.any() else None, label=kind, color=f"C{place}"
        )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    if BASE in names:
        axes.get_yticklabels()[names.index(BASE)].set_fontweight("bold")
    several = any(summary.count > 1 for summary in summaries.values())
    axes.set_xlabel(f"{figure} (lines: SD over the folds)" if several else figure)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return svg_text(canvas_figure)


def _changes(run: AblationRun) -> list[str]:
    return [
        f"{entry} = {list(value) if isinstance(value, tuple) else value}"
        for section in run.variation.changes.values()
        for entry, value in section.items()
    ]


def _groups(runs: Sequence[AblationRun]) -> list[str]:
    return list(dict.fromkeys(case.group for run in runs for case in run.outcome.figures))


def _cases(run: AblationRun, group: str) -> list[CaseFigures]:
    return [case for case in run.outcome.figures if case.group == group]


def _mean(cases: Sequence[CaseFigures], figure: str) -> float:
    name, factor, _ = FIGURES[figure]
    return mean_of_all(getattr(ear, name) * factor for case in cases for ear in case.ears)
