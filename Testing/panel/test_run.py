"""A run from the panel: its course, its ends, and what happens to the scene meanwhile."""

from __future__ import annotations

import os
import tempfile
import time

import pytest
import slicer

from InnerEarAILib.panel.child import GRACE_SECONDS
from InnerEarAILib.panel.panel import LOOK_AGAIN_MILLISECONDS
from InnerEarAILib.panel.run import Run
from InnerEarAILib.scan_result_files import write_scan_result
from library.scans import noisy_scan, scan_result
from panel.driving import (
    FINDS_TWO_EARS,
    HEARS_NOTHING,
    LISTENS,
    add_scan,
    finish,
    is_running,
    node_ids,
    start,
    wait_until,
)


@pytest.fixture
def job_folders(tmp_path, monkeypatch):
    """Tells the folders of jobs; other runs on the computer have theirs elsewhere."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    return lambda: {folder.name for folder in temporary.glob("InnerEarAI-*") if "-probe-" not in folder.name}


def test_a_run_brings_both_ears_into_the_scene_and_says_so(job_folders, panel, scan, worker_answers):
    worker_answers("""
        from library.scans import painted_ear, scan_result
        progress.step("Segmenting", 0.5)
        centre = volume.grid.centre_lps
        ears = [painted_ear("right", centre - (8, 0, 0), 0.4), painted_ear("left", centre + (8, 0, 0), 0.4)]
        return scan_result(ears, volume.name, volume.grid)
    """)
    status = finish(panel)
    assert status.startswith("Found in 5 seconds: right and left ear.")
    assert "A note." in status
    assert slicer.util.getNode("CT inner ear").GetSegmentation().GetNumberOfSegments() == 2
    assert not panel.widget.ui.progressBar.visible
    assert job_folders() == set()


def test_the_child_gets_every_choice(panel, scan, worker_answers):
    worker_answers('raise InputError(" ".join(f"{key}={value}" for key, value in sorted(options.items())))')
    ui = panel.widget.ui
    ui.presetSelector.currentIndex = ui.presetSelector.findData("fast")
    ui.earSelector.currentIndex = ui.earSelector.findData("left")
    ui.viewsSelector.currentIndex = ui.viewsSelector.findData("10")
    ui.regionSelector.currentIndex = ui.regionSelector.findData("whole")
    assert finish(panel) == (
        "contrast_matching=False device=auto ear=left locate=False model=auto output_grid=fine preset=fast views=10"
    )


def test_while_it_runs_the_button_cancels_and_the_choices_wait(panel, scan, answers):
    answers(LISTENS)
    ui = panel.widget.ui
    start(panel)
    assert ui.segmentButton.text == "Cancel"
    assert ui.progressBar.visible
    assert "Segmenting, 25%. About" in ui.statusLabel.text
    assert not ui.presetSelector.enabled
    assert not ui.inputSelector.enabled
    ui.segmentButton.click()
    wait_until(panel, lambda: not is_running(panel))
    assert ui.presetSelector.enabled


@pytest.mark.parametrize("child", [LISTENS, HEARS_NOTHING], ids=["listens", "hears nothing"])
def test_cancel_takes_effect_within_a_second_and_leaves_nothing(job_folders, panel, scan, answers, child):
    before = node_ids()
    answers(child)
    start(panel)
    assert len(job_folders()) == 1
    process = panel.widget.panel._run._child._process
    panel.widget.ui.segmentButton.click()
    assert panel.widget.ui.segmentButton.text == "Cancelling…"
    # The second is told by what is waited for, not by the clock of a computer that may be busy; the child that hears
    # nothing would live for longer than this waits.
    assert GRACE_SECONDS + LOOK_AGAIN_MILLISECONDS / 1000 < 0.8
    wait_until(panel, lambda: not is_running(panel))
    assert process.poll() is not None
    assert panel.widget.ui.statusLabel.text == "Cancelled; nothing was added to the scene."
    assert node_ids() == before
    assert job_folders() == set()


def test_a_gpu_that_is_too_small_can_be_left_for_the_cpu(answers):
    answers('say("error", kind="memory", sentence="…")')
    work = Run(noisy_scan(), {})
    while (outcome := work.poll()) is None:
        time.sleep(0.02)
    work.close()
    assert "memory of the GPU" in outcome.sentence
    assert "choose the CPU as device" in outcome.sentence


def test_no_ear_is_said_with_a_question(panel, scan, answers, tmp_path):
    before = node_ids()
    write_scan_result(tmp_path / "none.npz", scan_result([]))
    answers(f"result = {str(tmp_path / 'none.npz')!r}\n{FINDS_TWO_EARS}")
    assert finish(panel).startswith("No inner ear was found in CT; is it a CT of a temporal bone or a head?")
    assert node_ids() == before


@pytest.mark.parametrize(
    ("body", "words", "log_is_offered"),
    [
        ('say("error", kind="input", sentence="The scan is a knee.")', ["The scan is a knee."], False),
        ('say("error", kind="memory", sentence="…")', ["computer's memory was too small", "one view"], True),
        ('say("error", kind="unexpected", sentence="A bug.")', ["A bug.", "report it"], True),
        ("os._exit(3)", ["crashed (exit code 3)", "another device"], True),
        ("os.kill(os.getpid(), 9)", ["exit code -9", "memory ran out", "crop the scan", "report it"], True),
        ("import no_such_module", ["No module named 'no_such_module'", "Slicer did not", "report it"], True),
        ("os._exit(1)", ["exit code 1", "memory ran out", "crop the scan", "another device", "report it"], True),
        ('say("result", path=folder + "/result.npz", seconds=1)', ["The result could not be read"], True),
    ],
    ids=[
        "input",
        "memory",
        "bug",
        "crash",
        "killed",
        "nothing to import",
        "killed behind Slicer's launcher",
        "result lost",
    ],
)
def test_a_failure_is_a_sentence_with_a_way_out_and_the_scene_stays(panel, scan, answers, body, words, log_is_offered):
    if "kill" in body and os.name == "nt":
        pytest.skip("signals are POSIX")
    before = node_ids()
    answers(body)
    status = finish(panel)
    for one in words:
        assert one in status
    assert node_ids() == before
    assert panel.widget.ui.segmentButton.enabled
    assert panel.widget.ui.logButton.visible == log_is_offered


def test_the_log_is_one_click_away_and_names_no_scan(panel, worker_answers):
    add_scan(panel, "Jane Doe")
    worker_answers("print('said by a library'); raise ZeroDivisionError('a bug')")
    finish(panel)
    panel.widget.ui.logButton.click()
    (text,) = [
        child.plainText
        for window in panel.application.topLevelWidgets()
        for child in window.children()
        if getattr(child, "name", "") == "logText"
    ]
    for one in ("InnerEarAI 0", "torch 2", "'preset': 'standard'", "said by a library", "Traceback", "a bug"):
        assert one in text
    assert "Jane Doe" not in text


def test_closing_the_scene_ends_the_run(panel, scan, answers):
    answers(HEARS_NOTHING)
    start(panel)
    process = panel.widget.panel._run._child._process
    slicer.mrmlScene.Clear()
    panel.settle()
    assert process.poll() is not None
    assert not is_running(panel)
    assert panel.widget.ui.statusLabel.text == "Cancelled, as the scene was closed."
    assert not panel.widget.ui.segmentButton.enabled
    assert add_scan(panel, "next")
    assert panel.widget.ui.segmentButton.enabled


def test_removing_the_scan_ends_the_run(panel, scan, answers):
    answers(HEARS_NOTHING)
    start(panel)
    process = panel.widget.panel._run._child._process
    slicer.mrmlScene.RemoveNode(scan)
    panel.settle()
    assert process.poll() is not None
    assert not is_running(panel)
    assert panel.widget.ui.statusLabel.text == "Cancelled, as the scan was removed from the scene."
    assert panel.widget.ui.inputSelector.currentNode() is None


def test_another_module_may_be_opened_while_it_runs(panel, scan, answers):
    answers(FINDS_TWO_EARS)
    panel.widget.ui.segmentButton.click()
    panel.leave()
    wait_until(panel, lambda: not is_running(panel))
    panel.enter()
    assert "Found" in panel.widget.ui.statusLabel.text


def test_two_runs_in_a_row_give_two_results(panel, scan, answers):
    answers(FINDS_TWO_EARS)
    finish(panel)
    first = node_ids()
    finish(panel)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert names == ["CT inner ear", "CT inner ear_1"]
    panel.widget.ui.removeButton.click()
    panel.settle()
    assert node_ids() == first
    assert "CT inner ear: preset " in panel.widget.ui.resultsCaption.text


def test_results_that_stand_below_a_failure_are_said_to_be_earlier_ones(panel, scan, answers):
    answers('say("error", kind="input", sentence="The scan is a knee.")')
    assert finish(panel) == "The scan is a knee."
    answers(FINDS_TWO_EARS)
    finish(panel)
    answers('say("error", kind="input", sentence="The scan is a knee.")')
    assert finish(panel) == "The scan is a knee.\nThe results below are of an earlier run."
    assert panel.widget.ui.resultsButton.visible


def test_results_that_stand_below_a_run_without_an_ear_are_said_to_be_earlier_ones(panel, scan, answers, tmp_path):
    answers(FINDS_TWO_EARS)
    finish(panel)
    write_scan_result(tmp_path / "none.npz", scan_result([]))
    answers(f"result = {str(tmp_path / 'none.npz')!r}\n{FINDS_TWO_EARS}")
    said = finish(panel)
    assert said.startswith("No inner ear was found in CT")
    assert said.endswith("\nThe results below are of an earlier run.")


def test_closing_the_panel_ends_the_run(panel, scan, answers):
    answers(HEARS_NOTHING)
    start(panel)
    process = panel.widget.panel._run._child._process
    panel.widget.cleanup()
    assert process.poll() is not None


def test_a_result_that_cannot_be_added_leaves_the_scene_and_a_log(panel, scan, answers, monkeypatch):
    from InnerEarAILib import mrml

    def fail(*arguments):
        raise RuntimeError("no colour")

    before = node_ids()
    monkeypatch.setattr(mrml, "_add_uncertainty", fail)
    answers(FINDS_TWO_EARS)
    assert finish(panel) == "The results could not be added to the scene (no colour)."
    assert node_ids() == before
    assert panel.widget.ui.logButton.visible


def test_a_full_disk_is_said(panel, scan, monkeypatch):
    from InnerEarAILib.panel import run

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(run, "write_job", fail)
    assert "could not be started (No space left on device)" in finish(panel)
