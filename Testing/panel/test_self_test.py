"""The module's self test: it passes on the shipped models, and not on a result that is wrong."""

from __future__ import annotations

import sys
import unittest

import numpy as np
import pytest
import slicer

import InnerEarAI as module
from InnerEarAILib.panel import installation, run_record
from InnerEarAILib.phantom import phantom
from library.scans import painted_ear, scan_result


@pytest.mark.slow
def test_the_self_test_passes_on_the_shipped_models(panel):
    module.InnerEarAITest().runTest()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is not None


def test_the_self_test_fails_where_the_labyrinth_is_elsewhere(panel, monkeypatch):
    from InnerEarAILib.volume import Volume

    scan = Volume(np.zeros((30, 30, 30), np.int16), np.eye(4), "phantom")
    truth = phantom.PhantomScan(scan, Volume(np.eye(30, dtype=np.uint8)[None].repeat(30, 0), np.eye(4)), scan, {}, {})
    monkeypatch.setattr(phantom, "embedded_phantom", lambda: truth)

    def wrong(volume, options, progress):
        return scan_result([painted_ear("right", (15, 15, 15))], volume.name, volume.grid)

    monkeypatch.setattr(module.InnerEarAILogic, "_segmenter", lambda self: self._segment or wrong)
    with pytest.raises(AssertionError, match="not greater than 0"):
        module.InnerEarAITest().runTest()


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(installation, "installed_version", lambda name: None)
    # The phantom is drawn with torch: without it the file that draws it cannot be imported.
    monkeypatch.setitem(sys.modules, phantom.__name__, None)


def test_without_torch_the_self_test_says_that_the_phantom_was_skipped(panel, without_torch, caplog):
    module.InnerEarAITest().runTest()
    assert "test_PhantomIsFoundWhereItIs was skipped" in caplog.text
    assert "The Python package torch is not installed in Slicer." in caplog.text


def run_as_slicer_does() -> unittest.TestResult:
    """As slicer.testing.runUnitTest."""
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(module.InnerEarAITest).run(result)
    return result


def test_without_torch_a_test_run_of_slicer_skips_the_phantom_alone(panel, without_torch):
    result = run_as_slicer_does()
    ((test, reason),) = result.skipped
    assert test.id().endswith("test_PhantomIsFoundWhereItIs")
    assert "torch is not installed" in reason
    assert result.testsRun == 3
    assert result.wasSuccessful(), result.failures + result.errors


def test_the_self_test_fails_where_results_do_not_come_into_the_scene(panel, without_torch, monkeypatch):
    monkeypatch.setattr(run_record, "latest_run", lambda scene, node: None)
    monkeypatch.setattr("InnerEarAILib.panel.panel.latest_run", lambda scene, node: None)
    result = run_as_slicer_does()
    assert len(result.errors + result.failures) == 2


def test_where_there_are_no_widgets_the_panel_is_skipped_as_well(host, without_torch, monkeypatch):
    monkeypatch.delattr(slicer, "qMRMLWidget")
    assert len(run_as_slicer_does().skipped) == 2
