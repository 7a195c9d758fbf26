"""The module reloaded, by Slicer's own function: nothing of the old panel goes on."""

from __future__ import annotations

import sys

import pytest
import slicer
import slicer.util

from InnerEarAILib.panel.panel import Panel
from panel.driving import FINDS_TWO_EARS, HEARS_NOTHING, add_scan, finish, start


def reload_module(panel, monkeypatch):
    monkeypatch.setitem(sys.modules, "InnerEarAI", sys.modules["InnerEarAI"])
    slicer.modules.innerearai.widgetRepresentation = lambda: panel.parent
    slicer.modules.InnerEarAIWidget = panel.widget
    panel.parent.reload = panel.make
    slicer.util.reloadScriptedModule("InnerEarAI")
    panel.settle()


def test_reloading_ends_a_run_and_gives_a_panel_with_the_same_choices(panel, scan, answers, monkeypatch):
    ui = panel.widget.ui
    ui.presetSelector.currentIndex = ui.presetSelector.findData("fast")
    answers(HEARS_NOTHING)
    start(panel)
    old, process = panel.widget, panel.widget.panel._run._child._process
    reload_module(panel, monkeypatch)
    assert process.poll() is not None
    assert panel.widget is not old
    assert type(panel.widget) is not type(old)
    assert old.Observations == []
    ui = panel.widget.ui
    assert ui.presetSelector.itemData(ui.presetSelector.currentIndex) == "fast"
    assert ui.inputSelector.currentNode() is scan
    answers(FINDS_TWO_EARS)
    assert "Found" in finish(panel)


def test_a_reloaded_panel_looks_at_the_computer(panel, scan, monkeypatch):
    looked = []
    monkeypatch.setattr(Panel, "look_at_computer", lambda panel: looked.append(panel))
    reload_module(panel, monkeypatch)
    assert looked == [panel.widget.panel]


@pytest.fixture
def library_as_before():
    """The library's modules of the other tests, once more when the test is over."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("InnerEarAI")}
    yield
    for name in [name for name in sys.modules if name.startswith("InnerEarAI")]:
        del sys.modules[name]
    sys.modules.update(before)


def test_developers_reload_takes_up_the_library_as_it_is_on_the_disk(panel, scan, library_as_before):
    before = sys.modules["InnerEarAILib.panel.hints"]
    slicer.modules.innerearai.widgetRepresentation = lambda: panel.parent
    slicer.modules.InnerEarAIWidget = panel.widget
    panel.parent.reload = panel.make
    panel.widget.moduleName = "InnerEarAI"
    panel.widget.onReload()
    panel.settle()
    assert sys.modules["InnerEarAILib.panel.hints"] is not before
    assert panel.widget.ui.segmentButton.enabled


def test_the_old_panel_no_longer_follows_the_scene(panel, scan, monkeypatch):
    old = panel.widget
    reload_module(panel, monkeypatch)
    said = old.ui.statusLabel.text
    slicer.mrmlScene.Clear()
    panel.settle()
    assert old.ui.statusLabel.text == said
    assert "Load a CT" in panel.widget.ui.statusLabel.text
    add_scan(panel, "next")
    assert panel.widget.ui.segmentButton.enabled


def test_a_choice_in_the_old_panel_changes_nothing(panel, scan, monkeypatch):
    old = panel.widget
    reload_module(panel, monkeypatch)
    old.ui.presetSelector.currentIndex = old.ui.presetSelector.findData("fast")
    panel.settle()
    assert panel.widget.logic.getParameterNode().preset == "standard"
    assert old.panel._parameters is None
