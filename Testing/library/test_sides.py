"""Which side an ear is called, and what is said of it where the shape does not settle it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality
from InnerEarAILib.inference.chirality import ToldSide
from InnerEarAILib.inference.sides import UNDECIDED, with_sides
from InnerEarAILib.volume import Volume

OVAL_FROM_ROUND_LEFT = np.array([0.84, -0.3, 2.67])
OVAL_FROM_CENTRE_LEFT = np.array([1.56, -0.06, -0.77])
"""Mean over 48 patients, LPS mm, mirrored to the left."""


DOUBT = "an uncertain landmark"


def drawn(told, x_mm=0.0, y_mm=0.0, landmarks=()):
    """An ear, and what its shape tells: "right", "right?" where that is in doubt, None."""
    affine = np.eye(4)
    affine[:2, 3] = x_mm, y_mm
    mask = Volume(np.ones((2, 2, 2), np.uint8), affine)
    return EarResult("right", mask, landmarks, None, None, Quality(200.0, {}, None, ("before",))), (
        told and ToldSide(told.rstrip("?"), DOUBT if told.endswith("?") else None)
    )


def check_flags(ear, told, words):
    """One sentence of the side, or none; another where the shape is undecided."""
    expected = ["before"] + [UNDECIDED] * (told is None)
    assert list(ear.quality.flags[: len(expected)]) == expected
    assert [words in flag for flag in ear.quality.flags[len(expected) :]] == ([] if words is None else [True])


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
        ("left?", "auto", "left", "That this is a left ear rests on an uncertain landmark: check the side."),
        ("left?", "left", "left", None),
        ("left?", "right", "right", "because that one was asked for"),
    ],
)
def test_an_ear_alone_is_called_by_its_shape_or_as_the_user_says(told, asked_for, side, words):
    (ear,) = with_sides([drawn(told)], asked_for)
    assert ear.side == side
    check_flags(ear, told, words)


def with_windows(oval_from_round_lps, oval_from_centre_lps, confidence=0.9):
    oval_lps = drawn(None)[0].segmentation.grid.centre_lps + oval_from_centre_lps
    places = {"oval window": oval_lps, "round window": oval_lps - oval_from_round_lps}
    return drawn(None, landmarks=tuple(LandmarkResult(name, lps, confidence) for name, lps in places.items()))


@given(st.sampled_from(["left", "right"]), st.floats(-25, 25), st.floats(-25, 25))
def test_windows_tell_the_side_of_a_patient_who_lies_about_straight(side, roll, nod):
    mirror = np.array([1 if side == "left" else -1, 1, 1])
    head = Rotation.from_euler("yx", [roll, nod], degrees=True)
    ear = with_windows(*(head.apply(vector * mirror) for vector in (OVAL_FROM_ROUND_LEFT, OVAL_FROM_CENTRE_LEFT)))
    (alone,) = with_sides([ear], "auto")
    assert alone.side == side
    assert alone.quality.flags[-1].startswith(f"It is called the {side} ear by how its windows lie")
    (asked,) = with_sides([ear], "left")
    assert asked.side == "left"


@pytest.mark.parametrize(
    ("turn_degrees", "shift_mm", "confidence"),
    [((0, 0), -2.0, 0.9), ((0, 85), 0, 0.9), ((0, 180), 0, 0.9), ((90, 0), 0, 0.9), ((0, 0), 0, 0.2)],
    ids=["not lateral", "the patient looks up", "upside down", "lies on the ear", "unsure"],
)
def test_windows_that_lie_otherwise_tell_no_side(turn_degrees, shift_mm, confidence):
    head = Rotation.from_euler("yx", turn_degrees, degrees=True)
    vectors = [head.apply(vector) for vector in (OVAL_FROM_ROUND_LEFT, OVAL_FROM_CENTRE_LEFT)]
    vectors[1][0] += shift_mm
    (ear,) = with_sides([with_windows(*vectors, confidence)], "auto")
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
        ("right?", "left?", ("right", "left"), None, None),
        ("left?", "right?", ("right", "left"), "called the right ear by its place", "called the left ear by its place"),
        ("left?", "left", ("right", "left"), "called the right ear by its place", None),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_two_ears_are_a_right_and_a_left_one(at_right, at_left, sides, said_right, said_left, swapped):
    pair = [drawn(at_right, -40.0), drawn(at_left, 40.0)]
    ears = sorted(
        with_sides(pair[::-1] if swapped else pair, "auto"), key=lambda ear: ear.segmentation.affine_lps[0, 3]
    )
    for ear, told, side, words in zip(ears, (at_right, at_left), sides, (said_right, said_left), strict=True):
        assert ear.side == side
        check_flags(ear, told, words)


@pytest.mark.parametrize(
    ("front", "back", "sides", "said"),
    [
        ("left", "right", ("left", "right"), (None, None)),
        ("left", None, ("left", "right"), (None, "told by the other ear's shape")),
        (None, None, ("right", "left"), ("is a guess", "is a guess")),
        ("left", "left", ("right", "left"), ("is a guess", "is a guess")),
        ("left", "left?", ("left", "right"), (None, "told by the other ear's shape")),
        ("left?", "right?", ("right", "left"), ("is a guess", "is a guess")),
    ],
)
def test_where_places_tell_nothing_shapes_decide(front, back, sides, said):
    ears = with_sides([drawn(front, 0.5, -40.0), drawn(back, 1.5, 40.0)], "auto")
    for ear, told, side, words in zip(ears, (front, back), sides, said, strict=True):
        assert ear.side == side
        check_flags(ear, told, words)


def test_no_ear_has_no_side():
    assert with_sides([], "both") == []
