"""Left and right by shape alone, whatever the pose; of drawn and real labyrinths, whole and ossified."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from development_data import development_data
from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.chirality import LEAST_SKEW, ToldSide, handedness, side_by_chirality, side_of_ear, skew
from InnerEarAILib.inference.quality import centre_of_mass
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_parameters import sample_labyrinth_parameters
from InnerEarAILib.volume import Grid, Volume

# A right ear, mm from its oval window: helicotrema before and medial, round window below, bulk behind and medial.
RIGHT_EAR = dict(zip(LANDMARK_NAMES, np.array([[3.6, -5.4, 0.2], [0, 0, 0], [1.2, -0.2, -2.7]]), strict=True))
RIGHT_CENTRE = np.array([2.3, 0.4, 1.0])
MIRROR = np.array([-1, 1, 1])
LATTICE = Grid.axis_aligned((52, 55, 48), 0.4, (-9.5, -10.5, -10.5))

angles = st.tuples(*[st.floats(-180, 180)] * 3)


def found(positions, **confidences):
    return tuple(
        LandmarkResult(name, position, confidences.get(name.replace(" ", "_"), 0.9), 0.1)
        for name, position in positions.items()
    )


def drawn_ear(seed):
    """A right labyrinth of the phantom and its landmarks."""
    labyrinth = Labyrinth(sample_labyrinth_parameters(np.random.default_rng(seed), "normal"))
    places = LATTICE.to_lps(np.argwhere(np.ones(LATTICE.shape))[:, ::-1])
    inside = labyrinth.distances(torch.from_numpy(places).float()).union < 0
    mask = inside.numpy().reshape(LATTICE.shape).astype(np.uint8)
    return Volume(mask, LATTICE.affine_lps), {name: np.array(labyrinth.landmarks[name]) for name in LANDMARK_NAMES}


def without_ball(segmentation, centre_lps, radius_mm):
    """As the network sees it where bone fills a ball."""
    places = segmentation.grid.to_lps(np.argwhere(np.ones(segmentation.voxels.shape))[:, ::-1])
    far = np.linalg.norm(places - centre_lps, axis=1) > radius_mm
    return segmentation.with_voxels(segmentation.voxels * far.reshape(segmentation.voxels.shape).astype(np.uint8))


def moved(segmentation, positions, affine):
    """The same voxels and landmarks in another place; `affine` (4, 4) may mirror."""
    there = {name: affine[:3, :3] @ place + affine[:3, 3] for name, place in positions.items()}
    return Volume(segmentation.voxels, affine @ segmentation.affine_lps), there


@given(angles, st.tuples(*[st.floats(-500, 500)] * 3))
def test_the_side_does_not_depend_on_the_pose(turn, shift):
    rotation = Rotation.from_euler("xyz", turn, degrees=True)
    posed = {name: rotation.apply(p) + shift for name, p in RIGHT_EAR.items()}
    centre = rotation.apply(RIGHT_CENTRE) + shift
    assert side_by_chirality(found(posed), centre) == "right"
    mirrored = {name: p * MIRROR for name, p in posed.items()}
    assert side_by_chirality(found(mirrored), centre * MIRROR) == "left"
    assert handedness(mirrored, centre * MIRROR) == pytest.approx(-handedness(posed, centre))


def surface_voxels(vertices):
    low = vertices.min(0)
    indices_kji = np.rint((vertices - low) / 0.4).astype(int)[:, ::-1]
    grid = Grid.axis_aligned(tuple(indices_kji.max(0) + 1), 0.4, low)
    mask = np.zeros(grid.shape, np.uint8)
    mask[tuple(indices_kji.T)] = 1
    return Volume(mask, grid.affine_lps)


def test_the_side_of_real_labyrinths_is_told():
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    folder = development_data("labyrinth_meshes")
    cases = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))["cases"]
    for name, case in cases.items():
        reader = vtk.vtkPLYReader()
        reader.SetFileName(str(folder / f"{name}.ply"))
        reader.Update()
        positions = {n: np.array(case[n.replace(" ", "_")]) for n in LANDMARK_NAMES}
        vertices = vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)
        assert side_by_chirality(found(positions), vertices.mean(0)) == case["side"], name
        assert side_of_ear(found(positions, round_window=0.1), surface_voxels(vertices)).side == case["side"], name


def test_without_all_landmarks_they_leave_the_side_open():
    landmarks = (*found(RIGHT_EAR)[:2], LandmarkResult("round window", None, 0.0))
    assert side_by_chirality(landmarks, RIGHT_CENTRE) is None


def test_a_landmark_astray_leaves_the_side_open():
    astray = RIGHT_EAR | {"round window": RIGHT_EAR["round window"] * (-1, 1, -2)}
    assert handedness(astray, RIGHT_CENTRE) < -0.15
    assert side_by_chirality(found(astray), RIGHT_CENTRE) is None


def test_flat_landmarks_tell_no_side():
    flat = {name: p * (1, 1, 0) for name, p in RIGHT_EAR.items()}
    assert side_by_chirality(found(flat), RIGHT_CENTRE * (1, 1, 0)) is None


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), angles, st.booleans(), st.floats(0.8, 1.25))
def test_without_a_round_window_the_labyrinth_tells_the_side_in_any_pose(seed, turn, mirrored, size):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag([-1 if mirrored else 1, 1, 1])
    affine[:3, 3] = (40, -70, 1200)
    here, landmarks = drawn_ear(seed)
    there, posed = moved(here, landmarks, affine)
    sign = -1 if mirrored else 1
    both = [skew(v, p["helicotrema"], p["oval window"]) for v, p in ((here, landmarks), (there, posed))]
    assert both[0] > LEAST_SKEW
    assert both[1] == pytest.approx(sign * both[0], rel=1e-6)
    larger, grown = moved(here, landmarks, np.diag([size, size, size, 1.0]))
    assert skew(larger, grown["helicotrema"], grown["oval window"]) == pytest.approx(both[0], rel=1e-6)
    astray = posed | {"round window": posed["oval window"] + affine[:3, :3] @ np.array([-1.0, 2.0, 1.0])}
    for guess in (found(astray, round_window=0.06), found(posed)[:2]):
        assert side_of_ear(guess, there) == ToldSide("left" if mirrored else "right")


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.5, 4.5))
def test_an_ossified_labyrinth_still_tells_its_side(seed, radius_mm):
    whole, landmarks = drawn_ear(seed)
    ossified = without_ball(whole, landmarks["round window"], radius_mm)
    lost = (*found(landmarks)[:2], LandmarkResult("round window", None, 0.0))
    assert side_of_ear(lost, ossified) == ToldSide("right")


def test_without_helicotrema_or_oval_window_the_side_is_open():
    segmentation, landmarks = drawn_ear(1)
    for missing in ("helicotrema", "oval window"):
        others = tuple(m for m in found(landmarks) if m.name != missing)
        assert side_of_ear((*others, LandmarkResult(missing, None, 0.0)), segmentation) is None
    astray = landmarks | {"helicotrema": landmarks["helicotrema"] * 2}
    assert side_of_ear(found(astray, helicotrema=0.1), segmentation) is None


@pytest.mark.parametrize(
    ("confidence", "told"),
    [(0.09, None), (0.1, ToldSide("right", "an uncertain landmark")), (0.25, ToldSide("right"))],
)
@pytest.mark.parametrize("name", ["helicotrema", "oval_window"])
def test_an_uncertain_landmark_tells_a_doubtful_side_and_a_guess_none(name, confidence, told):
    segmentation, landmarks = drawn_ear(1)
    assert side_of_ear(found(landmarks, round_window=0.2, **{name: confidence}), segmentation) == told


def test_a_landmark_beyond_the_scan_tells_nothing():
    segmentation, landmarks = drawn_ear(1)
    assert side_of_ear(found(landmarks), segmentation, beyond=("helicotrema",)) is None
    assert side_of_ear(found(landmarks), segmentation, beyond=("round window",)) == ToldSide("right")


def test_the_shape_of_a_labyrinth_that_is_cut_off_is_doubtful_where_the_landmarks_do_not_tell():
    segmentation, landmarks = drawn_ear(1)
    assert side_of_ear(found(landmarks), segmentation, is_cut_off=True) == ToldSide("right")
    told = side_of_ear(found(landmarks, round_window=0.2), segmentation, is_cut_off=True)
    assert told == ToldSide("right", "the shape of a labyrinth that is cut off")


@pytest.mark.parametrize(
    ("confidence", "told"),
    [
        (0.5, ToldSide("right", "a shape that its landmarks contradict")),
        (0.9, ToldSide("left", "landmarks that its shape contradicts")),
    ],
)
def test_where_landmarks_and_shape_contradict_each_other_the_side_is_doubtful(confidence, told):
    """As where a scan ends above the round window, and the network is half sure of another place."""
    segmentation, landmarks = drawn_ear(1)
    oval, helicotrema = landmarks["oval window"], landmarks["helicotrema"]
    centre = centre_of_mass(segmentation)
    across = np.cross(helicotrema - oval, centre - oval)
    across /= np.linalg.norm(across)
    # Reflected in the plane that the side is told by, so that its distances stay.
    mirrored = landmarks["round window"] - 2 * across * ((landmarks["round window"] - oval) @ across)
    assert side_of_ear(found(landmarks | {"round window": mirrored}, round_window=confidence), segmentation) == told


def test_a_shape_without_a_side_tells_none():
    axes = np.arange(20) - 9.5
    ball = (axes[:, None, None] ** 2 + axes[:, None] ** 2 + axes**2 < 64).astype(np.uint8)
    grid = Grid.axis_aligned(ball.shape, 0.5, (-4.75, -4.75, -4.75))
    lost = (*found({"helicotrema": np.array([2.0, 3.0, 4.0]), "oval window": np.array([-2.0, -1.0, -1.0])}),)
    assert side_of_ear(lost, Volume(ball, grid.affine_lps)) is None
    assert skew(Volume(np.zeros_like(ball), grid.affine_lps), np.ones(3), np.zeros(3)) == 0.0
