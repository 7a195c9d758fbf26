"""What the panel knows of the computer: the probe, the settings, and the time that it tells."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from host.panel_window import PanelWindow
from InnerEarAILib.panel import computer, computer_watch, installation, probe
from InnerEarAILib.panel import panel as panel_module
from InnerEarAILib.panel.computer import Computer
from InnerEarAILib.time_estimate import Speed
from panel.conftest import COMPUTER
from panel.driving import FINDS_TWO_EARS, add_scan, finish, wait_until

SPEEDS = [
    {"event": "speed", "model": model, "device": device, "precision": "float32", "seconds_per_tile": seconds}
    for model, device, seconds in (
        ("clinical", "cuda:0", 0.05),
        ("locator", "cuda:0", 0.02),
        ("clinical", "cpu", 2.0),
        ("locator", "cpu", 1.0),
    )
]
STARTED = {"event": "started", "torch": "2.13.0", "seconds": 3.0}
CPU = {"event": "device", "name": "cpu", "description": "CPU, 8 threads"}
GPU = {"event": "device", "name": "cuda:0", "description": "NVIDIA RTX 4090, 24 GB"}
NO_GPU = {"event": "no_gpu", "reason": "PyTorch 2.13.0+cpu has no CUDA support"}
PROBED = {"event": "probed", "seconds": 5.0}


@pytest.fixture
def opened(host, settings):
    """Opens the panel on a computer that was never looked at; closes all at the end."""
    windows = []

    def open_panel():
        windows.append(PanelWindow(host, settings))
        return windows[-1]

    yield open_panel
    for window in windows:
        window.close()


def probed(window):
    wait_until(window, lambda: "Looking" not in window.widget.ui.deviceHint.text)
    return window.widget.ui


def test_until_it_is_known_the_panel_says_so_and_can_be_used(opened, probe_says):
    probe_says(STARTED, seconds=60)
    window = opened()
    add_scan(window, "CT")
    ui = window.widget.ui
    assert "Measuring how fast this computer is" in ui.timeLabel.text
    assert ui.deviceHint.text == "Looking for a GPU…"
    assert ui.segmentButton.enabled


def test_a_gpu_is_named_and_makes_runs_short(opened, probe_says):
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    window = opened()
    add_scan(window, "CT")
    ui = probed(window)
    assert ui.deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."
    assert ui.deviceSelector.findText("NVIDIA RTX 4090, 24 GB (cuda:0)") == ui.deviceSelector.findData("cuda:0") > 0
    assert "About 5 seconds on this computer." in ui.timeLabel.text
    ui.deviceSelector.currentIndex = ui.deviceSelector.findData("cpu")
    assert "About 25 seconds on this computer." in ui.timeLabel.text
    assert ui.deviceHint.text == "The CPU is used, 8 threads; a GPU would be faster."


def test_no_gpu_is_said_with_the_reason_and_what_can_be_done(opened, probe_says):
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    ui = probed(opened())
    assert ui.deviceHint.text == ("No GPU found: PyTorch 2.13.0+cpu has no CUDA support. The CPU is used, 8 threads.")
    assert "reinstall PyTorch" in ui.deviceHint.toolTip


def is_looked_at(window):
    wait_until(window, lambda: not window.widget.panel._computer.is_probing)
    return window.widget.ui


def test_what_was_found_is_shown_at_once_at_the_next_start(opened, probe_says):
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    probed(opened())
    probe_says(STARTED, seconds=60)
    window = opened()
    add_scan(window, "CT")
    assert window.widget.ui.deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."
    assert "About 5 seconds on this computer." in window.widget.ui.timeLabel.text


@pytest.fixture
def children(monkeypatch):
    """The probes' processes, also of those that are over."""
    started = []

    class Kept(probe.Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(probe, "Child", Kept)
    return started


def test_devices_that_are_as_they_were_are_not_measured_again(opened, probe_says, children):
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    probed(opened())
    # It would measure for a minute.
    probe_says(STARTED, GPU, CPU, seconds=60)
    window = opened()
    add_scan(window, "CT")
    ui = is_looked_at(window)
    assert len(children) == 2
    # Killed: by itself it would have ended with 0.
    assert children[1]._process.poll() not in (None, 0)
    assert ui.deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."
    assert "About 5 seconds on this computer." in ui.timeLabel.text
    assert not ui.logButton.visible


def test_a_gpu_that_has_come_is_found_at_the_next_start(opened, probe_says):
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    assert "No GPU found" in probed(opened()).deviceHint.text
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    assert is_looked_at(opened()).deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."


def test_a_gpu_that_has_gone_is_missed_at_the_next_start(opened, probe_says):
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    probed(opened())
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    ui = is_looked_at(opened())
    assert "No GPU found" in ui.deviceHint.text
    assert ui.deviceSelector.findData("cuda:0") < 0


def test_it_is_looked_at_once_in_a_session(opened, probe_says):
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    window = opened()
    is_looked_at(window)
    window.leave()
    window.enter()
    assert not window.widget.panel._computer.is_probing


def test_another_pytorch_makes_it_look_again(opened, probe_says, monkeypatch):
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    probed(opened())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    assert "No GPU found" in probed(opened()).deviceHint.text


def test_a_probe_that_fails_is_said_and_hinders_nothing(opened, probe_says, monkeypatch):
    probe_says(STARTED, {"event": "error", "kind": "model", "sentence": "The weights are damaged."}, exit_code=2)
    window = opened()
    add_scan(window, "CT")
    ui = probed(window)
    assert "could not be found out" in ui.deviceHint.text
    assert "not known" in ui.timeLabel.text
    assert ui.segmentButton.enabled
    assert ui.logButton.visible
    shown = []
    monkeypatch.setattr(panel_module, "show_log", shown.append)
    ui.logButton.click()
    assert "The weights are damaged." in shown[0]


def test_a_click_goes_before_the_probe_which_is_made_up_for_afterwards(opened, probe_says, answers):
    probe_says(STARTED, seconds=60)
    window = opened()
    add_scan(window, "CT")
    answers(FINDS_TWO_EARS)
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    assert "Found" in finish(window)
    assert "NVIDIA" in probed(window).deviceHint.text


def test_without_pytorch_nothing_is_started_and_it_is_said(opened, probe_says, monkeypatch):
    monkeypatch.setattr(installation, "installed_version", lambda name: None)
    probe_says(STARTED, CPU, PROBED)
    window = opened()
    assert "not installed yet" in window.widget.ui.deviceHint.text
    assert "once what the networks need is installed" in window.widget.ui.timeLabel.text
    assert not window.widget.panel._computer.is_probing


@pytest.fixture
def installed(monkeypatch):
    """What is installed, for the watch and the installation: a dictionary that a test changes."""
    there = {"torch": "2.13.0", "safetensors": "0.8"}
    for part in (installation, computer_watch):
        monkeypatch.setattr(part, "installed_version", there.get)
    return there


def test_a_torch_of_another_extension_is_not_probed_before_all_is_there(opened, probe_says, installed):
    del installed["safetensors"]
    probe_says({"event": "error", "kind": "unexpected", "sentence": "No module named 'safetensors'"}, exit_code=1)
    window = opened()
    add_scan(window, "CT")
    ui = window.widget.ui
    assert not window.widget.panel._computer.is_probing
    assert "not installed yet" in ui.deviceHint.text
    assert "once what the networks need is installed" in ui.timeLabel.text
    assert not ui.logButton.visible
    installed["safetensors"] = "0.8"
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    window.enter()
    assert probed(window).deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."


@pytest.mark.parametrize("unfit", ["PyTorch 2.9", "Python 3.9"])
def test_what_is_unfit_is_not_probed(opened, probe_says, installed, monkeypatch, unfit):
    if unfit == "PyTorch 2.9":
        installed["torch"] = "2.9.1"
    else:
        monkeypatch.setattr(installation, "sys", SimpleNamespace(version_info=(3, 9, 10), platform="linux"))
    probe_says(STARTED, seconds=60)
    window = opened()
    assert not window.widget.panel._computer.is_probing
    assert unfit in window.widget.ui.deviceHint.text


def test_a_probe_that_failed_is_made_again_when_the_module_is_next_opened(opened, probe_says):
    probe_says(STARTED, exit_code=1)
    window = opened()
    assert "could not be found out" in probed(window).deviceHint.text
    probe_says(STARTED, GPU, CPU, *SPEEDS, PROBED)
    window.leave()
    window.enter()
    assert probed(window).deviceHint.text == "Found: NVIDIA RTX 4090, 24 GB."
    assert not window.widget.ui.logButton.visible


def test_a_pytorch_that_was_replaced_in_the_session_is_measured_anew(opened, probe_says, installed):
    probe_says(STARTED, NO_GPU, CPU, *SPEEDS[2:], PROBED)
    window = opened()
    add_scan(window, "CT")
    assert "About 25 seconds" in is_looked_at(window).timeLabel.text
    installed["torch"] = "2.14.0"
    faster = [{**speed, "seconds_per_tile": speed["seconds_per_tile"] / 4} for speed in SPEEDS[2:]]
    probe_says(STARTED, NO_GPU, CPU, *faster, PROBED)
    window.enter()
    assert "About 10 seconds" in is_looked_at(window).timeLabel.text


def test_closing_the_panel_ends_the_probe(opened, probe_says):
    probe_says(STARTED, seconds=60)
    window = opened()
    process = window.widget.panel._computer._probe._child._process
    window.widget.cleanup()
    # Killed: by itself it would have ended with 0.
    assert process.poll() not in (None, 0)


def test_a_run_teaches_the_panel_its_speed(panel, scan, answers):
    answers(FINDS_TWO_EARS)
    before = panel.widget.ui.timeLabel.text
    finish(panel)
    assert before != panel.widget.ui.timeLabel.text
    assert "4 minutes" in panel.widget.ui.timeLabel.text


def test_what_is_kept_comes_back_and_what_is_damaged_counts_as_nothing():
    assert Computer.from_json(COMPUTER.to_json()) == COMPUTER
    for text in ("", "{", "[]", "null", '{"identity": 1}', replace(COMPUTER, identity="another").to_json()):
        assert Computer.from_json(text) is None
    slower = Speed("clinical", "cpu", "float32", 9.0)
    assert COMPUTER.with_speed(slower).speeds == (COMPUTER.speeds[1], slower)


def test_without_a_locator_the_panel_says_what_to_choose(panel, scan, monkeypatch):
    without = [card for card in computer.list_models() if card.role == "segmenter"]
    monkeypatch.setattr(computer, "list_models", lambda: without)
    panel.widget.enter()
    panel.widget.ui.segmentButton.click()
    assert "choose the whole scan to look at" in panel.widget.ui.statusLabel.text
    assert "locator" in panel.widget.ui.modelHint.text
