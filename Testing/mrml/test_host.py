"""The host behaves like the application where the module relies on it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util

from host.pictures import SliceView, ThreeDView
from host.runtime import Host
from InnerEarAILib.mrml import add_results, volume_from_node


def test_slicer_util_is_not_reachable_by_mistake(host):
    assert not hasattr(slicer, "getNode")
    assert callable(slicer.util.getNode)


def test_a_new_host_has_an_empty_scene(add_scan):
    Host()
    add_scan(name="left over")
    Host()
    with pytest.raises(slicer.util.MRMLNodeNotFoundException):
        slicer.util.getNode("left over")


def test_a_file_that_is_none_is_an_error(host, tmp_path):
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "nothing.nrrd"))


def test_hierarchy_items_come_and_go_with_their_nodes(host, add_scan):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = add_scan()
    assert hierarchy.GetItemByDataNode(node)
    slicer.mrmlScene.RemoveNode(node)
    assert hierarchy.GetNumberOfItems() == 0


@pytest.fixture(scope="module")
def drawn(add_scan, result_for):
    """Pictures of a result in a flat grey scan, before and after it is there: {view: (before, after)}."""
    host = Host()
    views = {name: SliceView(host, name, (200, 200)) for name in ("Axial", "Coronal", "Sagittal")}
    views["3D"] = ThreeDView(host, (200, 200))
    node = add_scan((40, 40, 40))
    slicer.util.updateVolumeFromArray(node, np.full((40, 40, 40), 100, np.int16))
    centre_ras = volume_from_node(node).grid.centre_lps * (-1, -1, 1)
    for name, view in views.items():
        if name == "3D":
            view.look_at(centre_ras, (1, 0.5, 0.5), (0, 0, 1), 20)
        else:
            view.look_at(centre_ras, 20)
    slicer.util.setSliceViewerLayers(background=node)
    before = {name: view.picture() for name, view in views.items()}
    add_results(result_for(volume_from_node(node).grid), node)
    return {name: (before[name], view.picture()) for name, view in views.items()}


@pytest.mark.parametrize("name", ["Axial", "Coronal", "Sagittal", "3D"])
def test_slicer_draws_the_labyrinth_in_every_view(drawn, name):
    before, after = drawn[name]
    red, green, blue = (after.astype(int)[..., channel] for channel in range(3))
    turquoise = (green - red > 40) & (blue - red > 40) & (abs(green - blue) < 40)
    changed = (before != after).any(-1)
    assert before.shape == after.shape == (200, 200, 3)
    assert (turquoise & changed).sum() > 50
    # It lies in the middle, where the scan has it, and not at the rim.
    assert np.abs(np.argwhere(turquoise & changed).mean(0) - 100).max() < 40


def test_slicer_draws_the_names_of_the_points(drawn):
    _, after = drawn["Axial"]
    red, green, blue = (after.astype(int)[..., channel] for channel in range(3))
    assert ((green - red > 40) & (green - blue > 80)).sum() > 30


def test_a_view_shows_the_patients_right_on_the_left(host, add_scan):
    view = SliceView(host, "Axial", (200, 200))
    node = add_scan((40, 40, 40))
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[:, :, :10] = 1000  # low i is low L, hence the patient's right
    slicer.util.updateVolumeFromArray(node, voxels)
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
    slicer.util.setSliceViewerLayers(background=node)
    view.look_at(volume_from_node(node).grid.centre_lps * (-1, -1, 1), 40)
    picture = view.picture().astype(int)[..., 0]
    assert picture[:, :40].mean() > picture[:, 60:].mean() + 100
