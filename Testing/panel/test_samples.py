"""The phantoms in Sample Data: registered, drawn once on this computer, kept."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import slicer
import slicer.util

from host.runtime import module_folder
from InnerEarAI import InnerEarAI
from InnerEarAILib.panel import samples
from InnerEarAILib.phantom.samples import main
from library.scans import noisy_scan

DRAW = """
import sys
from pathlib import Path
from InnerEarAILib.scan_files import write_volume
sys.path.append({testing!r})
from library.scans import noisy_scan
write_volume(Path(sys.argv[-1]), noisy_scan())
"""


@pytest.fixture
def dialog(monkeypatch):
    """The progress dialog that Slicer would show."""
    shown = types.SimpleNamespace(wasCanceled=False, closed=False, show=lambda: None)
    shown.close = lambda: setattr(shown, "closed", True)
    monkeypatch.setattr(slicer.util, "createProgressDialog", lambda **more: shown)
    return shown


@pytest.fixture
def drawn_by(monkeypatch):
    """Lets the drawing process run a script; the list has how often it was started."""
    starts = []

    def by(script):
        def command(module, *rest):
            starts.append(module)
            return [sys.executable, "-c", script, *rest]

        monkeypatch.setattr(samples, "python_command", command)
        return starts

    return by


EAR = types.SimpleNamespace(sampleName="InnerEarPhantom")


def test_both_phantoms_are_registered_when_slicer_has_started(panel, monkeypatch):
    registered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    InnerEarAI(types.SimpleNamespace())
    (signal, register) = slicer.app.connections[-1]
    assert signal == "startupCompleted()"
    register()
    assert [source["sampleName"] for source in registered] == ["InnerEarPhantom", "InnerEarHeadPhantom"]
    for source in registered:
        assert Path(source["thumbnailFileName"]).is_file()
        assert Path(source["thumbnailFileName"]).is_relative_to(module_folder())
        assert source["customDownloader"] is samples.load_sample


def test_a_phantom_is_drawn_once_and_then_kept(panel, dialog, drawn_by):
    starts = drawn_by(DRAW.format(testing=str(Path(__file__).parents[1])))
    (first,) = samples.load_sample(EAR)
    (second,) = samples.load_sample(EAR)
    assert (first.GetName(), second.GetName()) == ("InnerEarPhantom", "InnerEarPhantom_1")
    assert (slicer.util.arrayFromVolume(second) == noisy_scan().voxels).all()
    assert starts == ["InnerEarAILib.phantom.samples"]
    assert dialog.closed


def test_waiting_can_be_cancelled_and_leaves_nothing(panel, dialog, drawn_by):
    drawn_by("import time; time.sleep(60)")
    dialog.wasCanceled = True
    assert samples.load_sample(EAR) == []
    assert not samples.cached_file("ear").exists()
    assert list(samples.cached_file("ear").parent.glob(".drawing*")) == []
    assert dialog.closed


def test_a_phantom_that_cannot_be_drawn_says_why_in_a_window(panel, dialog, drawn_by, monkeypatch):
    said = []
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **more: said.append(text))
    drawn_by("import sys; sys.exit('no room on the disk')")
    with pytest.raises(RuntimeError, match="no room on the disk"):
        samples.load_sample(EAR)
    assert "no room on the disk" in said[0]
    assert not samples.cached_file("ear").exists()


def test_nothing_is_drawn_where_the_installation_is_declined(panel, dialog, drawn_by, monkeypatch):
    starts = drawn_by("")
    monkeypatch.setattr(samples, "missing_packages", lambda: ("torch",))
    monkeypatch.setattr(samples, "consent_to", lambda missing: False)
    assert samples.load_sample(EAR) == []
    assert starts == []


def test_the_drawing_process_refuses_what_it_does_not_know(capsys):
    assert main(["nose", "file.nrrd"]) == 2
    assert "ear|head" in capsys.readouterr().err


def test_a_file_that_is_still_held_when_waiting_was_cancelled_hinders_nothing(panel, dialog, drawn_by, monkeypatch):
    def held(path, *arguments, **more):
        # As on Windows, where the folder cannot be removed.
        raise PermissionError(path)

    drawn_by("import time; time.sleep(60)")
    dialog.wasCanceled = True
    with monkeypatch.context() as windows:
        windows.setattr("os.rmdir", held)
        assert samples.load_sample(EAR) == []
    assert not samples.cached_file("ear").exists()
    assert dialog.closed


def test_a_pytorch_that_cannot_draw_is_said_and_nothing_is_asked(panel, dialog, drawn_by, monkeypatch):
    starts = drawn_by("")
    monkeypatch.setattr(samples, "numpy_conflict", lambda: "PyTorch 2.2.2 cannot be used with NumPy 2.0.2.")
    monkeypatch.setattr(samples, "consent_to", lambda missing: pytest.fail("asked"))
    with pytest.raises(samples.InstallationError, match="cannot be used with NumPy"):
        samples.load_sample(EAR)
    assert starts == []


def test_the_window_that_waits_is_there_at_once_and_takes_every_click(panel, drawn_by, monkeypatch):
    seen = []
    process_events = slicer.app.processEvents

    def look():
        process_events()
        windows = [window for window in slicer.app.topLevelWidgets() if hasattr(window, "wasCanceled")]
        seen.extend((window.visible, window.modal) for window in windows)

    monkeypatch.setattr(slicer.app, "processEvents", look)
    drawn_by(DRAW.format(testing=str(Path(__file__).parents[1])))
    samples.load_sample(EAR)
    assert seen[0] == (True, True)


def test_a_second_click_while_it_is_drawn_draws_no_second_one(panel, dialog, drawn_by, monkeypatch):
    starts = drawn_by(DRAW.format(testing=str(Path(__file__).parents[1])))
    refused = []
    process_events = slicer.app.processEvents

    def click_again():
        process_events()
        if not refused:
            with pytest.raises(RuntimeError, match="being drawn already") as error:
                samples.load_sample(types.SimpleNamespace(sampleName="InnerEarHeadPhantom"))
            refused.append(error)

    monkeypatch.setattr(slicer.app, "processEvents", click_again)
    (node,) = samples.load_sample(EAR)
    assert node.GetName() == "InnerEarPhantom"
    assert len(refused) == len(starts) == 1
    samples.cached_file("ear").unlink()
    assert samples.load_sample(EAR)


def test_a_slicer_that_is_too_old_draws_nothing(panel, dialog, drawn_by, monkeypatch):
    starts = drawn_by("")
    monkeypatch.setattr(samples, "slicer_too_old", lambda: "InnerEarAI needs Slicer 5.10 or newer.")
    with pytest.raises(samples.InstallationError, match="needs Slicer"):
        samples.load_sample(EAR)
    assert starts == []
