"""The real route through the logic and the scene, with a network that reads a painted ear: nothing depends on how the
scan lies in its array, its file or its scene.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
from scipy.spatial.transform import Rotation

from host.runtime import Host
from InnerEarAI import InnerEarAILogic
from InnerEarAILib import segmenter
from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import Volume
from library.painted_ear import PaintedEar, ReadingNetwork, grid_round, scan
from library.test_segmenter import CARD, CENTRE, LOCATOR

OBLIQUE = {"angles_degrees": (25, -40, 70), "signs": (-1, 1, 1)}


def patch_models(patch: pytest.MonkeyPatch) -> None:
    cards = {"clinical": CARD, "locator": LOCATOR}
    patch.setattr(segmenter, "list_models", lambda directory=None: tuple(cards.values()))
    patch.setattr(segmenter, "load_card", lambda name, directory=None: cards[name])
    patch.setattr(segmenter, "load_network", lambda card, device: ReadingNetwork())


@pytest.fixture(autouse=True)
def reading_models(monkeypatch):
    patch_models(monkeypatch)


@pytest.fixture(scope="module")
def painted() -> Volume:
    """An anisotropic, oblique, left-handed scan of a right ear."""
    return scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, (0.35, 0.3, 0.4), (42, 42, 42), **OBLIQUE))


@pytest.fixture(scope="module")
def still(painted) -> np.ndarray:
    """The landmarks of the scan as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch_models(patch)
        Host()
        return landmarks_lps(InnerEarAILogic().process(add(painted), preset="fast", device="cpu"))


def add(volume: Volume) -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.util.addVolumeFromArray(volume.voxels, RAS_FROM_LPS @ volume.affine_lps, "painted")


def landmarks_lps(nodes) -> np.ndarray:
    return slicer.util.arrayFromMarkupsControlPoints(nodes.landmarks["right"], world=True) * (-1, -1, 1)


def test_points_and_labyrinth_of_an_oblique_scan_lie_in_the_ear(host, painted, tmp_path):
    nodes = InnerEarAILogic().process(add(painted), preset="fast", device="cpu")
    truth = PaintedEar("right", CENTRE)
    np.testing.assert_allclose(landmarks_lps(nodes), list(truth.landmarks.values()), atol=0.6)
    slicer.util.saveNode(nodes.segmentation, str(tmp_path / "s.seg.nrrd"))
    saved = Volume.from_sitk(sitk.ReadImage(str(tmp_path / "s.seg.nrrd")))
    places = saved.grid.to_lps(np.argwhere(saved.voxels)[:, ::-1])
    # Grey 300 is the painted body, 1500 the bone round it.
    assert np.mean(truth.values(places) < 900) > 0.97


def test_a_transform_above_the_scan_moves_the_results_with_it(still, host, painted):
    # A whole number of the networks' lattice steps, so that the moved scan meets the same lattice.
    shift_ras = np.array([3.0, -5.0, 10.0])
    to_world = np.eye(4)
    to_world[:3, 3] = shift_ras
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    node = add(painted)
    node.SetAndObserveTransformNodeID(transform.GetID())
    moved = landmarks_lps(InnerEarAILogic().process(node, preset="fast", device="cpu"))
    np.testing.assert_allclose(moved - still, np.tile(shift_ras * (-1, -1, 1), (3, 1)), atol=1e-3)


@pytest.mark.slow
def test_a_turned_patient_keeps_side_and_points(host, painted):
    turn = Rotation.from_euler("xyz", (35, 10, -60), degrees=True)
    to_world = np.eye(4)
    to_world[:3, :3] = turn.as_matrix()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    node = add(painted)
    node.SetAndObserveTransformNodeID(transform.GetID())
    nodes = InnerEarAILogic().process(node, preset="fast", device="cpu")
    expected_ras = turn.apply(np.array(list(PaintedEar("right", CENTRE).landmarks.values())) * (-1, -1, 1))
    np.testing.assert_allclose(landmarks_lps(nodes), expected_ras * (-1, -1, 1), atol=0.6)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "mha"])
def test_a_file_loaded_by_slicer_gives_what_the_array_gives(still, host, painted, tmp_path, ending):
    write_volume(tmp_path / f"painted.{ending}", painted)
    loaded = slicer.util.loadVolume(str(tmp_path / f"painted.{ending}"))
    from_file = landmarks_lps(InnerEarAILogic().process(loaded, preset="fast", device="cpu"))
    np.testing.assert_allclose(from_file, still, atol=0.02)
