"""What can be chosen in the panel, what is said beside it, and that the scene remembers it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util

from InnerEarAILib.panel.controls import options_of
from panel.driving import add_scan

CHOICES = [
    ("earSelector", "left", "ear", "left"),
    ("earSelector", "both", "ear", "both"),
    ("presetSelector", "paper", "preset", "paper"),
    ("modelSelector", "clinical", "model", "clinical"),
    ("deviceSelector", "cpu", "device", "cpu"),
    ("viewsSelector", "1", "views", 1),
    ("regionSelector", "whole", "locate", False),
    ("regionSelector", "located", "locate", True),
    ("postprocessingSelector", "off", "postprocess", False),
    ("gridSelector", "scan", "output_grid", "scan"),
]


def choose(panel, selector, value):
    widget = getattr(panel.widget.ui, selector)
    index = widget.findData(value)
    assert index >= 0, [widget.itemData(number) for number in range(widget.count)]
    widget.currentIndex = index
    panel.settle()


def options(panel):
    return options_of(panel.widget.logic.getParameterNode())


def test_untouched_the_panel_asks_for_what_the_console_does_by_itself(panel, scan):
    assert options(panel) == {
        "preset": "standard",
        "model": "auto",
        "device": "auto",
        "ear": "auto",
        "output_grid": "fine",
        "contrast_matching": False,
    }


@pytest.mark.parametrize(("selector", "value", "option", "expected"), CHOICES)
def test_every_selector_changes_its_option_alone(panel, scan, selector, value, option, expected):
    before = options(panel)
    choose(panel, selector, value)
    assert options(panel) == {**before, option: expected}


def test_the_check_box_asks_for_contrast_matching(panel, scan):
    panel.widget.ui.contrastCheckBox.checked = True
    assert options(panel)["contrast_matching"] is True


def test_a_scene_that_is_added_leaves_the_chosen_scan(panel, scan):
    second = add_scan(panel, "second")
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    panel.settle()
    assert panel.widget.ui.inputSelector.currentNode() is second
    assert panel.widget.logic.getParameterNode().inputVolume is second


def test_a_scene_that_is_added_with_its_own_choice_brings_it(panel, scan, tmp_path):
    add_scan(panel, "second")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    panel.choose_scan(scan)
    slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    panel.settle()
    chosen = panel.widget.logic.getParameterNode().inputVolume
    assert chosen.GetName().startswith("second")
    assert panel.widget.ui.inputSelector.currentNode() is chosen


def test_a_scan_that_is_removed_is_not_replaced_by_its_neighbour(panel, scan):
    second = add_scan(panel, "second")
    add_scan(panel, "third")
    panel.choose_scan(second)
    slicer.mrmlScene.RemoveNode(second)
    panel.settle()
    assert panel.widget.ui.inputSelector.currentNode() is None
    assert panel.widget.logic.getParameterNode().inputVolume is None
    assert not panel.widget.ui.segmentButton.enabled


def test_the_list_of_scans_stays_open_while_the_user_chooses_from_it(panel, scan):
    second = add_scan(panel, "second")
    selector = panel.widget.ui.inputSelector
    selector.showPopup()
    rows = selector.view()
    rows.setCurrentIndex(selector.model().index(selector.findData(scan.GetID()), 0))
    panel.widget.logic.getParameterNode().preset = "fast"
    panel.settle()
    assert rows.isVisible()
    assert selector.currentNode() is second


def test_a_saved_scene_restores_the_panel(panel, scan, tmp_path):
    for selector, value, *_ in CHOICES:
        choose(panel, selector, value)
    panel.widget.ui.contrastCheckBox.checked = True
    chosen = options(panel)
    texts = {selector: getattr(panel.widget.ui, selector).currentText for selector, *_ in CHOICES}
    add_scan(panel, "another")
    panel.choose_scan(scan)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    panel.settle()
    assert options(panel)["preset"] == "standard"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    panel.settle()
    assert options(panel) == chosen
    assert panel.widget.ui.inputSelector.currentNode().GetName() == "CT"
    assert {selector: getattr(panel.widget.ui, selector).currentText for selector, *_ in CHOICES} == texts
    assert panel.widget.ui.contrastCheckBox.checked


def test_a_preset_says_what_it_stands_for(panel, scan):
    ui = panel.widget.ui
    assert ui.viewsSelector.currentText == "as preset: 10, more careful"
    assert "10 views round each ear." in ui.timeLabel.text
    choose(panel, "presetSelector", "fast")
    assert ui.viewsSelector.currentText == "as preset: 1, faster"
    assert "One view round each ear" in ui.timeLabel.text
    choose(panel, "presetSelector", "paper")
    assert ui.postprocessingSelector.currentText == "as preset: off: the raw output"
    assert "everywhere in the scan" in ui.timeLabel.text
    choose(panel, "viewsSelector", "1")
    assert "One view everywhere in the scan" in ui.timeLabel.text


def test_the_model_is_named_with_what_it_was_trained_on(panel, scan):
    ui = panel.widget.ui
    assert ui.modelSelector.currentText == "Automatic (clinical)"
    assert ui.modelHint.text.startswith("clinical ")
    assert "trained on simulated scans, not validated on patients." in ui.modelHint.text
    assert "research use" in ui.modelHint.toolTip
    assert ui.modelSelector.findData("locator") < 0


def test_what_another_computer_had_stays_chosen_and_is_said_to_be_missing(panel, scan):
    panel.widget.logic.getParameterNode().device = "cuda:1"
    panel.settle()
    ui = panel.widget.ui
    assert ui.deviceSelector.currentText == "cuda:1 (not here)"
    assert ui.deviceHint.text == "cuda:1 is not on this computer; choose another."


def test_an_empty_scene_says_what_to_do_first(panel):
    ui = panel.widget.ui
    assert not ui.segmentButton.enabled
    assert "Load a CT" in ui.statusLabel.text
    assert "Sample Data" in ui.statusLabel.text


def test_the_first_scan_is_chosen_when_the_module_is_opened(panel):
    node = slicer.util.addVolumeFromArray(np.zeros((20, 20, 20), np.int16), np.diag([-1, -1, 1, 1.0]), "CT")
    panel.settle()
    assert panel.widget.ui.statusLabel.text == "Choose the CT volume above."
    panel.enter()
    assert panel.widget.ui.inputSelector.currentNode() is node


def test_a_scene_opened_while_another_module_is_used_gets_no_parameter_node(panel):
    panel.leave()
    with_singletons = 1
    slicer.mrmlScene.Clear(with_singletons)
    panel.settle()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode") is None
    panel.enter()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode") is not None


def test_label_maps_are_not_offered(panel):
    slicer.util.addVolumeFromArray(
        np.zeros((20, 20, 20), np.uint8), np.eye(4), "labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    panel.settle()
    panel.enter()
    assert panel.widget.ui.inputSelector.count == 1
    assert panel.widget.ui.inputSelector.currentNode() is None


@pytest.mark.parametrize(
    ("spacing", "shape", "words"),
    [(9.0, (20, 20, 20), "too coarse for an inner ear"), (1e-4, (20, 20, 20), "spacing in metres")],
)
def test_what_cannot_be_an_ear_ct_is_refused_before_the_click(panel, spacing, shape, words):
    node = slicer.util.addVolumeFromArray(
        np.zeros(shape, np.int16), np.diag([-spacing, -spacing, spacing, 1]), "strange"
    )
    panel.choose_scan(node)
    assert not panel.widget.ui.segmentButton.enabled
    assert words in panel.widget.ui.statusLabel.text


def test_a_damaged_model_is_said_and_nothing_breaks(panel, scan, tmp_path, monkeypatch):
    (tmp_path / "models" / "clinical").mkdir(parents=True)
    (tmp_path / "models" / "clinical" / "model.json").write_text("{")
    monkeypatch.setenv("INNEREARAI_MODELS", str(tmp_path / "models"))
    choose(panel, "presetSelector", "fast")
    assert "is not valid JSON" in panel.widget.ui.modelHint.text
    panel.widget.ui.segmentButton.click()
    assert "is not valid JSON" in panel.widget.ui.statusLabel.text


def test_every_control_has_a_tooltip_and_every_selector_a_key(panel):
    ui = panel.widget.ui
    controls = [name for name in vars(ui) if name.endswith(("Selector", "CheckBox", "saveButton", "removeButton"))]
    assert len(controls) >= 12
    assert [name for name in controls if not getattr(ui, name).toolTip] == []
    keys = [label.text.partition("&")[2][:1].lower() for name, label in vars(ui).items() if name.endswith("Label")]
    keys = [key for key in keys if key]
    assert len(keys) == 10
    assert len(set(keys)) == 10, keys


def test_what_was_loaded_while_the_scene_was_busy_is_shown_when_it_no_longer_is(panel):
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    slicer.util.addVolumeFromArray(np.zeros((20, 20, 20), np.int16), np.diag([-1, -1, 1, 1.0]), "CT")
    panel.settle()
    assert "Load a CT" in panel.widget.ui.statusLabel.text
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    panel.settle()
    assert panel.widget.ui.statusLabel.text == "Choose the CT volume above."
