"""A picture of malformed, ossified and implanted ears: what is drawn of them, and what the result says.

    python -m host.unusual_ears Resources/unusual_ears.png

The ears are the first reported case of each group of the card, so that none is chosen for its looks.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import slicer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from host.pictures import ThreeDView
from host.runtime import Host
from InnerEarAILib.ear_result import EarResult, ScanResult
from InnerEarAILib.evaluation.cases import EvaluationCase, obtained
from InnerEarAILib.evaluation.comparison import compare
from InnerEarAILib.evaluation.suite import suite
from InnerEarAILib.inference.quality import centre_of_mass
from InnerEarAILib.model_store import load_card
from InnerEarAILib.mrml import RAS_FROM_LPS, add_results
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.segmenter import SegmenterOptions, segment
from InnerEarAILib.volume import Grid, Volume

GROUPS = (
    "multi-slice, lateral canal dysplasia",
    "multi-slice, cochlear hypoplasia",
    "multi-slice, incomplete partition",
    "multi-slice, incomplete partition I",
    "multi-slice, common cavity",
    "multi-slice, cochlear aplasia",
    "multi-slice, ossification",
    "multi-slice, implanted",
)
IMPLANTED = GROUPS[-1]

FIELD_MM, STEP_MM = 24.0, 0.1
SLICES_MM = (1.0, -2.5)
"""Axial slices, from the middle of the true labyrinth: through vestibule and canals, and through the basal turn."""

THREE_D_PIXELS, THREE_D_MM = 420, 22.0
BONE_WINDOW_HU, METAL_WINDOW_HU = (-700.0, 2200.0), (-700.0, 4000.0)

TRUE_COLOUR, FOUND_COLOUR = "#50e070", "#ff5050"
BACKGROUND, WORDS = "#14161a", "#d7dbe0"
WORDS_IN_A_LINE = 58


def main() -> None:
    """Draws the picture into the file that the command names."""
    path = Path(sys.argv[1])
    host = Host()
    view = ThreeDView(host, (THREE_D_PIXELS, THREE_D_PIXELS))
    columns = len(SLICES_MM) + 2
    figure = Figure(figsize=(3.2 * columns, 2.75 * len(GROUPS)), dpi=70, facecolor=BACKGROUND)
    axes = figure.subplots(len(GROUPS), columns, gridspec_kw={"width_ratios": [1] * (columns - 1) + [1.5]})
    recipes = suite(load_card("clinical").spacing_mm)
    for row, group in zip(axes, GROUPS, strict=True):
        case = obtained(next(recipe for recipe in recipes if recipe.group == group), None)
        result = segment(case.scan, SegmenterOptions())
        window = METAL_WINDOW_HU if group == IMPLANTED else BONE_WINDOW_HU
        for cell, height_mm in zip(row, SLICES_MM, strict=False):
            _draw_slice(cell, case, result, height_mm, window)
        row[-2].imshow(_surface(view, result))
        _write(row[-1], group, case, result)
        for cell in row:
            cell.set_axis_off()
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, 0.03, 0.03)
    figure.savefig(path, facecolor=BACKGROUND)


def _draw_slice(
    axes: Axes, case: EvaluationCase, result: ScanResult, height_mm: float, window: tuple[float, float]
) -> None:
    (true_ear,) = case.ears
    corner = true_ear.labyrinth.grid.centre_lps + np.array([-FIELD_MM / 2, -FIELD_MM / 2, height_mm])
    pixels = round(FIELD_MM / STEP_MM)
    grid = Grid.axis_aligned((1, pixels, pixels), STEP_MM, corner)
    axes.imshow(_on(grid, case.scan), cmap="gray", vmin=window[0], vmax=window[1])
    masks = [(true_ear.labyrinth, TRUE_COLOUR), *((ear.segmentation, FOUND_COLOUR) for ear in result.ears)]
    for mask, colour in masks:
        share = np.nan_to_num(_on(grid, mask))
        if share.max() > 0.5:
            axes.contour(share, [0.5], colors=colour, linewidths=1.1)


def _on(grid: Grid, volume: Volume) -> np.ndarray:
    return resample(volume.with_voxels(volume.voxels.astype(np.float32)), grid, cubic=False)[0]


def _surface(view: ThreeDView, result: ScanResult) -> np.ndarray:
    """The result as Slicer shows it, from the side."""
    slicer.mrmlScene.Clear(0)
    view.node.SetBoxVisible(False)
    view.node.SetBackgroundColor(0.08, 0.09, 0.10)
    view.node.SetBackgroundColor2(0.08, 0.09, 0.10)
    scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    if result.ears:
        add_results(result, scan)
        (ear,) = result.ears
        view.look_at(
            RAS_FROM_LPS[:3, :3] @ centre_of_mass(ear.segmentation), _from_the_side(ear), (0, 0, 1), THREE_D_MM
        )
    return view.picture()


def _from_the_side(ear: EarResult) -> tuple[float, float, float]:
    return (1.0 if ear.side == "right" else -1.0, 0.6, 0.5)


def _write(axes: Axes, group: str, case: EvaluationCase, result: ScanResult) -> None:
    (figures,) = compare(case, result, 0.0).ears
    flags = figures.flags or ("No flag.",)
    lines = [textwrap.fill(flag, WORDS_IN_A_LINE) for flag in flags] if figures.found else ["Not found."]
    told = [f"{group}: Dice {figures.dice:.2f}", *lines]
    axes.text(0.0, 0.95, "\n".join(told), color=WORDS, fontsize=9.5, va="top", transform=axes.transAxes)


if __name__ == "__main__":
    main()
