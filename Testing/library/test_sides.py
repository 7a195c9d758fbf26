"""Which side an ear is called, and what is said of it where the shape does not settle it."""

import numpy as np
import pytest

from InnerEarAILib.ear_result import EarResult, Quality
from InnerEarAILib.inference.sides import with_sides
from InnerEarAILib.volume import Volume


def drawn(told, x_mm=0.0, y_mm=0.0):
    affine = np.eye(4)
    affine[:2, 3] = x_mm, y_mm
    mask = Volume(np.ones((2, 2, 2), np.uint8), affine)
    return EarResult("right", mask, (), None, None, Quality(200.0, {}, None, ("before",))), told


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
