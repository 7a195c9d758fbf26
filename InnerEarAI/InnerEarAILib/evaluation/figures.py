"""The figures of an evaluation, as SVG; drawn where matplotlib is installed, which the library does not ask for."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from InnerEarAILib.evaluation.calibration import CALIBRATION_EDGES
from InnerEarAILib.evaluation.comparison import CALIBRATIONS, CaseFigures
from InnerEarAILib.evaluation.groups import by_group, calibration, reported
from InnerEarAILib.evaluation.suite import TURNED_PREFIX

WIDTH_INCHES, HEIGHT_INCHES = 7.0, 4.2

COMPARED = {"Dice": "dice", "landmarks (mm)": "landmarks_mm"}
"""Axis of the figures that compare methods, and field of EarFigures."""


def figures(cases: Sequence[CaseFigures]) -> dict[str, str]:
    """Titles and SVG texts of the figures that have something to show; none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    cases = reported(cases)
    drawn = {
        "Standard deviation against Dice": _deviation_against_dice(cases),
        "Calibration": _reliability(cases),
        "Dice by group": _dice_by_group(cases),
    }
    return {title: svg for title, svg in drawn.items() if svg}


def method_figures(methods: Mapping[str, Sequence[CaseFigures]]) -> dict[str, str]:
    """Titles and SVG texts of figures of several methods, by name, side by side; none without matplotlib.

    As Fig. 3 of Stebani et al. 2023, but with every ear.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    drawn = {f"Methods: {title}": _ears_by_method(methods, title) for title in COMPARED}
    return {title: svg for title, svg in drawn.items() if svg}


def _deviation_against_dice(cases: Sequence[CaseFigures]) -> str:
    """As Fig. 5c of Stebani et al. 2023."""
    from matplotlib.ticker import LogLocator, NullLocator

    groups = []
    for group, members in by_group(cases):
        points = [(ear.mean_standard_deviation, ear.dice) for case in members for ear in case.ears if ear.found]
        points += [(deviation, 0.0) for case in members for deviation in case.false_deviations]
        points = [point for point in points if np.isfinite(point).all() and point[0] > 0]
        if points and not group.startswith(TURNED_PREFIX):
            groups.append((group, np.array(points)))
    if not groups:
        return ""
    figure, axes = canvas()
    for number, (group, points) in enumerate(groups):
        axes.scatter(
            points[:, 0], points[:, 1], s=28, label=group, color=_colour(number), marker="osD^v<>"[number // 10 % 7]
        )
    axes.set_xscale("log")
    # Powers of ten alone say little where all ears lie between two of them.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("mean standard deviation per voxel")
    axes.set_ylabel("Dice")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return svg_text(figure)


def _reliability(cases: Sequence[CaseFigures]) -> str:
    counts = {kind: calibration(cases, kind) for kind in CALIBRATIONS}
    if not any(label.voxels for label in counts["calibration"]):
        return ""
    names = [f"{low:g}–{high:g}" for low, high in pairwise(CALIBRATION_EDGES)]
    places = np.arange(len(names))
    figure, axes = canvas()
    told_of = {"calibration": "stated", "view_calibration": "over the views alone"}
    for number, (kind, told) in enumerate(told_of.items()):
        shares = np.array([100 * label.wrong / label.voxels if label.voxels else 0.0 for label in counts[kind]])
        axes.bar(places + 0.4 * number - 0.2, shares, 0.4, label=told, color=_colour(number))
    expected = [100 * label.expected / label.voxels if label.voxels else np.nan for label in counts["calibration"]]
    axes.plot(places - 0.2, expected, "_", color="black", markersize=16, label="expected of the stated one")
    axes.set_xticks(places, names)
    axes.margins(y=0.15)
    axes.set_xlabel("standard deviation of a voxel's label")
    axes.set_ylabel("wrong voxels (%)")
    axes.legend(fontsize=8, loc="upper left", frameon=False)
    return svg_text(figure)


def _dice_by_group(cases: Sequence[CaseFigures]) -> str:
    groups = [
        (group, [ear.dice for case in members for ear in case.ears if ear.dice == ear.dice])
        for group, members in by_group(cases)
    ]
    groups = [(group, dice) for group, dice in groups if dice][::-1]
    if not groups:
        return ""
    figure, axes = canvas(height=1.0 + 0.32 * len(groups))
    for place, (_, dice) in enumerate(groups):
        axes.scatter(dice, [place] * len(dice), s=22, color=_colour(0), alpha=0.7)
        axes.scatter([np.mean(dice)], [place], marker="|", s=220, color="black")
    axes.set_yticks(range(len(groups)), [group for group, _ in groups], fontsize=8)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlabel("Dice (bar: mean)")
    return svg_text(figure)


def _ears_by_method(methods: Mapping[str, Sequence[CaseFigures]], title: str) -> str:
    values: dict[str, dict[str, list[float]]] = {}
    for model, cases in methods.items():
        for group, members in by_group(cases):
            told = [getattr(ear, COMPARED[title]) for case in members for ear in case.ears]
            told = [value for value in told if np.isfinite(value)]
            if told:
                values.setdefault(model, {})[group] = told
    if not values:
        return ""
    groups = list(dict.fromkeys(group for of_model in values.values() for group in of_model))
    figure, axes = canvas(height=1.0 + max(0.32, 0.2 * len(groups)) * len(values))
    for number, group in enumerate(groups):
        shift = 0.7 * ((number + 0.5) / len(groups) - 0.5)
        told = [(place + shift, of_model[group]) for place, of_model in enumerate(values.values()) if group in of_model]
        heights = np.concatenate([[place] * len(ears) for place, ears in told])
        ears = np.concatenate([ears for _, ears in told])
        axes.scatter(ears, heights, s=16, color=_colour(number), alpha=0.6, label=group, linewidths=0)
        means = [float(np.mean(ears)) for _, ears in told]
        axes.scatter(means, [place for place, _ in told], marker="|", s=90, color="black", zorder=3)
    axes.set_yticks(range(len(values)), list(values), fontsize=8)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(left=0, right=1 if title == "Dice" else None)
    axes.set_xlabel(f"{title} (bar: mean)")
    if len(groups) > 1:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return svg_text(figure)


def canvas(height: float = HEIGHT_INCHES):
    """An empty figure and its axes."""
    # Without pyplot: no window system, and no figure that stays open.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(number: int) -> str:
    return f"C{number % 10}"


def svg_text(figure) -> str:
    """A figure as an SVG element for a page."""
    import matplotlib

    stream = io.StringIO()
    # The same figures give the same file: no date, and no random names within.
    with matplotlib.rc_context({"svg.hashsalt": "InnerEarAI"}):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
