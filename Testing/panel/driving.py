"""What the tests of the panel do with it, and how its child process answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util

from host.panel_window import PanelWindow
from InnerEarAILib.mrml import volume_from_node
from library.scans import painted_ear, scan_result

LONGEST_WAIT_SECONDS = 30

WORKER = """
import sys
from types import SimpleNamespace
from InnerEarAILib import worker
from InnerEarAILib.volume import InputError
sys.path.append({testing!r})

def answer(volume, options, progress):
{body}

sys.exit(worker.main(sys.argv[-1:], SimpleNamespace(segment=answer, SegmenterOptions=dict)))
"""
"""The real worker with a route of ours."""

LINES = """
import json, os, shutil, sys, time
folder, result = sys.argv[-1], {result!r}

def say(event, **content):
    print(json.dumps({{"event": event, **content}}), flush=True)

say("step", step="Segmenting", fraction=0.25, seconds=0.1)
{body}
"""
"""A process that says the lines which the worker would say; it starts in no time."""

FINDS_TWO_EARS = """
shutil.copy(result, folder + "/result.npz")
say("result", path=folder + "/result.npz", seconds=1.0)
"""

LISTENS = """
assert [sys.stdin.readline() for _ in range(2)] == ["begin\\n", "cancel\\n"]
say("error", kind="cancelled", sentence="Cancelled; nothing was written.")
sys.exit(130)
"""

HEARS_NOTHING = "time.sleep(60)"

SCAN_AFFINE_RAS = np.diag([-0.9, -0.9, 0.9, 1.0])
SCAN_SHAPE_KJI = (30, 32, 40)


def add_scan(panel: PanelWindow, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Adds a scan to the scene and chooses it."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, SCAN_SHAPE_KJI).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, SCAN_AFFINE_RAS, name)
    panel.choose_scan(node)
    return node


def wait_until(panel: PanelWindow, reached: Callable[[], bool], seconds: float = LONGEST_WAIT_SECONDS) -> None:
    """Lets the application live until something is the case; fails if it is not in so many seconds."""
    begin = time.monotonic()
    while not reached():
        assert time.monotonic() - begin < seconds, panel.widget.ui.statusLabel.text
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


def add_ears(
    panel: PanelWindow, node: slicer.vtkMRMLScalarVolumeNode, sides: Sequence[str] = ("right", "left"), **ear: Any
) -> None:
    """Adds what a run would have found, without a child process."""
    grid = volume_from_node(node).grid
    places = {"right": grid.centre_lps - np.array([8, 0, 0]), "left": grid.centre_lps + np.array([8, 0, 0])}
    ears = [painted_ear(side, places[side], 0.4, **ear) for side in sides]
    panel.widget.logic.addResult(scan_result(ears, "CT", grid), node)
    panel.settle()


def shown(panel: PanelWindow) -> list[str]:
    """The texts in the results, as they stand."""
    ears = panel.widget.panel._results._ears
    return [child.text for child in ears.children() if hasattr(child, "text")]


def button(panel: PanelWindow, name: str) -> Any:
    """A button in the results."""
    return next(child for child in panel.widget.panel._results._ears.children() if getattr(child, "name", "") == name)


def save_into(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets the user choose this folder, or none."""
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *arguments: str(folder) if folder.name else "")
