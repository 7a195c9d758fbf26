"""`make pictures`: the panel in its states, as pictures for the README and for whoever changes it.

    python -m host.panel_pictures Resources InnerEarAI/Resources/Icons

The scan is a phantom and the run a real one; failures are put on. The panel is the module's own, on the stand-ins for
PythonQt and Slicer's widgets: in 3D Slicer fonts and margins differ.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import slicer
import slicer.util
from matplotlib.image import imsave

from host.panel_window import PanelWindow, set_dark
from host.pictures import SliceView
from host.runtime import Host
from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.panel import computer_watch, installation
from InnerEarAILib.panel.run import Outcome
from InnerEarAILib.phantom.phantom import embedded_head_phantom, embedded_phantom
from InnerEarAILib.volume import Volume

LONGEST_RUN_SECONDS = 600
THUMBNAIL_PIXELS = 192
MEMORY_SENTENCE = (
    "The computer's memory was too small: crop the scan to the temporal bone, choose one view, or close other programs."
)
DARK_TOO = ("advanced", "results")
"""States that are drawn in Slicer's dark style as well; between them they show every kind of widget."""

LOWER_SHARE = 0.55
"""Of the scan that ends within the ear."""

BONE_WINDOW_HU = (-700.0, 2300.0)


def main() -> None:
    """Draws everything into the two folders that the command names: panels, thumbnails."""
    panels, icons = Path(sys.argv[1]), Path(sys.argv[2])
    ear = embedded_phantom().scan
    draw_thumbnail(ear, icons / "InnerEarPhantom.png")
    draw_thumbnail(embedded_head_phantom().scan, icons / "InnerEarHeadPhantom.png")
    with tempfile.TemporaryDirectory() as settings:
        draw_panels(ear, panels, Path(settings))


def draw_thumbnail(scan: Volume, path: Path) -> None:
    """The middle axial slice as a square picture, in a window for bone."""
    low, high = BONE_WINDOW_HU
    axial = np.clip((scan.voxels[len(scan.voxels) // 2].astype(float) - low) / (high - low), 0, 1)
    rows = np.linspace(0, axial.shape[0] - 1, round(THUMBNAIL_PIXELS * axial.shape[0] / axial.shape[1])).astype(int)
    columns = np.linspace(0, axial.shape[1] - 1, THUMBNAIL_PIXELS).astype(int)
    imsave(path, axial[np.ix_(rows, columns)], cmap="gray", vmin=0, vmax=1)


def draw_panels(scan: Volume, folder: Path, settings: Path) -> None:
    """Takes the panel through a first day and writes panel_STATE.png, and panel_STATE_dark.png of DARK_TOO."""
    host = Host()
    views = [SliceView(host, orientation) for orientation in ("Axial", "Coronal", "Sagittal")]
    window = PanelWindow(host, settings)
    ui = window.widget.ui

    def picture(state: str) -> None:
        window.picture(folder / f"panel_{state}.png")
        if state in DARK_TOO:
            set_dark(True)
            window.picture(folder / f"panel_{state}_dark.png")
            set_dark(False)

    def add_scan(added: Volume, name: str) -> None:
        node = slicer.util.addVolumeFromArray(added.voxels, RAS_FROM_LPS @ added.affine_lps, name)
        window.choose_scan(node)

    picture("empty")
    add_scan(scan, "Temporal bone")
    window.enter()
    with (
        mock.patch.object(installation, "installed_version", return_value=None),
        mock.patch.object(computer_watch, "installed_version", return_value=None),
        mock.patch.object(slicer.util, "confirmOkCancelDisplay", return_value=False),
    ):
        ui.segmentButton.click()
        picture("declined")
    _wait(window, lambda: not window.widget.panel._computer.is_probing)
    ui.earSelector.currentIndex = ui.earSelector.findData("right")
    ui.earSelector.currentIndex = ui.earSelector.findData("auto")
    picture("ready")
    ui.advancedButton.collapsed = False
    picture("advanced")
    ui.advancedButton.collapsed = True
    ui.segmentButton.click()
    _wait(window, lambda: "Segmenting, " in ui.statusLabel.text or not ui.progressBar.visible)
    picture("running")
    _wait(window, lambda: not ui.progressBar.visible)
    picture("results")
    ui.segmentButton.click()
    window.widget.panel._finish(Outcome("memory", MEMORY_SENTENCE))
    window.widget.panel._refresh()
    picture("failed")
    planes = round(LOWER_SHARE * len(scan.voxels))
    add_scan(scan.crop((0, 0, 0), (planes, *scan.voxels.shape[1:])), "Cut scan")
    ui.segmentButton.click()
    _wait(window, lambda: not ui.progressBar.visible)
    picture("flagged")
    window.close()
    del views


def _wait(window: PanelWindow, reached: Callable[[], bool]) -> None:
    begin = time.monotonic()
    while not reached():
        if time.monotonic() - begin > LONGEST_RUN_SECONDS:
            raise TimeoutError(window.widget.ui.statusLabel.text)
        window.settle()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
