"""What the tests of the panel do with it, and how its child process answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer
import slicer.util

from host.panel_window import PanelWindow

LONGEST_WAIT_SECONDS = 30

CHILD = """
import os, sys, time
from types import SimpleNamespace
import numpy as np
from InnerEarAILib import worker
from InnerEarAILib.volume import InputError
sys.path.append({testing!r})

def answer(volume, options, progress):
{body}

sys.exit(worker.main(sys.argv[-1:], SimpleNamespace(segment=answer, SegmenterOptions=dict)))
"""

TWO_EARS = """
from library.scans import painted_ear, scan_result
progress.step("Segmenting", 0.5)
centre = volume.grid.centre_lps
ears = [painted_ear("right", centre - (8, 0, 0), unfound=("oval window",)), painted_ear("left", centre + (8, 0, 0))]
return scan_result(ears, volume.name, volume.grid)
"""
"""A body of the child's answer: two ears, of which the right one lacks a landmark."""

GOES_ON = """
while True:
    progress.step("Segmenting", 0.25)
    time.sleep(0.02)
"""

HEARS_NOTHING = """
progress.step("Segmenting", 0.25)
time.sleep(60)
"""


def add_scan(panel: PanelWindow, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Adds a scan to the scene and chooses it."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, (30, 32, 40)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, np.diag([-0.9, -0.9, 0.9, 1.0]), name)
    panel.widget.ui.inputSelector.setCurrentNode(node)
    panel.settle()
    return node


def wait_until(panel: PanelWindow, reached: Callable[[], bool]) -> None:
    """Lets the application live until something is the case; fails if it never is."""
    begin = time.monotonic()
    while not reached():
        assert time.monotonic() - begin < LONGEST_WAIT_SECONDS, panel.widget.ui.statusLabel.text
        panel.settle()
        time.sleep(0.02)
    panel.settle()


def is_running(panel: PanelWindow) -> bool:
    """Whether the button would cancel."""
    return panel.widget.ui.segmentButton.text != "Segment inner ear"


def finish(panel: PanelWindow) -> str:
    """Presses the button and waits for the end; what the status line says then."""
    panel.widget.ui.segmentButton.click()
    wait_until(panel, lambda: not is_running(panel))
    return panel.widget.ui.statusLabel.text


def start(panel: PanelWindow) -> None:
    """Presses the button and waits until the child is at work."""
    panel.widget.ui.segmentButton.click()
    wait_until(panel, lambda: "Segmenting" in panel.widget.ui.statusLabel.text)


def node_ids() -> set[str]:
    """What is in the scene."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}
