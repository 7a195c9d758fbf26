"""The panel's own process stays light: torch runs in the child alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from host.runtime import module_folder

OPEN_THE_PANEL = """
import sys
from pathlib import Path
import numpy as np
from host.panel_window import PanelWindow
from host.runtime import Host
import slicer.util
window = PanelWindow(Host(), Path(sys.argv[1]))
node = slicer.util.addVolumeFromArray(np.zeros((40, 40, 40), np.int16), np.diag([-1, -1, 1, 1.0]), "CT")
window.choose_scan(node)
print(window.widget.ui.segmentButton.enabled, "torch" in sys.modules)
window.close()
"""


def test_the_panel_with_a_scan_chosen_has_not_imported_torch(tmp_path):
    paths = os.pathsep.join([str(module_folder()), str(Path(__file__).parents[1])])
    printed = subprocess.run(
        [sys.executable, "-c", OPEN_THE_PANEL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.stdout.split() == ["True", "False"], printed.stderr
