"""The tables of an evaluation: rows for a spreadsheet, and Markdown like Tables 3 and 4 of Stebani et al. 2023."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

import numpy as np

from InnerEarAILib.evaluation.calibration import CALIBRATION_EDGES, DeviationClass
from InnerEarAILib.evaluation.comparison import COMPARED_MARGIN_MM, CaseFigures, EarFigures
from InnerEarAILib.evaluation.groups import (
    USUAL_SHARE,
    by_group,
    calibration,
    deviation_against_dice,
    deviations,
    lying_as_drawn,
    normal_deviations,
    orientation_changes,
    reported,
    usual_standard_deviation,
)
from InnerEarAILib.evaluation.metrics import Summary, summarise
from InnerEarAILib.inference.quality import UNUSUALLY_UNSURE
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM

FEWER_EARS = "n: ears that have the figure, where not all of the row do."
"""Of the cells that `spread_of` gives."""

POOR_DSC = 0.9
"""A result below it should carry a flag; ours."""


@dataclass(frozen=True)
class Table:
    """A table in words: its title, a sentence below it, the heads of its columns, its cells."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown; empty where it has no rows."""
        if not self.rows:
            return ""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{text}\n\n{self.note}\n"


def case_rows(model: str, cases: Sequence[CaseFigures]) -> str:
    """One line of CSV for each true ear, and one for each scan without one."""
    stream = io.StringIO()
    columns = ["model", "case", "group", "false_ears", "seconds", "refusal", *EarFigures.__dataclass_fields__]
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for case in cases:
        shared = {
            "model": model,
            "case": case.name,
            "group": case.group,
            "false_ears": case.false_ears,
            "seconds": case.seconds,
            "refusal": case.refusal,
        }
        for ear in case.ears or (None,):
            own = {} if ear is None else {key: _cell(value) for key, value in asdict(ear).items()}
            writer.writerow({**shared, **own})
    return stream.getvalue()


