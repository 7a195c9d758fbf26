"""Which side an ear is called, and what is said of it where the shape does not settle it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality
from InnerEarAILib.inference.sides import LEAST_LATERAL_MM, with_sides
from InnerEarAILib.volume import Volume

OVAL_FROM_ROUND_LEFT = np.array([0.84, -0.3, 2.67])
"""Mean over 48 patients, LPS mm, mirrored to the left."""


def drawn(told, x_mm=0.0, y_mm=0.0, landmarks=()):
    affine = np.eye(4)
    affine[:2, 3] = x_mm, y_mm
    mask = Volume(np.ones((2, 2, 2), np.uint8), affine)
    return EarResult("right", mask, landmarks, None, None, Quality(200.0, {}, None, ("before",))), told


@pytest.mark.parametrize(
    ("told", "asked_for", "side", "words"),
    [
        ("left", "auto", "left", None),
        ("left", "left", "left", None),
        ("left", "both", "left", None),
        (None, "auto", "right", "is a guess"),
        (None, "both", "right", "is a guess"),
        (None, "left", "left", "because that one was asked for"),
        ("right", "left", "right", "A left ear was asked for; by its shape this is a right one"),
    ],
)
def test_an_ear_alone_is_called_by_its_shape_or_as_the_user_says(told, asked_for, side, words):
    (ear,) = with_sides([drawn(told)], asked_for)
    assert ear.side == side
    assert ear.quality.flags[0] == "before"
    assert [words in flag for flag in ear.quality.flags[1:]] == ([] if words is None else [True])


def with_windows(oval_from_round_lps, confidence=0.9):
    round_lps = np.array([30.0, 10.0, -700.0])
    places = {"oval window": round_lps + oval_from_round_lps, "round window": round_lps}
    return drawn(None, landmarks=tuple(LandmarkResult(name, lps, confidence) for name, lps in places.items()))


@given(st.sampled_from(["left", "right"]), st.floats(-15, 15), st.floats(-20, 20))
def test_the_windows_of_a_patient_who_lies_about_straight_tell_the_side_of_a_shape_that_does_not(side, roll, nod):
    mirror = np.array([1 if side == "left" else -1, 1, 1])
    head = Rotation.from_euler("yx", [roll, nod], degrees=True)
    lies = head.apply(OVAL_FROM_ROUND_LEFT * mirror)
    (ear,) = with_sides([with_windows(lies)], "auto")
    told = abs(lies[0]) >= LEAST_LATERAL_MM and lies[2] >= np.hypot(lies[0], lies[1])
    if told:
        assert ear.side == side
    assert ("by how its windows lie" in ear.quality.flags[-1]) == told
    (asked,) = with_sides([with_windows(lies)], "left")
    assert asked.side == "left"


@pytest.mark.parametrize(
    ("oval_from_round_lps", "confidence"),
    [
        ((0.1, 0.0, 2.8), 0.9),
        ((0.8, 2.6, 0.4), 0.9),
        ((0.8, 0.3, -2.7), 0.9),
        ((2.7, 0.0, 0.9), 0.9),
        ((0.8, 0.3, 2.7), 0.2),
    ],
    ids=["one above the other", "the patient lies on the back of the head", "upside down", "on the ear", "unsure"],
)
def test_windows_that_lie_otherwise_tell_no_side(oval_from_round_lps, confidence):
    (ear,) = with_sides([with_windows(np.array(oval_from_round_lps), confidence)], "auto")
    assert ear.side == "right"
    assert ear.quality.flags[-1] == "That it is called the right ear is a guess."


@pytest.mark.parametrize(
    ("at_right", "at_left", "sides", "said_right", "said_left"),
    [
        ("right", "left", ("right", "left"), None, None),
        (None, None, ("right", "left"), "called the right ear by its place", "called the left ear by its place"),
        (None, "left", ("right", "left"), "called the right ear by its place", None),
        ("right", None, ("right", "left"), None, "called the left ear by its place"),
        ("left", "right", ("left", "right"), "shape this is a left ear", "shape this is a right ear"),
        ("right", "right", ("right", "left"), None, "shape this is a right ear, by its place a left one"),
        (None, "right", ("right", "left"), "called the right ear by its place", "may be mirrored"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_two_ears_are_a_right_and_a_left_one(at_right, at_left, sides, said_right, said_left, swapped):
    pair = [drawn(at_right, -40.0), drawn(at_left, 40.0)]
    ears = sorted(
        with_sides(pair[::-1] if swapped else pair, "auto"), key=lambda ear: ear.segmentation.affine_lps[0, 3]
    )
    for ear, side, words in zip(ears, sides, (said_right, said_left), strict=True):
        assert ear.side == side
        assert [words in flag for flag in ear.quality.flags[1:]] == ([] if words is None else [True])


@pytest.mark.parametrize(
    ("front", "back", "sides", "said"),
    [
        ("left", "right", ("left", "right"), (None, None)),
        ("left", None, ("left", "right"), (None, "told by the other ear's shape")),
        (None, None, ("right", "left"), ("is a guess", "is a guess")),
        ("left", "left", ("right", "left"), ("is a guess", "is a guess")),
    ],
)
def test_where_places_tell_nothing_shapes_decide(front, back, sides, said):
    ears = with_sides([drawn(front, 0.5, -40.0), drawn(back, 1.5, 40.0)], "auto")
    for ear, side, words in zip(ears, sides, said, strict=True):
        assert ear.side == side
        assert [words in flag for flag in ear.quality.flags[1:]] == ([] if words is None else [True])


def test_no_ear_has_no_side():
    assert with_sides([], "both") == []
