"""Which side each ear of a scan is: by its shape, its place beside the other, its windows, or as the user says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from InnerEarAILib.ear_result import EarResult, Side
from InnerEarAILib.inference.chirality import ToldSide
from InnerEarAILib.inference.quality import UNCERTAIN_LANDMARK, WINDOWS, centre_of_mass

PLACES: tuple[Side, Side] = ("right", "left")
"""In LPS the right ear has the smaller x."""

LEAST_ACROSS = 0.5
"""Ears whose distance along x is a smaller share of their distance tell no sides by their places: the head is turned,
or the file does not say how it lies; ours."""

LEAST_LATERAL_MM = 0.4
"""How far the oval window has to lie lateral of the middle between round window and the labyrinth's centre of mass to
tell a side; ours. In 48 patients as they lay in the scanner it lies 0.8 mm or more, 1.2 on average."""

LEAST_RISE = 0.4
"""How steeply the oval window has to lie above the round one for the patient to lie about straight; of these 48
the least steep has 0.45; ours."""


UNDECIDED = "The shape does not tell left from right."

DrawnEar = tuple[EarResult, ToldSide | None]
"""An ear and the side that its shape tells; what side the EarResult names does not count."""


def with_sides(drawn: Sequence[DrawnEar], asked_for: str) -> list[EarResult]:
    """The ears with their sides, and with a sentence among the flags of each whose shape does not settle it.

    Args:
        drawn: one or two ears.
        asked_for: SegmenterOptions.ear.
    """
    if len(drawn) == 2:
        return _by_place(drawn)
    return [_alone(ear, told, asked_for) for ear, told in drawn]


def _by_place(drawn: Sequence[DrawnEar]) -> list[EarResult]:
    """Two ears are a right and a left one: place decides where shapes are in doubt, or both say the same."""
    in_order = sorted(drawn, key=lambda pair: centre_of_mass(pair[0].segmentation)[0])
    apart_lps = np.abs(np.subtract(*(centre_of_mass(ear.segmentation) for ear, _ in in_order)))
    if apart_lps[0] < LEAST_ACROSS * np.linalg.norm(apart_lps):
        return _by_shape(in_order)
    sides = [_settled(told) or place for (_, told), place in zip(in_order, PLACES, strict=True)]
    if sides[0] == sides[1]:
        sides = list(PLACES)
    ears = []
    for (ear, told), place, side in zip(in_order, PLACES, sides, strict=True):
        flags = [UNDECIDED] if told is None else []
        if told is None or (told.doubt and told.side != side):
            flags.append(f"It is called the {side} ear by its place beside the other one.")
        elif told.side != place and not told.doubt:
            flags.append(
                f"By its shape this is a {told.side} ear, by its place a {place} one: "
                "the scan may be mirrored or turned."
            )
        ears.append(_named(ear, side, flags))
    return ears


def _settled(told: ToldSide | None) -> Side | None:
    return told.side if told is not None and told.doubt is None else None


def _by_shape(drawn: Sequence[DrawnEar]) -> list[EarResult]:
    """Two ears whose places tell nothing: a shape that is told tells the other side as well."""
    told = [_settled(side) for _, side in drawn]
    sides = [side or _other(beside) for side, beside in zip(told, told[::-1], strict=True)]
    if sides[0] != sides[1] and None not in sides:
        flags = [[] if side else ["Its side is told by the other ear's shape."] for side in told]
    else:
        sides, guess = (
            list(PLACES),
            "Which of the two ears is the right one is a guess: neither shapes nor places tell.",
        )
        flags = [[guess], [guess]]
    undecided = [[UNDECIDED] if side is None else [] for _, side in drawn]
    return [
        _named(ear, side, [*before, *said])
        for (ear, _), side, before, said in zip(drawn, sides, undecided, flags, strict=True)
    ]


def _other(side: Side | None) -> Side | None:
    return None if side is None else PLACES[1 - PLACES.index(side)]


def _alone(ear: EarResult, told: ToldSide | None, asked_for: str) -> EarResult:
    if told is None:
        return _of_undecided_shape(ear, asked_for)
    if told.side == asked_for or (asked_for not in PLACES and not told.doubt):
        return _named(ear, told.side, [])
    if asked_for not in PLACES:
        return _named(ear, told.side, [f"That this is a {told.side} ear rests on {told.doubt}: check the side."])
    if told.doubt:
        return _named(ear, asked_for, [_because_asked_for(asked_for)])
    flag = (
        f"A {asked_for} ear was asked for; by its shape this is a {told.side} one. If it is the {asked_for} ear, "
        "the scan may be mirrored."
    )
    return _named(ear, told.side, [flag])


def _because_asked_for(side: str) -> str:
    return f"It is called the {side} ear because that one was asked for."


def _of_undecided_shape(ear: EarResult, asked_for: str) -> EarResult:
    if asked_for in PLACES:
        return _named(ear, asked_for, [UNDECIDED, _because_asked_for(asked_for)])
    side = _side_by_windows(ear)
    if side is None:
        return _named(ear, "right", [UNDECIDED, "That it is called the right ear is a guess."])
    by_windows = f"It is called the {side} ear by how its windows lie if the patient lies straight: check the side."
    return _named(ear, side, [UNDECIDED, by_windows])


def _side_by_windows(ear: EarResult) -> Side | None:
    """The side to which the oval window lies above the round one; None if they are unsure, or lie otherwise."""
    sure_lps = {m.name: m.position_lps for m in ear.landmarks if m.confidence >= UNCERTAIN_LANDMARK}
    if not all(name in sure_lps for name in WINDOWS):
        return None
    oval_lps, round_lps = (sure_lps[name] for name in WINDOWS)
    x, y, z = oval_lps - round_lps
    if z < LEAST_RISE * np.hypot(x, y):
        return None
    leftwards_mm = (oval_lps - (round_lps + centre_of_mass(ear.segmentation)) / 2)[0]
    if abs(leftwards_mm) < LEAST_LATERAL_MM:
        return None
    return "left" if leftwards_mm > 0 else "right"


def _named(ear: EarResult, side: Side, flags: list[str]) -> EarResult:
    return replace(ear, side=side, quality=replace(ear.quality, flags=(*ear.quality.flags, *flags)))
