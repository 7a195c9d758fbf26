"""One picture of a result: for each ear three slices and a 3D view as Slicer draws them, with a caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from matplotlib.figure import Figure

from host.pictures import SliceView, ThreeDView
from host.runtime import Host
from InnerEarAILib.ear_result import EarResult
from InnerEarAILib.mrml import RAS_FROM_LPS, ResultNodes

PANEL_PIXELS = 560
SLICE_FIELD_OF_VIEW_MM = 26.0
"""A labyrinth is up to 20 mm long; this shows it with what is around it."""

THREE_D_FIELD_OF_VIEW_MM = 24.0
"""In three dimensions the names of the landmarks need room beside it."""

DOTS_PER_INCH = 100
TITLE_INCHES = 0.36
CAPTION_INCHES = 0.50
BACKGROUND = "#14161a"

SLICE_THROUGH = {"Axial": "oval window", "Coronal": "round window", "Sagittal": "helicotrema"}
"""Each slice goes through one landmark, so that each is seen in its place once."""


class Overview:
    """The views of a picture. Make it before the results come: like the application's, its views follow the scene.

    Args:
        host: its scene is drawn.
    """

    def __init__(self, host: Host) -> None:
        size = (PANEL_PIXELS, PANEL_PIXELS)
        self._slices = {orientation: SliceView(host, orientation, size) for orientation in SLICE_THROUGH}
        self._three_d = ThreeDView(host, size)
        self._three_d.node.SetBackgroundColor(0.06, 0.07, 0.09)
        self._three_d.node.SetBackgroundColor2(0.22, 0.25, 0.30)
        for view in (*self._slices.values(), self._three_d):
            view.node.SetRulerType(slicer.vtkMRMLAbstractViewNode.RulerTypeThin)

    def draw(self, nodes: ResultNodes, path: Path, caption: str) -> None:
        """Writes the picture of a result that is shown in the scene, as PNG.

        Args:
            nodes: the result.
            path: of the picture.
            caption: one line that stands below.
        """
        ears = nodes.result.ears
        columns = len(self._slices) + 1
        panel = PANEL_PIXELS / DOTS_PER_INCH
        width, height = columns * panel, len(ears) * (panel + TITLE_INCHES) + CAPTION_INCHES
        figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
        for row, ear in enumerate(ears):
            bottom = height - (row + 1) * (panel + TITLE_INCHES)
            for column, (name, picture) in enumerate(self._pictures_of(ear, nodes).items()):
                axes = figure.add_axes((column / columns, bottom / height, 1 / columns, panel / height))
                axes.imshow(picture, interpolation="nearest", aspect="auto")
                axes.set_axis_off()
                axes.set_title(name, color="#d7dbe0", fontsize=13, loc="left", x=0.02, pad=6)
        figure.text(0.005, CAPTION_INCHES / 2 / height, caption, color="#aab0b8", fontsize=13, va="center")
        figure.savefig(path, facecolor=BACKGROUND, format="png")

    def _pictures_of(self, ear: EarResult, nodes: ResultNodes) -> dict[str, np.ndarray]:
        centre_ras = np.array(nodes.segmentation.GetSegmentCenterRAS(ear.side))
        found = {mark.name: mark.position_lps for mark in ear.landmarks if mark.position_lps is not None}
        pictures = {}
        for orientation, view in self._slices.items():
            name = SLICE_THROUGH[orientation]
            through = RAS_FROM_LPS[:3, :3] @ found[name] if name in found else centre_ras
            view.look_at(centre_ras, SLICE_FIELD_OF_VIEW_MM)
            view.node.JumpSliceByOffsetting(*through)
            where = f"the {name}" if name in found else "the middle"
            pictures[f"{ear.side.capitalize()} ear, {orientation.lower()}, through {where}"] = view.picture()
        lateral = 1.0 if ear.side == "right" else -1.0
        self._three_d.look_at(centre_ras, (lateral, 0.6, 0.5), (0, 0, 1), THREE_D_FIELD_OF_VIEW_MM)
        title = f"{ear.side.capitalize()} labyrinth, {ear.quality.volume_mm3:.0f} mm³, from the side"
        pictures[title] = self._three_d.picture()
        return pictures
