"""The module's self test: it passes on the shipped models, and not on a result that is wrong."""

from __future__ import annotations

import unittest

import numpy as np
import pytest
import slicer

import InnerEarAI as module
from InnerEarAILib.panel import installation
from InnerEarAILib.phantom import phantom
from library.scans import painted_ear, scan_result


@pytest.mark.slow
def test_the_self_test_passes_on_the_shipped_models(host):
    module.InnerEarAITest().runTest()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is not None


def test_the_self_test_fails_where_the_labyrinth_is_elsewhere(host, monkeypatch):
    from InnerEarAILib.volume import Volume

    scan = Volume(np.zeros((30, 30, 30), np.int16), np.eye(4), "phantom")
    truth = phantom.PhantomScan(scan, Volume(np.eye(30, dtype=np.uint8)[None].repeat(30, 0), np.eye(4)), scan, {}, {})
    monkeypatch.setattr(phantom, "embedded_phantom", lambda: truth)

    def wrong(volume, options, progress):
        return scan_result([painted_ear("right", (15, 15, 15))], volume.name, volume.grid)

    monkeypatch.setattr(module.InnerEarAILogic, "_segmenter", lambda self: wrong)
    with pytest.raises(AssertionError, match="not greater than 0"):
        module.InnerEarAITest().runTest()


def test_without_torch_the_self_test_says_that_nothing_was_tested(host, monkeypatch, caplog):
    monkeypatch.setattr(installation, "installed_version", lambda name: None)
    module.InnerEarAITest().runTest()
    assert "nothing was tested" in caplog.text
    assert "The Python package torch is not installed in Slicer." in caplog.text


def test_without_torch_a_test_run_of_slicer_counts_the_self_test_as_skipped(host, monkeypatch):
    monkeypatch.setattr(installation, "installed_version", lambda name: None)
    # As slicer.testing.runUnitTest does.
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(module.InnerEarAITest).run(result)
    ((test, reason),) = result.skipped
    assert test.id().endswith("test_PhantomIsFoundWhereItIs")
    assert "torch is not installed" in reason
    assert result.wasSuccessful()
