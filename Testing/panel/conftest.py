"""The panel over a host's scene, with a child process that answers as a test wants it to."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from PySide6 import QtCore

from host.panel_window import PanelWindow
from host.pictures import SliceView
from host.runtime import Host
from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.panel import probe, run
from InnerEarAILib.panel.computer import Computer
from InnerEarAILib.panel.computer_watch import SETTING
from InnerEarAILib.scan_result_files import write_scan_result
from InnerEarAILib.time_estimate import Speed
from InnerEarAILib.volume import Grid
from library.scans import painted_ear, scan_result
from panel.driving import LINES, SCAN_AFFINE_RAS, SCAN_SHAPE_KJI, WORKER, add_ears, add_scan

TESTING = Path(__file__).resolve().parents[1]

COMPUTER = Computer(
    {"cpu": "CPU, 8 threads"},
    "PyTorch 2.13.0+cpu has no CUDA support",
    2.0,
    (Speed("clinical", "cpu", "float32", 1.0), Speed("locator", "cpu", "float32", 0.5)),
)
"""What a probe has found on a computer without a GPU."""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Where the application's settings of a test are."""
    return tmp_path / "settings"


@pytest.fixture
def known_computer(settings: Path, probe_says: Callable[..., None]) -> None:
    """The settings of a computer that was looked at before, and is as it was."""
    probe_says(
        {"event": "no_gpu", "reason": COMPUTER.no_gpu},
        *({"event": "device", "name": name, "description": text} for name, text in COMPUTER.devices.items()),
    )
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(settings))
    kept = QtCore.QSettings(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, "InnerEarAI", "tests")
    kept.setValue(SETTING, COMPUTER.to_json())
    kept.sync()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def panel(host: Host, settings: Path, known_computer: None) -> Iterator[PanelWindow]:
    """The panel on a computer that is known, over an empty scene."""
    faults = []
    # Qt and VTK print what a slot raises and go on; a test must not.
    before, sys.excepthook = sys.excepthook, lambda *fault: faults.append(fault)
    window = PanelWindow(host, settings)
    yield window
    window.close()
    sys.excepthook = before
    if faults:
        raise faults[0][1]


@pytest.fixture
def scan(panel: PanelWindow) -> slicer.vtkMRMLScalarVolumeNode:
    """A scan, chosen in the panel."""
    return add_scan(panel, "CT")


@pytest.fixture(scope="session")
def two_ears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result file: two ears in the scan of add_scan."""
    grid = Grid(SCAN_SHAPE_KJI, RAS_FROM_LPS @ SCAN_AFFINE_RAS)
    aside = np.array([8, 0, 0])
    ears = [painted_ear("right", grid.centre_lps - aside, 0.4), painted_ear("left", grid.centre_lps + aside, 0.4)]
    provenance = {
        "model": "clinical",
        "execution.device": "cpu",
        "execution.precision": "float32",
        "execution.tiles": 1,
        "execution.views": 10,
        "execution.seconds": 200.0,
    }
    path = tmp_path_factory.mktemp("result") / "result.npz"
    write_scan_result(path, replace(scan_result(ears, "CT", grid), provenance=provenance))
    return path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, two_ears: Path) -> Callable[[str], None]:
    """Lets the child process be a script that says lines (driving.LINES)."""

    def answer(body: str) -> None:
        script = LINES.format(result=str(two_ears), body=body)
        monkeypatch.setattr(run, "python_command", lambda module, *rest: [sys.executable, "-c", script, module, *rest])

    return answer


@pytest.fixture
def worker_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the worker answer by the body of a function (volume, options, progress) -> ScanResult."""

    def answer(body: str) -> None:
        script = WORKER.format(testing=str(TESTING), body=textwrap.indent(textwrap.dedent(body).strip(), "    "))
        monkeypatch.setattr(run, "python_command", lambda module, *rest: [sys.executable, "-c", script, module, *rest])

    return answer


@pytest.fixture
def probe_says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the probe's process say these events, wait so many seconds, and end with an exit code."""

    def say(*events: dict, seconds: float = 0.0, exit_code: int = 0) -> None:
        lines = "\n".join(json.dumps(event) for event in events)
        script = f"import sys, time\nprint({lines!r}, flush=True)\ntime.sleep({seconds})\nsys.exit({exit_code})"
        monkeypatch.setattr(probe, "python_command", lambda *arguments: [sys.executable, "-c", script])

    return say


@pytest.fixture
def views(panel: PanelWindow) -> dict[str, SliceView]:
    """Three slice views."""
    return {orientation: SliceView(panel.host, orientation) for orientation in ("Axial", "Coronal", "Sagittal")}


@pytest.fixture
def segmented(panel: PanelWindow, views: dict[str, SliceView], scan: slicer.vtkMRMLScalarVolumeNode) -> PanelWindow:
    """The panel with two ears in a scan called CT."""
    add_ears(panel, scan)
    return panel