def summary_rows(model: str, cases: Sequence[CaseFigures]) -> str:
    """One line of CSV for each group and figure: mean, standard deviation (n − 1) and median over the ears."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("model", "group", "figure", "ears", "mean", "sd", "median"))
    numbers = [entry.name for entry in fields(EarFigures) if entry.type == "float"]
    for group, members in by_group(reported(cases)):
        for name in numbers:
            summary = summarise(getattr(ear, name) for case in members for ear in case.ears)
            if summary.count:
                told = (summary.mean, summary.deviation, summary.median)
                writer.writerow((model, group, name, summary.count, *map(_cell, told)))
    return stream.getvalue()


def tables(cases: Sequence[CaseFigures]) -> tuple[Table, ...]:
    """All tables of one model that have something to say."""
    usual, cases = usual_standard_deviation(cases), reported(cases)
    made = (
        segmentation_table(cases),
        landmark_table(cases),
        voxel_table(cases),
        detection_table(cases, usual),
        deviation_table(cases),
        calibration_table(cases),
        orientation_table(cases),
    )
    return tuple(table for table in made if table.rows)


def segmentation_table(cases: Sequence[CaseFigures]) -> Table:
    """Like Table 3 of Stebani et al. 2023."""
    measures: dict[str, Callable[[EarFigures], float]] = {
        "DSC": lambda ear: ear.dice,
        "IoU": lambda ear: ear.iou,
        "VS": lambda ear: ear.volumetric_similarity,
        "HD (mm)": lambda ear: ear.hausdorff_mm,
        "HD (voxels)": lambda ear: ear.hausdorff_mm / PAPER_VOXEL_MM,
        "⟨HD⟩ (mm)": lambda ear: ear.average_hausdorff_mm,
        "⟨HD⟩ (voxels)": lambda ear: ear.average_hausdorff_mm / PAPER_VOXEL_MM,
    }
    return Table(
        "Segmentation",
        f"Mean ± SD (median). {FEWER_EARS} ⟨HD⟩ is the mean of the two directed averages (ITK). Voxels are those of "
        f"{PAPER_VOXEL_MM} mm. A missed ear counts with DSC, IoU and VS of 0.",
        ("group", "ears", *measures),
        _rows_by_group(cases, measures, digits=3),
    )


def landmark_table(cases: Sequence[CaseFigures]) -> Table:
    """Like Table 4 of Stebani et al. 2023."""
    measures: dict[str, Callable[[EarFigures], float]] = {
        "average (mm)": lambda ear: ear.landmarks_mm,
        "helicotrema (mm)": lambda ear: ear.helicotrema_mm,
        "oval window (mm)": lambda ear: ear.oval_window_mm,
        "round window (mm)": lambda ear: ear.round_window_mm,
        "average (voxels)": lambda ear: ear.landmarks_mm / PAPER_VOXEL_MM,
        "helicotrema (voxels)": lambda ear: ear.helicotrema_mm / PAPER_VOXEL_MM,
        "oval window (voxels)": lambda ear: ear.oval_window_mm / PAPER_VOXEL_MM,
        "round window (voxels)": lambda ear: ear.round_window_mm / PAPER_VOXEL_MM,
    }
    return Table(
        "Landmarks",
        f"Distance, mean ± SD (median), of the landmarks found. {FEWER_EARS} Voxels are those of {PAPER_VOXEL_MM} mm.",
        ("group", "ears", *measures),
        _rows_by_group(cases, measures, digits=2),
    )


def voxel_table(cases: Sequence[CaseFigures]) -> Table:
    """Like Table 1 of Hussain et al. 2021."""
    measures: dict[str, Callable[[EarFigures], float]] = {
        "accuracy": lambda ear: ear.accuracy,
        "precision": lambda ear: ear.precision,
        "recall": lambda ear: ear.recall,
        "specificity": lambda ear: ear.specificity,
        "Jaccard": lambda ear: ear.iou,
        "AUC": lambda ear: ear.roc_area,
    }
    return Table(
        "Voxels",
        f"Mean ± SD (median). {FEWER_EARS} Accuracy and specificity are shares of the box {COMPARED_MARGIN_MM:g} mm "
        "round the true labyrinth, and depend on its size; what is invented beyond it counts as wrong."
        " The AUC is that of the mask, the mean of recall and specificity.",
        ("group", "ears", *measures),
        _rows_by_group(cases, measures, digits=3),
    )


def detection_table(cases: Sequence[CaseFigures], usual: float | None) -> Table:
    """What was found, missed and invented, and of what was found what the result says that it is unusual.

    Args:
        cases: of one model.
        usual: see is_flagged.
    """
    rows = []
    for group, members in by_group(cases):
        ears = [ear for case in members for ear in case.ears]
        found = [ear for ear in ears if ear.found]
        told = [ear.side_right for ear in found if ear.side_right is not None]
        flagged = [ear for ear in found if is_flagged(ear, usual)]
        absent = sum(ear.absent_landmarks for ear in found)
        rows.append(
            (
                group,
                str(len(members)),
                f"{len(found)} of {len(ears)}" if ears else "none to find",
                f"{sum(bool(side) for side in told)} of {len(told)}" if told else "–",
                spread(summarise(ear.centre_mm for ear in found), 1),
                str(sum(case.false_ears for case in members)),
                f"{sum(ear.invented_landmarks for ear in found)} of {absent}" if absent else "–",
                f"{len(flagged)} of {len(found)}" if found else "–",
                _number(summarise(case.seconds for case in members if not case.refusal).mean, 0),
            )
        )
    return Table(
        "Detection",
        "False ears are labyrinths where there is none; invented landmarks those that a malformed ear that was found "
        "does not have. Of a flagged ear the result says in words what is unusual; by "
        f"their standard deviation the uppermost {100 * (1 - USUAL_SHARE):.0f} % of normal ears are. Seconds are of "
        f"the route on the computer that judged it, mean over the scans.{_told_of_poor_ears(cases, usual)}",
        (
            "group",
            "scans",
            "ears found",
            "side right",
            "centre off (mm)",
            "false ears",
            "landmarks invented",
            "flagged",
            "seconds",
        ),
        tuple(rows),
    )


def is_flagged(ear: EarFigures, usual: float | None) -> bool:
    """Whether a result says that something is unusual.

    Args:
        ear: that was found.
        usual: the largest mean standard deviation of normal ears, which a card that is being made does not hold yet:
            it takes the place of the card's. None: the card's holds.
    """
    if usual is None:
        return bool(ear.flags)
    return ear.mean_standard_deviation > usual or any(not flag.startswith(UNUSUALLY_UNSURE) for flag in ear.flags)


def _told_of_poor_ears(cases: Sequence[CaseFigures], usual: float | None) -> str:
    ears = [ear for case in lying_as_drawn(cases) for ear in case.ears if ear.found and np.isfinite(ear.dice)]
    poor, good = [[ear for ear in ears if (ear.dice < POOR_DSC) == below] for below in (True, False)]
    if not ears:
        return ""
    told, needless = [sum(is_flagged(ear, usual) for ear in some) for some in (poor, good)]
    return (
        f" Turned copies apart, flagged are {told} of the {len(poor)} found ears with a DSC below {POOR_DSC:g}, and "
        f"{needless} of the {len(good)} others."
    )


def deviation_table(cases: Sequence[CaseFigures]) -> Table:
    """The out-of-distribution signal by group, against that of normal ears."""
    usual = normal_deviations(cases)
    rows = []
    for group, members in by_group(cases):
        summary = summarise(deviation for case in members for deviation in deviations(case))
        if summary.count:
            times = summary.mean / usual.mean if usual.count else float("nan")
            rows.append((group, str(summary.count), _scientific(summary), _number(times, 1)))
    told = deviation_against_dice(cases)
    correlation = (
        f" Rank correlation with the DSC over the {told.pairs} ears that were found (Spearman): "
        f"{told.coefficient:.2f}, p = {told.p_value:.2g}."
        if np.isfinite(told.coefficient)
        else ""
    )
    return Table(
        "Uncertainty",
        "Standard deviation over the ten views, mean per voxel of the region; against the mean of normal ears "
        f"({_scientific(usual)}). Where there was no ear and none was found, the region is the middle of the scan."
        f"{correlation}",
        ("group", "regions", "mean ± SD (median)", "times normal"),
        tuple(rows),
    )


def calibration_table(cases: Sequence[CaseFigures]) -> Table:
    """The share of wrong voxels among those of each class of stated standard deviation."""
    stated, of_views = calibration(cases), calibration(cases, "view_calibration")
    rows = tuple(
        (f"{low:g} to {high:g}", *_told_of_class(label), _share(label.expected, label), *_told_of_class(views))
        for (low, high), label, views in zip(pairwise(CALIBRATION_EDGES), stated, of_views, strict=True)
    )
    return Table(
        "Calibration",
        "Voxels of the truth's lattice round the labyrinths, over all scans that show an ear, but for turned copies. "
        "Stated is the standard deviation of the label, which would let the expected share be wrong; over the views is "
        "the part of it that their contradiction makes up.",
        ("standard deviation", "stated: voxels", "wrong", "expected", "over the views: voxels", "wrong"),
        rows if any(label.voxels for label in stated) else (),
    )


def _told_of_class(label: DeviationClass) -> tuple[str, str]:
    return f"{label.voxels:,}", _share(label.wrong, label)


def _share(count: float, label: DeviationClass) -> str:
    return f"{100 * count / label.voxels:.2f} %" if label.voxels else "–"


def orientation_table(cases: Sequence[CaseFigures]) -> Table:
    """What turning the patient does."""
    rows = tuple(
        (name, turn, f"{dice:.3f}", f"{change:+.4f}") for name, turn, dice, change in orientation_changes(cases)
    )
    return Table(
        "Orientation",
        "The same scan with the patient lying in another way.",
        ("scan", "way", "DSC", "change"),
        rows,
    )


def _rows_by_group(
    cases: Sequence[CaseFigures], measures: dict[str, Callable[[EarFigures], float]], digits: int
) -> tuple[tuple[str, ...], ...]:
    rows = []
    for group, members in by_group(cases):
        ears = [ear for case in members for ear in case.ears]
        if ears:
            summaries = [summarise(map(measure, ears)) for measure in measures.values()]
            if any(summary.count for summary in summaries):
                rows.append((group, str(len(ears)), *(spread_of(summary, digits, len(ears)) for summary in summaries)))
    return tuple(rows)


def spread_of(summary: Summary, digits: int, ears: int) -> str:
    """As `spread`, with the number of values where it is not that of the row's ears."""
    told = spread(summary, digits)
    return f"{told} (n {summary.count})" if 0 < summary.count != ears else told


def spread(summary: Summary, digits: int) -> str:
    """Mean ± SD (median) in words; a single value as it is, and a dash for none."""
    if not summary.count:
        return "–"
    if summary.count == 1:
        return _number(summary.mean, digits)
    return f"{summary.mean:.{digits}f} ± {summary.deviation:.{digits}f} ({summary.median:.{digits}f})"


def _scientific(summary: Summary) -> str:
    if not summary.count:
        return "not measured"
    if summary.count == 1:
        return f"{summary.mean:.2e}"
    return f"{summary.mean:.2e} ± {summary.deviation:.1e} ({summary.median:.2e})"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "–"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else value
