"""The module file: cheap to import, and a logic that passes on what it is told and leaves nothing half-done."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest
import slicer
import slicer.util

from host.runtime import Host, module_folder
from InnerEarAI import InnerEarAI, InnerEarAILogic
from InnerEarAILib import cli, mrml
from InnerEarAILib.panel import installation
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.volume import InputError

ROOT = Path(__file__).resolve().parents[2]

MEASURE_IMPORT = """
import sys, time
import numpy, scipy.ndimage, SimpleITK, slicer, slicer.util, vtk
from host.runtime import Host
Host()
begin = time.process_time()
import InnerEarAI
print(time.process_time() - begin)
print("torch" in sys.modules)
import InnerEarAILib.mrml
print("torch" in sys.modules)
"""


def test_importing_the_module_is_quick_and_brings_no_torch():
    paths = os.pathsep.join([str(module_folder()), str(ROOT / "Testing")])
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE_IMPORT], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    seconds, module_has_torch, mrml_has_torch = printed.stdout.split()
    assert float(seconds) < 0.2
    assert (module_has_torch, mrml_has_torch) == ("False", "False")


def test_the_module_says_what_it_is(host):
    class Parent:
        pass

    module = InnerEarAI(Parent())
    assert module.parent.categories == ["Otolaryngology"]
    assert "research use" in module.parent.helpText.lower()


def test_the_logic_gives_the_segmenter_the_scan_and_every_choice(host, add_scan, result_for):
    seen = {}

    def segment(volume, options, progress):
        seen.update(volume=volume, options=options)
        progress.step("Predicting", 0.5)
        return result_for(volume.grid)

    steps = []
    node = add_scan()
    progress = Progress(on_step=lambda step, fraction: steps.append(step))
    nodes = InnerEarAILogic(segment).process(
        node, preset="fast", model="gold", device="cpu", ear="right", progress=progress, views=10
    )
    assert seen["volume"].name == node.GetName()
    chosen = seen["options"]
    assert (chosen.preset, chosen.model, chosen.device, chosen.ear) == ("fast", "gold", "cpu", "right")
    assert chosen.views == 10
    assert steps[0] == "Predicting"
    assert slicer.util.getNode("CT inner ear") is nodes.segmentation
    assert nodes.result.ears[0].side == "right"


def test_without_an_inner_ear_the_scene_stays_and_a_sentence_says_so(host, add_scan, result_for):
    node = add_scan(name="knee")
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="No inner ear was found in knee"):
        InnerEarAILogic(lambda volume, options, progress: result_for(volume.grid, ())).process(node)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_cancelling_before_the_scene_is_touched_leaves_it(host, add_scan, result_for):
    node = add_scan()
    count = slicer.mrmlScene.GetNumberOfNodes()
    stop = Progress(is_cancelled=lambda: True)
    with pytest.raises(Cancelled):
        InnerEarAILogic(lambda volume, options, progress: result_for(volume.grid)).process(node, progress=stop)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_without_being_asked_to_show_the_views_stay(host, add_scan, result_for, monkeypatch):
    shown = []
    monkeypatch.setattr(mrml, "show_results", lambda *arguments, **more: shown.append(arguments))
    logic = InnerEarAILogic(lambda volume, options, progress: result_for(volume.grid))
    logic.process(add_scan(), show=False)
    assert not shown
    logic.process(add_scan())
    assert len(shown) == 1


def test_a_missing_torch_is_named_with_the_way_out(host, add_scan, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("InnerEarAILib.segmenter")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RuntimeError, match=r"torch is not installed.*PyTorch extension"):
        InnerEarAILogic().process(add_scan())


def test_an_old_pytorch_beside_numpy_2_is_said_in_the_console(host, add_scan, monkeypatch):
    monkeypatch.setattr(installation, "installed_version", {"torch": "2.2.2", "numpy": "2.0.2"}.get)
    with pytest.raises(RuntimeError, match=r"PyTorch 2\.2\.2.* cannot be used with NumPy 2\.0\.2"):
        InnerEarAILogic().process(add_scan())


@pytest.mark.parametrize(
    ("installed", "words"),
    [
        ({}, "The Python package torch is not installed in Slicer. Press the button in the module Inner Ear AI"),
        ({"torch": "2.13.0"}, "The Python package safetensors is not installed in Slicer."),
        ({"torch": "2.2.2", "safetensors": "0.8", "numpy": "2.0.2"}, "cannot be used with NumPy 2.0.2"),
    ],
)
def test_a_batch_in_a_slicer_that_cannot_compute_says_why_and_reads_nothing(monkeypatch, capsys, installed, words):
    Host()
    codes = []
    monkeypatch.setattr(installation, "installed_version", installed.get)
    monkeypatch.setattr(cli, "main", lambda arguments: pytest.fail("started"))
    monkeypatch.setattr(slicer.util, "exit", codes.append)
    script = module_folder() / "Scripts" / "segment.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--", "a.nrrd", "-o", "out"])
    runpy.run_path(str(script), run_name="__main__")
    assert codes == [2]
    assert words in capsys.readouterr().err


def test_slicer_runs_a_batch_by_the_options_of_the_shell(monkeypatch):
    Host()
    calls, codes = [], []
    monkeypatch.setattr(cli, "main", lambda arguments: calls.append(arguments) or 3)
    monkeypatch.setattr(slicer.util, "exit", codes.append)
    script = module_folder() / "Scripts" / "segment.py"
    for arguments in (["--", "a.nrrd", "-o", "out"], ["a.nrrd", "-o", "out"]):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")
    assert calls == [["segment", "a.nrrd", "-o", "out"]] * 2
    assert codes == [3, 3]


def test_a_batch_over_all_volumes_does_not_take_a_result_for_a_scan(host, add_scan, result_for):
    taken = []

    def segment(volume, options, progress):
        taken.append(volume.name)
        return result_for(volume.grid)

    logic = InnerEarAILogic(segment)
    nodes = logic.process(add_scan())
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="'CT uncertainty' is the uncertainty of an earlier run"):
        logic.process(nodes.uncertainty)
    assert taken == ["CT"]
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_slicer_that_is_too_old_is_said_in_the_console(host, add_scan, monkeypatch):
    monkeypatch.setattr(installation, "sys", types.SimpleNamespace(version_info=(3, 9, 10), platform="linux"))
    with pytest.raises(RuntimeError, match=r"needs Slicer 5\.10 or newer"):
        InnerEarAILogic().process(add_scan())
