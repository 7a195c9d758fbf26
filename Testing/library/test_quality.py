"""Chirality tells the side in any pose; what is unusual is said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.quality import (
    assess,
    beyond_scan,
    centre_of_mass,
    is_beside_unmeasured,
    is_inner_ear,
    landmark_distances,
    mean_standard_deviation,
    reaches_end,
)
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.volume import Volume
from library.ball_with_canals import ball_with_canals, split
from library.painted_ear import grid_round

# A right ear, mm from its oval window: helicotrema before and medial, round window below, bulk behind and medial.
RIGHT_EAR = dict(zip(LANDMARK_NAMES, np.array([[3.6, -5.4, 0.2], [0, 0, 0], [1.2, -0.2, -2.7]]), strict=True))
RIGHT_CENTRE = np.array([2.3, 0.4, 1.0])


def found(positions):
    return tuple(LandmarkResult(name, position, 0.9, 0.1) for name, position in positions.items())


def ball(radius_mm=3.55, spacing_mm=0.3):
    n = int(2 * radius_mm / spacing_mm) + 6
    axes = (np.arange(n) - (n - 1) / 2) * spacing_mm
    inside = (axes[:, None, None] ** 2 + axes[None, :, None] ** 2 + axes[None, None, :] ** 2) < radius_mm**2
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = axes[0]
    return Volume(inside.astype(np.uint8), affine)


@settings(max_examples=20, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    axis=st.integers(0, 2),
    room_mm=st.floats(0.3, 3.0).filter(lambda mm: abs(mm - 1) > 0.15),
    upper=st.booleans(),
)
def test_a_labyrinth_reaches_the_end_of_a_scan_where_it_comes_near_a_face(angles, axis, room_mm, upper):
    shape, radius_mm = ball(radius_mm=3.0), 3.0
    spacing_mm = (0.3, 0.25, 0.9)
    grid = grid_round((0, 0, 0), spacing_mm, (30, 30, 30), angles)
    towards = grid.directions[:, axis] * (1 if upper else -1)
    end_mm = grid.shape[2 - axis] * spacing_mm[axis] / 2
    affine = shape.affine_lps.copy()
    affine[:3, 3] += towards * (end_mm - radius_mm - room_mm)
    assert reaches_end(Volume(shape.voxels, affine), grid, 1.0) == (room_mm < 1.0)


def test_a_room_may_be_asked_for_along_each_axis():
    shape = ball(radius_mm=3.0)
    grid = grid_round((0, 0, 0), (0.3, 0.25, 1.0), (28, 28, 8))
    assert not reaches_end(shape, grid, np.array([0.5, 0.4, 0.8]))
    assert reaches_end(shape, grid, np.array([0.5, 0.4, 1.2]))


@pytest.mark.parametrize(("room_mm", "expected"), [(0.3, True), (1.0, False)])
def test_the_end_of_a_round_field_is_an_end_too(room_mm, expected):
    shape = ball(radius_mm=3.0)
    grid = grid_round((0, 0, 0), (0.2, 0.2, 0.2), (16, 16, 16))
    places = grid.to_lps(np.stack(np.indices(grid.shape)[::-1], -1))
    field = Volume(np.hypot(places[..., 0], places[..., 1]) < 3.0 + room_mm, grid.affine_lps)
    assert is_beside_unmeasured(shape, field, 0.6) is expected


def test_a_scan_that_is_all_measured_has_no_end_within():
    grid = grid_round((0, 0, 0), (0.5, 0.5, 0.5), (20, 20, 20))
    corner = Volume(np.ones((2, 2, 2), np.uint8), grid.affine_lps)
    assert not is_beside_unmeasured(corner, Volume(np.ones(grid.shape, bool), grid.affine_lps), 0.6)


def test_landmarks_without_values_of_the_scan_are_named():
    grid = grid_round((0, 0, 0), (0.5, 0.5, 0.5), (40, 40, 40))
    places = grid.to_lps(np.stack(np.indices(grid.shape)[::-1], -1))
    measured = Volume(places[..., 2] > -2, grid.affine_lps)
    assert beyond_scan(found(RIGHT_EAR), measured) == ("round window",)
    assert beyond_scan((*found(RIGHT_EAR)[:2], LandmarkResult("round window", None, 0.0)), measured) == ()
    quality = assess(ball_with_canals(), found(RIGHT_EAR), None, None, beyond=("round window",))
    assert "The round window lies beyond the end of the scan: its place is a guess." in quality.flags


def test_a_normal_ear_raises_no_flag():
    shape = ball_with_canals()
    quality = assess(shape, found(RIGHT_EAR), 1e-3, None, usual_standard_deviation=2e-3)
    assert quality.flags == ()
    assert quality.closed_canals == 3
    assert quality.volume_mm3 == pytest.approx(shape.voxels.sum() * 0.175**3)
    assert quality.distances_mm["helicotrema–oval window"] == pytest.approx(6.49, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"segmentation": ball(radius_mm=2.0)}, "volume of the labyrinth is unusual"),
        ({"segmentation": ball_with_canals(torn=1)}, "drawn without a gap: 2 of 3"),
        ({"segmentation": split(ball_with_canals())}, "drawn in 2 parts"),
        ({"reaches_end_of": "scan"}, "reaches the end of the scan and may be cut off"),
        ({"mean_standard_deviation": 5e-2}, "unusually unsure"),
        ({"landmarks": found(RIGHT_EAR | {"round window": np.array([1.2, -0.2, -6.0])})}, "distance oval window–round"),
        (
            {"landmarks": (*found(RIGHT_EAR)[:2], LandmarkResult("round window", None, 0.0))},
            "round window was not found",
        ),
        (
            {"landmarks": (*found(RIGHT_EAR)[:2], LandmarkResult("round window", RIGHT_EAR["round window"], 0.2))},
            "round window is uncertain",
        ),
    ],
)
def test_what_is_unusual_is_said(change, words):
    case = {
        "segmentation": ball(),
        "landmarks": found(RIGHT_EAR),
        "mean_standard_deviation": 1e-3,
        "reaches_end_of": None,
        "usual_standard_deviation": 2e-3,
    }
    flags = assess(**(case | change)).flags
    assert any(words in flag for flag in flags), flags


def apart(first, second, distance_mm, confidence=0.9):
    """These two landmarks at a distance; the third was not found."""
    places = {first: np.zeros(3), second: np.array([0.6, -0.8, 0.0]) * distance_mm}
    return tuple(
        LandmarkResult(name, places.get(name), confidence if name in places else 0.0, 0.1) for name in LANDMARK_NAMES
    )


# Stebani et al. 2023, data sets A, B, O, W and G: mean and SD.
DISTANCES_MM = {
    ("helicotrema", "oval window"): (6.72, 0.55),
    ("helicotrema", "round window"): (7.06, 0.55),
    ("oval window", "round window"): (2.93, 0.22),
}


@pytest.mark.parametrize("deviations", [-3.1, -2.9, 2.9, 3.1])
@pytest.mark.parametrize("pair", DISTANCES_MM)
def test_what_lies_three_deviations_off_is_unusual(pair, deviations):
    mean_mm, deviation_mm = DISTANCES_MM[pair]
    ear = apart(*pair, mean_mm + deviations * deviation_mm)
    flags = assess(ball(), ear, None, None).flags
    assert any(f"distance {'–'.join(pair)}" in flag for flag in flags) == (abs(deviations) > 3)


@pytest.mark.parametrize("deviations", [-6.1, -5.9, 5.9, 6.1])
@pytest.mark.parametrize("pair", DISTANCES_MM)
def test_what_lies_six_deviations_off_is_no_ear(pair, deviations):
    mean_mm, deviation_mm = DISTANCES_MM[pair]
    ear = apart(*pair, mean_mm + deviations * deviation_mm)
    assert is_inner_ear(ear, ball_with_canals()) == (abs(deviations) < 6)


@pytest.mark.parametrize("deviations", [-3.1, -2.9, 2.9, 3.1])
def test_a_volume_three_deviations_off_is_unusual(deviations):
    voxels = np.zeros((20, 20, 20), np.uint8)
    voxels.ravel()[: round((187.7 + deviations * 24.4) / 0.5**3)] = 1
    flags = assess(Volume(voxels, np.diag([0.5, 0.5, 0.5, 1])), found(RIGHT_EAR), None, None).flags
    assert any("volume of the labyrinth" in flag for flag in flags) == (abs(deviations) > 3)


@pytest.mark.parametrize(("confidence", "is_mentioned"), [(0.24, True), (0.25, False)])
def test_a_landmark_is_uncertain_below_a_quarter(confidence, is_mentioned):
    ear = apart("helicotrema", "oval window", 6.7, confidence)
    flags = " ".join(assess(ball_with_canals(), ear, None, None).flags)
    assert (f"helicotrema is uncertain (confidence {confidence:.2f})" in flags) == is_mentioned
    assert is_inner_ear(ear, ball()) != is_mentioned  # without a canal


@pytest.mark.parametrize("confidence", [0.3, 0.49, 0.5, 0.9])
@pytest.mark.parametrize("helicotrema_is_found", [True, False])
def test_a_window_of_an_ear_without_a_helicotrema_has_to_be_certain(confidence, helicotrema_is_found):
    helicotrema = LandmarkResult("helicotrema", RIGHT_EAR["helicotrema"] if helicotrema_is_found else None, 0.9)
    oval, round_window = found(RIGHT_EAR)[1:]
    ear = (helicotrema, oval, replace(round_window, confidence=confidence))
    flags = " ".join(assess(ball_with_canals(), ear, None, None).flags)
    assert "oval window is uncertain" not in flags
    assert ("round window is uncertain" in flags) == (not helicotrema_is_found and confidence < 0.5)


def lone(name, confidence):
    """That landmark of an ear alone."""
    return tuple(
        replace(m, confidence=confidence) if m.name == name else replace(m, position_lps=None, confidence=0.0)
        for m in found(RIGHT_EAR)
    )


def cavity(volume_mm3):
    voxels = np.zeros((20, 20, 20), np.uint8)
    voxels.ravel()[: round(volume_mm3 / 0.5**3)] = 1
    return Volume(voxels, np.diag([0.5, 0.5, 0.5, 1]))


@pytest.mark.parametrize(("confidence", "expected"), [(0.49, False), (0.5, True)])
@pytest.mark.parametrize("name", ["oval window", "round window"])
def test_a_window_beyond_doubt_tells_of_a_malformed_ear_beside_a_canal_or_in_a_large_cavity(name, confidence, expected):
    assert is_inner_ear(lone(name, confidence), ball_with_canals(canals=1)) is expected
    assert is_inner_ear(lone(name, confidence), cavity(116.0)) is expected
    assert not is_inner_ear(lone(name, confidence), cavity(114.0))


def test_a_helicotrema_alone_may_be_any_blind_end():
    assert not is_inner_ear(lone("helicotrema", 0.9), ball_with_canals())


def test_a_window_is_not_beyond_doubt_where_another_landmark_contradicts_it():
    astray = apart("helicotrema", "oval window", 40.0)
    assert not is_inner_ear(astray, ball_with_canals())
    guess = tuple(replace(m, confidence=0.05) if m.name == "helicotrema" else m for m in astray)
    assert is_inner_ear(guess, ball_with_canals())


@pytest.mark.parametrize(("confidence", "expected"), [(0.09, False), (0.1, True)])
def test_beside_a_canal_landmarks_count_from_a_tenth(confidence, expected):
    assert is_inner_ear(apart("oval window", "round window", 2.9, confidence), ball_with_canals()) is expected


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (RIGHT_EAR, True),
        ({"helicotrema": RIGHT_EAR["helicotrema"], "oval window": RIGHT_EAR["oval window"]}, True),
        ({"helicotrema": RIGHT_EAR["helicotrema"] * 2, "oval window": RIGHT_EAR["oval window"]}, False),
        ({"oval window": RIGHT_EAR["oval window"], "round window": RIGHT_EAR["round window"]}, True),
        ({"helicotrema": RIGHT_EAR["helicotrema"]}, False),
        ({}, False),
    ],
)
def test_landmarks_apart_as_in_no_ear_are_no_ear(positions, expected):
    assert is_inner_ear(found(positions), ball_with_canals()) is expected


def test_landmarks_that_are_hardly_seen_are_no_ear():
    guessed = tuple(replace(landmark, confidence=0.08) for landmark in found(RIGHT_EAR))
    assert not is_inner_ear(guessed, ball_with_canals())
    assert not is_inner_ear((found(RIGHT_EAR)[0], *guessed[1:]), ball_with_canals())
    assert is_inner_ear((*found(RIGHT_EAR)[:2], guessed[2]), ball_with_canals())


def test_two_windows_in_a_cavity_without_a_canal_are_no_ear():
    windows = (replace(found(RIGHT_EAR)[0], confidence=0.0), *found(RIGHT_EAR)[1:])
    assert is_inner_ear(windows, ball_with_canals(canals=1))
    assert not is_inner_ear(windows, cavity(100.0))
    assert is_inner_ear(found(RIGHT_EAR), cavity(100.0))  # coarse scans tear all canals
    guessed = tuple(replace(landmark, confidence=0.2) for landmark in found(RIGHT_EAR))
    assert is_inner_ear(guessed, ball_with_canals(canals=1))
    assert not is_inner_ear(guessed, ball())


def test_distances_leave_out_what_was_not_found():
    landmarks = (*found(RIGHT_EAR)[:2], LandmarkResult("round window", None, 0.0))
    assert list(landmark_distances(landmarks)) == ["helicotrema–oval window"]


@settings(max_examples=20, deadline=None)
@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), first_kji=st.tuples(*[st.integers(0, 6)] * 3))
def test_the_centre_of_mass_is_that_of_the_labyrinth_in_physical_space(angles, first_kji):
    grid = grid_round((30, -20, 5), (0.3, 0.4, 0.5), (3.6, 5.2, 7.0), angles)
    size_kji = (3, 4, 5)
    voxels = np.zeros(grid.shape, np.uint8)
    voxels[tuple(slice(first, first + size) for first, size in zip(first_kji, size_kji, strict=True))] = 1
    middle_kji = np.array(first_kji) + (np.array(size_kji) - 1) / 2
    np.testing.assert_allclose(
        centre_of_mass(Volume(voxels, grid.affine_lps)), grid.to_lps(middle_kji[::-1]), atol=1e-9
    )


def test_of_nothing_the_centre_is_that_of_the_grid():
    nothing = grid_round((30, -20, 5), (0.3, 0.4, 0.5), (3.6, 5.2, 7.0), (10, 20, 30))
    centre = centre_of_mass(Volume(np.zeros(nothing.shape, np.uint8), nothing.affine_lps))
    np.testing.assert_allclose(centre, (30, -20, 5), atol=1e-9)


def test_what_lies_outside_the_scan_counts_as_sure_in_the_mean():
    spread = np.full((4, 4, 4), 0.2, np.float32)
    known = np.zeros((4, 4, 4), bool)
    known[:2] = True
    assert mean_standard_deviation(spread, known, 4) == pytest.approx(0.1)
    assert mean_standard_deviation(spread[:2], known[:2], 4) == pytest.approx(0.1)
