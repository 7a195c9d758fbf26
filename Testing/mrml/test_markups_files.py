"""Landmarks that Slicer itself saves, read by the library."""

from __future__ import annotations

import pytest
import slicer

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.given_landmarks import read_landmarks


@pytest.fixture
def save(host, tmp_path):
    def saved(suffix, coordinates):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "ear")
        for number, label in enumerate((*LANDMARK_NAMES, "Round Window", 'a "point", of others')):
            node.AddControlPoint((number, 10 + number, -5.5), label)
        kind = {".mrk.json": "Json", ".fcsv": "Fiducial"}[suffix]
        storage = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}StorageNode")
        storage.SetCoordinateSystem(getattr(slicer.vtkMRMLStorageNode, f"CoordinateSystem{coordinates}"))
        storage.SetFileName(str(tmp_path / f"ear{suffix}"))
        node.UnsetNthControlPointPosition(1)
        node.SetNthControlPointPositionMissing(3)
        assert storage.WriteData(node)
        return tmp_path / f"ear{suffix}"

    return saved


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv"])
def test_points_come_back_in_lps_without_those_that_have_no_place(save, suffix, coordinates):
    found = read_landmarks(save(suffix, coordinates))
    assert {name: place.tolist() for name, place in found.items()} == {
        "helicotrema": [0, -10, -5.5],
        "round window": [-2, -12, -5.5],
    }
